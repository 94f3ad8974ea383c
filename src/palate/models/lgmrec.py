"""LGMRec (Guo et al., AAAI 2024): ids and content propagated on the user–item graph, and over learnt hyperedges.

Local: what neighbours say, once for ids and once for each modality. Global: each modality ties all nodes to a few
hyperedges, over which the ids travel; a contrast holds the modalities' global views of one node together.
"""

from __future__ import annotations

from itertools import combinations
from typing import ClassVar, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from palate.core.config import Config
from palate.core.search import Choice, Range, Space
from palate.core.seeds import Draws
from palate.core.width import normalize, table_norm
from palate.dataset.inputs import ModelInputs
from palate.encode.features import Features
from palate.graph.bipartite import mean_of_layers
from palate.graph.hyperedges import HyperedgeRows, collect, soften
from palate.graph.operator import SparseOperator
from palate.models.base import MODELS, Batch, Embeddings, Needs, Recommender
from palate.models.contrast import hyperedge_contrast
from palate.models.layers import FeatureTable, key_of, node_table, require_features
from palate.models.losses import batch_squared, bpr
from palate.models.projecting import project


class LGMRecConfig(Config):
    """Settings of LGMRec. The defaults are the intended preset: the formulas as the paper means them."""

    dim: int = Field(default=64, ge=1, description="embedding width d")
    layers: int = Field(default=2, ge=0, description="hops L of the ids; the mean of layers 0..L counts")
    modal_layers: int = Field(default=2, ge=0, description="hops K of the content; the last layer counts")
    hyper_layers: int = Field(default=1, ge=1, description="steps of message passing over hyperedges")
    hyperedges: int = Field(default=4, ge=1, description="hyperedges A of each modality")
    alpha: float = Field(default=0.3, ge=0, description="α, weight of the global embedding in the final one")
    temperature: float = Field(default=0.2, gt=0, description="τ of the softmax over hyperedges")
    noise: Literal["logistic", "gumbel", "none"] = Field(
        default="logistic",
        description="added to the hyperedge logits in training, never when scoring; logistic: log δ - log(1-δ)",
    )
    dropout: float = Field(default=0.5, ge=0, lt=1, description="rate at which entries of H are dropped (1 - keep)")
    share_dropout: bool = Field(
        default=False, description="one mask of each H for sending, receiving and all steps, not one for each use"
    )
    contrast: Literal["symmetric", "directed"] = Field(
        default="symmetric",
        description="directed: of two modalities the first anchors; symmetric: the mean of both directions",
    )
    contrast_weight: float = Field(
        default=0.2,
        ge=0,
        description="λ2; for reduction=sum divide by the batch size (0.2 / 2048 ≈ 1e-4); dense data want far less",
    )
    contrast_temperature: float = Field(default=0.2, gt=0, description="τ of the contrast")
    reduction: Literal["mean", "sum"] = Field(
        default="mean", description="of the contrast over the batch; a sum grows with the batch size"
    )
    penalty: Literal["batch-squared", "batch-norm"] = Field(
        default="batch-squared",
        description="batch-squared: mean squared norms of the batch's final rows; "
        "batch-norm: (‖u‖_F + ‖i⁺‖_F + ‖i⁻‖_F) / B of them, not squared",
    )
    penalty_weight: float = Field(default=1e-3, ge=0, description="λ1 of the penalty")
    degree_epsilon: float = Field(default=0.0, ge=0, description="added to every degree, in Â and in users' means")

    @classmethod
    def official(cls) -> LGMRecConfig:
        """As released: Gumbel noise, shared masks, one direction of the contrast, summed, norms not squared."""
        return cls(
            noise="gumbel",
            share_dropout=True,
            contrast="directed",
            contrast_weight=1e-4,
            reduction="sum",
            penalty="batch-norm",
            penalty_weight=1e-6,
            degree_epsilon=1e-7,
        )


