"""BM3 (Zhou et al., WWW 2023): bootstrapped views of ids and content; no negatives.

The online view of a representation is its prediction P(h), the target view its dropout. Each user–item pair, and each
item with its own content, is asked to predict the other's target view.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from palate.core.config import Config
from palate.core.search import Choice, Range, Space
from palate.core.seeds import Draws
from palate.core.width import ColumnLinear, table_norm
from palate.dataset.inputs import ModelInputs
from palate.graph.bipartite import mean_of_layers
from palate.models.base import MODELS, Batch, Embeddings, Needs, Recommender
from palate.models.layers import FeatureTable, Projection, key_of, node_table, require_features
from palate.models.losses import batch_squared, cosine_distance
from palate.models.projecting import project_through


class BM3Config(Config):
    """Settings of BM3. The defaults are the intended preset: the formulas as the paper means them."""

    dim: int = Field(default=64, ge=1, description="embedding width d")
    layers: int = Field(default=1, ge=0, description="hops of propagation L")
    dropout: float = Field(default=0.5, ge=0, lt=1, description="rate p of the target views")
    content_weight: float = Field(
        default=2.0, ge=0, description="w of the content terms; the paper's formula shows 1, its experiments used 2"
    )
    penalty_weight: float = Field(
        default=1e-5,
        ge=0,
        description="λ of the penalty; cosines give no pull outward, so squared norms need a far smaller λ",
    )
    projection_layers: int = Field(default=1, ge=1, description="linear maps from features to d; 1: X W + b")
    align_stops_target: bool = Field(
        default=False,
        description="stop the gradient at the id target of L_align; content then never reaches the id tables",
    )
    train_features: bool = Field(default=False, description="train the raw feature matrices too")
    penalty: Literal["batch-squared", "table-norm"] = Field(
        default="batch-squared",
        description="batch-squared: mean squared norms of the batch's scoring rows; "
        "table-norm: (‖H_u‖_F + ‖H_i‖_F) / I over all rows, not squared",
    )
    degree_epsilon: float = Field(default=0.0, ge=0, description="added to every degree in Â")

    @classmethod
    def official(cls) -> BM3Config:
        """As released: stopped id targets, trained raw features, a penalty on unsquared norms of whole tables."""
        return cls(
            align_stops_target=True,
            train_features=True,
            penalty="table-norm",
            penalty_weight=0.1,
            degree_epsilon=1e-7,
        )


@MODELS.register("bm3")
class BM3(Recommender):
    """s(u, i) = P(H_u) · P(H_i), with H the propagated ids and P one linear predictor shared by ids and content.

    Args:
        config: settings.
        inputs: at least one modality in `features`; an item without a modality is left out of its content terms.

    Raises:
        ConfigError: when there is no modality.
    """

    Config = BM3Config
    title = "BM3"
    source = "Zhou et al., WWW 2023"
    needs = Needs(negatives=0)
    modal = True
    search: ClassVar[Space] = {
        "layers": Range(1, 3, whole=True),
        "dropout": Choice((0.1, 0.3, 0.5, 0.7)),
        "content_weight": Range(1e-3, 4.0, log=True),
        "penalty_weight": Range(1e-7, 0.1, log=True),
    }

    def __init__(self, config: BM3Config, inputs: ModelInputs) -> None:
        super().__init__(config, inputs)
        require_features(self.title, inputs.features)
        self.config = config
        self.modalities = tuple(inputs.features)
        self.users = inputs.users
        self.user_id = node_table(inputs.users, config.dim)
        self.item_id = node_table(inputs.items, config.dim)
        self.predictor = ColumnLinear(config.dim, config.dim)
        self.features = nn.ModuleDict(
            {key_of(name): FeatureTable(features, config.train_features) for name, features in inputs.features.items()}
        )
        self.projections = nn.ModuleDict(
            {
                key_of(name): Projection(features.width, config.dim, config.projection_layers)
                for name, features in inputs.features.items()
            }
        )
        self.adjacency = inputs.train.normalised(config.degree_epsilon)

    def propagate(self) -> tuple[Tensor, Tensor]:
        """H_u (U × d) and H_i (I × d): the mean of layers 0..L of Â^l E; items add their own ids (section 3.1)."""
        nodes = mean_of_layers(self.adjacency, torch.cat([self.user_id, self.item_id]), self.config.layers)
        return nodes[: self.users], nodes[self.users :] + self.item_id

    def loss(self, batch: Batch, draws: Draws) -> dict[str, Tensor]:
        """`user_to_item`, `item_to_user`; for each modality m `align_m` and `mask_m`; `penalty` (equations 5–9)."""
        config, positives = self.config, batch.positives
        all_users, all_items = self.propagate()
        user, item = F.embedding(batch.users, all_users), F.embedding(positives, all_items)
        user_target = draws.dropout("user", user, config.dropout, batch.users)
        item_target = draws.dropout("item", item, config.dropout, positives)
        user_online, item_online = self.predictor(user, common=True), self.predictor(item, common=True)
        terms = {
            "user_to_item": cosine_distance(user_online, item_target.detach()),
            "item_to_user": cosine_distance(item_online, user_target.detach()),
        }
        aligned = item_target.detach() if config.align_stops_target else item_target
        # An item that several rows share is projected once.
        distinct, place = torch.unique(positives, return_inverse=True)
        for name in self.modalities:
            content, present = self.project(name, distinct)
            target = draws.dropout(f"content/{name}", content, config.dropout, distinct).detach()
            online, target = self.predictor(content).index_select(0, place), target.index_select(0, place)
            present = None if present is None else present.index_select(0, place)
            terms[f"align_{name}"] = config.content_weight * cosine_distance(online, aligned, present)
            terms[f"mask_{name}"] = config.content_weight * cosine_distance(online, target, present)
        if config.penalty == "table-norm":
            penalty = (table_norm(all_users) + table_norm(all_items)) / len(all_items)
        else:
            penalty = batch_squared(user_online, item_online)
        terms["penalty"] = config.penalty_weight * penalty
        return terms

    def project(self, name: str, items: Tensor) -> tuple[Tensor, Tensor | None]:
        """h_m = X_m W_m + b_m of distinct items alone (B × d), and which of them have this modality (None: all)."""
        table = self.features[key_of(name)]
        assert isinstance(table, FeatureTable)
        projection = self.projections[key_of(name)]
        assert isinstance(projection, Projection)
        return project_through(projection, table, items), table.present_rows(items)

    @torch.inference_mode()
    def embed(self) -> Embeddings:
        """P(H_u) and P(H_i)."""
        users, items = self.propagate()
        return Embeddings(self.predictor(users), self.predictor(items))
