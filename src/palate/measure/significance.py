"""Whether systems differ: paired bootstrap, paired randomisation test, Holm correction, effect sizes.

Takes per-user values of systems that were measured on the same users; says which differences are more than chance
among users. Seeds are averaged for each user first, so the uncertainty is that of the users, not of training.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from palate.core.errors import DataError
from palate.core.seeds import numpy_generator
from palate.measure.metrics import Values
from palate.measure.resampling import LEVEL, Estimate, blocks, estimates, resampled_means

RESAMPLES = 10_000
# Sums of one and the same set of values in another order differ by less than this share.
ROUNDING = 1e-10
Figure = Literal["difference", "p", "corrected_p", "effect", "separated"]


@dataclass(frozen=True)
class Effect:
    """How large a paired difference is.

    Attributes:
        size: Cohen's d_z, the mean of the differences over their standard deviation (n - 1); None where all users
            differ by the same amount, and 0 where nobody differs.
        better, worse: shares of users with a higher and a lower value; the rest is equal.
    """

    size: float | None
    better: float
    worse: float


@dataclass(frozen=True)
class Pair:
    """One system against another, of at least as high a mean against the lower.

    Attributes:
        first, second: names; the mean of `first` is not below that of `second`.
        difference: mean over users of first - second, with its interval at the plain level.
        corrected: the same with the interval at the level that Holm's step leaves to this pair.
        p: of the randomisation test, two-sided.
        corrected_p: after Holm over all pairs.
        effect: of first - second.
        separated: `corrected_p` is at most alpha and the corrected interval excludes zero.
    """

    first: str
    second: str
    difference: Estimate
    corrected: Estimate
    p: float
    corrected_p: float
    effect: Effect
    separated: bool


@dataclass(frozen=True, eq=False)
class Separation:
    """All systems against each other on one metric.

    Attributes:
        systems: name → mean over users with its interval, the highest mean first.
        pairs: every pair, in that order.
        users: users that entered.
        left_out: users without a value in some system.
        level: of the intervals, 1 - alpha.
        resamples: of users, and of signs.
        seed: of both.
    """

    systems: dict[str, Estimate]
    pairs: tuple[Pair, ...]
    users: int
    left_out: int
    level: float
    resamples: int
    seed: int

    @cached_property
    def _by_names(self) -> dict[tuple[str, str], Pair]:
        return {(pair.first, pair.second): pair for pair in self.pairs}

    @property
    def order(self) -> tuple[str, ...]:
        """Names, the highest mean first."""
        return tuple(self.systems)

    @property
    def runner_up(self) -> Pair | None:
        """The best system against the second best; None for a single system."""
        return self.pairs[0] if self.pairs else None

    @property
    def winner(self) -> str | None:
        """The best system if it is separated from its runner-up, else None."""
        return self.pairs[0].first if self.pairs and self.pairs[0].separated else None

    @property
    def level_with_best(self) -> tuple[str, ...]:
        """The systems that are not separated from the best one."""
        return tuple(pair.second for pair in self.pairs if pair.first == self.order[0] and not pair.separated)

    @property
    def verdict(self) -> str:
        """What may be said about the first place, in plain words."""
        pair = self.runner_up
        if pair is None:
            return f"{self.order[0]} alone: nothing to compare"
        found = pair.corrected
        figures = (
            f"difference {found.mean:.4f}, corrected interval {found.low:.4f} to {found.high:.4f}, "
            f"corrected p = {pair.corrected_p:.2g}"
        )
        if pair.separated:
            return f"{pair.first} is ahead of {pair.second} ({figures})"
        return f"not separated: {pair.first} and {pair.second} ({figures})"

    def matrix(self, figure: Figure) -> NDArray[np.float64]:
        """One figure of every pair, systems × systems in `order`: row against column.

        "difference" and "effect" (d_z) change their sign with the direction; "separated" is 1 or 0. The diagonal and
        an undefined d_z are NaN.
        """
        found = np.full((len(self.order), len(self.order)), np.nan)
        place = {name: row for row, name in enumerate(self.order)}
        for names, pair in self._by_names.items():
            value = {
                "difference": pair.difference.mean,
                "p": pair.p,
                "corrected_p": pair.corrected_p,
                "effect": math.nan if pair.effect.size is None else pair.effect.size,
                "separated": float(pair.separated),
            }[figure]
            row, column = place[names[0]], place[names[1]]
            found[row, column] = value
            found[column, row] = -value if figure in ("difference", "effect") else value
        return found


def separate(
    values: Mapping[str, NDArray[np.floating]],
    *,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Separation:
    """Compare every pair of systems on one metric where higher is better.

    A pair is separated only if the randomisation test's p after Holm over all pairs is at most 1 - level AND the paired
    bootstrap interval at the level of its Holm step excludes zero. Equal p values share the strictest step.

    Args:
        values: name → one value per user, or seeds × users, averaged over seeds first. All systems were measured on
            the same users in the same order; users with a NaN anywhere are left out of everything.
        level: 1 - alpha, in (0, 1).
        resamples: of users and of signs; more are taken where so many pairs could not be told apart otherwise.
        seed: of both.

    Raises:
        DataError: for systems with different users, no system, or no user with a value in every system.
    """
    names, table = _table(values)
    known = np.isfinite(table).all(1)
    left_out = int((~known).sum())
    table = table[known]
    if len(table) == 0:
        raise DataError("no user has a value in every system", where=", ".join(names))
    by_mean = np.argsort(-table.mean(0), kind="stable")
    names, table = [names[place] for place in by_mean], np.ascontiguousarray(table[:, by_mean])
    alpha = 1 - level
    pairs = list(combinations(range(len(names)), 2))
    # The strictest step needs a tail that still holds a resample, and a p that can get below it.
    resamples = max(resamples, math.ceil(2 * len(pairs) / alpha))
    means = resampled_means(table, resamples, seed)
    exceeding = _exceeding(table, resamples, seed)
    p = np.array([(exceeding[pair] + 1) / (resamples + 1) for pair in pairs])
    steps = holm_steps(p)
    made = [
        _pair(names, table, means, pair, float(p[n]), float(corrected), int(steps[n]), alpha)
        for n, (pair, corrected) in enumerate(zip(pairs, holm(p), strict=True))
    ]
    own = estimates(table, means, level=level)
    return Separation(dict(zip(names, own, strict=True)), tuple(made), len(table), left_out, level, resamples, seed)


def paired_interval(
    first: Values, second: Values, *, level: float = LEVEL, resamples: int = RESAMPLES, seed: int = 0
) -> Estimate:
    """The mean difference first - second with its percentile bootstrap interval over users.

    Args:
        first, second: values of the same users, finite.
        level: share of the resampled differences inside the interval.
        resamples: how many times the users are drawn.
        seed: of the draws.
    """
    column = (first - second)[:, None]
    return estimates(column, resampled_means(column, resamples, seed), level=level)[0]


def paired_test(first: Values, second: Values, *, resamples: int = RESAMPLES, seed: int = 0) -> float:
    """The two-sided p of the paired randomisation test that no user prefers either system.

    Under that hypothesis the sign of each user's difference is a coin toss (Fisher 1935; Smucker, Allan, Carterette,
    CIKM 2007). With b of R random signings whose mean difference is at least as far from zero as the one found,
    p = (b + 1) / (R + 1), which is never zero (Phipson & Smyth 2010).

    Args:
        first, second: values of the same users, finite.
        resamples: signings R.
        seed: of the signs.
    """
    return float((_exceeding(np.stack([first, second], 1), resamples, seed)[0, 1] + 1) / (resamples + 1))


def holm(p: Sequence[float] | Values) -> Values:
    """p values of a family, corrected after Holm (1979): p_(r) becomes max over s ≤ r of min(1, (m - s + 1) p_(s)).

    Args:
        p: m p values in any order.
    """
    given = np.asarray(p, dtype=np.float64)
    order = np.argsort(given, kind="stable")
    corrected = np.empty(len(given))
    corrected[order] = np.maximum.accumulate(given[order] * np.arange(len(given), 0, -1))
    return np.minimum(corrected, 1.0)


def effect_of(first: Values, second: Values) -> Effect:
    """The effect of the paired difference first - second.

    Args:
        first, second: values of the same users, finite.
    """
    difference = first - second
    # An average over seeds of equal values may differ in its last bits.
    difference = np.where(np.abs(difference) <= ROUNDING * (np.abs(first) + np.abs(second)), 0.0, difference)
    mean, spread = float(difference.mean()), float(difference.std(ddof=1)) if len(difference) > 1 else 0.0
    if spread > ROUNDING * abs(mean):
        size = mean / spread
    else:
        size = 0.0 if mean == 0 else None
    return Effect(size, float((difference > 0).mean()), float((difference < 0).mean()))


def _table(values: Mapping[str, NDArray[np.floating]]) -> tuple[list[str], Values]:
    if not values:
        raise DataError("there is no system to compare")
    columns = {name: np.atleast_2d(np.asarray(given, dtype=np.float64)).mean(0) for name, given in values.items()}
    sizes = {len(column) for column in columns.values()}
    if len(sizes) > 1:
        raise DataError(
            "the systems were measured on different users",
            where=", ".join(f"{name}: {len(column):,}" for name, column in columns.items()),
            do="measure them all on the same split",
        )
    return list(columns), np.stack(list(columns.values()), axis=1)


def _exceeding(table: Values, resamples: int, seed: int) -> NDArray[np.int64]:
    """How many random signings give each pair of columns a sum at least as far from zero as its own: m × m.

    One set of signs serves all pairs: a signed sum of differences is the difference of two signed sums.
    """
    users, systems = table.shape
    generator = numpy_generator(seed, "signs")
    # What all systems share cancels in every pair; without it less is lost to rounding.
    centred = table - table.mean(1, keepdims=True)
    total = centred.sum(0)
    # Rounding is that of the values as they were given: equal systems differ in their last bits.
    size = np.abs(table).sum(0)
    found = np.abs(total[:, None] - total) - ROUNDING * (size[:, None] + size)
    count = np.zeros((systems, systems), dtype=np.int64)
    for place in blocks(resamples, users):
        drawn = generator.integers(0, 256, (place.stop - place.start, (users + 7) // 8), dtype=np.uint8)
        positive = np.unpackbits(drawn, axis=1, count=users).astype(np.float64)
        signed = 2 * (positive @ centred) - total
        for row in signed:
            count += np.abs(row[:, None] - row) >= found
    return count


def holm_steps(p: Values) -> NDArray[np.int64]:
    """How many hypotheses Holm's procedure divides alpha by at each p; equal p values share the strictest."""
    return len(p) - np.searchsorted(np.sort(p), p)


def _pair(
    names: list[str],
    table: Values,
    means: Values,
    pair: tuple[int, int],
    p: float,
    corrected_p: float,
    step: int,
    alpha: float,
) -> Pair:
    first, second = pair
    difference = float(table[:, first].mean() - table[:, second].mean())
    tails = np.array([alpha / 2, 1 - alpha / 2, alpha / (2 * step), 1 - alpha / (2 * step)])
    low, high, least, most = np.quantile(means[:, first] - means[:, second], tails).tolist()
    return Pair(
        first=names[first],
        second=names[second],
        difference=Estimate(difference, low, high),
        corrected=Estimate(difference, least, most),
        p=p,
        corrected_p=corrected_p,
        effect=effect_of(table[:, first], table[:, second]),
        separated=corrected_p <= alpha and (least > 0 or most < 0),
    )