class Content(nn.Module):
    """One modality m: its features X_m, their projection W_m and its hyperedges V_m, and which nodes take part in it.

    An item that lacks the modality does not, nor does a user all of whose items lack it: they depend on no hyperedge
    and are left out of the contrast. Users' means are over the items that have it.

    Args:
        features: of the items.
        config: settings.
        history: R, the sum over a user's items.
    """

    scale: Tensor
    present: Tensor

    def __init__(self, features: Features, config: LGMRecConfig, history: SparseOperator) -> None:
        super().__init__()
        self.table = FeatureTable(features)
        self.weight = node_table(config.dim, features.width)
        self.hyperedge = node_table(config.hyperedges, features.width)
        having = self.table.present.to(self.table.matrix.dtype).unsqueeze(1)
        counts, lengths = history(having), history(torch.ones_like(having))
        degree = counts + config.degree_epsilon
        share = torch.where(degree > 0, 1 / degree, torch.zeros_like(degree))
        present = torch.cat([((counts > 0) | (lengths == 0)).squeeze(1), self.table.present])
        self.register_buffer("scale", torch.cat([share, torch.ones_like(having)]), persistent=False)
        self.register_buffer("present", present, persistent=False)
        self.complete = bool(present.all())

    def forward(self, history: SparseOperator) -> tuple[Tensor, Tensor]:
        """Rows of all nodes, users first: content, nodes × d, and hyperedge logits h, nodes × A.

        Items have X W and X Vᵀ, in one product; users the mean and the sum of their items'.
        """
        items = project(self.table, None, torch.cat([self.weight, self.hyperedge]))
        nodes = torch.cat([history(items), items])
        content, logits = nodes.split([len(self.weight), len(self.hyperedge)], 1)
        return content * self.scale, logits


class Views(NamedTuple):
    """What the parts of the model say about all nodes, users first; dictionaries go by modality.

    Attributes:
        ids: E_id, nodes × d.
        modal: E_local^m before L2, nodes × d.
        dependency: H before dropout, nodes × A.
        reached: what hyperedges tell the nodes, [E_u^m ; E_i^m] = H L.
    """

    ids: Tensor
    modal: dict[str, Tensor]
    dependency: dict[str, Tensor]
    reached: dict[str, HyperedgeRows]

    def final(self, alpha: float, nodes: Tensor | None = None) -> Tensor:
        """E* = E_id + Σ_m L2(E_local^m) + α L2(Σ_m E^m) of `nodes` (int64; None: all), as many rows × d."""

        def rows(table: Tensor) -> Tensor:
            return table if nodes is None else F.embedding(nodes, table)

        views = [view if nodes is None else view.take(nodes) for view in self.reached.values()]
        everywhere = torch.stack([view.table() for view in views]).sum(0)
        local = rows(self.ids) + torch.stack([normalize(rows(table)) for table in self.modal.values()]).sum(0)
        return local + alpha * normalize(everywhere)


