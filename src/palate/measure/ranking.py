"""Exact top-k over all items, in blocks of users, for any Scorer; masked items never enter, ties break at random.

Ties are broken by a seeded random priority of the (user, item) pair: never by id, and the same whatever the block.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from palate.core.errors import TrainingError
from palate.core.progress import progress
from palate.graph.rows import Rows
from palate.graph.ties import Priorities, best
from palate.models.base import Embeddings, Scorer

BLOCK_BYTES = 16 * 1024 * 1024
NOBODY = -1


class Masking(Protocol):
    """What hides items: `Rows`, or several read as one."""

    def take(self, rows: NDArray[np.int64]) -> Rows:
        """The hidden items of the users `rows`."""
        ...


def top_items(
    scorer: Scorer,
    users: NDArray[np.int64],
    k: int,
    *,
    mask: Masking | None = None,
    seed: int = 0,
    title: str = "",
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The k best items of each user, best first.

    Args:
        scorer: scores all items for a block of users.
        users: row numbers.
        k: list length; cut to the number of items.
        mask: U rows of items that may not be recommended to each user.
        seed: of the tie-breaking.
        title: show progress under this title; empty: show none.

    Returns:
        Items (len(users) × k, -1 where a user has no candidate left) and their scores (-inf there).

    Raises:
        TrainingError: when a score is NaN.
    """
    blocks = list(ranked_blocks(scorer, users, k, mask=mask, seed=seed, title=title))
    if not blocks:
        width = min(k, scorer.items)
        return np.zeros((0, width), np.int64), np.zeros((0, width))
    return np.concatenate([block[1] for block in blocks]), np.concatenate([block[2] for block in blocks])


def ranked_blocks(
    scorer: Scorer,
    users: NDArray[np.int64],
    k: int,
    *,
    mask: Masking | None = None,
    seed: int = 0,
    title: str = "",
) -> Generator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]], None, None]:
    """As `top_items`, one block of users after the other: (users, items, scores)."""
    k = min(k, scorer.items)
    size = max(1, BLOCK_BYTES // (4 * max(1, scorer.items)))
    priorities = Priorities(scorer.items, seed)
    with progress(title, len(users), "users", quiet=not title) as shown:
        for start in range(0, len(users), size):
            block = users[start : start + size]
            with torch.inference_mode():
                scores = scorer.score_block(torch.from_numpy(block))
                if mask is not None:
                    # A scorer may hand out a view of its own table; inner products are always new.
                    own = scores if isinstance(scorer, Embeddings) else scores.clone()
                    scores = hide(own, mask.take(block))
                items, values = best_of(scores, k, priorities, block)
            shown.advance(len(block))
            yield block, items.cpu().numpy(), values.double().cpu().numpy()


def best_of(scores: Tensor, k: int, priorities: Priorities, users: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
    """The k best columns of each row, best first, ties by priority: the one place where lists are cut.

    Args:
        scores: len(users) × n, at least k columns; -inf where a column may not enter.
        priorities: of the n columns.
        users: row numbers, for the ties.

    Returns:
        Columns (len(users) × k, -1 where a row has no candidate left) and their scores (-inf there).

    Raises:
        TrainingError: when a score is NaN.
    """
    if k == 0:
        none = scores.new_empty(len(scores), 0)
        return none.long(), none
    values, items = best(scores, k, priorities, users)
    # Where there is a NaN, it comes first.
    refuse_nan(values[:, :1], users)
    return items.masked_fill(values == -torch.inf, NOBODY), values


def refuse_nan(scores: Tensor, users: NDArray[np.int64]) -> None:
    """Stop at scores that are not numbers.

    Args:
        scores: len(users) × n.
        users: row numbers, for the message.

    Raises:
        TrainingError: when a score is NaN.
    """
    wrong = torch.isnan(scores).any(1)
    if bool(wrong.any()):
        raise TrainingError(
            "the model gives scores that are not numbers",
            where=f"user row {int(users[int(wrong.nonzero()[0, 0])])}",
            do="it has diverged, or was given such features: train again with a lower learning rate",
        )


def hide(scores: Tensor, hidden: Rows) -> Tensor:
    """-inf at the hidden columns of each row, in place."""
    rows = torch.from_numpy(hidden.row_of_entry()).to(scores.device)
    columns = torch.from_numpy(hidden.columns.astype(np.int64)).to(scores.device)
    return scores.index_put_((rows, columns), scores.new_tensor(-torch.inf))
