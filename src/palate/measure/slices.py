"""Slices: how well lists serve some of the items (head, mid, tail, cold, without a modality) or some of the users.

Takes ranked lists and held-out positives; gives each slice's size, means and bootstrap intervals.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from palate.graph.rows import Rows
from palate.measure.evaluation import Lists, accuracy_of
from palate.measure.metrics import CUTS, Accuracy
from palate.measure.popularity import HEAD_SHARE, head_items, popularity
from palate.measure.resampling import LEVEL, Estimate, estimates, resampled_means

# Items beyond this share of the train interactions, counted from the most popular ones, are the tail.
MID_SHARE = 0.9
RESAMPLES = 2000


@dataclass(frozen=True, eq=False)
class Slice:
    """Some of the items, or some of the users.

    Attributes:
        name: "items/tail", "users/few" and so on.
        kind: what the members are.
        members: bool, one per item or user of the data set.
        meaning: who belongs to it, in plain words.
    """

    name: str
    kind: Literal["items", "users"]
    members: NDArray[np.bool_]
    meaning: str


@dataclass(frozen=True, eq=False)
class Sliced:
    """What was measured in a slice.

    Attributes:
        slice: which one.
        accuracy: values of each counted user, so that systems may be compared within the slice.
        positives: held-out positives that were looked for.
        estimates: metric → mean over the counted users with its interval; empty when nobody was counted.
    """

    slice: Slice
    accuracy: Accuracy
    positives: int
    estimates: dict[str, Estimate]

    @property
    def users(self) -> int:
        """Users that were counted."""
        return len(self.accuracy.users)


def item_slices(
    train: Rows,
    present: Mapping[str, NDArray[np.bool_]] | None = None,
    *,
    head: float = HEAD_SHARE,
    mid: float = MID_SHARE,
) -> list[Slice]:
    """Head, mid, tail and cold items, which part the items among them, and those without each modality.

    Ordered by popularity, the head is the smallest set that holds `head` of the train interactions (the short head of
    `head_items`), head and mid together the smallest that holds `mid`, the tail is the rest of what has any
    interaction, and cold items have none. Equally popular items are never parted.

    Args:
        train: U rows of positive train items.
        present: modality → which items have it.
        head, mid: shares of the train interactions, 0 < head < mid < 1.
    """
    counts = popularity(train)
    in_head, in_mid = head_items(counts, head), head_items(counts, mid)
    slices = [
        Slice(
            "items/head",
            "items",
            in_head,
            f"the most popular items, with {head:.0%} of the positive train interactions",
        ),
        Slice(
            "items/mid",
            "items",
            in_mid & ~in_head,
            f"the next items, up to {mid:.0%} of the positive train interactions",
        ),
        Slice(
            "items/tail", "items", (counts > 0) & ~in_mid, "the least popular items with a positive train interaction"
        ),
        Slice("items/cold", "items", counts == 0, "items without a positive train interaction"),
    ]
    for name, has in sorted((present or {}).items()):
        slices.append(Slice(f"items/no-{name}", "items", ~has, f"items without {name}"))
    return slices


def user_slices(train: Rows) -> list[Slice]:
    """Users by activity: thirds by number of train interactions, and those without any.

    Users of equal activity are never parted, so the thirds are as equal as that allows.

    Args:
        train: U rows of positive train items.
    """
    lengths = train.lengths
    active = np.sort(lengths[lengths > 0])
    if len(active):
        low, high = (int(active[-(-len(active) * third // 3) - 1]) for third in (1, 2))
        most = int(active[-1])
    else:
        low = high = most = 0
    named = {
        "new": (lengths == 0, "no positive train interaction"),
        "few": ((lengths > 0) & (lengths <= low), _between(1, low)),
        "some": ((lengths > low) & (lengths <= high), _between(low + 1, high)),
        "many": (lengths > high, _between(high + 1, most)),
    }
    return [Slice(f"users/{name}", "users", members, text) for name, (members, text) in named.items()]


def measure_slices(
    lists: Lists,
    positives: Rows,
    slices: Iterable[Slice],
    *,
    cuts: tuple[int, ...] = CUTS,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> list[Sliced]:
    """Measure ranked lists on each slice.

    In an item slice only the positives that belong to it count: they alone are hits, and their number is what Recall
    and the ideals of NDCG and MAP are taken from; the lists stay those of all candidates. Users without such a
    positive are not counted. A user slice counts its members.

    Args:
        lists: ranked lists.
        positives: U rows of held-out positive items.
        slices: of the same users and items.
        cuts: list lengths.
        level: of the bootstrap intervals.
        resamples: how many times the counted users are drawn.
        seed: of the draws.

    Raises:
        ValueError: when the lists are shorter than the longest cut.
    """
    return [_sliced(lists, positives, chosen, cuts, level, resamples, seed) for chosen in slices]


def _sliced(
    lists: Lists, positives: Rows, chosen: Slice, cuts: tuple[int, ...], level: float, resamples: int, seed: int
) -> Sliced:
    rows, columns = positives.row_of_entry(), positives.columns
    kept = chosen.members[columns if chosen.kind == "items" else rows]
    own = Rows.from_pairs(rows[kept], columns[kept], positives.count, positives.width)
    accuracy = accuracy_of(lists, own, cuts=cuts)
    found: dict[str, Estimate] = {}
    if len(accuracy.users):
        table = np.stack(list(accuracy.values.values()), axis=1)
        made = estimates(table, resampled_means(table, resamples, seed), level=level)
        found = dict(zip(accuracy.values, made, strict=True))
    return Sliced(chosen, accuracy, int(own.lengths[accuracy.users].sum()), found)


def _between(least: int, most: int) -> str:
    if least > most:
        return "no user"
    if least == most:
        return f"{least:,} positive train interaction{'' if least == 1 else 's'}"
    return f"{least:,} to {most:,} positive train interactions"
