"""The named parts of a model's score as linear maps, so that they can be told for users who were folded in too.

Takes what `Recommender.score_parts` gives; a part meets columns of the user's vector with vectors of its own for the
items. Parts that do not add up to the score for every possible user are left out altogether. Items that were placed by
their content have vectors that the model did not learn, and so no parts: they are told apart from the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from palate.graph.rows import IntArray
from palate.models.base import Embeddings

# Users whose vectors are compared, and how near sums in another order must come.
LOOKED_AT = 256
NEAR = 1e-3


@dataclass(frozen=True, eq=False)
class Branch:
    """One part: u[columns] · item.

    Attributes:
        columns: of the user's vector.
        item: I × their number.
    """

    columns: slice
    item: Tensor

    def of(self, user: Tensor, items: IntArray) -> Tensor:
        """What the part adds to the scores of `items` for a user vector."""
        return self.item[torch.from_numpy(items)] @ user[self.columns]


@dataclass(frozen=True, eq=False)
class Branches:
    """The parts of the scores of one model.

    Attributes:
        parts: by name; none where they do not add up, or where the score is no sum.
        placed: I: items whose vectors were placed by content, so that their scores have no parts.
    """

    parts: dict[str, Branch]
    placed: NDArray[np.bool_]

    def of(self, user: Tensor, items: IntArray) -> list[dict[str, float]]:
        """What each part adds to the score of each of `items` for a user vector; nothing for those that were placed."""
        added = {name: branch.of(user, items).tolist() for name, branch in self.parts.items()}
        return [
            {} if self.placed[item] else {name: values[place] for name, values in added.items()}
            for place, item in enumerate(items.tolist())
        ]


def no_branches(items: int) -> Branches:
    """Where nothing is said of parts."""
    return Branches({}, np.zeros(items, dtype=np.bool_))


def branches_of(
    parts: Mapping[str, Embeddings], user: Tensor, item: Tensor, unlearnt: NDArray[np.bool_] | None = None
) -> Branches:
    """The parts of a score; none where they do not add up for an item that was not placed.

    Args:
        parts: see `Recommender.score_parts`.
        user: U × d.
        item: I × d.
        unlearnt: I: items that may have been placed by their content; None: none of them.
    """
    nothing = no_branches(len(item))
    found: dict[str, Branch] = {}
    # Side by side again, the parts' vectors are the model's own, for every possible user.
    own = torch.zeros_like(item)
    for name, part in parts.items():
        columns = _columns(part.user.float()[:LOOKED_AT], user[:LOOKED_AT])
        if columns is None:
            return nothing
        found[name] = Branch(columns, part.item.float())
        own[:, columns] += found[name].item
    if not found:
        return nothing
    size = item.abs()
    near = ((own - item).abs() <= NEAR * size.amax(0) + 1e-6 * size.max()).all(1).numpy()
    may_differ = np.zeros(len(near), dtype=np.bool_) if unlearnt is None else unlearnt
    return Branches(found, ~near) if bool((near | may_differ).all()) else nothing


def _columns(part: Tensor, user: Tensor) -> slice | None:
    """The columns of the whole vector that a part meets."""
    width = part.shape[1]
    for start in range(user.shape[1] - width + 1):
        if torch.allclose(user[:, start : start + width], part, rtol=NEAR, atol=1e-6):
            return slice(start, start + width)
    return None
