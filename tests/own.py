"""A model as somebody else would write it: names and layers of its own, tables that are called `u` and `i`."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from palate.core.config import Config
from palate.core.seeds import Draws
from palate.dataset.inputs import ModelInputs
from palate.models import MODELS, Batch, Embeddings, Needs, Recommender


class OwnConfig(Config):
    """Settings."""

    dim: int = 4


@MODELS.register("own")
class Own(Recommender):
    """s(u, i) = u · tanh(i G), with a square `user_gate` and a `bias` that are nobody's."""

    Config = OwnConfig
    title = "Own"
    source = "nowhere"
    needs: ClassVar[Needs] = Needs(negatives=2)

    def __init__(self, config: OwnConfig, inputs: ModelInputs) -> None:
        super().__init__(config, inputs)
        self.u = nn.Embedding(inputs.users, config.dim)
        self.i = nn.Parameter(torch.randn(inputs.items, config.dim))
        self.user_gate = nn.Parameter(torch.eye(config.dim))
        self.bias = nn.Parameter(torch.zeros(config.dim))

    def vectors(self) -> Tensor:
        return torch.tanh(self.i @ self.user_gate + self.bias)

    def loss(self, batch: Batch, draws: Draws) -> dict[str, Tensor]:
        assert batch.negatives is not None
        user, items = self.u(batch.users), self.vectors()
        ahead = (user * F.embedding(batch.positives, items)).sum(1, keepdim=True)
        behind = (user.unsqueeze(1) * F.embedding(batch.negatives, items)).sum(2)
        return {"bpr": F.softplus(behind - ahead).mean()}

    @torch.inference_mode()
    def embed(self) -> Embeddings:
        return Embeddings(self.u.weight, self.vectors())

    @torch.inference_mode()
    def score_parts(self) -> dict[str, Embeddings]:
        return {"id": self.embed()}
