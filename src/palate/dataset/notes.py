"""What a person should know of a split, in plain words."""

from __future__ import annotations

from collections.abc import Mapping

from palate.dataset.settings import SplitConfig
from palate.dataset.splits import PARTS, TEST, VALID, Part
from palate.graph.rows import Rows

FEW_WARM_USERS = 200


def split_notes(settings: SplitConfig, part: Part, positives: dict[str, Rows]) -> list[str]:
    """Sizes of the parts, and what in them makes figures doubtful.

    Args:
        part: of each interaction.
        positives: part → U rows of positive items.
    """
    sizes = {name: int((part == code).sum()) for name, code in PARTS.items()}
    first = f"split {settings.split}: {_listed(sizes)} interactions; positive={settings.positive}"
    liked = {name: positives[name].size for name in PARTS}
    # Where some are no positives, or the train part is thinned, models learn from these, and are measured on them.
    notes = [first if liked == sizes else f"{first}: {_listed(liked)} positives"]
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


def _listed(sizes: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {size:,}" for name, size in sizes.items())
