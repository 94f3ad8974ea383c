"""AlignRec (Liu et al., CIKM 2024): content that was aligned before training guides ids over two graphs.

The content of an item is one vector h_enc, made apart by the joint encoder of pictures and words, or put together from
the modalities there are. It gates the item's id, spreads over a graph of similar items, and reaches users over theirs.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from palate.core.config import Config
from palate.core.search import Range, Space
from palate.core.seeds import Draws
from palate.core.width import ColumnLinear, inner, normalize, onto_columns, squared_norm
from palate.dataset.inputs import ModelInputs
from palate.graph.bipartite import mean_of_layers, mean_of_layers_at
from palate.graph.selection import product_at
from palate.graph.similarity import similarity_graph
from palate.models.base import MODELS, Batch, Embeddings, Needs, Recommender
from palate.models.content import content_of
from palate.models.layers import FeatureTable, Projection, node_table, require_features
from palate.models.losses import batch_squared, bpr, cosine_distance, gram_distance, in_batch_contrast
from palate.models.projecting import project_through


class AlignRecConfig(Config):
    """Settings of AlignRec. The defaults are the intended preset: the formulas as the paper means them.

    Weights marked as ours were chosen on MovieLens-100K's validation part and serve both presets.
    """

    dim: int = Field(default=64, ge=1, description="embedding width d")
    layers: int = Field(default=2, ge=0, description="hops L of the ids over the user–item graph")
    content: str = Field(
        default="auto",
        description="h_enc: joint (of the joint encoder), concat (all modalities, each scaled to length 1, side by "
        "side, scaled again), auto (joint where there is such a modality, else concat), or the name of one modality",
    )
    encoder_fingerprint: str | None = Field(
        default=None,
        pattern="^[0-9a-f]{64}$",
        description="fingerprint of the joint encoder that made h_enc; rows of any other are refused. Unset: any",
    )
    train_features: bool = Field(default=False, description="train h_enc too")
    gate_activation: Literal["relu", "none"] = Field(
        default="relu", description="between the two linear maps of the gate; none: they are one map"
    )
    neighbours: int = Field(
        default=10, ge=1, description="k nearest items by cosine of h_enc, the item itself included"
    )
    symmetrise: bool = Field(default=True, description="an edge of the item graph where either item chose the other")
    clip_cosines: bool = Field(default=True, description="negative cosines weigh 0 in the item graph")
    item_layers: int = Field(default=1, ge=0, description="hops n of the content over the item graph")
    fuse: Literal["sum", "attention"] = Field(
        default="sum", description="of content and ids: their sum, or a learned softmax over the two"
    )
    contrast_weight: float = Field(default=0.01, ge=0, description="α of the contrast of content and ids (CCA); ours")
    contrast_similarity: Literal["cosine", "inner"] = Field(
        default="cosine", description="in the contrast: cosine (the released code) or inner product (the paper)"
    )
    temperature: float = Field(default=0.2, gt=0, description="τ of the contrast")
    user_item_weight: float = Field(default=0.1, ge=0, description="β of the distance of a user and a positive (UIA)")
    similarity_weight: float = Field(
        default=0.01, ge=0, description="λ of the distance of H_mm's similarities from those of h_enc (REG); ours"
    )
    similarity: Literal["cosine", "inner"] = Field(
        default="cosine", description="of the content representations in REG; those of h_enc are cosines"
    )
    target: Literal["initial", "current"] = Field(
        default="initial",
        description="similarities of h_enc that REG aims at: those of h_enc as it was given, or as it is trained now",
    )
    penalty: Literal["batch-squared", "half-squares"] = Field(
        default="batch-squared",
        description="batch-squared: mean squared norms of the batch's scoring rows; "
        "half-squares: half their sum / penalty_batch_size",
    )
    penalty_weight: float = Field(default=1e-3, ge=0, description="of the penalty; ours")
    penalty_batch_size: int = Field(
        default=2048, ge=1, description="half-squares: the constant that divides, whatever the batch"
    )
    degree_epsilon: float = Field(default=0.0, ge=0, description="added to every degree in Â")

    @classmethod
    def official(cls) -> AlignRecConfig:
        """As released: h_enc is trained and REG's target with it, one-sided neighbours, a gate of one linear map."""
        return cls(
            train_features=True,
            target="current",
            similarity="inner",
            gate_activation="none",
            symmetrise=False,
            clip_cosines=False,
            penalty="half-squares",
        )


