"""ContentKNN: item-based collaborative filtering where items are near when their content is, whoever took them."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from palate.core.config import Config
from palate.core.search import Choice, Space
from palate.dataset.inputs import ModelInputs
from palate.encode.concat import concatenated
from palate.graph.neighbours import nearest
from palate.models.base import MODELS
from palate.models.classical.neighbourhood import Neighbourhood
from palate.models.layers import require_features


class ContentKNNConfig(Config):
    """Settings of ContentKNN."""

    neighbours: int = Field(default=100, ge=1, description="items kept as neighbours of each item")
    neighbours_of: Literal["scored", "history"] = Field(
        default="scored", description="whose neighbours are kept: of each item to be scored, or that a user took"
    )


@MODELS.register("contentknn")
class ContentKNN(Neighbourhood):
    """w_ij = cos(f_i, f_j), f all modalities that an item has, each scaled to length 1, side by side; the k largest.

    Items without content have no neighbours; negative cosines weigh nothing.

    Raises:
        ConfigError: when there is no modality.
    """

    Config = ContentKNNConfig
    title = "ContentKNN"
    source = "item-based collaborative filtering (Sarwar et al., WWW 2001) on features"
    search: ClassVar[Space] = {
        "neighbours": Choice((5, 10, 20, 50, 100, 200)),
        "neighbours_of": Choice(("scored", "history")),
    }
    modal = True

    def __init__(self, config: ContentKNNConfig, inputs: ModelInputs) -> None:
        require_features(self.title, inputs.features)
        super().__init__(config, inputs, config.neighbours)
        self.config = config
        self.content = concatenated(inputs.features)

    def fit(self) -> None:
        """Keep the items of the nearest features."""
        found = nearest(self.content.matrix, self.neighbours, present=self.content.present, names=self.names)
        self.keep(*found, of_scored=self.config.neighbours_of == "scored")
