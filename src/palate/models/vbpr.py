"""VBPR (He & McAuley, AAAI 2016): factors of users and items, and factors by which users like what content shows."""

from __future__ import annotations

from typing import ClassVar, cast

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from palate.core.config import Config
from palate.core.search import Choice, Range, Space
from palate.core.seeds import Draws
from palate.core.width import inner
from palate.dataset.inputs import ModelInputs
from palate.models.base import MODELS, Batch, Embeddings, Needs, Recommender
from palate.models.layers import FeatureTable, key_of, node_table, require_features
from palate.models.losses import batch_squared
from palate.models.pairwise import content_bpr
from palate.models.projecting import project


class VBPRConfig(Config):
    """Settings of VBPR."""

    dim: int = Field(default=64, ge=1, description="width K of the factors γ of users and items")
    content_dim: int = Field(default=64, ge=1, description="width D of the content factors θ of users")
    item_bias: bool = Field(default=True, description="β_i, a bias of each item")
    content_bias: bool = Field(default=True, description="β'ᵀ f_i, what all users think of the content")
    penalty_weight: float = Field(default=1e-4, ge=0, description="λ of the squared norms of the batch's γ, θ and β_i")
    kernel_penalty_weight: float = Field(default=0.0, ge=0, description="λ_E of the squares of E and β'")


@MODELS.register("vbpr")
class VBPR(Recommender):
    """s(u, i) = γ_u · γ_i + θ_u · E f_i + β_i + β'ᵀ f_i (equation 4 without what is the same for all items of a user).

    f_i are the features of all modalities side by side, so E f_i is a sum over modalities of E_m f_im; a modality that
    an item lacks is left out of it.

    Args:
        config: settings.
        inputs: at least one modality in `features`.

    Raises:
        ConfigError: when there is no modality.
    """

    Config = VBPRConfig
    title = "VBPR"
    source = "He & McAuley, AAAI 2016"
    search: ClassVar[Space] = {
        "content_dim": Choice((16, 32, 64)),
        "penalty_weight": Range(1e-5, 1.0, log=True),
        "kernel_penalty_weight": Range(1e-8, 10.0, log=True),
    }
    needs = Needs(negatives=1)
    modal = True

    def __init__(self, config: VBPRConfig, inputs: ModelInputs) -> None:
        super().__init__(config, inputs)
        require_features(self.title, inputs.features)
        self.config = config
        self.modalities = tuple(inputs.features)
        self.user_id = node_table(inputs.users, config.dim)
        self.item_id = node_table(inputs.items, config.dim)
        self.user_content = node_table(inputs.users, config.content_dim)
        self.features = nn.ModuleDict()
        self.kernels = nn.ParameterDict()
        for name, features in inputs.features.items():
            self.features[key_of(name)] = FeatureTable(features)
            kernel = node_table(config.content_dim, features.width)
            # β' is one more row of E, so that the features are gone through once.
            extra = torch.zeros(int(config.content_bias), features.width)
            self.kernels[key_of(name)] = nn.Parameter(torch.cat([kernel.detach(), extra]))
        self.bias = nn.Parameter(torch.zeros(inputs.items, 1)) if config.item_bias else None

    def content(self, items: Tensor) -> Tensor:
        """E f_i, and β'ᵀ f_i as one more column where there is one, of distinct items (B × D or D + 1)."""
        parts = [project(table, items, kernel) for table, kernel in zip(*self._tables(), strict=True)]
        return torch.stack(parts).sum(0)

    def _tables(self) -> tuple[list[FeatureTable], list[Tensor]]:
        keys = [key_of(name) for name in self.modalities]
        return [cast(FeatureTable, self.features[key]) for key in keys], [self.kernels[key] for key in keys]

    def user_rows(self, users: Tensor) -> Tensor:
        """γ_u ‖ θ_u, and 1 where items have a bias."""
        parts = [F.embedding(users, self.user_id), F.embedding(users, self.user_content)]
        if self.biased:
            parts.append(parts[0].new_ones(len(users), 1))
        return torch.cat(parts, 1)

    def item_rows(self, items: Tensor) -> Tensor:
        """γ_i ‖ E f_i, and β_i + β'ᵀ f_i where there is either, of distinct items."""
        content = self.content(items)
        width = self.config.content_dim
        parts = [F.embedding(items, self.item_id), content[:, :width]]
        biases = [content[:, width:]] if self.config.content_bias else []
        if self.bias is not None:
            biases.append(F.embedding(items, self.bias))
        if biases:
            parts.append(torch.stack(biases).sum(0))
        return torch.cat(parts, 1)

    @property
    def biased(self) -> bool:
        """Vectors have one more column for what all users think of an item."""
        return self.config.item_bias or self.config.content_bias

    def loss(self, batch: Batch, draws: Draws) -> dict[str, Tensor]:
        """`bpr`; `penalty`; `kernel_penalty` where it has a weight."""
        assert batch.negatives is not None
        config = self.config
        pair = batch.positives, batch.negatives
        user, likes = F.embedding(batch.users, self.user_id), F.embedding(batch.users, self.user_content)
        positive, negative = (F.embedding(items, self.item_id) for items in pair)
        penalty = batch_squared(user, likes, positive, negative)
        ahead = inner(user, positive - negative)
        if self.bias is not None:
            biases = [F.embedding(items, self.bias) for items in pair]
            penalty = penalty + batch_squared(*biases)
            ahead = ahead + (biases[0] - biases[1])[:, 0]
        if config.content_bias:
            likes = torch.cat([likes, likes.new_ones(len(likes), 1)], 1)
        terms = {"bpr": content_bpr(ahead, likes, *self._tables(), *pair), "penalty": config.penalty_weight * penalty}
        if config.kernel_penalty_weight:
            squares = torch.stack([kernel.square().sum() for kernel in self.kernels.values()]).sum()
            terms["kernel_penalty"] = config.kernel_penalty_weight * squares
        return terms

    @torch.inference_mode()
    def embed(self) -> Embeddings:
        """The vectors whose inner product is the score."""
        users, items = (torch.arange(len(table), device=table.device) for table in (self.user_id, self.item_id))
        return Embeddings(self.user_rows(users), self.item_rows(items))

    @torch.inference_mode()
    def score_parts(self) -> dict[str, Embeddings]:
        """γ_u · γ_i; for each modality m θ_u · E_m f_im + β'_mᵀ f_im; β_i."""
        items = torch.arange(len(self.item_id), device=self.item_id.device)
        one = self.user_id.new_ones(len(self.user_id), 1)
        likes = torch.cat([self.user_content, one], 1) if self.config.content_bias else self.user_content.clone()
        parts = {"item id": Embeddings(self.user_id.clone(), self.item_id.clone())}
        for name, table, kernel in zip(self.modalities, *self._tables(), strict=True):
            parts[name] = Embeddings(likes, project(table, items, kernel))
        if self.bias is not None:
            parts["item bias"] = Embeddings(one, self.bias.clone())
        return parts
