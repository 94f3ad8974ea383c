"""RP3beta (Paudel et al., TiiS 2017): random walks from user to item over three edges, popular ends made rarer."""

from __future__ import annotations

from typing import ClassVar

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


class RP3betaConfig(Config):
    """Settings of RP3beta."""

    alpha: float = Field(default=0.4, ge=0, description="α, exponent of the probabilities of a step; 1: a random walk")
    beta: float = Field(default=0.2, ge=0, description="β, exponent of the popularity of the end, which divides")
    neighbours: int = Field(default=200, ge=1, description="items kept as ends of the walks from each item")


@MODELS.register("rp3beta")
class RP3beta(Neighbourhood):
    """w_ij = Σ_u (1 / |U_i|)^α (1 / |I_u|)^α / |U_j|^β over the train users u of both; the k largest of each item i.

    The first step, from a user to an item, is the same for all items of that user and is left out.
    """

    Config = RP3betaConfig
    title = "RP3beta"
    source = "Paudel et al., TiiS 2017"
    search: ClassVar[Space] = {
        "alpha": Range(0.2, 1.6),
        "beta": Range(0.0, 1.0),
        "neighbours": Choice((20, 50, 100, 200, 500)),
    }

    def __init__(self, config: RP3betaConfig, inputs: ModelInputs) -> None:
        super().__init__(config, inputs, config.neighbours)
        self.config = config

    def fit(self) -> None:
        """Walk from every item and keep the likeliest ends."""
        self.keep(*nearest_by(self.near, self.items, self.neighbours, self.names), of_scored=False)

    def near(self, items: IntArray) -> NDArray[np.float64]:
        """w of `items` with all items, len(items) × I."""
        users, popularity = self.by_user.lengths, np.maximum(self.by_item.lengths, 1).astype(np.float64)
        step = np.maximum(users, 1.0) ** -self.config.alpha
        walks = product_block(self.by_item.take(items), self.by_user, step[self.by_user.row_of_entry()])
        return walks * popularity[items, None] ** -self.config.alpha * popularity**-self.config.beta
