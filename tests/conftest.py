"""Options and settings that all tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

from palate.core.places import data_folder

os.environ["HF_HUB_OFFLINE"] = "1"
# Known facts of real data are checked where the data are: in `PALATE_DATA`, or in `shared/data` beside the checkout.
DATA = data_folder() or Path(__file__).parents[2] / "shared" / "data"
collect_ignore = [] if (DATA / "README.md").is_file() else ["test_real_data.py"]
settings.register_profile("palate", deadline=None, max_examples=40, derandomize=True)
settings.load_profile("palate")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--golden",
        type=Path,
        default=Path(__file__).parent / "golden" / "data",
        help="folder of golden vectors to check (NAME_CASE.npz with NAME_CASE.json)",
    )
