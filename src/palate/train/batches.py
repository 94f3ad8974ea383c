"""Batches of train pairs with sampled negatives; an epoch is a pure function of seed and epoch number."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from palate.core.errors import TrainingError
from palate.core.seeds import Draws, derive_seed, numpy_generator
from palate.dataset.inputs import ModelInputs
from palate.graph.rows import IntArray, contains
from palate.models.base import Batch, Needs


class PairBatches:
    """Every train pair once an epoch, in random order, with negatives that the user has no train interaction with.

    Negatives are uniform over the items unseen by the user: drawn for the whole epoch at once, those that hit a seen
    item drawn again until none does; for a model that asks for it a share of them are disliked items instead. Pairs of
    users who have seen every item are left out when negatives are needed.

    Args:
        inputs: the train interactions.
        size: pairs in a batch; the last one of an epoch may be smaller.
        needs: how many negatives each pair gets, and where they come from.
        seed: of order and negatives.
        before_epoch: called with the epoch's draws before its first batch, also when a run goes on within it.

    Raises:
        TrainingError: when there is no pair to train on.
    """

    def __init__(
        self,
        inputs: ModelInputs,
        size: int,
        needs: Needs,
        seed: int,
        *,
        before_epoch: Callable[[Draws], None] | None = None,
    ) -> None:
        negatives = needs.negatives
        by_user = inputs.train.by_user
        self.users = by_user.row_of_entry()
        self.positives = by_user.columns.astype(np.int64)
        if negatives:
            can = inputs.seen.lengths[self.users] < inputs.items
            self.users, self.positives = self.users[can], self.positives[can]
        if len(self.users) == 0:
            raise TrainingError("there is no train pair to learn from", do="check the split and what is a positive")
        self.items = inputs.items
        self.seen = inputs.seen.keys() if negatives else np.zeros(0, np.int64)
        self.size = size
        self.negatives = negatives
        self.dislikes = inputs.dislikes if needs.dislike_share > 0 else None
        self.dislike_share = needs.dislike_share
        self.seed = seed
        self.before_epoch = before_epoch

    @property
    def steps(self) -> int:
        """Batches in an epoch."""
        return -(-len(self.users) // self.size)

    def epoch(self, number: int) -> Iterator[Batch]:
        """The batches of epoch `number`."""
        if self.before_epoch is not None:
            self.before_epoch(Draws(derive_seed(self.seed, "epochs"), number))
        order = numpy_generator(self.seed, "order", number).permutation(len(self.users))
        users, positives = self.users[order], self.positives[order]
        generator = numpy_generator(self.seed, "negatives", number)
        negatives = self._sample(users, order, generator) if self.negatives else None
        for start in range(0, len(order), self.size):
            rows = slice(start, start + self.size)
            yield Batch(
                torch.from_numpy(users[rows]),
                torch.from_numpy(positives[rows]),
                None if negatives is None else torch.from_numpy(negatives[rows]),
            )

    def _sample(self, users: IntArray, order: IntArray, generator: np.random.Generator) -> NDArray[np.int64]:
        owner = np.repeat(users, self.negatives)
        drawn = generator.integers(0, self.items, len(owner))
        # Looked up user by user, as the seen pairs lie: in random order millions take two to four times as long.
        places = np.empty_like(order)
        places[order] = np.arange(len(order))
        places = (places[:, None] * self.negatives + np.arange(self.negatives)).ravel()
        wrong = np.sort(places[contains(self.seen, owner[places] * self.items + drawn[places])])
        while len(wrong):
            drawn[wrong] = generator.integers(0, self.items, len(wrong))
            wrong = wrong[contains(self.seen, owner[wrong] * self.items + drawn[wrong])]
        if self.dislikes is not None:
            known = self.dislikes.lengths[owner]
            at = np.flatnonzero((generator.random(len(owner)) < self.dislike_share) & (known > 0))
            place = self.dislikes.pointer[owner[at]] + generator.integers(0, known[at])
            drawn[at] = self.dislikes.columns[place]
        return drawn if self.negatives == 1 else drawn.reshape(len(users), self.negatives)
