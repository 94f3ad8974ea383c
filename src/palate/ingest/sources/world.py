"""The synthetic world on paper: records with hidden factors, people with hidden tastes, and who chose what when.

Takes a `SyntheticConfig`; gives a `World` of arrays, all planted truth included, without writing anything. Each
modality has factors of its own, drawn independently of all others, so that none tells anything about another.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from palate.core.progress import progress
from palate.ingest.sources.choices import SPAN, START, Floats, Integers, Shop, Visits, visit
from palate.ingest.sources.factors import FACTORS, TOWNS, Factor, SyntheticConfig

NEW_FROM = 0.8
"""New items are released after this share of the span."""
EARLIER_RELEASES = 5 * 365 * 86_400
RATED_UP_TO = (0.08, 0.20, 0.40, 0.75)
"""Shares of all interactions, by utility, that are rated 1, up to 2, up to 3 and up to 4."""
ITEMS_A_PERFORMER = 12
ITEMS_A_COMPOSER = 25


@dataclass(frozen=True, eq=False)
class World:
    """A planned world; U users, I items, N interactions. Row i of every item array is item i of the catalogue.

    Args:
        config: what it was made from.
        factors: modality → I × (factors of the modality) int64, places in `Factor.values`; never missing.
        present: modality → bool I: whether the item has it.
        tastes: modality → U × (columns of `world_features`) float32: what each user thinks of each value.
        popularity: float32 I, mean 0 and variance 1.
        released: int64 I, seconds since 1970.
        performer, composer: int64 I, numbers of people; performers come first, composers after them.
        town: int64, the town of each performer.
        visits: who chose what, when, and with what utility.
        rating: int64 N, 1 to 5, in the order of `visits`: the place of the utility among all, by `RATED_UP_TO`.
    """

    config: SyntheticConfig
    factors: dict[str, Integers]
    present: dict[str, NDArray[np.bool_]]
    tastes: dict[str, Floats]
    popularity: Floats
    released: Integers
    performer: Integers
    composer: Integers
    town: Integers
    visits: Visits
    rating: Integers


def plan(config: SyntheticConfig | None = None, *, quiet: bool = True) -> World:
    """The world of a config, without its media. Changing the taste of people leaves the items as they are.

    Users draw `choosiness` · utility + Gumbel noise for each item they look at and take the highest; utility is the
    sum of the square root of each share of taste times a part of variance one. Where there are many items, a user
    looks at a sample of them, drawn by popularity. Memory does not grow with users × items.

    Args:
        config: the world's settings; by default 1,000 people and 1,000 records.
        quiet: show no progress.
    """
    # Seeds bring torch along, which listing the data sets does without.
    from palate.core.seeds import numpy_generator

    config = config or SyntheticConfig()
    items = config.items

    def generator(*names: str) -> np.random.Generator:
        return numpy_generator(config.seed, "synthetic", *names)

    factors = {
        name: np.stack(
            [generator("items", name, each.name).integers(0, len(each.values), items) for each in several], 1
        )
        for name, several in FACTORS.items()
    }
    performers, composers = max(8, items // ITEMS_A_PERFORMER), max(5, items // ITEMS_A_COMPOSER)
    performer = generator("performers").integers(0, performers, items)
    town = generator("towns").integers(0, len(TOWNS), performers)
    factors["knowledge"][:, 1] = town[performer]

    present: dict[str, NDArray[np.bool_]] = {}
    for name in FACTORS:
        present[name] = np.ones(items, dtype=np.bool_)
        lacking = round(config.missing.get(name, 0.0) * items)
        present[name][generator("missing", name).permutation(items)[:lacking]] = False

    popularity = generator("popularity").standard_normal(items)
    popularity = ((popularity - popularity.mean()) / popularity.std()).astype(np.float32)
    released = START - generator("released").integers(1, EARLIER_RELEASES, items)
    new = generator("new").permutation(items)[: round(config.new_items * items)]
    released[new] = START + (SPAN * (NEW_FROM + (1 - NEW_FROM) * generator("late").random(len(new)))).astype(np.int64)

    tastes = {name: _tastes(factors[name], FACTORS[name], config.users, generator("tastes", name)) for name in FACTORS}
    with progress("synthetic world: choices", config.users, "users", quiet=quiet) as shown:
        visits = visit(Shop(config, _one_hot(factors), tastes, popularity, released), generator, shown)
    rating = 1 + np.searchsorted(np.quantile(visits.utility, RATED_UP_TO), visits.utility, side="left")
    return World(
        config=config,
        factors=factors,
        present=present,
        tastes=tastes,
        popularity=popularity,
        released=released,
        performer=performer,
        composer=performers + generator("composers").integers(0, composers, items),
        town=town,
        visits=visits,
        rating=rating.astype(np.int64),
    )


def world_features(world: World) -> dict[str, Floats]:
    """The hidden factors as features: modality → I × D, one column for each value of each factor.

    An item's row holds the square root of the factor's share at its values and zeros elsewhere, so that
    `features[m] @ tastes[m].T` is what each user thinks of each item in modality m, of variance one over the items.
    Items that lack a modality have their rows all the same; `World.present` says which those are.
    """
    found: dict[str, Floats] = {}
    for name, columns in _one_hot(world.factors).items():
        matrix = np.zeros((len(columns), sum(len(each.values) for each in FACTORS[name])), dtype=np.float32)
        weights = np.sqrt(np.array([each.share for each in FACTORS[name]], dtype=np.float32))
        np.put_along_axis(matrix, columns, np.broadcast_to(weights, columns.shape), axis=1)
        found[name] = matrix
    return found


def _one_hot(factors: Mapping[str, Integers]) -> dict[str, Integers]:
    """For each modality, the columns of `world_features` that an item has: items × factors."""
    return {name: values + _offsets(FACTORS[name]) for name, values in factors.items()}


def _offsets(several: tuple[Factor, ...]) -> Integers:
    return np.cumsum([0, *(len(each.values) for each in several[:-1])])


def _tastes(values: Integers, several: tuple[Factor, ...], users: int, generator: np.random.Generator) -> Floats:
    """What each user thinks of each value of each factor, with mean 0 and variance 1 over the items."""
    parts: list[Floats] = []
    for place, factor in enumerate(several):
        taste = generator.standard_normal((users, len(factor.values)), dtype=np.float32)
        often = (np.bincount(values[:, place], minlength=len(factor.values)) / len(values)).astype(np.float32)
        taste -= (taste * often).sum(axis=1, keepdims=True)
        spread = np.sqrt((taste**2 * often).sum(axis=1, keepdims=True))
        parts.append(taste / np.maximum(spread, np.float32(1e-6)))
    return np.concatenate(parts, axis=1)
