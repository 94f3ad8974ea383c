"""LightGCN (He et al., SIGIR 2020): linear propagation of ids over the user–item graph; no content."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from palate.core.config import Config
from palate.core.search import Range, Space
from palate.core.seeds import Draws
from palate.dataset.inputs import ModelInputs
from palate.graph.bipartite import mean_of_layers, mean_of_layers_at
from palate.models.base import MODELS, Batch, Embeddings, Needs, Recommender
from palate.models.layers import node_table
from palate.models.losses import batch_squared, bpr


class LightGCNConfig(Config):
    """Settings of LightGCN."""

    dim: int = Field(default=64, ge=1, description="embedding width d")
    layers: int = Field(default=2, ge=0, description="hops of propagation L")
    penalty_weight: float = Field(default=1e-4, ge=0, description="λ of the squared norms of the batch's E⁰ rows")
    degree_epsilon: float = Field(default=0.0, ge=0, description="added to every degree in Â")


@MODELS.register("lightgcn")
class LightGCN(Recommender):
    """E* = mean(E, ÂE, …, Â^L E), score = inner product, loss = BPR + λ ‖E⁰‖² over the batch (equations 3–15)."""

    Config = LightGCNConfig
    title = "LightGCN"
    source = "He et al., SIGIR 2020"
    search: ClassVar[Space] = {"layers": Range(1, 4, whole=True), "penalty_weight": Range(1e-5, 0.1, log=True)}
    needs = Needs(negatives=1)

    def __init__(self, config: LightGCNConfig, inputs: ModelInputs) -> None:
        super().__init__(config, inputs)
        self.config = config
        self.users = inputs.users
        self.user_id = node_table(inputs.users, config.dim)
        self.item_id = node_table(inputs.items, config.dim)
        self.adjacency = inputs.train.normalised(config.degree_epsilon)

    def table(self) -> Tensor:
        """E, users first: (U + I) × d."""
        return torch.cat([self.user_id, self.item_id])

    def propagate(self) -> tuple[Tensor, Tensor]:
        """Final user (U × d) and item (I × d) rows."""
        nodes = mean_of_layers(self.adjacency, self.table(), self.config.layers)
        return nodes[: self.users], nodes[self.users :]

    def loss(self, batch: Batch, draws: Draws) -> dict[str, Tensor]:
        """`bpr` and `penalty`."""
        assert batch.negatives is not None
        nodes = torch.cat([batch.users, batch.positives + self.users, batch.negatives + self.users])
        final, own = mean_of_layers_at(self.adjacency, self.table(), self.config.layers, nodes)
        penalty = batch_squared(*own.chunk(3))
        return {"bpr": bpr(*final.chunk(3)), "penalty": self.config.penalty_weight * penalty}

    @torch.inference_mode()
    def embed(self) -> Embeddings:
        """E* of users and items."""
        return Embeddings(*self.propagate())
