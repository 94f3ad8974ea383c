"""Small synthetic catalogues, data sets and model inputs that several tests share."""

from __future__ import annotations

import contextlib
import copy
import io
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from palate.dataset.dataset import Dataset
from palate.dataset.inputs import ModelInputs, SourceNumbers
from palate.dataset.settings import SplitConfig
from palate.encode.features import Features
from palate.encode.store import FeatureStore
from palate.graph.bipartite import Bipartite
from palate.graph.rows import Rows
from palate.ingest.catalogue import Catalogue
from palate.models.base import Batch


def interactions(
    users: int = 30, items: int = 25, least: int = 1, most: int = 20, seed: int = 0, *, ratings: bool = True
) -> pl.DataFrame:
    """Users with `least` to `most` distinct items each, ratings of 1 to 5 and many equal timestamps."""
    generator = np.random.default_rng(seed)
    pairs = [
        (f"u{user}", f"i{item}")
        for user in range(users)
        for item in generator.choice(items, generator.integers(least, most + 1), replace=False)
    ]
    frame = pl.DataFrame(pairs, schema=["user_id", "item_id"], orient="row").with_columns(
        timestamp=pl.Series(generator.integers(0, 50, len(pairs)), dtype=pl.Int64)
    )
    drawn = pl.Series(generator.integers(1, 6, len(pairs)), dtype=pl.Float64)
    return frame.with_columns(rating=drawn) if ratings else frame


def catalogue(rows: pl.DataFrame | None = None, items: int = 25, **columns: Any) -> Catalogue:
    """A catalogue of `rows` (default: `interactions()`) with titled items i0 … in shuffled order."""
    order = np.random.default_rng(1).permutation(items)
    goods = pl.DataFrame({"item_id": [f"i{item}" for item in order], "title": [f"The film {item}" for item in order]})
    return Catalogue.of(interactions() if rows is None else rows, goods.with_columns(**columns), name="world")


def features(
    ids: Sequence[str], name: str = "text", width: int = 6, missing: Sequence[str] = (), seed: int = 0
) -> Features:
    """Random rows that belong to the ids, whatever their order; zero for those that are missing."""
    rows = np.stack([row_of(item, name, width, seed) for item in ids])
    present = np.array([item not in missing for item in ids])
    return Features(name, (rows * present[:, None]).astype(np.float32), present, "random", tuple(ids))


def row_of(item: str, name: str = "text", width: int = 6, seed: int = 0) -> NDArray[np.float32]:
    """The row that `features` gives an item."""
    key = [seed, *name.encode(), 0, *item.encode()]
    return np.random.default_rng(key).normal(size=width).astype(np.float32)


def dataset(
    source: Catalogue | None = None, modalities: Mapping[str, Features] | None = None, **settings: Any
) -> Dataset:
    """A data set of `source` (default: `catalogue()`), with one modality `text` unless said otherwise."""
    source = source or catalogue()
    if modalities is None:
        modalities = {"text": features(source.items["item_id"].to_list(), missing=("i3",))}
    return Dataset.make(source, SplitConfig.parse(settings), modalities)


def stored(folder: Path, source: Catalogue | None = None, missing: Sequence[str] = ("i3",)) -> Path:
    """A catalogue folder with the modalities `text` and `image`."""
    saved = (source or catalogue()).save(folder)
    ids = saved.items["item_id"].to_list()
    FeatureStore(folder).save(features(ids, "text", missing=missing))
    FeatureStore(folder).save(features(ids, "image", width=4))
    return folder


