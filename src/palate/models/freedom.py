"""FREEDOM (Zhou & Shen, MM 2023): a frozen graph of similar items beside a user–item graph with fewer edges.

Ids of items spread over the neighbours that content gives them; ids of users and items over the interactions, of which
each epoch keeps a sample that prefers edges between nodes of low degree.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from palate.core.config import Config
from palate.core.errors import ConfigError, unknown_name
from palate.core.search import Choice, Range, Space
from palate.core.seeds import Draws
from palate.dataset.inputs import ModelInputs
from palate.encode.features import Features
from palate.graph.bipartite import inverse_root, mean_of_layers, mean_of_layers_at
from palate.graph.neighbours import nearest
from palate.graph.operator import SparseOperator
from palate.graph.rows import Rows
from palate.graph.selection import product_at
from palate.models.base import MODELS, Batch, Embeddings, Needs, Recommender
from palate.models.layers import FeatureTable, key_of, node_table, require_features
from palate.models.losses import batch_squared, bpr
from palate.models.pairwise import content_bpr


class FREEDOMConfig(Config):
    """Settings of FREEDOM. The defaults are the intended preset: the formulas as the paper means them."""

    dim: int = Field(default=64, ge=1, description="embedding width d")
    layers: int = Field(default=2, ge=0, description="hops over the user–item graph")
    item_layers: int = Field(default=1, ge=0, description="hops over the item graph")
    neighbours: int = Field(
        default=10, ge=1, description="k nearest items by cosine in each modality, the item itself included"
    )
    modality_weights: dict[str, float] = Field(
        default={},
        description="modality → its weight α in the item graph, scaled to sum 1, for example {text: 0.9, image: 0.1}; "
        "empty: all the same",
    )
    dropout: float = Field(default=0.8, ge=0, lt=1, description="share ρ of the user–item edges left out in an epoch")
    modal_weight: float = Field(default=1e-3, ge=0, description="λ of the BPR of each modality's projected features")
    penalty_weight: float = Field(
        default=0.0, ge=0, description="of the squared norms of the batch's ids; the paper has no such term"
    )
    train_features: bool = Field(default=False, description="train the raw feature matrices too")
    degree_epsilon: float = Field(default=0.0, ge=0, description="added to every degree of both graphs")

    @classmethod
    def official(cls) -> FREEDOMConfig:
        """As released: raw features are trained, and degrees are kept from 0 by adding to them."""
        return cls(train_features=True, degree_epsilon=1e-7)


@MODELS.register("freedom")
class FREEDOM(Recommender):
    """s(u, i) = h_u · h_i with h_u = ĥ_u and h_i = ĥ_i + Sⁿ e_i: LightGCN's ids, and ids spread over similar items.

    Args:
        config: settings.
        inputs: at least one modality in `features`; an item without a modality has no neighbours in it, and its other
            modalities share its weight.

    Raises:
        ConfigError: when there is no modality, or `modality_weights` does not fit those there are.
    """

    Config = FREEDOMConfig
    title = "FREEDOM"
    source = "Zhou & Shen, MM 2023"
    search: ClassVar[Space] = {
        "layers": Range(1, 3, whole=True),
        "dropout": Choice((0.0, 0.5, 0.8, 0.9)),
        "modal_weight": Range(1e-4, 0.3, log=True),
        "penalty_weight": Range(1e-6, 0.1, log=True),
    }
    needs = Needs(negatives=1)
    modal = True

    def __init__(self, config: FREEDOMConfig, inputs: ModelInputs) -> None:
        super().__init__(config, inputs)
        require_features(self.title, inputs.features)
        weights = weights_of(config.modality_weights, inputs.features)
        self.config = config
        self.modalities = tuple(inputs.features)
        self.users = inputs.users
        self.user_id = node_table(inputs.users, config.dim)
        self.item_id = node_table(inputs.items, config.dim)
        self.features = nn.ModuleDict(
            {key_of(name): FeatureTable(each, config.train_features) for name, each in inputs.features.items()}
        )
        self.projections = nn.ParameterDict(
            {key_of(name): node_table(config.dim, each.width) for name, each in inputs.features.items()}
        )
        self.train_graph = inputs.train
        self.adjacency = inputs.train.normalised(config.degree_epsilon)
        self.thinned = self.adjacency
        self.item_graph = item_graph(inputs, weights, config.neighbours, config.degree_epsilon)

    def start_epoch(self, draws: Draws) -> None:
        """Sample the edges of the epoch: (1 - ρ) E of them without replacement, by 1 / √(d_u d_i) (section 3.2)."""
        if self.config.dropout == 0:
            return
        rows = self.train_graph.by_user
        degrees = rows.lengths[rows.row_of_entry()] * self.train_graph.by_item.lengths[rows.columns]
        # The largest log-weights plus Gumbel noise are a sample without replacement (Efraimidis & Spirakis, 2006).
        noise = draws.gumbel("edges", torch.arange(rows.size), 1).squeeze(1).double()
        score = noise - 0.5 * torch.from_numpy(degrees).double().log()
        # Of 10 edges at ρ = .8 these are two, though .2 · 10 is a little less in binary.
        kept_edges = int(round((1 - self.config.dropout) * rows.size, 6))
        chosen = torch.topk(score, kept_edges, sorted=False).indices
        kept = np.zeros(rows.size, np.bool_)
        kept[chosen.numpy()] = True
        thinned = self.train_graph.subset(kept).normalised(self.config.degree_epsilon, self.item_id.dtype)
        self.thinned = thinned.to(self.item_id.device)

    def table(self) -> Tensor:
        """Ids, users first: (U + I) × d."""
        return torch.cat([self.user_id, self.item_id])

    def similar_items(self, items: Tensor) -> Tensor:
        """The rows of Sⁿ e of distinct items, B × d (section 3.3)."""
        hops, rows = self.config.item_layers, self.item_id
        for _ in range(hops - 1):
            rows = self.item_graph(rows)
        return product_at(self.item_graph, rows, items) if hops else F.embedding(items, rows)

    def loss(self, batch: Batch, draws: Draws) -> dict[str, Tensor]:
        """`bpr`; for each modality m `bpr_m`; `penalty` (section 3.3)."""
        assert batch.negatives is not None
        config = self.config
        items = torch.cat([batch.positives, batch.negatives])
        nodes = torch.cat([batch.users, items + self.users])
        final, own = mean_of_layers_at(self.thinned, self.table(), config.layers, nodes)
        user, behaviour = final.split([len(batch.users), len(items)])
        # An item that several rows share is worked on once.
        distinct, place = torch.unique(items, return_inverse=True)
        similar = self.similar_items(distinct).index_select(0, place)
        terms = {"bpr": bpr(user, *(behaviour + similar).chunk(2))}
        for name in self.modalities if config.modal_weight else ():
            table, kernel = self.content(name)
            here, there = (table.present_rows(items) for items in (batch.positives, batch.negatives))
            both = None if here is None or there is None else here * there
            term = content_bpr(None, user, [table], [kernel], batch.positives, batch.negatives, both)
            terms[f"bpr_{name}"] = config.modal_weight * term
        terms["penalty"] = config.penalty_weight * batch_squared(*own.chunk(3))
        return terms

    def content(self, name: str) -> tuple[FeatureTable, Tensor]:
        """X_m (I × D) and W_m (d × D) of h_m = X_m W_m.

        The paper adds b_m, which is the same for both items of a pair and cancels.
        """
        table = self.features[key_of(name)]
        assert isinstance(table, FeatureTable)
        return table, self.projections[key_of(name)]

    @torch.inference_mode()
    def embed(self) -> Embeddings:
        """h of users and items, over all edges."""
        nodes = mean_of_layers(self.adjacency, self.table(), self.config.layers)
        every = torch.arange(len(self.item_id), device=nodes.device)
        return Embeddings(nodes[: self.users], nodes[self.users :] + self.similar_items(every))

    @torch.inference_mode()
    def score_parts(self) -> dict[str, Embeddings]:
        """h_u · ĥ_i, the interactions; h_u · (Sⁿ e)_i, the items that content makes similar."""
        nodes = mean_of_layers(self.adjacency, self.table(), self.config.layers)
        every = torch.arange(len(self.item_id), device=nodes.device)
        user, item = nodes[: self.users], nodes[self.users :]
        return {"item id": Embeddings(user, item), "similar items": Embeddings(user, self.similar_items(every))}


def weights_of(given: Mapping[str, float], features: Mapping[str, Features]) -> dict[str, float]:
    """The weight of each modality, summing to 1.

    Raises:
        ConfigError: when a name is no modality, one is left out, or a weight cannot be used.
    """
    weights = dict(given) or dict.fromkeys(features, 1.0)
    where, do = "setting modality_weights", f"give each of {', '.join(features)} a weight, or leave all out"
    for name in weights:
        if name not in features:
            raise ConfigError(unknown_name("modality", name, features), where=where, do=do)
    for name in features:
        if name not in weights:
            raise ConfigError(f"there is no weight for the modality '{name}'", where=where, do=do)
    if min(weights.values()) < 0 or sum(weights.values()) <= 0:
        raise ConfigError("weights are 0 or more, and not all 0", where=where, do=do)
    return {name: weights[name] / sum(weights.values()) for name in features}


def item_graph(
    inputs: ModelInputs, weights: Mapping[str, float], neighbours: int, degree_epsilon: float
) -> SparseOperator:
    """S = Σ_m α_m D_m^-1/2 K_m D_m^-1/2, K_m the k nearest items of each as 0 and 1 (section 3.1).

    Row i is divided by the sum of α over the modalities that item i has; items without any have zero rows.
    """
    count = inputs.items
    rows: list[np.ndarray] = []
    columns: list[np.ndarray] = []
    values: list[np.ndarray] = []
    share = np.zeros(count)
    for name, each in inputs.features.items():
        if weights[name] == 0:
            continue
        found, _ = nearest(each.matrix, neighbours, present=each.present, itself=True, names=inputs.names)
        scale = inverse_root(found.lengths + degree_epsilon * each.present)
        rows.append(found.row_of_entry())
        columns.append(found.columns.astype(np.int64))
        values.append(weights[name] * scale[rows[-1]] * scale[columns[-1]])
        share += weights[name] * each.present
    keys, place = np.unique(np.concatenate(rows) * count + np.concatenate(columns), return_inverse=True)
    summed = np.bincount(place, weights=np.concatenate(values), minlength=len(keys))
    row, column = np.divmod(keys, count)
    return SparseOperator(Rows.from_pairs(row, column, count, count), summed / share[row])
