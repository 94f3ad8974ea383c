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
from palate.models.classical.neighbourhood import Neighbourhood, largest


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


@MODELS.register("itemknn")
class ItemKNN(Neighbourhood):
    """w_ij = |U_i ∩ U_j| / (√(|U_i| |U_j|) + h), U_i the train users of item i; the k largest of each item."""

    Config = ItemKNNConfig
    title = "ItemKNN"
    source = "Sarwar et al., WWW 2001"
    search: ClassVar[Space] = {
        "neighbours": Choice((20, 50, 100, 200, 500)),
        "shrink": Range(0.0, 100.0),
        "neighbours_of": Choice(("scored", "history")),
    }

    def __init__(self, config: ItemKNNConfig, inputs: ModelInputs) -> None:
        super().__init__(config, inputs, config.neighbours)
        self.config = config

    def fit(self) -> None:
        """Count common users and keep the nearest items."""
        found = largest(self.near, self.items, self.neighbours)
        self.keep(*found, of_scored=self.config.neighbours_of == "scored")

    def near(self, items: IntArray) -> NDArray[np.float64]:
        """w of `items` with all items, len(items) × I."""
        common = product_block(self.by_item.take(items), self.by_user)
        length = np.sqrt(self.by_item.lengths)
        return common / np.maximum(length[items, None] * length + self.config.shrink, 1e-300)
