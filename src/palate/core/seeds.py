"""Randomness: one seed, and independent named streams that are derived from it.

`Draws` is the only source of randomness inside a model's loss. Its masks and noise belong to the rows of a node
table, so a row that occurs twice in a batch meets the same mask, and a shortcut that looks at the batch's rows alone
computes the same as the plain form over the whole table.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F


def derive_seed(seed: int, *names: str | int) -> int:
    """A 63-bit seed for the stream `names`, independent of every other stream of `seed`."""
    text = "\x1f".join([str(seed), *map(str, names)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def numpy_generator(seed: int, *names: str | int) -> np.random.Generator:
    """A NumPy generator on the stream `names` of `seed`."""
    return np.random.default_rng(derive_seed(seed, *names))


def torch_generator(seed: int, *names: str | int, device: torch.device | str = "cpu") -> torch.Generator:
    """A torch generator on the stream `names` of `seed`."""
    return torch.Generator(device=device).manual_seed(derive_seed(seed, *names))


class Draws:
    """Seeded, replayable draws of one training step.

    Every name has a stream of its own, so that neither the order of the calls nor that of the modalities matters, and
    a step draws the same whether training was interrupted before it or not.

    Args:
        seed: the run's seed.
        step: number of the training step.
        given: draws to use instead of random ones, by name: whole tables (rows × width), of which the rows that
            are asked for are taken. Tests inject known masks and noise this way.
    """

    def __init__(self, seed: int, step: int = 0, given: Mapping[str, Tensor] | None = None) -> None:
        self.seed = seed
        self.step = step
        self.given = dict(given or {})

    def _generator(self, name: str, device: torch.device) -> torch.Generator:
        return torch_generator(self.seed, "draws", self.step, name, device=device)

    def dropout(self, name: str, values: Tensor, rate: float, rows: Tensor | None = None) -> Tensor:
        """Inverted dropout of rows of a node table: `values * mask / (1 - rate)`.

        Args:
            name: the table's name; one mask a step and table.
            values: rows × width, the rows `rows` of the table (all rows when `rows` is None).
            rate: share of entries set to zero, in [0, 1).
            rows: int64, the table's row of each row of `values`.
        """
        if rate == 0.0 and name not in self.given:
            return values
        keep = 1.0 - rate
        if name in self.given:
            mask = _rows_of(self.given[name], rows).to(values)
            return values * mask / keep
        if rows is None:
            mask = torch.empty_like(values).bernoulli_(keep, generator=self._generator(name, values.device))
            return values * mask.mul_(1.0 / keep)
        distinct, position = torch.unique(rows, return_inverse=True)
        drawn = values.new_empty(len(distinct), values.shape[1])
        drawn.bernoulli_(keep, generator=self._generator(name, values.device)).mul_(1.0 / keep)
        return values * drawn.index_select(0, position)


def _rows_of(table: Tensor, rows: Tensor | None) -> Tensor:
    return table if rows is None else F.embedding(rows, table)
