"""What a list should be like beyond its scores: not all hits, not all alike, some of it new.

Each rule is a pure function on candidates, best first. `choose` applies them in this order, after the filters and
before the list is cut: the popularity cap takes away, then diversity chooses an order, and the cold quota comes last,
so that it is kept whatever the others did. It asks the search for further candidates where a rule needs them, so that
no rule fails for want of candidates that a longer list would have held.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from palate.core.errors import ConfigError, unknown_name
from palate.graph.rows import IntArray, Rows
from palate.measure.beyond import Described
from palate.measure.popularity import head_items, popularity
from palate.measure.ranking import NOBODY, Masking, top_items
from palate.models.base import Scorer
from palate.recommend.filters import BoolArray, Restricted, both
from palate.recommend.index import Index, Vectors

# Candidates that diversity chooses from: so many for each place, and so many at least.
CHOICES_OF_A_PLACE, LEAST_CHOICES = 5, 100
OWN = "model"


@dataclass(frozen=True, eq=False)
class Candidates:
    """Distinct items, best first.

    Attributes:
        items: int64, n.
        scores: the model's scores of them, n; a rule that changes the order leaves them as they are.
    """

    items: IntArray
    scores: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.items)

    def take(self, places: NDArray[np.integer] | slice) -> Candidates:
        """Those at `places`, in that order."""
        return Candidates(self.items[places], self.scores[places])

    def joined(self, others: Candidates) -> Candidates:
        """These and those of `others` that are not among them, best score first; equal scores keep their order."""
        new = others.take(np.flatnonzero(~np.isin(others.items, self.items)))
        both = Candidates(np.concatenate([self.items, new.items]), np.concatenate([self.scores, new.scores]))
        return both.take(np.argsort(-both.scores, kind="stable"))


Search = Callable[[int, BoolArray | None], Candidates]
"""The best n items that may be in the list; with a mask, the best n of those it allows."""


@dataclass(frozen=True)
class Amount:
    """A number of items, or a share of the list's length.

    Attributes:
        value: items, or percent.
        percent: which of the two.
    """

    value: float
    percent: bool

    @classmethod
    def parse(cls, text: str) -> Amount:
        """Read `3` (items) or `30%` (of the list).

        Raises:
            ConfigError: when it is neither.
        """
        found = re.fullmatch(r"\s*(?:(\d{1,9})|(\d{1,3}(?:\.\d+)?)\s*%)\s*", text)
        if found is None or float(found[2] or 0) > 100:
            raise ConfigError(f"'{text}' is no part of a list", do="write a number of items (3) or a share (30%)")
        return cls(float(found[1] or found[2]), found[1] is None)

    def of(self, k: int) -> int:
        """The number of items in a list of k; a share is rounded down."""
        # A share of a whole number of items may come out a rounding error below it.
        return min(k, math.floor(self.value * k / 100 + 1e-9) if self.percent else int(self.value))


@dataclass(frozen=True, eq=False)
class Diversity:
    """By what items are alike, and how much it counts.

    Attributes:
        matrix: items × width.
        present: bool, which items have a row.
        weight: λ in [0, 1]; 1: the score alone.
    """

    matrix: NDArray[np.float32]
    present: BoolArray
    weight: float

    @classmethod
    def parse(cls, text: str, modalities: Mapping[str, Described], own: NDArray[np.float32] | None) -> Diversity:
        """Read `image:0.7`: a modality, or `model` for the model's own item vectors, and λ.

        Args:
            own: the item vectors; None where the model has none.

        Raises:
            ConfigError: for anything else.
        """
        name, _, number = text.rpartition(":")
        valid = [*([] if own is None else [OWN]), *modalities]
        weight = float(number) if re.fullmatch(r"\d*\.?\d+", number) else -1.0
        if not 0 <= weight <= 1 or not name:
            raise ConfigError(
                f"'{text}' says no diversity",
                do="write MODALITY:λ, such as image:0.7; λ in [0, 1] weighs the score, 1 - λ likeness",
            )
        if name not in valid:
            none = "none is kept here: encode the catalogue, or export with --keep float16"
            do = f"there are: {', '.join(valid)}" if valid else none
            raise ConfigError(unknown_name("modality", name, valid), do=do)
        if name in modalities:
            return cls(modalities[name].matrix, modalities[name].present, weight)
        assert own is not None
        return cls(own, np.ones(len(own), np.bool_), weight)


@dataclass(frozen=True, eq=False)
class Rules:
    """What is asked of every list. Without any rule, lists are cut as they are.

    Attributes:
        train: U rows of positive train items: the short head of their popularity is capped, and an item without any is
            cold.
        cap: items of the short head in a list, at most; None: any number.
        diversity: None: by score alone.
        cold: cold items in a list, at least; where a list is shorter, all of it.
    """

    train: Rows
    cap: Amount | None = None
    diversity: Diversity | None = None
    cold: int = 0

    @classmethod
    def parse(
        cls,
        train: Rows,
        modalities: Mapping[str, Described],
        own: NDArray[np.float32] | None,
        *,
        cap: str | None = None,
        diversity: str | None = None,
        cold: int = 0,
    ) -> Rules | None:
        """Rules as a person writes them; None where nothing is asked for.

        Args:
            train: see above.
            modalities, own: see `Diversity.parse`.
            cap: see `Amount.parse`.
            diversity: see `Diversity.parse`.

        Raises:
            ConfigError: for what cannot be read.
        """
        if cap is None and diversity is None and not cold:
            return None
        most = None if cap is None else Amount.parse(cap)
        return cls(train, most, None if diversity is None else Diversity.parse(diversity, modalities, own), cold)

    @cached_property
    def head(self) -> BoolArray:
        """The most popular items that hold 80 % of the train interactions."""
        return head_items(popularity(self.train))

    @cached_property
    def is_cold(self) -> BoolArray:
        """Items without a train interaction."""
        return popularity(self.train) == 0


def choose(search: Search, k: int, rules: Rules) -> Candidates:
    """The list of one user: at most k items that keep the rules.

    Args:
        search: what gives candidates; filters are its own.
        k: list length, at least 1.

    Raises:
        ConfigError: for a k below 1, or a cold quota below 0.
    """
    if k < 1:
        raise ConfigError(f"k must be at least 1, not {k}")
    if rules.cold < 0:
        raise ConfigError(f"a list holds 0 cold items or more, not {rules.cold}")
    quota = min(rules.cold, k)
    depth = max(CHOICES_OF_A_PLACE * k, LEAST_CHOICES) if rules.diversity is not None else k
    found = search(depth, None)
    if rules.cap is not None:
        found = popularity_cap(found.joined(search(depth, ~rules.head)), rules.head, rules.cap.of(k)).take(slice(depth))
    if rules.diversity is not None:
        found = diversify(found, k, rules.diversity)
    if quota:
        # Those that the search had to be asked for stand behind the others, however well diversity thinks of them.
        cold = search(quota, rules.is_cold)
        new = cold.take(np.flatnonzero(~np.isin(cold.items, found.items)))
        whole = Candidates(np.concatenate([found.items, new.items]), np.concatenate([found.scores, new.scores]))
        found = cold_quota(whole, k, rules.is_cold, quota)
    return found.take(slice(k))


def popularity_cap(candidates: Candidates, head: BoolArray, most: int) -> Candidates:
    """Without the items of the short head that come after the first `most` of them.

    However the rest is cut or put in another order, it never holds more than `most`.

    Args:
        head: bool, I.
        most: 0 or more.
    """
    popular = head[candidates.items]
    return candidates.take(np.flatnonzero(~popular | (np.cumsum(popular) <= most)))


def diversify(candidates: Candidates, k: int, diversity: Diversity) -> Candidates:
    """Maximal marginal relevance (Carbonell & Goldstein, SIGIR 1998): the first k places go one by one to the item with
    the largest λ r_i - (1 - λ) max_j cos(x_i, x_j), j over the places before; the other items follow as they came.

    r is the score, scaled to [0, 1] over the candidates. What has no row is as like to anything as two candidates with
    rows are on average, so that lacking a picture is neither a merit nor a fault. Ties go to the earlier candidate.
    """
    count = len(candidates)
    relevance = candidates.scores - candidates.scores.min(initial=np.inf)
    relevance = relevance / max(float(relevance.max(initial=0.0)), np.finfo(np.float64).tiny)
    cosines = _cosines(diversity, candidates.items)
    gain = diversity.weight * relevance
    likeness = np.full(count, -np.inf)
    left = np.ones(count, dtype=np.bool_)
    places: list[int] = []
    while len(places) < min(k, count):
        cost = (1 - diversity.weight) * likeness if places else 0.0
        best = int(np.argmax(np.where(left, gain - cost, -np.inf)))
        places.append(best)
        left[best] = False
        likeness = np.maximum(likeness, cosines[best])
    return candidates.take(np.array([*places, *np.flatnonzero(left).tolist()], dtype=np.int64))


def cold_quota(candidates: Candidates, k: int, cold: BoolArray, least: int) -> Candidates:
    """With at least `least` cold items among the first k, where there are so many.

    The first cold items from behind come to the end of the first k; the last others there give way to them, and follow
    behind.

    Args:
        cold: bool, I.
    """
    count = min(k, len(candidates))
    new = cold[candidates.items]
    inside, behind = np.flatnonzero(~new[:count]), count + np.flatnonzero(new[count:])
    wanted = min(max(0, least - int(new[:count].sum())), len(inside), len(behind))
    if not wanted:
        return candidates
    leaving, coming = inside[len(inside) - wanted :], behind[:wanted]
    every = np.arange(len(candidates))
    first = np.concatenate([np.setdiff1d(every[:count], leaving), coming])
    return candidates.take(np.concatenate([first, leaving, np.setdiff1d(every[count:], coming)]))


def search_index(
    index: Index, query: Vectors, *, allowed: BoolArray | None = None, hidden: Rows | None = None, owner: int = 0
) -> Search:
    """Search an index for one query.

    Args:
        query: d numbers.
        allowed: the filters' mask.
        hidden: one row: what the user has seen.
        owner: the user's row number, which decides ties.
    """

    def search(count: int, among: BoolArray | None) -> Candidates:
        mask = both(allowed, among)
        found = index.search(query, count, allowed=mask, hidden=hidden, owners=np.array([owner]))
        return _real(found.items[0], found.scores[0])

    return search


def search_scorer(
    scorer: Scorer, user: int, *, allowed: BoolArray | None = None, mask: Masking | None = None, seed: int = 0
) -> Search:
    """Search by any scorer for one user.

    Args:
        user: row number.
        allowed: the filters' mask.
        mask: what each user has seen.
        seed: of the tie-breaking.
    """

    def search(count: int, among: BoolArray | None) -> Candidates:
        some = both(allowed, among)
        limited = scorer if some is None else Restricted(scorer, some)
        items, scores = top_items(limited, np.array([user]), count, mask=mask, seed=seed)
        return _real(items[0], scores[0])

    return search


def _real(items: IntArray, scores: NDArray[np.float64]) -> Candidates:
    held = items != NOBODY
    return Candidates(items[held], scores[held])


def _cosines(diversity: Diversity, items: IntArray) -> NDArray[np.float64]:
    """Cosines of all pairs; a row of zeros is like nothing."""
    rows = np.asarray(diversity.matrix[items], dtype=np.float64)
    length = np.sqrt(np.einsum("nd,nd->n", rows, rows))
    unit = rows / np.where(length > 0, length, 1.0)[:, None]
    cosines = unit @ unit.T
    has = diversity.present[items]
    known = int(has.sum())
    pairs = cosines[np.ix_(has, has)]
    usual = (pairs.sum() - np.trace(pairs)) / (known * (known - 1)) if known > 1 else 0.0
    return np.where(has[:, None] & has, cosines, usual)
