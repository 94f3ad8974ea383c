"""What is written beside every result."""

import sys

import pytest

from palate.core.environment import command, environment


@pytest.mark.parametrize("program", ["/venv/bin/palate", "/somewhere/palate/__main__.py"])
def test_the_command_is_the_same_however_it_was_called(program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [program, "compare", "ease"])
    assert command() == ["palate", "compare", "ease"]
    assert environment()["command"] == command()
