"""The named parts of a model's score as linear maps, so that they can be told for users who were folded in too.

Takes what `Recommender.score_parts` gives; a part meets columns of the user's vector with vectors of its own for the
items. Parts that do not add up to the score for every possible user are left out altogether.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from palate.core.seeds import torch_generator
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


def branches_of(parts: Mapping[str, Embeddings], user: Tensor, item: Tensor) -> dict[str, Branch]:
    """The parts of a score; none where they do not add up.

    Args:
        parts: see `Recommender.score_parts`.
        user: U × d.
        item: I × d.
    """
    found: dict[str, Branch] = {}
    for name, part in parts.items():
        columns = _columns(part.user.float()[:LOOKED_AT], user[:LOOKED_AT])
        if columns is None:
            return {}
        found[name] = Branch(columns, part.item.float())
    anybody = torch.randn(user.shape[1], generator=torch_generator(0, "branches"))
    total = item @ anybody
    added = torch.stack([branch.item @ anybody[branch.columns] for branch in found.values()]).sum(0) if found else None
    if added is None or not bool(((added - total).abs() <= NEAR * total.abs().max()).all()):
        return {}
    return found


def _columns(part: Tensor, user: Tensor) -> slice | None:
    """The columns of the whole vector that a part meets."""
    width = part.shape[1]
    for start in range(user.shape[1] - width + 1):
        if torch.allclose(user[:, start : start + width], part, rtol=NEAR, atol=1e-6):
            return slice(start, start + width)
    return None
