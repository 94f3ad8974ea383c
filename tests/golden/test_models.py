"""Presets `official` against vectors that the released programs produced, in float64.

One test per case and record. Deviations are relative to the largest entry of the array and stay below 1e-6.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from golden.adapters import ADAPTERS
from golden.adapters.base import Adapter, Arrays, inputs_of
from palate.core.seeds import Draws
from palate.models import Batch, Recommender

TOLERANCE = 1e-6


class Case:
    """One stored case and the models built from it."""

    def __init__(self, folder: Path, name: str) -> None:
        facts = json.loads((folder / f"{name}.json").read_text())
        self.adapter: Adapter = ADAPTERS[facts["model"]]
        self.arrays: Arrays = dict(np.load(folder / f"{name}.npz", allow_pickle=False))
        for scalar, value in facts["scalars"].items():
            self.arrays.setdefault(scalar, np.asarray(value))
        self.facts = facts
        self.hyper = {**facts["hyper_parameters"], "embedding_dim": facts["embedding_dim"]}
        self.everyone = torch.arange(facts["n_users"])
        rows = [
            torch.from_numpy(self.arrays[f"in.batch_{part}"].astype(np.int64))
            for part in ("user", "positive_item", "negative_item")
        ]
        self.batch = Batch(*rows)

    def names(self, record: str) -> dict[str, tuple[str, bool]]:
        return self.adapter.names(self.arrays, self.adapter.modalities(self.arrays, record))

    def model(self, record: str = "main") -> Recommender:
        modalities = self.adapter.modalities(self.arrays, record)
        inputs = inputs_of(self.arrays, modalities, self.facts["n_users"], self.facts["n_items"])
        model = self.adapter.build(self.adapter.config(self.hyper, record), inputs)
        table = self.names(record)
        parameters = dict(model.named_parameters())
        own = {**dict(model.named_buffers()), **parameters}
        assert set(parameters) <= {target for target, _ in table.values()}, "the table names every parameter"
        stored = {name.removeprefix("param.") for name in self.arrays if name.startswith("param.")}
        known = set(table) | set(self.adapter.lacking)
        if record == "main":
            everywhere = {name for other in self.records() for name in self.names(other)}
            assert stored <= known | everywhere, "every stored parameter has a place"
        with torch.no_grad():
            for name, (target, transposed) in table.items():
                source = self.arrays.get(f"param.{name}", self.arrays.get(f"in.{name}"))
                assert source is not None, name
                own[target].copy_(torch.from_numpy(source.T if transposed else source))
        return model

    def records(self) -> list[str]:
        return sorted({name.split(".")[0] for name in self.arrays if ".loss." in name} - {"noise"})

    def loss(self, model: Recommender, draws: Draws | None = None) -> dict[str, Tensor]:
        return model.loss(self.batch, draws or Draws(0))

    def check(self, name: str, found: Any, scale: float = 1.0) -> None:
        expected = self.arrays[name] * scale
        value = found.detach().numpy() if isinstance(found, Tensor) else np.asarray(found)
        largest = max(float(np.abs(expected).max()), 1e-300)
        assert value.shape == expected.shape, name
        assert float(np.abs(value - expected).max()) <= TOLERANCE * largest, name

    def check_losses(self, prefix: str, model: Recommender, terms: dict[str, Tensor]) -> None:
        self.check(f"{prefix}loss.total", total(terms))
        for name, without in self.adapter.totals.items():
            self.check(f"{prefix}loss.{name}", total(terms) - terms[without])
        others = ("total", *self.adapter.not_terms, *self.adapter.totals)
        stored = [name for name in self.arrays if name.startswith(f"{prefix}loss.")]
        stored = [name for name in stored if name.removeprefix(f"{prefix}loss.") not in others]
        assert len(stored) == len(terms)
        for name in stored:
            bare = name.removeprefix(f"{prefix}loss.")
            term = terms[self.adapter.terms.get(bare, bare)]
            self.check(name, term, self.adapter.weight(model.config, bare))

    def check_gradients(self, prefix: str, model: Recommender, table: dict[str, tuple[str, bool]]) -> set[str]:
        own = dict(model.named_parameters())
        stored = [name for name in self.arrays if name.startswith(prefix)]
        assert stored
        for name in stored:
            target, transposed = table[name.removeprefix(prefix)]
            gradient = own[target].grad
            assert gradient is not None, name
            self.check(name, gradient.T if transposed else gradient)
        return {table[name.removeprefix(prefix)][0] for name in stored}


def total(terms: dict[str, Tensor]) -> Tensor:
    return torch.stack(list(terms.values())).sum()


def with_gradient(model: Recommender) -> set[str]:
    return {name for name, value in model.named_parameters() if value.grad is not None and bool(value.grad.any())}


def representations(case: Case) -> None:
    embeddings = case.model().embed()
    case.check("expect.user_final", embeddings.user)
    case.check("expect.item_final", embeddings.item)
    case.check("expect.scores", embeddings.score_block(case.everyone))


def intermediate_arrays(case: Case) -> None:
    formed = case.adapter.intermediate(case.model(), case.arrays)
    stored = {name.removeprefix("expect.") for name in case.arrays if name.startswith("expect.")}
    assert set(formed) <= stored
    assert stored <= set(formed) | {"user_final", "item_final", "scores", *case.adapter.not_formed}
    for name, value in formed.items():
        case.check(f"expect.{name}", value)


def losses(case: Case) -> None:
    model = case.model()
    case.check_losses("", model, case.loss(model))


def gradients(case: Case) -> None:
    model = case.model()
    total(case.loss(model)).backward()
    assert with_gradient(model) <= case.check_gradients("grad.", model, case.names("main"))


def noise(case: Case) -> None:
    model = case.model("noise")
    terms = case.loss(model, Draws(0, given=case.adapter.draws(case.arrays)))
    case.check_losses("noise.", model, terms)
    total(terms).backward()
    assert with_gradient(model) <= case.check_gradients("noise.grad.", model, case.names("noise"))


def record(case: Case, name: str) -> None:
    """A further record with losses, representations and some gradients of its own."""
    model = case.model(name)
    terms = case.loss(model)
    case.check_losses(f"{name}.", model, terms)
    total(terms).backward()
    if any(stored.startswith(f"{name}.grad.") for stored in case.arrays):
        case.check_gradients(f"{name}.grad.", model, case.names(name))
    embeddings = model.embed()
    formed = {"user_final": embeddings.user, "item_final": embeddings.item}
    formed |= case.adapter.intermediate(model, case.arrays)
    stored = {name_.removeprefix(f"{name}.expect.") for name_ in case.arrays if name_.startswith(f"{name}.expect.")}
    assert stored <= set(formed) | set(case.adapter.not_formed)
    for key in stored & set(formed):
        case.check(f"{name}.expect.{key}", formed[key])


def gradients_if_trained(case: Case) -> None:
    model = case.model("grad_if_trained")
    total(case.loss(model)).backward()
    case.check_gradients("grad_if_trained.", model, case.names("grad_if_trained"))


def three_adam_steps(case: Case, run: str) -> None:
    settings = case.facts["adam"]
    name = "main" if run == "adam" else run
    model = case.model(name)
    optimiser = torch.optim.Adam(
        model.parameters(),
        lr=settings["learning_rate"],
        betas=tuple(settings["betas"]),
        eps=settings["eps"],
        weight_decay=settings["weight_decay"],
        fused=True,
    )
    found: list[float] = []
    for _ in range(settings["steps"]):
        loss = total(case.loss(model))
        found.append(loss.item())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    found.append(total(case.loss(model)).item())
    case.check(f"{run}.losses", found)
    own = {**dict(model.named_buffers()), **dict(model.named_parameters())}
    for stored in case.arrays:
        bare = stored.removeprefix(f"{run}.param.")
        if bare != stored and bare not in case.adapter.lacking:
            target, transposed = case.names(name)[bare]
            case.check(stored, own[target].T if transposed else own[target])
    if f"{run}.scores" in case.arrays:
        case.check(f"{run}.scores", model.embed().score_block(case.everyone))


def checks_of(folder: Path, name: str) -> dict[str, Callable[[Case], None]]:
    """What a case has vectors for: every record has its check, so that none is skipped."""
    with np.load(folder / f"{name}.npz", allow_pickle=False) as stored:
        arrays = list(stored)
    scalars = json.loads((folder / f"{name}.json").read_text())["scalars"]
    heads = {entry.split(".")[0] for entry in (*arrays, *scalars)}
    plain = {"in", "param", "expect", "loss", "grad"}
    checks: dict[str, Callable[[Case], None]] = {
        "representations": representations,
        "intermediate": intermediate_arrays,
        "losses": losses,
        "gradients": gradients,
    }
    for head in sorted(heads - plain):
        if head == "noise":
            checks[head] = noise
        elif head == "grad_if_trained":
            checks[head] = gradients_if_trained
        elif head.startswith("adam"):
            checks[head] = partial(three_adam_steps, run=head)
        else:
            checks[head] = partial(record, name=head)
    return checks


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    folder: Path = metafunc.config.getoption("golden")
    names = sorted(path.stem for path in folder.glob("*.npz"))
    pairs = [
        pytest.param(name, check, id=f"{name}-{title}")
        for name in names
        if name.split("_")[0] in ADAPTERS
        for title, check in checks_of(folder, name).items()
    ]
    metafunc.parametrize(("name", "check"), pairs)


@pytest.fixture(autouse=True)
def double_precision() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def test_record(name: str, check: Callable[[Case], None], request: pytest.FixtureRequest) -> None:
    check(Case(request.config.getoption("golden"), name))
