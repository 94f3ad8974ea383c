"""Parts of scores where some items were taken by nobody: told for what the model learnt, not for what was placed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import worlds
from palate import experiment
from palate.models.base import Embeddings
from palate.serve.branches import branches_of
from palate.serve.state import load
from serve import shop


@pytest.mark.parametrize("name", ["vbpr", "crmman"])
def test_a_run_with_items_that_nobody_took_tells_the_parts_of_all_others(name: str, tmp_path: Path) -> None:
    catalogue = worlds.stored(tmp_path / "catalogue")
    data = experiment.load(catalogue, split="cold-items")
    small = {"dim": 4, "epochs": 1, "batch_size": 64}
    run = experiment.fit(name, data, settings=small, out=tmp_path / "run", quiet=True)
    model = load("it", run.folder)
    assert isinstance(run.scorer, Embeddings)
    moved = (torch.tensor(model.bundle.item_vectors) - run.scorer.item).abs().amax(1) > 1e-6
    placed = {model.bundle.items.ids[item] for item in moved.nonzero().flatten().tolist()}
    assert 0 < len(placed) == model.bundle.facts.placed < len(model.bundle.items)
    with shop.client(model) as client:
        parts = client.get("/v1/models").json()["models"][0]["branches"]
        assert len(parts) > 1
        wish = {"k": 25, "exclude_seen": False, "explain": True}
        for body in ({"user": model.bundle.users.ids[0]}, {"items": [{"id": "i1"}, {"id": "i2"}]}):
            answer = client.post("/v1/recommend", json=wish | body).json()
            assert placed < {item["id"] for item in answer["items"]}
            for item in answer["items"]:
                if item["id"] in placed:
                    assert (item["why"]["branches"], item["why"]["placed"]) == ({}, True)
                else:
                    assert sum(item["why"]["branches"].values()) == pytest.approx(item["score"], abs=1e-4)
                    assert set(item["why"]["branches"]) == set(parts)
                    assert "placed" not in item["why"]


def test_parts_that_do_not_add_up_for_what_was_learnt_are_left_out() -> None:
    draw = torch.Generator().manual_seed(0)
    user, item = torch.randn(6, 4, generator=draw), torch.randn(5, 4, generator=draw)
    parts = {
        "one": Embeddings(user[:, :2], item[:, :2]),
        "other": Embeddings(user[:, 2:], item[:, 2:]),
    }
    assert set(branches_of(parts, user, item).parts) == {"one", "other"}
    item = item.clone()
    item[3] += 0.1
    assert branches_of(parts, user, item).parts == {}
    fourth = torch.arange(5).numpy() == 3
    found = branches_of(parts, user, item, fourth)
    assert set(found.parts) == {"one", "other"}
    assert found.placed.tolist() == fourth.tolist()
    assert branches_of(parts, user, item, ~fourth).parts == {}