@MODELS.register("lgmrec")
class LGMRec(Recommender):
    """E* = E_id + Σ_m L2(E_local^m) + α L2(G), G = Σ_m [E_u^m ; E_i^m]; score = inner product.

    Args:
        config: settings.
        inputs: at least one modality in `features`; with a single one there is no contrast.

    Raises:
        ConfigError: when there is no modality.
    """

    Config = LGMRecConfig
    title = "LGMRec"
    source = "Guo et al., AAAI 2024"
    needs = Needs(negatives=1)
    modal = True
    search: ClassVar[Space] = {
        "alpha": Range(0.05, 1.0, log=True),
        "contrast_weight": Range(1e-6, 0.3, log=True),
        "penalty_weight": Range(1e-7, 0.1, log=True),
        "dropout": Choice((0.2, 0.5, 0.8)),
    }

    def __init__(self, config: LGMRecConfig, inputs: ModelInputs) -> None:
        super().__init__(config, inputs)
        require_features(self.title, inputs.features)
        self.config = config
        self.modalities = tuple(inputs.features)
        self.users, self.nodes = inputs.users, inputs.users + inputs.items
        self.user_id = node_table(inputs.users, config.dim)
        self.item_id = node_table(inputs.items, config.dim)
        self.adjacency = inputs.train.normalised(config.degree_epsilon)
        self.history = inputs.train.history_sum()
        self.content = nn.ModuleDict(
            {key_of(name): Content(features, config, self.history) for name, features in inputs.features.items()}
        )

    def content_of(self, name: str) -> Content:
        """The part of modality `name`."""
        content = self.content[key_of(name)]
        assert isinstance(content, Content)
        return content

    def views(self, draws: Draws | None = None) -> Views:
        """All parts, with the noise and dropout of a training step, or without when `draws` is None."""
        ids = mean_of_layers(self.adjacency, torch.cat([self.user_id, self.item_id]), self.config.layers)
        views = Views(ids, {}, {}, {})
        for name in self.modalities:
            content, logits = self.content_of(name)(self.history)
            for _ in range(self.config.modal_layers):
                content = self.adjacency(content)
            views.modal[name] = content
            views.dependency[name] = self.depend(name, logits, draws)
            views.reached[name] = self.reach(name, views.dependency[name], ids, draws)
        return views

    def depend(self, name: str, logits: Tensor, draws: Draws | None) -> Tensor:
        """H = softmax((h + g) / τ) by row, nodes × A; zero rows for nodes that take no part."""
        noise, content = None, self.content_of(name)
        if draws is not None and self.config.noise != "none":
            draw = draws.gumbel if self.config.noise == "gumbel" else draws.logistic
            noise = draw(f"noise/{name}", torch.arange(self.nodes, device=logits.device), logits.shape[1])
        dependency = soften(logits, self.config.temperature, noise)
        return dependency if content.complete else dependency * content.present.unsqueeze(1)

    def reach(self, name: str, dependency: Tensor, ids: Tensor, draws: Draws | None) -> HyperedgeRows:
        """Items send their ids to the hyperedges, Z = Hᵀ E; in the end all nodes receive, H Z."""

        def drop(use: str, start: int = 0) -> Tensor:
            if draws is None:
                return dependency[start:]
            mask = f"mask/{name}" if self.config.share_dropout else f"mask/{name}/{use}"
            rows = torch.arange(start, self.nodes, device=dependency.device)
            return draws.dropout(mask, dependency[start:], self.config.dropout, rows, spread=False)

        latent = collect(drop("send/0", self.users), ids[self.users :])
        for step in range(1, self.config.hyper_layers):
            items = HyperedgeRows(drop(f"receive/{step}", self.users), latent).table()
            latent = collect(drop(f"send/{step}", self.users), items)
        return HyperedgeRows(drop("receive"), latent)

    def loss(self, batch: Batch, draws: Draws) -> dict[str, Tensor]:
        """`bpr`, `penalty`; with several modalities `contrast_user` and `contrast_item`."""
        assert batch.negatives is not None
        config, views = self.config, self.views(draws)
        positives, negatives = batch.positives + self.users, batch.negatives + self.users
        rows = views.final(config.alpha, torch.cat([batch.users, positives, negatives])).chunk(3)
        terms = {"bpr": bpr(*rows)}
        if len(self.modalities) > 1:
            terms["contrast_user"] = config.contrast_weight * self.contrast(views, batch.users, 0, self.users)
            terms["contrast_item"] = config.contrast_weight * self.contrast(views, positives, self.users, self.nodes)
        if config.penalty == "batch-norm":
            penalty = torch.stack([table_norm(row) for row in rows]).sum() / len(batch.users)
        else:
            penalty = batch_squared(*rows)
        terms["penalty"] = config.penalty_weight * penalty
        return terms

    def contrast(self, views: Views, nodes: Tensor, start: int, stop: int) -> Tensor:
        """HCL: of each pair of modalities, how well a node's view by one is told from all others' by the other.

        Args:
            nodes: B, node numbers in [start, stop): the anchors.
            start, stop: the users, or the items; all of them are in the denominator.
        """
        # A node that several rows share has one view, and is compared once.
        distinct, counts = torch.unique(nodes, return_counts=True)
        pairs = list(combinations(self.modalities, 2))
        both = self.config.contrast == "symmetric"
        total = views.ids.new_zeros(())
        for one, other in pairs + [pair[::-1] for pair in pairs if both]:
            anchors, candidates = views.reached[one].take(distinct), views.reached[other].part(start, stop)
            here, there = (self.content_of(name).present for name in (one, other))
            weights = counts * (here & there).index_select(0, distinct).to(views.ids.dtype)
            among = there[start:stop].to(views.ids.dtype)
            temperature = self.config.contrast_temperature
            term = hyperedge_contrast(anchors, candidates, distinct - start, weights, among, temperature)
            total = total + (term / weights.sum().clamp_min(1) if self.config.reduction == "mean" else term)
        return total / 2 if both else total

    @torch.inference_mode()
    def embed(self) -> Embeddings:
        """E* without noise and dropout (the released code keeps its noise on when scoring)."""
        final = self.views().final(self.config.alpha)
        return Embeddings(final[: self.users], final[self.users :])

    @torch.inference_mode()
    def score_parts(self) -> dict[str, Embeddings]:
        """E*_u · E_id; for each modality m E*_u · L2(E_local^m); over all hyperedges E*_u · α L2(G)."""
        views = self.views()
        user = views.final(self.config.alpha)[: self.users]
        everywhere = torch.stack([view.table() for view in views.reached.values()]).sum(0)
        parts = {"item id": views.ids} | {name: normalize(table) for name, table in views.modal.items()}
        parts["all hyperedges"] = self.config.alpha * normalize(everywhere)
        return {name: Embeddings(user, table[self.users :]) for name, table in parts.items()}
