"""Randomness: one seed, and independent named streams that are derived from it.

`Draws` is the only source of randomness inside a model's loss. Its masks and noise belong to the rows of a node
table, so a row that occurs twice in a batch meets the same mask, and a shortcut that looks at the batch's rows alone
computes the same as the plain form over the whole table.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from palate.core.width import first_column

# Entries of a table are numbered row · 2^20 + column.
COLUMN_BITS = 20


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

    def uniform(self, name: str, rows: Tensor, columns: int, *, spread: bool = True) -> Tensor:
        """Uniform numbers in [0, 1), float32, of the entries of `rows` of a node table: len(rows) × columns.

        An entry's number depends on seed, step, name, row and column alone: it is the same however often and in
        whatever company it is asked for.

        Args:
            name: the table's name.
            rows: int64, rows of the table.
            columns: those of this process.
            spread: the columns are embedding columns, which processes share among them (`core/width.py`); False:
                every process holds all of them.
        """
        key = derive_seed(self.seed, "draws", self.step, name)
        first = first_column(columns) if spread else 0
        column = torch.arange(first, first + columns, device=rows.device)
        mixed = (rows.unsqueeze(1) << COLUMN_BITS) + column
        # The finaliser of SplitMix64 (Steele et al., OOPSLA 2014), on two's complement integers that wrap around.
        mixed.bitwise_xor_(torch.tensor(key, device=rows.device))
        for shift, factor in ((30, -0x40A7B892E31B1A47), (27, -0x6B2FB644ECCEEE15)):
            mixed.bitwise_xor_((mixed >> shift) & ((1 << (64 - shift)) - 1)).mul_(factor)
        return ((mixed >> 40) & 0xFFFFFF).float().mul_(2.0**-24)

    def logistic(self, name: str, rows: Tensor, columns: int) -> Tensor:
        """Standard logistic noise, log δ - log(1 - δ) of a uniform δ, for `rows` of a node table: len(rows) × columns.

        Never infinite. The columns are not embedding columns: every process holds all of them.
        """
        return self._noise(name, rows, columns, torch.logit)

    def gumbel(self, name: str, rows: Tensor, columns: int) -> Tensor:
        """Standard Gumbel noise, -log(-log δ), otherwise as `logistic`."""
        return self._noise(name, rows, columns, lambda uniform: -torch.log(-torch.log(uniform)))

    def _noise(self, name: str, rows: Tensor, columns: int, inverse: Callable[[Tensor], Tensor]) -> Tensor:
        if name in self.given:
            return _rows_of(self.given[name], rows)
        # Numbers are multiples of 2^-24 below 1: half a step stands in for 0, where both kinds of noise are infinite.
        return inverse(self.uniform(name, rows, columns, spread=False).clamp_min_(2.0**-25))

    def dropout(
        self, name: str, values: Tensor, rate: float, rows: Tensor | None = None, *, spread: bool = True
    ) -> Tensor:
        """Inverted dropout of rows of a node table: `values * mask / (1 - rate)`.

        Args:
            name: the table's name; one mask a step and table.
            values: rows × width, the rows `rows` of the table (all rows when `rows` is None).
            rate: share of entries set to zero, in [0, 1).
            rows: int64, the table's row of each row of `values`.
            spread: as in `uniform`.
        """
        if rate == 0.0 and name not in self.given:
            return values
        keep = 1.0 - rate
        if name in self.given:
            mask = _rows_of(self.given[name], rows).to(values)
        else:
            asked = torch.arange(len(values), device=values.device) if rows is None else rows
            mask = (self.uniform(name, asked, values.shape[1], spread=spread) < keep).to(values.dtype)
        return values * mask.mul(1.0 / keep)


def _rows_of(table: Tensor, rows: Tensor | None) -> Tensor:
    return table if rows is None else F.embedding(rows, table)
