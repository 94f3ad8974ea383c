"""What lists are made of: a scorer with the names of its users and items, from a data set or from a bundle.

Somebody the model never met is an offer of one user, folded in from the items that person liked.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl
from numpy.typing import NDArray

from palate.dataset.dataset import Dataset
from palate.dataset.vocabulary import Vocabulary
from palate.encode.features import Features
from palate.graph.rows import Rows
from palate.measure.ranking import Masking
from palate.models.base import Embeddings, Scorer
from palate.recommend.bundle import Bundle, one_row
from palate.recommend.bundling import item_table
from palate.recommend.filters import BoolArray, ItemFilters
from palate.recommend.forms import Given
from palate.recommend.rerank import Rules
from palate.recommend.topk import Lists, listed

NEW = "(new)"


@dataclass(frozen=True, eq=False)
class Offer:
    """What lists are made of.

    Attributes:
        scorer: scores the items for its users.
        users, items: ids ↔ row numbers.
        table: what is known of the items, in the order of their row numbers.
        known: items that each user is not recommended.
        liked: train positives, which tell how popular items are.
        modalities: features that lists may be diversified by.
        vectors: the model's own item vectors, I × d, where it has them.
        seed: of the tie-breaking.
    """

    scorer: Scorer
    users: Vocabulary
    items: Vocabulary
    table: pl.DataFrame
    known: Masking
    liked: Rows
    modalities: Mapping[str, Features] = field(default_factory=dict[str, Features])
    vectors: NDArray[np.float32] | None = None
    seed: int = 0

    @classmethod
    def of_dataset(cls, scorer: Scorer, data: Dataset, content: Mapping[str, Features], seed: int) -> Offer:
        """A trained scorer on its data set."""
        return cls(
            scorer,
            data.users,
            data.items,
            item_table(data),
            data.known(),
            data.positives["train"],
            content,
            scorer.item.numpy() if isinstance(scorer, Embeddings) else None,
            seed,
        )

    @classmethod
    def of_bundle(cls, bundle: Bundle) -> Offer:
        """A bundle, for the users it knows."""
        seed = bundle.facts.recipe.get("seed", 0)
        return cls(
            bundle.form,
            bundle.users,
            bundle.items,
            bundle.table,
            bundle.seen,
            bundle.liked,
            bundle.features,
            bundle.item_vectors,
            seed if isinstance(seed, int) else 0,
        )

    @classmethod
    def of_somebody_new(cls, bundle: Bundle, liked: Sequence[str]) -> Offer:
        """The same for one person who liked these items, in order of time; called `NEW`.

        Raises:
            DataError: for an unknown or repeated item.
        """
        folded = bundle.fold_in(liked)
        return dataclasses.replace(
            cls.of_bundle(bundle),
            scorer=Given(folded.scores),
            users=Vocabulary("user", pl.Series("user_id", [NEW])),
            known=one_row(bundle.items.rows(liked), len(bundle.items)),
        )

    @property
    def filters(self) -> ItemFilters:
        """Filters over the items."""
        return ItemFilters(self.table, self.items)

    def rules(self, *, cap: str | None, diversity: str | None, cold: int) -> Rules | None:
        """What every list should be like, as a person writes it (see `Rules.parse`)."""
        return Rules.parse(self.liked, self.modalities, self.vectors, cap=cap, diversity=diversity, cold=cold)

    def lists(
        self,
        users: Sequence[str] | None,
        k: int,
        *,
        allowed: BoolArray | None = None,
        rules: Rules | None = None,
        title: str = "",
    ) -> Lists:
        """The k best items of each user, as `topk.recommend` gives them, and what should be known about them.

        Args:
            users: ids, of which each counts once; None: all.
            title: show progress under this title; empty: show none.

        Raises:
            DataError: for an unknown user.
        """
        rows = np.arange(len(self.users)) if users is None else self.users.rows(dict.fromkeys(users))
        return listed(
            self.scorer,
            self.users.ids,
            self.table,
            self.items.ids,
            self.known,
            self.liked,
            rows,
            k,
            seed=self.seed,
            allowed=allowed,
            rules=rules,
            title=title,
        )
