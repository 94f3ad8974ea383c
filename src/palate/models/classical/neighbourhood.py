"""Item-based collaborative filtering: what ItemKNN, RP3beta and ContentKNN share.

Each finds a few neighbours of every item, with weights; a user's score of an item is the sum of the weights between it
and the items that the user took.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from palate.core.config import Config
from palate.dataset.inputs import ModelInputs
from palate.graph.products import product_block
from palate.graph.rows import IntArray, Rows
from palate.graph.ties import Priorities, best
from palate.models.base import Classical

# Cells of the dense block of items × items that neighbours are chosen from.
BLOCK_CELLS = 1 << 21
# What the priorities are for that decide between items that are as near: others than those for content.
STREAM = "behaviour"


class Neighbourhood(Classical):
    """s(u, j) = Σ w_ij over the train items i of u, W sparse; made by `fit`, which calls `keep`.

    Args:
        config: settings.
        inputs: the train interactions.
        neighbours: kept for each item, at most.
    """

    pointer: Tensor
    columns: Tensor
    weights: Tensor

    def __init__(self, config: Config, inputs: ModelInputs, neighbours: int) -> None:
        super().__init__(config, inputs)
        self.by_user = inputs.train.by_user
        self.by_item = inputs.train.by_item
        self.names = inputs.names
        self.neighbours = max(0, min(neighbours, inputs.items - 1))
        # W by the item that a user took. The arrays have room for all neighbours, so that a stored run's fit.
        room = inputs.items * self.neighbours
        self.register_buffer("pointer", torch.zeros(inputs.items + 1, dtype=torch.int64))
        self.register_buffer("columns", torch.zeros(room, dtype=torch.int32))
        self.register_buffer("weights", torch.zeros(room))

    @property
    def items(self) -> int:
        """Number of items."""
        return len(self.pointer) - 1

    def keep(self, structure: Rows, weights: NDArray[np.floating], *, of_scored: bool) -> None:
        """Make W of the neighbours that were found.

        Args:
            structure: the neighbours of each item, I × I; at most `neighbours` each.
            weights: one for each stored pair; pairs without a positive weight are left out.
            of_scored: they are the neighbours of items to be scored, not of items that a user took.
        """
        useful = weights > 0
        rows, columns, values = structure.row_of_entry()[useful], structure.columns[useful], weights[useful]
        if of_scored:
            order = np.argsort(columns, kind="stable")
            rows, columns, values = columns[order], rows[order], values[order]
        by_history = Rows.from_pairs(rows, columns, self.items, self.items)
        self.pointer.copy_(torch.from_numpy(by_history.pointer))
        self.columns.zero_()[: by_history.size] = torch.from_numpy(by_history.columns)
        self.weights.zero_()[: by_history.size] = torch.from_numpy(values)

    def score_block(self, users: Tensor) -> Tensor:
        """The sum of the rows of W of each user's train items."""
        kept = int(self.pointer[-1])
        matrix = Rows(self.pointer.numpy(), self.columns[:kept].numpy(), self.items)
        scores = product_block(self.by_user.take(users.numpy()), matrix, self.weights[:kept].numpy())
        return torch.from_numpy(scores).to(self.weights.dtype)


def nearest_by(
    near: Callable[[IntArray], NDArray[np.float64]], items: int, neighbours: int, names: IntArray | None = None
) -> tuple[Rows, NDArray[np.float64]]:
    """The neighbours of every item that are nearest to it, found in blocks of items; ties fall at random.

    Args:
        near: some items → how near each of all items is to them, len × I, 0 or more.
        items: I.
        neighbours: of an item, fewer than I; it is none of its own.
        names: a number of each item that decides ties, wherever it stands; None: its place.

    Returns:
        The neighbours of each item, and how near they are.
    """
    named = np.arange(items) if names is None else names
    priorities = Priorities.named(named, STREAM)
    # Small tables that stay, made among blocks that come and go, would leave no room for the next block.
    places, values = np.empty((items, neighbours), np.int64), np.empty((items, neighbours))
    step = max(1, BLOCK_CELLS // items)
    for start in range(0, items, step):
        own = np.arange(start, min(start + step, items))
        block = torch.from_numpy(near(own))
        block[torch.arange(len(own)), torch.from_numpy(own)] = -1.0
        # In single precision what is equal but for the order of a sum is equal. Not near at all is no neighbour.
        _, found = best(block.float(), neighbours, priorities, named[own], above=0.0)
        places[own], values[own] = found.numpy(), block.gather(1, found).numpy()
    owner = np.repeat(np.arange(items), neighbours)
    return Rows.from_pairs(owner, places.ravel(), items, items), values.ravel()
