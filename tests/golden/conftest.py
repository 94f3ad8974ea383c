"""Leaves out what the chosen folder of golden vectors has nothing for, so that no test is skipped."""

from __future__ import annotations

from pathlib import Path

import pytest

from golden.adapters import ADAPTERS


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    folder: Path = config.getoption("golden")
    names = {path.stem.split("_")[0] for path in folder.glob("*.npz")}
    if not names:
        raise pytest.UsageError(f"--golden: there are no vectors (NAME_CASE.npz) in {folder}")
    lacking = {"test_metrics.py": "metrics" not in names, "test_models.py": not names & set(ADAPTERS)}
    # None leaves the decision to pytest.
    return lacking.get(collection_path.name) or None
