"""What people of the synthetic world choose, and when: utility and Gumbel noise, over blocks of users.

Takes tastes and items; gives interactions. Memory is bounded: a block holds about a million (user, item) cells.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from palate.core.progress import Progress
from palate.ingest.sources.factors import FACTORS, MOST_INTERACTIONS, SyntheticConfig

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]

START = 1_577_836_800
"""The first moment of the world: 2020-01-01, in seconds since 1970."""
SPAN = 3 * 365 * 86_400
"""Its length in seconds."""
CANDIDATES = 2048
"""Items that a user looks at, where there are more than twice as many."""
CELLS_AT_ONCE = 1 << 20
ACTIVITY_SPREAD = 0.8
"""Deviation of the logarithm of a user's number of interactions, before it is cut at both ends."""
LEAST_ACTIVITY = 5.0


@dataclass(frozen=True, eq=False)
class Shop:
    """What there is to choose from, and who chooses.

    Args:
        config: the world's settings.
        columns: modality → items × factors: the columns of `tastes` that make up what a user thinks of an item.
        tastes: modality → users × columns, of variance one over the items for each factor.
        popularity: of each item, of variance one.
        released: of each item, seconds since 1970.
    """

    config: SyntheticConfig
    columns: Mapping[str, Integers]
    tastes: Mapping[str, Floats]
    popularity: Floats
    released: Integers


@dataclass(frozen=True, eq=False)
class Visits:
    """Interactions in order of time.

    Args:
        user, item: places of users and items.
        timestamp: seconds since 1970, strictly increasing for each user, never before the item's release.
        utility: how much the user wanted the item; chance is in it.
    """

    user: Integers
    item: Integers
    timestamp: Integers
    utility: Floats


def visit(shop: Shop, generator: Callable[..., np.random.Generator], shown: Progress) -> Visits:
    """Let every user choose.

    Args:
        generator: gives the random numbers of a stream, by its name.
        shown: learns of every user who has chosen.
    """
    config = shop.config
    counts = _activity(config, generator("activity"))
    spans = generator("spans").random((config.users, 2))
    begins = START + SPAN * 0.8 * spans[:, 0]
    # Half of the people stay until the end; the others leave some time before.
    ends = begins + (START + SPAN - begins) * np.minimum(1.0, 0.25 + 1.5 * spans[:, 1])
    looks = config.items if config.items <= 2 * CANDIDATES else CANDIDATES
    step = max(1, CELLS_AT_ONCE // looks)
    blocks: list[tuple[Integers, Integers, NDArray[np.float64], Floats]] = []
    for first in range(0, config.users, step):
        users = np.arange(first, min(first + step, config.users))
        blocks.append(_choose(shop, users, counts, begins, ends, looks, generator("choices", str(first))))
        shown.advance(len(users))
    user, item, moment, utility = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
    timestamp = _one_after_another(user, moment)
    order = np.lexsort((user, timestamp))
    return Visits(user[order], item[order], timestamp[order], utility[order])


def _activity(config: SyntheticConfig, generator: np.random.Generator) -> Integers:
    """Interactions of each user: long-tailed between `LEAST_ACTIVITY` and half of what there is to look at."""
    raw = np.exp(ACTIVITY_SPREAD * generator.standard_normal(config.users))
    least = min(LEAST_ACTIVITY, config.interactions)
    most = min(config.items // 2, 2 * MOST_INTERACTIONS)
    low, high = 0.0, most / raw.min()
    for _ in range(60):
        middle = (low + high) / 2
        if np.clip(raw * middle, least, most).mean() < config.interactions:
            low = middle
        else:
            high = middle
    # Rounding the running total keeps the mean, which rounding each count would not.
    total = np.round(np.cumsum(np.clip(raw * high, least, most)) + 1e-6).astype(np.int64)
    return np.diff(total, prepend=0)


def _choose(
    shop: Shop,
    users: Integers,
    counts: Integers,
    begins: NDArray[np.float64],
    ends: NDArray[np.float64],
    looks: int,
    drawn: np.random.Generator,
) -> tuple[Integers, Integers, NDArray[np.float64], Floats]:
    """User, item, moment and utility of the interactions of `users`."""
    config, shares = shop.config, shop.config.shares
    attraction = np.float32(config.choosiness * np.sqrt(shares["popularity"])) * shop.popularity
    if looks == config.items:
        seen = np.broadcast_to(np.arange(config.items), (len(users), looks))
        again = None
    else:
        # Popular items are looked at more often, and their popularity counts that much less in the choice: the same
        # items are chosen as from all of them, and the sample is spent on those that stand a chance.
        tilt = np.minimum(np.float32(1.0), attraction.std()) / np.maximum(attraction.std(), np.float32(1e-6))
        chances = np.cumsum(np.exp(tilt * attraction, dtype=np.float64))
        seen = np.searchsorted(chances / chances[-1], drawn.random((len(users), looks)), side="right")
        seen = np.sort(np.minimum(seen, config.items - 1), axis=1)
        again = np.zeros(seen.shape, dtype=np.bool_)
        np.equal(seen[:, 1:], seen[:, :-1], out=again[:, 1:])
        attraction = (1 - tilt) * attraction
    taste = np.zeros(seen.shape, dtype=np.float32)
    for name, columns in shop.columns.items():
        if shares[name] == 0:
            continue
        for place, factor in enumerate(FACTORS[name]):
            opinions = shop.tastes[name][users] * np.float32(np.sqrt(shares[name] * factor.share))
            taste += np.take_along_axis(opinions, columns[:, place][seen], axis=1)
    if shares["chance"] > 0:
        taste += np.float32(np.sqrt(shares["chance"])) * drawn.standard_normal(seen.shape, dtype=np.float32)
    gumbel = -np.log(drawn.standard_exponential(seen.shape, dtype=np.float32) + np.float32(1e-30))
    wish = np.float32(config.choosiness) * taste + attraction[seen] + gumbel
    if again is not None:
        wish[again] = -np.inf
    if config.new_items > 0:
        # An item that is out for a part of a user's time is met with the chance of that part.
        begin, end = begins[users][:, None], ends[users][:, None]
        part = (end - np.maximum(shop.released[seen], begin)) / (end - begin)
        wish[drawn.random(seen.shape) >= part] = -np.inf
    most = int(counts[users].max())
    best = np.argpartition(-wish, most - 1, axis=1)[:, :most]
    best = np.take_along_axis(best, np.argsort(-np.take_along_axis(wish, best, axis=1), axis=1, kind="stable"), axis=1)
    wished = np.isfinite(np.take_along_axis(wish, best, axis=1))
    row, rank = np.nonzero((np.arange(most) < counts[users][:, None]) & wished)
    place = best[row, rank]
    user, item = users[row], seen[row, place]
    utility = (taste[row, place] + np.sqrt(shares["popularity"]) * shop.popularity[item]).astype(np.float32)
    since = np.maximum(begins[user], shop.released[item])
    return user, item, since + (ends[user] - since) * drawn.random(len(user)), utility


def _one_after_another(user: Integers, moment: NDArray[np.float64]) -> Integers:
    """Whole seconds, moved to later ones where a user would do two things at once."""
    seconds = np.ceil(moment).astype(np.int64) - START
    order = np.lexsort((seconds, user))
    first = np.searchsorted(user[order], user[order], side="left")
    rank = np.arange(len(order)) - first
    # Users far apart in one line: the running maximum of one never reaches the next.
    apart = user[order] * (4 * SPAN)
    settled = np.maximum.accumulate(seconds[order] - rank + apart) - apart + rank
    found = np.empty_like(settled)
    found[order] = settled + START
    return found