def inputs(
    matrix: NDArray[np.int64],
    modalities: Mapping[str, NDArray[np.floating]] | None = None,
    *,
    shuffle: int = 7,
    dislikes: NDArray[np.int64] | None = None,
    entities: NDArray[np.int64] | None = None,
) -> ModelInputs:
    """Model inputs of a 0/1 train matrix (users × items); a NaN row means that the item lacks the modality.

    The items of each user come in random order, as they do when ordered by time. What is disliked (users × items) and
    which entities items have (items × entities) are 0/1 matrices too.
    """

    def rows_of(pairs: NDArray[np.int64]) -> Rows:
        row, column = np.nonzero(pairs)
        order = np.random.default_rng(shuffle).permutation(len(row))
        return Rows.from_pairs(row[order], column[order], len(pairs), pairs.shape[1])

    train = rows_of(matrix)
    ids = tuple(f"i{item}" for item in range(matrix.shape[1]))
    made: dict[str, Features] = {}
    for name, rows in (modalities or {}).items():
        present = np.asarray(np.isfinite(rows).all(axis=1))
        made[name] = Features(name, np.nan_to_num(rows).astype(np.float32), present, "given", ids)
    numbers = SourceNumbers(np.arange(matrix.shape[0]), np.arange(matrix.shape[1]))
    disliked, linked = (None if pairs is None else rows_of(pairs) for pairs in (dislikes, entities))
    return ModelInputs(
        users=len(matrix),
        items=matrix.shape[1],
        train=Bipartite(train),
        seen=train if disliked is None else train.union(disliked),
        features=made,
        dislikes=disliked,
        entities=linked,
        numbers=lambda: numbers,
    )


def planted(
    seed: int, *, users: int = 400, items: int = 400, groups: int = 20, each: int = 7, width: int = 16
) -> tuple[pl.DataFrame, NDArray[np.float32]]:
    """A world where taste depends on content alone: items lie around `groups` points of feature space, and a user
    takes items of two groups, whichever.

    Returns:
        The interactions, and the features of items i0, i1, ….
    """
    generator = np.random.default_rng(seed)
    group = generator.integers(0, groups, items)
    rows = generator.normal(size=(groups, width))[group] + 0.3 * generator.normal(size=(items, width))
    pairs: list[tuple[str, str]] = []
    for user in range(users):
        liked = np.flatnonzero(np.isin(group, generator.choice(groups, 2, replace=False)))
        chosen = generator.choice(liked, min(each, len(liked)), replace=False)
        pairs += [(f"u{user}", f"i{item}") for item in chosen]
    return pl.DataFrame(pairs, schema=["user_id", "item_id"], orient="row"), rows.astype(np.float32)


@dataclass(frozen=True)
class Ended:
    """How a command of the command line ended."""

    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        """All that a person gets to read."""
        return self.out + self.err


def palate(*words: object) -> Ended:
    """Run a command line in this process."""
    from palate.cli import main

    out, err = io.StringIO(), io.StringIO()
    before, sys.argv = sys.argv, ["palate", *map(str, words)]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main()
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    finally:
        sys.argv = before
    return Ended(code, out.getvalue(), err.getvalue())


class OneStep(Protocol):
    """A model with the batch of one step and its loss terms."""

    @property
    def model(self) -> nn.Module: ...
    @property
    def terms(self) -> dict[str, Tensor]: ...

    batch: Batch


Made = TypeVar("Made", bound=OneStep)


def check_fifty_steps(made: Made, plain: Callable[[Made], dict[str, Tensor]]) -> None:
    """Fifty steps of descent by the model's own loss, and by `plain`, end at the same parameters, to 1e-8."""
    other = copy.deepcopy(made)
    start = [parameter.detach().clone() for parameter in made.model.parameters()]
    both = ((made, lambda: made.terms), (other, lambda: plain(other)))
    for step in range(50):
        for each, terms in both:
            if each.batch.negatives is not None:
                each.batch = replace(each.batch, negatives=each.batch.negatives.roll(step))
            parameters = list(each.model.parameters())
            loss = torch.stack(list(terms().values())).sum()
            gradients = torch.autograd.grad(loss, parameters, materialize_grads=True)
            with torch.no_grad():
                for parameter, gradient in zip(parameters, gradients, strict=True):
                    parameter -= 0.05 * gradient
    ends = [[parameter.detach() for parameter in each.model.parameters()] for each, _ in both]
    for found, wanted in zip(*ends, strict=True):
        assert found.dtype == torch.float64
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-8)
    assert any(float((found - first).abs().max()) > 1e-2 for found, first in zip(ends[0], start, strict=True))
