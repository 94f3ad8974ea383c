"""IndexOrder, the leak canary: it learns nothing and looks at the numbers that users and items have in the source.

Where ids were given in order of appearance in a sorted file, a user's number tells which items that user met. A data
set on which this beats Popularity is leaking through its order.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from palate.core.config import Config
from palate.dataset.inputs import ModelInputs, SourceNumbers
from palate.graph.rows import IntArray, Rows
from palate.models.base import MODELS, Classical


class IndexOrderConfig(Config):
    """Settings of IndexOrder."""

    direction: Literal["users", "items"] = Field(
        default="users", description="users: a user's number tells its items; items: an item's number tells its users"
    )


@MODELS.register("indexorder")
class IndexOrder(Classical):
    """b_u = the smallest train item number among users u, u + 1, …; items are ranked by closeness to b_u, two below for
    each one above. With `direction="items"` users and items change places."""

    Config = IndexOrderConfig
    title = "IndexOrder"
    source = "leak canary of Palate"
    expected: Tensor
    number: Tensor

    def __init__(self, config: IndexOrderConfig, inputs: ModelInputs) -> None:
        super().__init__(config, inputs)
        self.by_user_number = config.direction == "users"
        self.inputs = inputs
        own, other = (inputs.users, inputs.items) if self.by_user_number else (inputs.items, inputs.users)
        self.register_buffer("expected", torch.zeros(own, dtype=torch.int64))
        self.register_buffer("number", torch.zeros(other, dtype=torch.int64))

    def fit(self) -> None:
        """Find b of each user (or item)."""
        given = self.inputs.numbers
        numbers = given() if given else SourceNumbers(np.arange(self.inputs.users), np.arange(self.inputs.items))
        train = self.inputs.train
        if self.by_user_number:
            own, other, rows = numbers.user, numbers.item, train.by_user
        else:
            own, other, rows = numbers.item, numbers.user, train.by_item
        self.expected.copy_(torch.from_numpy(suffix_minimum(own, other, rows)))
        self.number.copy_(torch.from_numpy(other))

    @property
    def items(self) -> int:
        """Number of items."""
        return len(self.number) if self.by_user_number else len(self.expected)

    def score_block(self, users: Tensor) -> Tensor:
        """Closeness: 0 at b, -d at d places above it, -d/2 at d places below."""
        # Halves of these numbers are exact in single precision, which takes half the time.
        exact = torch.float32 if max(len(self.number), len(self.expected)) < 2**23 else torch.float64
        number, expected = self.number.to(exact), self.expected.to(exact)
        if self.by_user_number:
            above = number[None, :] - expected[users][:, None]
        else:
            above = number[users][:, None] - expected[None, :]
        return torch.minimum(above / 2, above.neg_())


def suffix_minimum(own: IntArray, other: IntArray, rows: Rows) -> IntArray:
    """For each row r, the smallest `other` number among the entries of all rows whose number is at least own[r].

    Args:
        own: the number of each row, a permutation of 0 … rows - 1.
        other: the number of each column.
        rows: columns by row.
    """
    smallest = np.full(rows.count, len(other), dtype=np.int64)
    np.minimum.at(smallest, own[rows.row_of_entry()], other[rows.columns])
    return np.minimum.accumulate(smallest[::-1])[::-1][own]
