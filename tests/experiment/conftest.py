"""A stored catalogue, the data set that it makes, and a finished run on it."""

from __future__ import annotations

from pathlib import Path

import pytest

import worlds
from experiment.folders import SMALL
from palate.dataset.dataset import Dataset
from palate.experiment import fit, load


@pytest.fixture
def catalogue(tmp_path: Path) -> Path:
    return worlds.stored(tmp_path / "catalogue")


@pytest.fixture
def data(catalogue: Path) -> Dataset:
    return load(catalogue, split="random")


@pytest.fixture
def finished(data: Dataset, tmp_path: Path) -> Path:
    return fit("bm3", data, settings=SMALL, out=tmp_path / "run", quiet=True).folder
