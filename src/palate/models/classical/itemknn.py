"""ItemKNN (Sarwar et al., WWW 2001): items are near when the same users took them."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from palate.core.config import Config
from palate.core.search import Choice, Range, Space
from palate.dataset.inputs import ModelInputs
from palate.graph.products import product_block
from palate.graph.rows import IntArray
from palate.models.base import MODELS
from palate.models.classical.neighbourhood import Neighbourhood, nearest_by


class ItemKNNConfig(Config):
    """Settings of ItemKNN."""

    neighbours: int = Field(default=200, ge=1, description="items kept as neighbours of each item")
    shrink: float = Field(
        default=50.0,
        ge=0,
        description="h, added to the denominator of the cosine: distrusts items of few users; larger for sparse data",
    )
    neighbours_of: Literal["scored", "history"] = Field(
        default="scored", description="whose neighbours are kept: of each item to be scored, or that a user took"
    )
    asymmetry: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="α, exponent of the popularity of the item that a user took, 1 - α of the scored one's; "
        "0.5: the cosine, 1: how many of the first item's users took the other (Aiolli, RecSys 2013)",
    )
    user_exponent: float = Field(
        default=0.0,
        ge=0,
        description="γ: a user of n items counts n^-γ; above 0 where a few users took hundreds "
        "(Deshpande and Karypis, TOIS 2004)",
    )


@MODELS.register("itemknn")
class ItemKNN(Neighbourhood):
    """w_ij = Σ_u |I_u|^-γ / (|U_i|^α |U_j|^(1-α) + h) over the train users u of both; the k largest of each item.

    U_i are the users of item i and I_u the items of user u; i is an item that a user took and j one to be scored. As it
    stands, γ = 0 and α = ½, it is the cosine of the items' columns of users.
    """

    Config = ItemKNNConfig
    title = "ItemKNN"
    source = "Sarwar et al., WWW 2001"
    search: ClassVar[Space] = {
        "neighbours": Choice((20, 50, 100, 200, 500)),
        "shrink": Range(0.0, 100.0),
        "neighbours_of": Choice(("scored", "history")),
        "asymmetry": Range(0.0, 1.0),
        "user_exponent": Range(0.0, 1.5),
    }

    def __init__(self, config: ItemKNNConfig, inputs: ModelInputs) -> None:
        super().__init__(config, inputs, config.neighbours)
        self.config = config

    def fit(self) -> None:
        """Count common users and keep the nearest items."""
        found = nearest_by(self.near, self.items, self.neighbours, self.names)
        self.keep(*found, of_scored=self.config.neighbours_of == "scored")

    def near(self, items: IntArray) -> NDArray[np.float64]:
        """How near each item is to each of `items`, whose neighbours are looked for, len(items) × I."""
        config = self.config
        counted = np.maximum(self.by_user.lengths, 1.0) ** -config.user_exponent
        common = product_block(self.by_item.take(items), self.by_user, counted[self.by_user.row_of_entry()])
        popularity = np.maximum(self.by_item.lengths, 1).astype(np.float64)
        own = 1 - config.asymmetry if config.neighbours_of == "scored" else config.asymmetry
        return common / (popularity[items, None] ** own * popularity ** (1 - own) + config.shrink)
