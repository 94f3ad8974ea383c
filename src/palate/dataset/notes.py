"""What a person should know about a split, in plain words."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from palate.dataset.settings import SplitConfig
from palate.dataset.splits import PARTS, TEST, VALID, Part, tied_text
from palate.graph.rows import Rows

FEW_WARM_USERS = 200
BY_USER_AND_TIME = ("user-time", "latest")


def split_notes(
    settings: SplitConfig,
    part: Part,
    positives: Mapping[str, Rows],
    disliked: NDArray[np.bool_] | None,
    tied: float = 0.0,
) -> list[str]:
    """Sizes, thresholds, and what makes figures of this split doubtful.

    Args:
        settings: every default resolved.
        part: of each row.
        positives: part → U rows of positive items.
        disliked: which rows are dislikes, or None where nothing can be one.
        tied: share of the rows whose time another row of the same user has too, where the split goes by that.
    """
    sizes = {name: int((part == code).sum()) for name, code in PARTS.items()}
    first = f"split {settings.split}: {_listed(sizes)} interactions{_dislikes(settings, disliked)}"
    first += f"; positive={settings.positive}"
    liked = {name: positives[name].size for name in PARTS}
    # Where some are no positives, or the train part is thinned, models learn from these, and are measured on them.
    notes = [first if liked == sizes else f"{first}: {_listed(liked)} positives"]
    if tied_text(tied):
        notes.append(tied_text(tied))
    for name, code in (("valid", VALID), ("test", TEST)):
        if not (part == code).any():
            notes.append(f"the {name} part is empty")
            continue
        held_out = positives[name].lengths > 0
        warm = int((held_out & (positives["train"].lengths > 0)).sum())
        if settings.split == "time":
            notes.append(f"{warm:,} of {int(held_out.sum()):,} {name} users have train interactions")
            if warm < FEW_WARM_USERS:
                notes.append(f"WARNING: {warm} warm {name} users are few; figures will be noisy (try split=user-time)")
    return notes


def _dislikes(settings: SplitConfig, disliked: NDArray[np.bool_] | None) -> str:
    if disliked is not None:
        return f", {int(disliked.sum()):,} of them dislikes (rated {settings.dislike:g} or less)"
    return "" if settings.positive == "all" else ", none of them a dislike"


def _listed(sizes: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {size:,}" for name, size in sizes.items())
