"""BPR-MF (Rendle et al., UAI 2009): plain factors of users and items under the pairwise ranking loss; no content."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch.nn import functional as F

from palate.core.config import Config
from palate.core.search import Range, Space
from palate.core.seeds import Draws
from palate.dataset.inputs import ModelInputs
from palate.models.base import MODELS, Batch, Embeddings, Needs, Recommender
from palate.models.layers import node_table
from palate.models.losses import batch_squared, bpr


class BPRConfig(Config):
    """Settings of BPR-MF."""

    dim: int = Field(default=64, ge=1, description="embedding width d")
    penalty_weight: float = Field(default=1e-4, ge=0, description="λ of the squared norms of the batch's rows")


@MODELS.register("bpr")
class BPR(Recommender):
    """s(u, i) = w_u · h_i, loss = -mean log σ(s(u, i) - s(u, j)) + λ (‖w_u‖² + ‖h_i‖² + ‖h_j‖²) (section 4.3.1)."""

    Config = BPRConfig
    title = "BPR-MF"
    source = "Rendle et al., UAI 2009"
    search: ClassVar[Space] = {"penalty_weight": Range(1e-5, 1.0, log=True)}
    needs = Needs(negatives=1)

    def __init__(self, config: BPRConfig, inputs: ModelInputs) -> None:
        super().__init__(config, inputs)
        self.config = config
        self.user_id = node_table(inputs.users, config.dim)
        self.item_id = node_table(inputs.items, config.dim)

    def loss(self, batch: Batch, draws: Draws) -> dict[str, torch.Tensor]:
        """`bpr` and `penalty`."""
        assert batch.negatives is not None
        user = F.embedding(batch.users, self.user_id)
        positive, negative = F.embedding(torch.cat([batch.positives, batch.negatives]), self.item_id).chunk(2)
        penalty = batch_squared(user, positive, negative)
        return {"bpr": bpr(user, positive, negative), "penalty": self.config.penalty_weight * penalty}

    @torch.inference_mode()
    def embed(self) -> Embeddings:
        """w and h."""
        return Embeddings(self.user_id.clone(), self.item_id.clone())
