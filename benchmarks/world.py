"""The Baby-shaped world: as many users, items and interactions as Amazon Baby's split, with random features."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from palate.dataset.inputs import ModelInputs, SourceNumbers
from palate.encode.features import Features
from palate.graph.bipartite import Bipartite
from palate.graph.rows import Rows

USERS, ITEMS, TRAIN, HELD_OUT = 19_445, 7_050, 118_551, 20_559
WIDTHS = {"image": 4096, "text": 384}
# AlignRec reads one joint vector.
JOINT = {"joint": 768}


@dataclass(frozen=True, eq=False)
class World:
    """A train graph with features, and a held-out part.

    Attributes:
        inputs: of the models.
        held_out: positives to evaluate on.
    """

    inputs: ModelInputs
    held_out: Rows


def baby_shaped(
    widths: dict[str, int] | None = None,
    *,
    users: int = USERS,
    items: int = ITEMS,
    train: int = TRAIN,
    held_out: int = HELD_OUT,
    seed: int = 0,
) -> World:
    """Interactions with power-law popularity, each pair once, and normal features.

    Every user has a train interaction, and one that is held out if there are enough of these.

    Args:
        widths: modality → columns; default: image 4096 and text 384.
        users, items, train, held_out: sizes.
        seed: of everything.

    Raises:
        ValueError: when there cannot be so many pairs, or so few.
    """
    if not 2 * users <= train + held_out <= users * items // 2:
        raise ValueError(f"{users} users and {items} items do not have {train + held_out} different pairs at random")
    generator = np.random.default_rng(seed)
    popularity = (np.arange(items) + 10.0) ** -0.8
    user, item = _pairs(generator, users, popularity / popularity.sum(), train + held_out)
    tested = _held_out(generator, user, held_out)
    learnt = np.setdiff1d(np.arange(len(user)), tested)
    rows = Rows.from_pairs(user[learnt], item[learnt], users, items)
    ids = tuple(map(str, range(items)))
    present = np.ones(items, dtype=np.bool_)
    features = {
        name: Features(name, generator.standard_normal((items, width), dtype=np.float32), present, "random", ids)
        for name, width in (WIDTHS if widths is None else widths).items()
    }
    dislikes = Rows.from_pairs(np.zeros(0, np.int64), np.zeros(0, np.int64), users, items)
    numbers = SourceNumbers(np.arange(users), np.arange(items))
    inputs = ModelInputs(users, items, Bipartite(rows), rows, features, dislikes=dislikes, numbers=lambda: numbers)
    return World(inputs, Rows.from_pairs(user[tested], item[tested], users, items))


def _pairs(
    generator: np.random.Generator, users: int, popularity: NDArray[np.float64], wanted: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Distinct pairs; every user has at least two."""
    items = len(popularity)
    activity = (np.arange(users) + 20.0) ** -0.5
    order = generator.permutation(items)
    first = generator.choice(items, users, p=popularity)
    second = generator.choice(items, users, p=popularity)
    second = np.where(second == first, (first + 1) % items, second)
    keys = np.concatenate([np.arange(users) * items + order[either] for either in (first, second)])
    while len(keys) < wanted:
        more = wanted - len(keys)
        user = generator.choice(users, 2 * more, p=activity / activity.sum())
        item = order[generator.choice(items, 2 * more, p=popularity)]
        fresh = np.setdiff1d(user * items + item, keys)
        keys = np.concatenate([keys, generator.permutation(fresh)[:more]])
    return keys // items, keys % items


def _held_out(generator: np.random.Generator, user: NDArray[np.int64], wanted: int) -> NDArray[np.int64]:
    """Places of so many pairs: one of each user first, then others, but never a user's last one."""
    shuffled = generator.permutation(len(user))
    order = shuffled[np.argsort(user[shuffled], kind="stable")]
    counts = np.bincount(user)
    rank = np.arange(len(user)) - np.repeat(np.cumsum(counts) - counts, counts)
    firsts, others = (generator.permutation(order[ranks]) for ranks in (rank == 0, rank >= 2))
    return np.concatenate([firsts, others])[:wanted]
