"""Exact top-k over all items, in blocks of users, for any Scorer; masked items never enter, ties break at random.

Ties are broken by a seeded random priority of the (user, item) pair: never by id, and the same whatever the block.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from palate.core.errors import TrainingError
from palate.core.seeds import torch_generator
from palate.graph.rows import Rows

BLOCK_BYTES = 16 * 1024 * 1024
NOBODY = -1


class Scored(Protocol):
    """What ranking needs of a scorer."""

    @property
    def items(self) -> int:
        """Number of items."""
        ...

    def score_block(self, users: Tensor) -> Tensor:
        """len(users) × items."""
        ...


def top_items(
    scorer: Scored, users: NDArray[np.int64], k: int, *, mask: Rows | None = None, seed: int = 0
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The k best items of each user, best first.

    Args:
        scorer: scores all items for a block of users.
        users: row numbers.
        k: list length; cut to the number of items.
        mask: U rows of items that may not be recommended to each user.
        seed: of the tie-breaking.

    Returns:
        Items (len(users) × k, -1 where a user has no candidate left) and their scores (-inf there).

    Raises:
        TrainingError: when a score is NaN.
    """
    blocks = list(ranked_blocks(scorer, users, k, mask=mask, seed=seed))
    if not blocks:
        width = min(k, scorer.items)
        return np.zeros((0, width), np.int64), np.zeros((0, width))
    return np.concatenate([block[1] for block in blocks]), np.concatenate([block[2] for block in blocks])


def ranked_blocks(
    scorer: Scored, users: NDArray[np.int64], k: int, *, mask: Rows | None = None, seed: int = 0
) -> Generator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]], None, None]:
    """As `top_items`, one block of users after the other: (users, items, scores)."""
    k = min(k, scorer.items)
    size = max(1, BLOCK_BYTES // (4 * max(1, scorer.items)))
    priority = _priorities(scorer.items, seed)
    for start in range(0, len(users), size):
        block = users[start : start + size]
        with torch.inference_mode():
            scores = scorer.score_block(torch.from_numpy(block))
            if mask is not None:
                scores = _masked(scores, mask.take(block))
            values, items = torch.topk(scores, min(k + 1, scores.shape[1]), dim=1)
            if bool(torch.isnan(values[:, 0]).any()):
                user = int(block[int(torch.isnan(values[:, 0]).nonzero()[0, 0])])
                raise TrainingError(
                    "the model gives scores that are not numbers",
                    where=f"user row {user}",
                    do="it has diverged, or was given such features: train again with a lower learning rate",
                )
            tied = (values[:, 1:] == values[:, :-1]).any(1).nonzero().squeeze(1)
            values, items = values[:, :k].clone(), items[:, :k].clone()
            if len(tied):
                chosen = _break_ties(scores[tied], priority(block[tied.cpu().numpy()]).to(scores.device), k)
                items[tied] = chosen
                values[tied] = scores[tied].gather(1, chosen)
            items = items.masked_fill(values == -torch.inf, NOBODY)
        yield block, items.cpu().numpy(), values.double().cpu().numpy()


def _masked(scores: Tensor, hidden: Rows) -> Tensor:
    rows = torch.from_numpy(hidden.row_of_entry()).to(scores.device)
    columns = torch.from_numpy(hidden.columns.astype(np.int64)).to(scores.device)
    # A scorer may hand out views of its own tables.
    return scores.clone().index_put_((rows, columns), scores.new_tensor(-torch.inf))


def _priorities(items: int, seed: int) -> Callable[[NDArray[np.int64]], Tensor]:
    """A function that gives the random priorities, len(users) × items, of users' ties.

    A pair's priority mixes a user's and an item's random number, so that every user has an order
    of its own without a table of all pairs.
    """
    item_key = torch.randint(0, 2**31, (items,), generator=torch_generator(seed, "ties"))

    def of(users: NDArray[np.int64]) -> Tensor:
        user_key = torch.from_numpy(users * 0x9E3779B1 % 2**31)
        mixed = (item_key ^ user_key[:, None]) * 0x2545F4914F6CDD1D
        # Twice, or some distant pairs of users would share much of their order.
        mixed = (mixed ^ (mixed >> 32)) * 0x2545F4914F6CDD1D
        return (mixed >> 33) & 0x7FFFFFFF

    return of


def _break_ties(scores: Tensor, priority: Tensor, k: int) -> Tensor:
    """The k best columns of each row by (score, priority), best first."""
    threshold = torch.topk(scores, k, dim=1).values[:, -1:]
    # All above the threshold enter; at the threshold those of the highest priority.
    level = torch.where(scores > threshold, 2.0, torch.where(scores == threshold, 1.0, 0.0)).double()
    chosen = torch.topk(level + priority.double() / 2**31, k, dim=1).indices
    by_priority = priority.gather(1, chosen).argsort(dim=1, descending=True, stable=True)
    chosen = chosen.gather(1, by_priority)
    by_score = scores.gather(1, chosen).argsort(dim=1, descending=True, stable=True)
    return chosen.gather(1, by_score)