@MODELS.register("alignrec")
class AlignRec(Recommender):
    """s(u, i) = h_u · h_i with h = H_mm + H_id: content spread over graphs, and propagated ids.

    An item without content takes no part in the item graph and has H_mm = 0, and so has a user who met only such
    items; they are scored by ids, and left out of CCA's content terms and of REG.

    Args:
        config: settings.
        inputs: at least one modality in `features`.

    Raises:
        ConfigError: when there is no modality, not the one that is asked for, or it is of another joint encoder.
    """

    Config = AlignRecConfig
    title = "AlignRec"
    source = "Liu et al., CIKM 2024"
    needs = Needs(negatives=1)
    modal = True
    search: ClassVar[Space] = {
        "layers": Range(1, 3, whole=True),
        "contrast_weight": Range(1e-3, 0.3, log=True),
        "similarity_weight": Range(1e-3, 0.3, log=True),
        "penalty_weight": Range(1e-5, 1e-2, log=True),
    }

    known_items: Tensor
    known_users: Tensor
    given: Tensor | None

    def __init__(self, config: AlignRecConfig, inputs: ModelInputs) -> None:
        super().__init__(config, inputs)
        require_features(self.title, inputs.features)
        content = content_of(inputs.features, config.content, config.encoder_fingerprint)
        self.config = config
        self.users = inputs.users
        self.user_id = node_table(inputs.users, config.dim)
        self.item_id = node_table(inputs.items, config.dim)
        self.content = FeatureTable(content, config.train_features)
        self.feature = Projection(content.width, config.dim)
        self.gate = ColumnLinear(config.dim, config.dim)
        if config.fuse == "attention":
            self.query = ColumnLinear(config.dim, config.dim)
            self.attention = nn.Parameter(torch.randn(len(self.query.weight)) / config.dim**0.5)
        self.adjacency = inputs.train.normalised(config.degree_epsilon)
        self.user_block = inputs.train.user_block(config.degree_epsilon)
        self.item_graph = similarity_graph(
            content.matrix,
            config.neighbours,
            present=content.present,
            symmetrise=config.symmetrise,
            clip=config.clip_cosines,
            names=inputs.names,
        )
        history = inputs.train.by_user
        met = np.bincount(history.row_of_entry(), weights=content.present[history.columns], minlength=inputs.users)
        self.register_buffer("known_items", torch.tensor(content.present), persistent=False)
        self.register_buffer("known_users", torch.from_numpy(met > 0), persistent=False)
        drifts = config.train_features and config.target == "initial"
        self.register_buffer("given", self.content.matrix.detach().clone() if drifts else None, persistent=False)

    def table(self) -> Tensor:
        """E, users first: (U + I) × d."""
        return torch.cat([self.user_id, self.item_id])

    def propagate(self) -> tuple[Tensor, Tensor]:
        """H_id of users (U × d) and items (I × d): the mean of layers 0..L of Â^l E."""
        nodes = mean_of_layers(self.adjacency, self.table(), self.config.layers)
        return nodes[: self.users], nodes[self.users :]

    def item_gate(self) -> Tensor:
        """σ(W2 act(W1 h_enc + b1) + b2), I × d."""
        projected = project_through(self.feature, self.content)
        if self.config.gate_activation == "relu":
            projected = F.relu(projected)
        return torch.sigmoid(self.gate(projected, common=True))

    def spread_content(self) -> Tensor:
        """H_mm of items, I × d: Sⁿ (e_id ⊙ gate)."""
        items = self.item_id * self.item_gate()
        if not self.content.complete:
            items = items * self.known_items.unsqueeze(1)
        for _ in range(self.config.item_layers):
            items = self.item_graph(items)
        return items

    def fuse(self, content: Tensor, behaviour: Tensor, known: Tensor) -> Tensor:
        """h of some nodes (n × d) from H_mm and H_id; attention weighs them by a softmax of the votes aᵀ tanh(W h + b).

        Args:
            known: bool, n: nodes with content; attention gives the others' ids all the weight.
        """
        if self.config.fuse == "sum":
            return content + behaviour
        both = torch.stack([content, behaviour])
        votes = inner(torch.tanh(self.query(both)), self.attention)
        votes = votes.masked_fill(~torch.stack([known, torch.ones_like(known)]), -torch.inf)
        return (onto_columns(torch.softmax(votes, dim=0)).unsqueeze(-1) * both).sum(0)

    def loss(self, batch: Batch, draws: Draws) -> dict[str, Tensor]:
        """`bpr`; `contrast_item`, `contrast_user` (CCA); `user_item` (UIA); `similarity` (REG); `penalty`."""
        assert batch.negatives is not None
        config = self.config
        # A node that several rows share is worked on once; its counts stand for its rows.
        users, user_place, user_counts = torch.unique(batch.users, return_inverse=True, return_counts=True)
        items, item_place, item_counts = torch.unique(batch.positives, return_inverse=True, return_counts=True)
        nodes = torch.cat([users, items + self.users, batch.negatives + self.users])
        sizes = len(users), len(items), len(batch.negatives)
        propagated, _ = mean_of_layers_at(self.adjacency, self.table(), config.layers, nodes)
        user_id, item_id, negative_id = propagated.split(sizes)
        spread = self.spread_content()
        user_content = product_at(self.user_block, spread, users)
        item_content, negative_content = F.embedding(items, spread), F.embedding(batch.negatives, spread)
        known_users, known_items = self.known_users.index_select(0, users), self.known_items.index_select(0, items)
        user = self.fuse(user_content, user_id, known_users).index_select(0, user_place)
        positive = self.fuse(item_content, item_id, known_items).index_select(0, item_place)
        negative = self.fuse(negative_content, negative_id, self.known_items.index_select(0, batch.negatives))
        if not self.content.complete:
            kept_users, kept_items = known_users.nonzero().flatten(), known_items.nonzero().flatten()
            user_id, user_content, user_counts = (
                rows.index_select(0, kept_users) for rows in (user_id, user_content, user_counts)
            )
            items, item_id, item_content, item_counts = (
                rows.index_select(0, kept_items) for rows in (items, item_id, item_content, item_counts)
            )
        return {
            "bpr": bpr(user, positive, negative),
            "contrast_item": config.contrast_weight * self.contrast(item_content, item_id, item_counts),
            "contrast_user": config.contrast_weight * self.contrast(user_content, user_id, user_counts),
            "user_item": config.user_item_weight * cosine_distance(user, positive),
            "similarity": config.similarity_weight * self.similarity_distance(item_content, items, item_counts),
            "penalty": config.penalty_weight * self.penalty(user, positive, negative),
        }

    def contrast(self, content: Tensor, behaviour: Tensor, counts: Tensor) -> Tensor:
        """CCA of one side: InfoNCE between H_mm and H_id of the same node, within the batch."""
        if self.config.contrast_similarity == "cosine":
            content, behaviour = normalize(content), normalize(behaviour)
        return in_batch_contrast(content, behaviour, counts, self.config.temperature)

    def similarity_distance(self, content: Tensor, items: Tensor, counts: Tensor) -> Tensor:
        """REG: ‖C(H_mm) - C(h_enc)‖_F / B over the batch's positives, C the cosines of all pairs."""
        rows = normalize(content) if self.config.similarity == "cosine" else content
        return gram_distance(rows, self.target_rows(items), counts)

    def target_rows(self, items: Tensor) -> Tensor:
        """h_enc of `items` that REG aims at, as unit rows (n × D); no gradient passes."""
        table = self.content.matrix.detach() if self.given is None else self.given
        return F.normalize(F.embedding(items, table), dim=1)

    def penalty(self, user: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        """Squared norms of the batch's scoring rows."""
        if self.config.penalty == "batch-squared":
            return batch_squared(user, positive, negative)
        squares = squared_norm(user).sum() + squared_norm(positive).sum() + squared_norm(negative).sum()
        return squares / (2 * self.config.penalty_batch_size)

    @torch.inference_mode()
    def embed(self) -> Embeddings:
        """h of users and items."""
        (id_users, id_items), content = self.propagate(), self.spread_content()
        return Embeddings(
            self.fuse(self.user_block(content), id_users, self.known_users),
            self.fuse(content, id_items, self.known_items),
        )

    @torch.inference_mode()
    def score_parts(self) -> dict[str, Embeddings]:
        """h_u · H_id and h_u · H_mm of the item; none where attention mixes the two."""
        if self.config.fuse != "sum":
            return {}
        (id_users, id_items), content = self.propagate(), self.spread_content()
        user = self.user_block(content) + id_users
        return {"item id": Embeddings(user, id_items), "item content": Embeddings(user, content)}
