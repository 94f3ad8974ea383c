"""`palate verify RUN`: changes that may not change anything, tried on a finished run.

Takes a run; gives one line for each check: a repeated evaluation, a training step done twice, the order of the source
files, the order of the modalities, and new numbers for users and items with the parameters renumbered along.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from palate.core.artefact import read_tensors
from palate.core.errors import ConfigError
from palate.core.seeds import Draws, numpy_generator
from palate.dataset.dataset import Dataset
from palate.dataset.inputs import ModelInputs
from palate.experiment import MODEL, Run
from palate.graph.bipartite import Bipartite
from palate.graph.rows import IntArray, Rows
from palate.measure.evaluation import accuracy_of, ranked_lists
from palate.models import MODELS, Classical, Model, Recommender
from palate.models.classical.indexorder import IndexOrder
from palate.train.batches import PairBatches
from palate.train.fitting import build, fit_at_once
from palate.train.restoring import filled
from palate.train.warmstart import Side, sides_of

# Of the largest score, in single precision: sums in another order differ in their last bits.
TOLERANCE = 1e-4
USERS_SHOWN = 256
Outcome = Literal["same", "CHANGED", "not checked"]


@dataclass(frozen=True)
class Check:
    """One check of a run.

    Attributes:
        name: what was changed.
        outcome: whether the result stayed the same.
        detail: by how much it moved, or why it was not checked.
    """

    name: str
    outcome: Outcome
    detail: str


@dataclass(frozen=True)
class Verified:
    """All checks of a run."""

    run: str
    checks: tuple[Check, ...]

    @property
    def sound(self) -> bool:
        """Whether nothing changed."""
        return all(check.outcome != "CHANGED" for check in self.checks)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**dataclasses.asdict(self), "sound": self.sound}

    def text(self) -> str:
        """For people."""
        lines = [f"{check.name:<18}{check.outcome:<13}{check.detail}" for check in self.checks]
        last = "nothing changed" if self.sound else "WARNING: something changed that should not; do not trust this run"
        return "\n".join([*lines, last])


def verify(run: Run) -> Verified:
    """Try every check on a run whose data set is at hand."""
    checks = (_repeat(run), _step(run), _file_order(run), _modality_order(run), _renumbered(run))
    return Verified(str(run.folder), checks)


def renumbered(inputs: ModelInputs, user: IntArray, item: IntArray) -> ModelInputs:
    """The same data where old user u is new user `user[u]`, and items likewise.

    Args:
        inputs: a model's inputs.
        user, item: permutations of the row numbers.
    """

    def pairs(rows: Rows) -> Rows:
        return Rows.from_pairs(user[rows.row_of_entry()], item[rows.columns], rows.count, rows.width)

    new_rows = np.argsort(item)
    return dataclasses.replace(
        inputs,
        train=Bipartite(pairs(inputs.likes)),
        seen=pairs(inputs.seen),
        features={name: value.take(new_rows) for name, value in inputs.features.items()},
        dislikes=None if inputs.dislikes is None else pairs(inputs.dislikes),
        entities=None if inputs.entities is None else inputs.entities.take(new_rows),
        names=(np.arange(inputs.items) if inputs.names is None else inputs.names)[new_rows],
        numbers=None,
    )


def _repeat(run: Run) -> Check:
    positives, mask = run.data.positives["test"], run.data.mask("test")
    found = [ranked_lists(run.scorer, positives, mask, seed=run.recipe.seed) for _ in range(2)]
    first, second = (accuracy_of(lists, positives) for lists in found)
    same = np.array_equal(found[0].items, found[1].items)
    same &= all(np.array_equal(first.values[name], second.values[name]) for name in first.values)
    return Check(
        "repeat evaluation", "same" if same else "CHANGED", f"lists of {len(found[0].users):,} users, bit by bit"
    )


def _step(run: Run) -> Check:
    """Loss terms and gradients of a batch, twice with the same draws: what else is random shows."""
    name, inputs = "repeat step", run.data.inputs()
    if not issubclass(MODELS[run.recipe.model], Recommender):
        return Check(name, "not checked", "a closed form has no steps")
    state, _ = read_tensors(run.folder / MODEL)
    found: list[dict[str, Tensor | None]] = []
    for number in range(2):
        model = _restored(run, inputs, state).train()
        assert isinstance(model, Recommender)
        batches = PairBatches(inputs, run.recipe.train.batch_size, model.needs, 0, before_epoch=model.start_epoch)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(number)
            terms = model.loss(next(iter(batches.epoch(1))), Draws(0))
            torch.stack(list(terms.values())).sum().backward()
        found.append(dict(terms) | {f"gradient of {key}": value.grad for key, value in model.named_parameters()})
    first, second = found
    changed = [key for key, value in first.items() if not _equal(value, second[key])]
    detail = f"differs with the same draws: {', '.join(changed)}" if changed else "loss and gradients, bit by bit"
    return Check(name, "CHANGED" if changed else "same", detail)


def _equal(one: Tensor | None, other: Tensor | None) -> bool:
    return one is other if one is None or other is None else torch.equal(one, other)


def _file_order(run: Run) -> Check:
    source, generator = run.data.catalogue, numpy_generator(0, "verify", "file order")
    interactions = source.interactions[generator.permutation(len(source.interactions))]
    order = generator.permutation(len(source.items))
    shuffled = dataclasses.replace(source, interactions=interactions, items=source.items[order])
    rows = run.data.items.rows(shuffled.items["item_id"].to_list())
    features = {name: value.take(rows) for name, value in run.data.features.items()}
    again = Dataset.make(shuffled, run.data.settings, features)
    same = again.split_fingerprint == run.data.split_fingerprint
    for name, value in run.data.features.items():
        other = again.features[name]
        same &= np.array_equal(other.matrix, value.matrix) and np.array_equal(other.present, value.present)
    return Check("file order", "same" if same else "CHANGED", "rows of both tables shuffled, the data set made again")


def _model(run: Run, inputs: ModelInputs) -> Model:
    kind = MODELS[run.recipe.model]
    config = kind.Config.parse(run.recipe.settings)
    return build(kind, config, inputs, run.recipe.seed, run.recipe.train.precision)


def _restored(run: Run, inputs: ModelInputs, state: dict[str, Tensor] | None) -> Model:
    model = _model(run, inputs)
    if isinstance(model, Classical):
        fit_at_once(model, run.recipe.seed)
    elif state is not None:
        filled(model, state, run.folder)
    return model.eval()


def _scores(model: Model, users: NDArray[np.int64]) -> Tensor:
    with torch.inference_mode():
        return model.scorer().score_block(torch.from_numpy(users))


def _sample(run: Run) -> NDArray[np.int64]:
    count = len(run.data.users)
    return np.sort(numpy_generator(0, "verify", "users").permutation(count)[:USERS_SHOWN]).astype(np.int64)


def _judged(name: str, before: Tensor, after: Tensor, what: str) -> Check:
    scale = max(float(before.abs().max()), 1e-12)
    moved = float((before - after).abs().max()) / scale
    outcome: Outcome = "same" if moved <= TOLERANCE else "CHANGED"
    return Check(name, outcome, f"{what}; scores moved by {moved:.1e} of the largest")


def _modality_order(run: Run) -> Check:
    inputs = run.data.inputs()
    if len(inputs.features) < 2:
        return Check("modality order", "not checked", "fewer than two modalities")
    state, _ = read_tensors(run.folder / MODEL)
    users = _sample(run)
    turned = dataclasses.replace(inputs, features=dict(reversed(inputs.features.items())))
    before, after = (_scores(_restored(run, given, state), users) for given in (inputs, turned))
    return _judged("modality order", before, after, f"{len(inputs.features)} modalities in reverse")


def _renumbered(run: Run) -> Check:
    name, inputs = "row numbers", run.data.inputs()
    if issubclass(MODELS[run.recipe.model], IndexOrder):
        return Check(name, "not checked", "this model looks at nothing but source numbers")
    generator = numpy_generator(0, "verify", "numbers")
    user, item = generator.permutation(inputs.users), generator.permutation(inputs.items)
    state, metadata = read_tensors(run.folder / MODEL)
    kind = MODELS[run.recipe.model]
    try:
        # What is fitted in one pass is fitted again.
        sides = {} if issubclass(kind, Classical) else sides_of(kind, state, metadata, where=str(run.folder))
    except ConfigError as error:
        return Check(name, "not checked", error.what)
    order: dict[Side, IntArray] = {"user": np.argsort(user), "item": np.argsort(item)}
    moved = {
        key: state[key] if side is None else state[key].index_select(0, torch.from_numpy(order[side]))
        for key, side in sides.items()
    }
    users = _sample(run)
    before = _scores(_restored(run, inputs, state), users)
    after = _scores(_restored(run, renumbered(inputs, user, item), moved), user[users])
    return _judged(name, before, after[:, torch.from_numpy(item)], "users and items renumbered with their parameters")


def verify_folder(folder: Path, data: Path | None = None) -> Verified:
    """`verify` of a run folder.

    Args:
        folder: a finished run.
        data: its catalogue, where that has moved.
    """
    return verify(Run.load(folder, data=data))
