"""Presets `official` against vectors that the released programs produced, in float64.

One test per case and record. Deviations are relative to the largest entry of the array and stay below 1e-6.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from golden.adapters import ADAPTERS, Adapter, Arrays, draws_of, inputs_of, modalities_of
from palate.core.seeds import Draws
from palate.models import Batch, Recommender

TOLERANCE = 1e-6


class Case:
    """One stored case and the model built from it."""

    def __init__(self, folder: Path, name: str) -> None:
        facts = json.loads((folder / f"{name}.json").read_text())
        self.adapter: Adapter = ADAPTERS[facts["model"]]
        self.arrays: Arrays = dict(np.load(folder / f"{name}.npz", allow_pickle=False))
        for scalar, value in facts["scalars"].items():
            self.arrays.setdefault(scalar, np.asarray(value))
        self.facts = facts
        self.table = self.adapter.parameters(modalities_of(self.arrays))
        rows = [
            torch.from_numpy(self.arrays[f"in.batch_{part}"].astype(np.int64))
            for part in ("user", "positive_item", "negative_item")
        ]
        self.batch = Batch(*rows)

    def model(self, noisy: bool = False) -> Recommender:
        hyper = {**self.facts["hyper_parameters"], "embedding_dim": self.facts["embedding_dim"]}
        config = self.adapter.config(hyper, noisy)
        model = self.adapter.build(config, inputs_of(self.arrays, self.facts["n_users"], self.facts["n_items"]))
        own = dict(model.named_parameters())
        stored = {name.removeprefix("param.") for name in self.arrays if name.startswith("param.")}
        stored |= {name for name, (_, _) in self.table.items() if f"in.{name}" in self.arrays}
        assert {self.table[name][0] for name in stored} == set(own), "the tables name every parameter"
        with torch.no_grad():
            for name in stored:
                source = self.arrays.get(f"param.{name}", self.arrays.get(f"in.{name}"))
                assert source is not None
                target, transposed = self.table[name]
                own[target].copy_(torch.from_numpy(source.T if transposed else source))
        return model

    def loss(self, model: Recommender, draws: Draws) -> dict[str, Tensor]:
        return model.loss(self.batch, draws)

    def check(self, name: str, found: Any) -> None:
        expected = self.arrays[name]
        value = found.detach().numpy() if isinstance(found, Tensor) else np.asarray(found)
        scale = max(float(np.abs(expected).max()), 1e-300)
        assert value.shape == expected.shape, name
        assert float(np.abs(value - expected).max()) <= TOLERANCE * scale, name

    def check_losses(self, prefix: str, model: Recommender, terms: dict[str, Tensor]) -> None:
        self.check(f"{prefix}loss.total", torch.stack(list(terms.values())).sum())
        stored = [name for name in self.arrays if name.startswith(f"{prefix}loss.") and not name.endswith(".total")]
        assert len(stored) == len(terms)
        for name in stored:
            bare = name.removeprefix(f"{prefix}loss.")
            weight = self.adapter.weight(model.config, bare)
            term = terms[self.adapter.terms.get(bare, bare)]
            self.arrays[f"{name} weighted"] = self.arrays[name] * weight
            self.check(f"{name} weighted", term)

    def check_gradients(self, prefix: str, model: Recommender, terms: dict[str, Tensor]) -> None:
        torch.stack(list(terms.values())).sum().backward()
        own = dict(model.named_parameters())
        stored = [name for name in self.arrays if name.startswith(f"{prefix}grad.")]
        assert stored
        for name in stored:
            target, transposed = self.table[name.removeprefix(f"{prefix}grad.")]
            gradient = own[target].grad
            assert gradient is not None, name
            self.check(name, gradient.T if transposed else gradient)
        with_gradient = {name for name, value in own.items() if value.grad is not None and bool(value.grad.any())}
        assert with_gradient <= {self.table[name.removeprefix(f"{prefix}grad.")][0] for name in stored}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "case" in metafunc.fixturenames:
        folder: Path = metafunc.config.getoption("golden")
        names = sorted(path.stem for path in folder.glob("*.npz"))
        known = [name for name in names if name.split("_")[0] in ADAPTERS]
        metafunc.parametrize("case", known, indirect=True)


@pytest.fixture
def case(request: pytest.FixtureRequest) -> Iterator[Case]:
    torch.set_default_dtype(torch.float64)
    try:
        yield Case(request.config.getoption("golden"), request.param)
    finally:
        torch.set_default_dtype(torch.float32)


def test_representations_and_scores(case: Case) -> None:
    embeddings = case.model().embed()
    case.check("expect.user_final", embeddings.user)
    case.check("expect.item_final", embeddings.item)
    case.check("expect.scores", embeddings.score_block(torch.arange(case.facts["n_users"])))


def test_intermediate_arrays(case: Case) -> None:
    model = case.model()
    users, items = model.propagate()  # type: ignore[operator]
    case.check("expect.adjacency", model.adjacency.dense())  # type: ignore[union-attr]
    case.check("expect.user_propagated", users)
    case.check("expect.item_propagated_with_residual", items)
    everything = torch.arange(case.facts["n_items"])
    for name in modalities_of(case.arrays):
        case.check(f"expect.{name}_projected", model.project(name, everything)[0])  # type: ignore[operator]


def test_loss_terms(case: Case) -> None:
    model = case.model()
    case.check_losses("", model, case.loss(model, Draws(0)))


def test_gradients(case: Case) -> None:
    model = case.model()
    case.check_gradients("", model, case.loss(model, Draws(0)))


def test_loss_terms_and_gradients_with_injected_noise(case: Case) -> None:
    model = case.model(noisy=True)
    terms = case.loss(model, Draws(0, given=draws_of(case.arrays)))
    case.check_losses("noise.", model, terms)
    case.check_gradients("noise.", model, terms)


def test_three_adam_steps(case: Case) -> None:
    adam = case.facts["adam"]
    model = case.model()
    optimiser = torch.optim.Adam(
        model.parameters(),
        lr=adam["learning_rate"],
        betas=tuple(adam["betas"]),
        eps=adam["eps"],
        weight_decay=adam["weight_decay"],
        fused=True,
    )
    losses: list[float] = []
    for _ in range(adam["steps"]):
        total = torch.stack(list(case.loss(model, Draws(0)).values())).sum()
        losses.append(total.item())
        optimiser.zero_grad()
        total.backward()
        optimiser.step()
    losses.append(torch.stack(list(case.loss(model, Draws(0)).values())).sum().item())
    case.check("adam.losses", losses)
    own = dict(model.named_parameters())
    for name in case.arrays:
        if name.startswith("adam.param."):
            target, transposed = case.table[name.removeprefix("adam.param.")]
            case.check(name, own[target].T if transposed else own[target])
    case.check("adam.scores", model.embed().score_block(torch.arange(case.facts["n_users"])))
