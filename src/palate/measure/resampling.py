"""Bootstrap over users: means of resampled users, for many columns of values at once, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from palate.core.seeds import numpy_generator
from palate.measure.metrics import Values

LEVEL = 0.95
# Of random weights that lie in memory together.
BLOCK_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True)
class Estimate:
    """A mean over users with its bootstrap interval.

    Attributes:
        mean: over the users that were measured.
        low, high: ends of the interval.
    """

    mean: float
    low: float
    high: float


def resampled_means(columns: Values, resamples: int, seed: int) -> Values:
    """Means of each column over users drawn with replacement: resamples × m.

    All columns see the same draws, so that differences of two of them are paired.

    Args:
        columns: users × m, at least one user.
        resamples: how many times the users are drawn.
        seed: of the draws.
    """
    users = len(columns)
    generator = numpy_generator(seed, "bootstrap")
    means = np.empty((resamples, columns.shape[1]))
    for place in blocks(resamples, users):
        size = place.stop - place.start
        drawn = generator.integers(0, users, (size, users), dtype=np.int64)
        drawn += np.arange(size)[:, None] * users
        # How often each user was drawn: one matrix product then stands for all the sums.
        times = np.bincount(drawn.ravel(), minlength=size * users).reshape(size, users)
        means[place] = times.astype(np.float64) @ columns / users
    return means


def estimates(columns: Values, means: Values, *, level: float = LEVEL) -> list[Estimate]:
    """The mean of each column and its percentile bootstrap interval (Efron & Tibshirani 1993, chapter 13).

    Args:
        columns: users × m, finite, at least one user.
        means: of `resampled_means`.
        level: share of the resampled means inside the interval.
    """
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return [Estimate(float(m), float(a), float(b)) for m, a, b in zip(columns.mean(0), low, high, strict=True)]


def blocks(resamples: int, users: int) -> Iterator[slice]:
    """Runs of resamples whose weights, resamples × users in float64, fit into `BLOCK_BYTES`."""
    size = max(1, BLOCK_BYTES // (8 * max(1, users)))
    for start in range(0, resamples, size):
        yield slice(start, min(start + size, resamples))
