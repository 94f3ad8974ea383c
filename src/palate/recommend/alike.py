"""Where a model tells no items apart: the most popular come first then, and it is said.

An item–item model gives every item 0 to somebody who liked nothing that it has weights of. Takes a search by the
model's scores and how often each item was taken in training; gives a search, and what should be known about its lists.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from palate.graph.rows import IntArray
from palate.measure.ranking import BLOCK_BYTES, NOBODY, Masking, hide
from palate.models.base import Scorer
from palate.recommend.filters import BoolArray
from palate.recommend.rerank import Candidates, Rules, Search

# So many times as many candidates are looked at where those before had one score.
GROWTH = 64
BY_POPULARITY = "the model gives all items that may be in this list the same score: they come in order of popularity"
BY_CHANCE = (
    "the model gives all items that may be in this list the same score, and all are equally popular: "
    "their order is chance"
)
NEW_BY_CHANCE = (
    "the model gives all items that nobody took in training the same score: their choice and order are chance"
)


class OrPopular:
    """A `Search` by a model's scores; where all candidates have one score, by popularity, ties as the model's fall.

    Args:
        search: by the model's scores, for one user.
        counts: train interactions of each item, I (see `popularity`).
    """

    def __init__(self, search: Search, counts: IntArray) -> None:
        self.search = search
        self.counts = counts
        self._alike: bool | None = None

    def __call__(self, count: int, among: BoolArray | None) -> Candidates:
        """See `Search`."""
        # A single item has no other to be told apart from.
        found = self.search(max(count, 2), among)
        if self._alike is None and _differ(found):
            self._alike = False
        if not len(found) or not self.alike:
            return found.take(slice(count))
        every = self._every if among is None else self.search(len(self.counts), among)
        return every.take(np.argsort(-self.counts[every.items], kind="stable")[:count])

    @property
    def alike(self) -> bool:
        """Whether there are several candidates, and all of them have one score."""
        if self._alike is None:
            self._alike = all_alike(self.search)
        return self._alike

    @cached_property
    def order(self) -> str:
        """What is to be said of the order of its lists; empty where the model's scores decide."""
        if not self.alike:
            return ""
        counts = self.counts[self._every.items]
        return BY_POPULARITY if counts.min() < counts.max() else BY_CHANCE

    @cached_property
    def _every(self) -> Candidates:
        """All candidates, as ties fall."""
        return self.search(len(self.counts), None)


def all_alike(search: Search, among: BoolArray | None = None) -> bool:
    """Whether a search has several candidates, and all of them have one score.

    Where the first differ, no others are looked at.
    """
    count = 2
    while True:
        found = search(count, among)
        if len(found) < 2 or _differ(found):
            return False
        if len(found) < count:
            return True
        count *= GROWTH


def tied_rows(items: IntArray, scores: NDArray[np.float64]) -> IntArray:
    """The rows of lists, as `top_items` gives them, that hold several items, all of one score."""
    held = (items != NOBODY).sum(1)
    last = scores[np.arange(len(items)), np.maximum(held, 1) - 1]
    return np.flatnonzero((held > 1) & (scores[:, 0] == last))


def alike_rows(scorer: Scorer, users: IntArray, mask: Masking) -> BoolArray:
    """For which users all items that they may be recommended have one score.

    Args:
        scorer: scores all items; -inf where one may not be recommended to anybody.
        users: row numbers.
        mask: items that each user is not recommended.
    """
    found = np.zeros(len(users), dtype=np.bool_)
    size = max(1, BLOCK_BYTES // (4 * max(1, scorer.items)))
    for start in range(0, len(users), size):
        block = users[start : start + size]
        with torch.inference_mode():
            scores = hide(scorer.score_block(torch.from_numpy(block)).clone(), mask.take(block))
            least = scores.masked_fill(scores == -torch.inf, torch.inf).amin(1)
            found[start : start + size] = (scores.amax(1) == least).cpu().numpy()
    return found


@dataclass(frozen=True)
class About:
    """What should be known about one list.

    Attributes:
        order: see `OrPopular.order`.
        new: items in it that nobody took in training.
        new_alike: the model gave all such items one score.
    """

    order: str = ""
    new: int = 0
    new_alike: bool = False


def about(search: OrPopular, found: Candidates, rules: Rules | None) -> About:
    """What should be known about the list that a search gave.

    Args:
        search: what the list was made by.
        found: the list.
        rules: what it had to be like.
    """
    if rules is None or not rules.cold:
        return About(search.order)
    own = np.flatnonzero(rules.is_cold[found.items])
    alike = len(own) > 0 and not _differ_at(found, own) and all_alike(search.search, rules.is_cold)
    return About(search.order, len(own), alike)


def notes(lists: Sequence[About], k: int, quota: int) -> list[str]:
    """What is to be said about one list or several, in sentences.

    Args:
        k: length that was asked for.
        quota: new items that were asked for in each list.
    """
    said: list[str] = []
    for sentence in (BY_POPULARITY, BY_CHANCE):
        said += _counted(sum(each.order == sentence for each in lists), len(lists), sentence)
    short = [each.new for each in lists if each.new < quota]
    if short:
        some = f"{min(short):,}" if min(short) == max(short) else f"{min(short):,} to {max(short):,}"
        why = f"a list of {k:,} holds no more" if min(short) >= k else "no other may be in this list"
        sentence = f"{some} of {quota:,} items that nobody took in training: {why}"
        said += _counted(len(short), len(lists), sentence)
    return said + _counted(sum(each.new_alike for each in lists), len(lists), NEW_BY_CHANCE)


def _counted(count: int, lists: int, sentence: str) -> list[str]:
    if not count:
        return []
    return [sentence if lists == 1 else f"in {count:,} of {lists:,} lists: {sentence}"]


def _differ(found: Candidates) -> bool:
    return len(found) > 1 and bool(found.scores[0] != found.scores[-1])


def _differ_at(found: Candidates, places: IntArray) -> bool:
    return bool((found.scores[places] != found.scores[places[0]]).any())
