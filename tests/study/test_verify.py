"""Checks of a run: sound ones pass, and a model that looks at row numbers or at the order of things is caught."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import worlds
from palate.dataset.dataset import Dataset
from palate.experiment import Run, fit
from palate.models import Embeddings
from palate.models.lightgcn import LightGCN
from palate.study.verify import renumbered, verify

SMALL = {"dim": 8, "epochs": 2, "batch_size": 64}


def world() -> Dataset:
    source = worlds.catalogue()
    ids = source.items["item_id"].to_list()
    modalities = {name: worlds.features(ids, name, missing=ids[:2]) for name in ("image", "text")}
    return worlds.dataset(source, modalities, split="random")


def outcomes(run: Run) -> dict[str, str]:
    return {check.name: check.outcome for check in verify(run).checks}


@pytest.mark.parametrize("name", ["bm3", "lightgcn", "ease", "popularity"])
def test_a_sound_run_stays_as_it_is(name: str, tmp_path: Path) -> None:
    settings = SMALL if name in ("bm3", "lightgcn") else {}
    run = fit(name, world(), settings=settings, out=tmp_path / "run", quiet=True)
    found = verify(run)
    assert found.sound
    expected = {
        "repeat evaluation": "same",
        "repeat step": "same" if name in ("bm3", "lightgcn") else "not checked",
        "file order": "same",
        "modality order": "same" if name == "bm3" else "not checked",
        "row numbers": "same",
    }
    assert outcomes(run) == expected
    assert found.as_dict()["sound"] is True
    assert "nothing changed" in found.text()


def test_a_run_of_imputed_data_is_sound_too(tmp_path: Path) -> None:
    run = fit("bm3", world().imputed("mean"), settings=SMALL, out=tmp_path / "run", quiet=True)
    assert verify(run).sound


@pytest.mark.parametrize("name", ["alignrec", "freedom", "contentknn", "itemknn", "rp3beta"])
def test_new_numbers_move_no_neighbour_where_many_items_are_as_near(name: str, tmp_path: Path) -> None:
    source = worlds.catalogue()
    ids = source.items["item_id"].to_list()
    kinds = np.eye(3, dtype=np.float32)[np.arange(len(ids)) % 3]
    genres = dataclasses.replace(worlds.features(ids, "genre"), matrix=kinds)
    data = worlds.dataset(source, {"genre": genres}, split="random")
    settings = {"neighbours": 3} | (SMALL if name in ("alignrec", "freedom") else {})
    assert verify(fit(name, data, settings=settings, out=tmp_path / "run", quiet=True)).sound


def test_a_model_that_looks_at_row_numbers_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = fit("lightgcn", world(), settings=SMALL, out=tmp_path / "run", quiet=True)
    honest = LightGCN.propagate

    def numbered(self: LightGCN) -> tuple[Tensor, Tensor]:
        user, item = honest(self)
        return user, item * (1 + torch.arange(len(item)).unsqueeze(1) / len(item))

    monkeypatch.setattr(LightGCN, "propagate", numbered)
    assert outcomes(run)["row numbers"] == "CHANGED"
    assert not verify(run).sound


def test_an_evaluation_that_does_not_repeat_is_caught(tmp_path: Path) -> None:
    run = fit("lightgcn", world(), settings=SMALL, out=tmp_path / "run", quiet=True)
    generator = np.random.default_rng(0)

    class Moody(Embeddings):
        def score_block(self, users: Tensor) -> Tensor:
            return torch.from_numpy(generator.random((len(users), self.items)))

    assert isinstance(run.scorer, Embeddings)
    run.scorer = Moody(run.scorer.user, run.scorer.item)
    assert outcomes(run)["repeat evaluation"] == "CHANGED"


def test_a_table_as_wide_as_there_are_items_is_no_obstacle(tmp_path: Path) -> None:
    data = world()
    run = fit("lightgcn", data, settings={**SMALL, "dim": len(data.items)}, out=tmp_path / "run", quiet=True)
    assert outcomes(run)["row numbers"] == "same"


def test_new_numbers_are_the_same_data() -> None:
    inputs = world().inputs()
    generator = np.random.default_rng(0)
    user, item = generator.permutation(inputs.users), generator.permutation(inputs.items)
    other = renumbered(inputs, user, item)
    for row in range(inputs.users):
        assert other.likes[user[row]].tolist() == item[inputs.likes[row]].tolist()
    for name, features in inputs.features.items():
        np.testing.assert_array_equal(other.features[name].matrix[item], features.matrix)
        np.testing.assert_array_equal(other.features[name].present[item], features.present)
    assert inputs.dislikes is not None
    assert other.dislikes is not None
    assert other.dislikes.size == inputs.dislikes.size
