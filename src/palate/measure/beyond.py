"""What ranked lists are like beyond accuracy: coverage, Gini, popularity, novelty, diversity by modality.

Takes ranked lists, the train interactions and the features of items; gives one value per user where the measure is
about a user's list, and one per system where it is about all lists together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from palate.graph.rows import Rows
from palate.measure.evaluation import BLOCK_USERS, Lists
from palate.measure.metrics import CUTS, Values
from palate.measure.popularity import HEAD_SHARE, head_items, popularity

# Of feature rows that lie in memory together.
BLOCK_BYTES = 16 * 1024 * 1024
# Feature rows whose lengths are worked out together.
BLOCK_ROWS = 4096


class Described(Protocol):
    """Feature rows of the items, and which items have one."""

    @property
    def matrix(self) -> NDArray[np.float32]:
        """Items × width; memory-mapped or not."""
        ...

    @property
    def present(self) -> NDArray[np.bool_]:
        """Which items have this modality."""
        ...


@dataclass(frozen=True, eq=False)
class Beyond:
    """Measures beyond accuracy.

    Attributes:
        users: row numbers of the users whose lists were measured.
        values: "arp@20", "aplt@20", "novelty@20", "ild_text@20" and so on → one value for each of them; NaN where a
            list is too short for it to be defined.
        totals: "coverage@20", "gini@20" and so on: values of all lists together.
    """

    users: NDArray[np.int64]
    values: dict[str, Values]
    totals: dict[str, float]

    @property
    def defined(self) -> dict[str, int]:
        """For each measure by user, the number of users that have a value."""
        return {name: int(np.isfinite(column).sum()) for name, column in self.values.items()}

    def means(self) -> dict[str, float | None]:
        """The mean over the users that have a value, and the totals; None where nobody has one."""
        means: dict[str, float | None] = {}
        for name, column in self.values.items():
            known = column[np.isfinite(column)]
            means[name] = float(known.mean()) if len(known) else None
        return means | self.totals


def beyond_accuracy(
    lists: Lists,
    train: Rows,
    modalities: Mapping[str, Described] | None = None,
    *,
    cuts: tuple[int, ...] = CUTS,
    head_share: float = HEAD_SHARE,
) -> Beyond:
    """Measure ranked lists beyond accuracy.

    With L_u the first k items of user u's list (fewer where it ends before), φ(i) the number of positive train
    interactions of item i, U the number of users and I the number of items of the data set:

    - ARP = mean of φ(i) over L_u, and APLT = share of L_u outside the short head: Abdollahpouri, Burke, Mobasher,
      "Managing Popularity Bias in Recommender Systems with Personalized Re-ranking", FLAIRS 2019. Which items are the
      short head is defined here as in `head_items`: the most popular ones that hold `head_share` of the interactions.
    - novelty = mean of -log2 p(i) over L_u, p(i) = φ(i) / U: the self-information of Zhou et al., "Solving the
      apparent diversity-accuracy dilemma of recommender systems", PNAS 2010. An item that nobody took counts as if one
      user had taken it, since its surprise would be infinite.
    - ild_MODALITY = mean over all pairs of L_u that have the modality of 1 - cos(x_i, x_j): intra-list diversity,
      Ziegler et al., WWW 2005, and Smyth & McClave, ICCBR 2001. A row of zeros is at distance 1 from every other.
      Undefined for lists with fewer than two such items.
    - coverage = share of the I items that occur in at least one list: the catalogue coverage of Ge,
      Delgado-Battenfeld, Jannach, "Beyond accuracy", RecSys 2010. It grows with the number of lists.
    - Gini = Σ_j (2j - I - 1) c_j / ((I - 1) Σ_j c_j), c_1 ≤ … ≤ c_I how often each item is listed: 0 when all items
      are listed equally often, 1 when one item takes all: Shani & Gunawardana, "Evaluating recommendation systems",
      Recommender Systems Handbook 2011.

    Args:
        lists: ranked lists.
        train: U rows of positive train items.
        modalities: modality → feature rows in item order.
        cuts: list lengths k.
        head_share: share of the train interactions that the short head holds.

    Raises:
        ValueError: when the lists are shorter than the longest cut.
    """
    lists.check_depth(cuts, train.width)
    counts = popularity(train)
    by_item = {
        "arp": counts.astype(np.float64),
        "aplt": (~head_items(counts, head_share)).astype(np.float64),
        "novelty": np.log2(train.count / np.maximum(counts, 1)),
    }
    values = {f"{name}@{k}": np.empty(len(lists.users)) for name in by_item for k in cuts}
    listed = np.zeros((len(cuts), train.width), dtype=np.int64)
    for place, (_, items) in _blocks(lists, BLOCK_USERS):
        known = items >= 0
        for name, column in by_item.items():
            sums = np.where(known, column[items], 0.0)
            for k in cuts:
                values[f"{name}@{k}"][place] = _ratio(sums[:, :k].sum(1), known[:, :k].sum(1))
        for row, k in enumerate(cuts):
            listed[row] += np.bincount(items[:, :k][known[:, :k]], minlength=train.width)
    for name, features in sorted((modalities or {}).items()):
        values |= {f"ild_{name}@{k}": column for k, column in _diversity(lists, features, cuts).items()}
    totals = {f"coverage@{k}": float((times > 0).mean()) for k, times in zip(cuts, listed, strict=True)}
    totals |= {f"gini@{k}": gini(times) for k, times in zip(cuts, listed, strict=True)}
    return Beyond(lists.users, values, totals)


def gini(counts: NDArray[np.int64]) -> float:
    """The Gini coefficient of counts, Σ_j (2j - n - 1) c_j / ((n - 1) Σ_j c_j) with c ascending.

    It is 0 for equal counts (and where there is nothing to share), 1 when one of n takes all.
    """
    total, size = int(counts.sum()), len(counts)
    if total == 0 or size < 2:
        return 0.0
    place = 2 * np.arange(1, size + 1) - size - 1
    return float(np.dot(place.astype(np.float64), np.sort(counts).astype(np.float64)) / ((size - 1) * total))


def _blocks(lists: Lists, size: int) -> Iterator[tuple[slice, tuple[NDArray[np.int64], NDArray[np.int64]]]]:
    for number, block in enumerate(lists.blocks(size)):
        yield slice(number * size, number * size + len(block[0])), block


def _ratio(sums: Values, counts: NDArray[np.int64] | Values) -> Values:
    """sums / counts, NaN where the count is zero."""
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def _diversity(lists: Lists, features: Described, cuts: tuple[int, ...]) -> dict[int, Values]:
    """Mean pairwise 1 - cosine of each list at each cut.

    For unit rows Σ_{i≠j} cos(x_i, x_j) = |Σ x_i|² - Σ |x_i|², so the pairs need not be visited.
    """
    matrix, present = features.matrix, features.present
    inverse = _inverse_lengths(matrix, present)
    depth = lists.items.shape[1]
    within = np.arange(depth) < np.array(cuts)[:, None]
    size = max(1, BLOCK_BYTES // (8 * max(1, depth) * matrix.shape[1]))
    result = {k: np.empty(len(lists.users)) for k in cuts}
    for place, (_, items) in _blocks(lists, size):
        has = (items >= 0) & present[items]
        weights = np.where(has, inverse[items], 0.0)
        rows = matrix[items].astype(np.float64)
        sums = (within * weights[:, None, :]) @ rows
        squares = np.einsum("ukd,ukd->uk", sums, sums)
        units = (within * (weights > 0)[:, None, :]).sum(2)
        having = (within * has[:, None, :]).sum(2).astype(np.float64)
        distance = 1.0 - _ratio(squares - units, having * (having - 1.0))
        for column, k in enumerate(cuts):
            # Rounding must not make a list of equal rows less than equal.
            result[k][place] = np.clip(distance[:, column], 0.0, 2.0)
    return result


def _inverse_lengths(matrix: NDArray[np.float32], present: NDArray[np.bool_]) -> Values:
    """1 / |x_i| of each row, 0 for absent rows and rows of zeros."""
    result = np.zeros(len(matrix))
    for start in range(0, len(matrix), BLOCK_ROWS):
        block = np.asarray(matrix[start : start + BLOCK_ROWS], dtype=np.float64)
        length = np.sqrt(np.einsum("id,id->i", block, block)) * present[start : start + BLOCK_ROWS]
        result[start : start + BLOCK_ROWS] = np.divide(1.0, length, out=np.zeros(len(length)), where=length > 0)
    return result
