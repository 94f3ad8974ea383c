"""Options and settings that all tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

os.environ["HF_HUB_OFFLINE"] = "1"
settings.register_profile("palate", deadline=None, max_examples=40, derandomize=True)
settings.load_profile("palate")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--golden",
        type=Path,
        default=Path(__file__).parent / "golden" / "data",
        help="folder of golden vectors to check (NAME_CASE.npz with NAME_CASE.json)",
    )
