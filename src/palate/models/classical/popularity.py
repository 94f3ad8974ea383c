"""Popularity: every user is shown what most users took; the floor of every comparison."""

from __future__ import annotations

import torch
from torch import Tensor

from palate.core.config import Config
from palate.dataset.inputs import ModelInputs
from palate.models.base import MODELS, Classical


class PopularityConfig(Config):
    """Popularity has no settings."""


@MODELS.register("popularity")
class Popularity(Classical):
    """s(u, i) = number of train interactions of i."""

    Config = PopularityConfig
    title = "Popularity"
    source = "counts"
    counts: Tensor

    def __init__(self, config: PopularityConfig, inputs: ModelInputs) -> None:
        super().__init__(config, inputs)
        self.inputs = inputs
        self.register_buffer("counts", torch.zeros(inputs.items))

    def fit(self) -> None:
        """Count."""
        self.counts.copy_(torch.from_numpy(self.inputs.train.by_item.lengths))

    @property
    def items(self) -> int:
        """Number of items."""
        return len(self.counts)

    def score_block(self, users: Tensor) -> Tensor:
        """The counts, once for each user."""
        return self.counts.expand(len(users), -1)
