"""What every command line starts from: a cache of its own, and a stored catalogue."""

from __future__ import annotations

from pathlib import Path

import pytest

import worlds


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PALATE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def catalogue(tmp_path: Path) -> Path:
    return worlds.stored(tmp_path / "catalogue")
