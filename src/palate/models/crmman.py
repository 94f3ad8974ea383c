"""CRMMAN (Hu et al., Applied Soft Computing 2023): items by content and knowledge, users by likes and dislikes.

Nothing is learnt of a single user or item: an item is its content and its place among the items that share knowledge
with it, a user two sets of items. The paper's code was never published; settings that it does not print are ours.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from palate.core.config import Config
from palate.core.errors import ConfigError
from palate.core.search import Choice, Space
from palate.core.seeds import Draws
from palate.dataset.inputs import ModelInputs
from palate.graph.pairs import inner_at
from palate.graph.rows import Rows
from palate.graph.sharing import sharing_graph, threshold_for_degree
from palate.models.attention import GraphAttention, Neighbourhoods
from palate.models.base import MODELS, Batch, Embeddings, Needs, Recommender
from palate.models.layers import FeatureTable, Projection, key_of, require_features
from palate.models.projecting import project_through
from palate.models.sets import LatestSets, SetAttention

# Users whose sets are held at once outside training.
USERS = 1024


class CRMMANConfig(Config):
    """Settings of CRMMAN; "ours" marks what the paper leaves open."""

    dim: int = Field(default=64, ge=1, description="width d_h of the semantic part s (ours)")
    structure_dim: int | None = Field(
        default=None, ge=1, description="width of the structural part p''; unset: that of s (ours)"
    )
    fuse: Literal["concat", "mean"] = Field(
        default="concat", description="concat: r = s ‖ p''; mean: r = (s + p'') / 2, which needs equal widths"
    )
    structure: str = Field(
        default="knowledge",
        description="the modality that gives the initial p of the items (SDNE's vectors); all others are semantic, and "
        "without a knowledge graph this one too",
    )
    shared_entities: int | None = Field(
        default=None,
        ge=0,
        description="S_m: items are joined that share more entities than this; unset: chosen for mean_degree (ours)",
    )
    mean_degree: float = Field(
        default=20.0, gt=0, description="edges of an item with knowledge, on average, where S_m is chosen (ours)"
    )
    graph_heads: int = Field(default=4, ge=1, description="heads K of both layers of graph attention (ours)")
    set_heads: int = Field(default=4, ge=1, description="heads X of the attention within a user's sets (ours)")
    set_size: int = Field(default=50, ge=1, description="latest items of each of a user's sets that are looked at")
    dislikes: Literal["ratings", "none"] = Field(
        default="ratings",
        description="ratings: users have a second set, of the items they rated low; none: users are what they like",
    )
    negatives: Literal["dislikes+unseen", "unseen"] = Field(
        default="unseen",
        description="unseen: items that the user has no train interaction with; dislikes+unseen: some of the user's "
        "dislikes among them, which teaches against what is popular (ours)",
    )
    negatives_per_positive: int = Field(default=4, ge=1, description="Rn, sampled negatives of a positive (ours)")
    dislike_share: float = Field(
        default=0.5, ge=0, le=1, description="share of dislikes+unseen that are dislikes, for users who have any (ours)"
    )


@MODELS.register("crmman")
class CRMMAN(Recommender):
    """s(u, c) = w1 r_c · u_prefer + w2 r_c · u_dislike, one inner product of r_c with the weighted views of the user.

    What an item lacks is masked: s is the mean over the modalities that it has, p'' is zero for an item with neither an
    initial vector nor an edge, and fuse=mean takes what there is. An item without anything scores 0 for everyone.

    In training, a row's positive and negatives are all left out of the sets that describe its user there: the liked
    set lacks the positive, the disliked set those dislikes that are the row's negatives. One description serves all
    candidates of a row, so that they are told apart by nothing but themselves.

    Args:
        config: settings.
        inputs: at least one modality; `entities` together with the modality `structure` make p''.

    Raises:
        ConfigError: without any modality, without the dislikes that the settings ask for, and for widths and heads
            that do not fit together.
    """

    Config = CRMMANConfig
    title = "CRMMAN"
    source = "Hu et al., Applied Soft Computing 2023"
    modal = True
    knowledge = True
    search: ClassVar[Space] = {
        "fuse": Choice(("concat", "mean")),
        "mean_degree": Choice((10.0, 20.0, 30.0)),
        "negatives_per_positive": Choice((4, 8, 16)),
        "dim": Choice((32, 64, 128)),
    }

    def __init__(self, config: CRMMANConfig, inputs: ModelInputs) -> None:
        super().__init__(config, inputs)
        require_features(self.title, inputs.features)
        self.config = config
        self.users, self.items = inputs.users, inputs.items
        lacking = _lacks_structure(config, inputs)
        self.notes = (lacking,) if lacking else ()
        self.modalities = tuple(name for name in inputs.features if lacking or name != config.structure)
        self.features = nn.ModuleDict({key_of(name): FeatureTable(inputs.features[name]) for name in self.modalities})
        self.projections = nn.ModuleDict(
            {key_of(name): Projection(inputs.features[name].width, config.dim) for name in self.modalities}
        )
        self.structure = None if lacking else Structure(config, inputs)
        widths = ([config.dim] if self.modalities else []) + ([self.structure.width] if self.structure else [])
        if config.fuse == "mean" and len(set(widths)) > 1:
            raise ConfigError(
                f"fuse=mean needs equal widths: s has {widths[0]} columns and p'' {widths[1]}",
                do="leave structure_dim unset, or set fuse=concat",
            )
        width = sum(widths) if config.fuse == "concat" else widths[0]
        self.liked = View(config, inputs.likes, width, weight=1.0)
        self.disliked = None
        if config.dislikes == "ratings":
            self.disliked = View(config, _dislikes_of(inputs), width, weight=-1.0)
        drawn = self.disliked is not None and config.negatives == "dislikes+unseen"
        self.needs = Needs(config.negatives_per_positive, dislike_share=config.dislike_share if drawn else 0.0)

    @property
    def views(self) -> tuple[View, ...]:
        """The views of a user that there are."""
        return (self.liked,) if self.disliked is None else (self.liked, self.disliked)

    def semantics(self, items: Tensor) -> tuple[Tensor, Tensor]:
        """s = mean of W_m t_m + b_m over the modalities of each of `items` (B × d_h, distinct), and which have any
        (B × 1)."""
        return _mean_of_known([self.projected(name, items) for name in self.modalities])

    def projected(self, name: str, items: Tensor) -> tuple[Tensor, Tensor]:
        """W_m t_m + b_m of distinct `items` (B × d_h), and which of them have the modality (B × 1)."""
        table = self.features[key_of(name)]
        assert isinstance(table, FeatureTable)
        known = table.present.index_select(0, items).unsqueeze(1)
        # A table of which all rows are wanted, in order, is not copied.
        whole = len(items) == self.items and bool((items.diff() == 1).all())
        projection = self.projections[key_of(name)]
        assert isinstance(projection, Projection)
        return project_through(projection, table, None if whole else items), known

    def item_vectors(self, items: Tensor) -> Tensor:
        """r of distinct `items` (B × width): s and p'' fused."""
        parts = [self.semantics(items)] if self.modalities else []
        if self.structure is not None:
            parts.append((F.embedding(items, self.structure()), self.structure.known.index_select(0, items)))
        if self.config.fuse == "concat":
            return torch.cat([vector * known for vector, known in parts], dim=1)
        return _mean_of_known(parts)[0]

    def loss(self, batch: Batch, draws: Draws) -> dict[str, Tensor]:
        """`click`: -log softmax of the positive's score among those of its negatives."""
        assert batch.negatives is not None
        candidates = torch.cat([batch.positives.unsqueeze(1), batch.negatives.view(len(batch.users), -1)], dim=1)
        sets = [view.sets.without(batch.users, candidates) for view in self.views]
        # r is worked out once for each item that the batch speaks of.
        spoken = torch.zeros(self.items, dtype=torch.bool, device=candidates.device)
        for part in (candidates, *(subsets.members for subsets in sets)):
            spoken[part] = True
        place = spoken.cumsum(0) - 1
        vectors = self.item_vectors(spoken.nonzero().squeeze(1))
        described: list[Tensor] = []
        for view, subsets in zip(self.views, sets, strict=True):
            projected = view.attention.project(vectors)
            vector = view(projected, place[subsets.members], subsets.owner, subsets.stays)
            described.append(F.embedding(subsets.which, vector))
        scores = inner_at(torch.stack(described).sum(0), vectors, place[candidates])
        return {"click": -scores.log_softmax(1)[:, 0].mean()}

    @torch.inference_mode()
    def embed(self) -> Embeddings:
        """w1 u_prefer + w2 u_dislike, and r."""
        device = self.liked.empty.device
        vectors = self.item_vectors(torch.arange(self.items, device=device))
        tables = [view.attention.project(vectors) for view in self.views]
        users: list[Tensor] = []
        for block in torch.arange(self.users, device=device).split(USERS):
            described: list[Tensor] = []
            for view, projected in zip(self.views, tables, strict=True):
                members, inside = view.sets(block)
                described.append(view(projected, members, torch.arange(len(block), device=device), inside))
            users.append(torch.stack(described).sum(0))
        return Embeddings(torch.cat(users), vectors)

    @torch.inference_mode()
    def score_parts(self) -> dict[str, Embeddings]:
        """For each modality what it adds to s, and p'', each met with those columns of the user that it meets in r."""
        items = torch.arange(self.items, device=self.liked.empty.device)
        user, concat = self.embed().user, self.config.fuse == "concat"
        found = {name: self.projected(name, items) for name in self.modalities}
        counts = torch.stack([torch.zeros_like(items).unsqueeze(1), *(known for _, known in found.values())]).sum(0)
        parts = {name: vectors * known / counts.clamp_min(1) for name, (vectors, known) in found.items()}
        edge = self.config.dim if concat and found else 0
        columns = dict.fromkeys(parts, user[:, :edge] if concat else user)
        if self.structure is not None:
            name, known = self.config.structure, self.structure.known
            parts[name], columns[name] = self.structure() * known, user[:, edge:]
            if not concat:
                # r is the mean of s and p'' where an item has both.
                parts = {key: vectors / (1 + (known & (counts > 0)).to(user.dtype)) for key, vectors in parts.items()}
        return {name: Embeddings(columns[name], vectors) for name, vectors in parts.items()}


class Structure(nn.Module):
    """p'' of all items: two layers of graph attention over the items that share more than S_m entities."""

    known: Tensor

    def __init__(self, config: CRMMANConfig, inputs: ModelInputs) -> None:
        super().__init__()
        assert inputs.entities is not None
        self.width = config.structure_dim or config.dim
        self.initial = FeatureTable(inputs.features[config.structure])
        threshold = config.shared_entities
        if threshold is None:
            threshold = threshold_for_degree(inputs.entities, config.mean_degree)
        graph = sharing_graph(inputs.entities, threshold)
        self.graph = Neighbourhoods(graph)
        self.first = GraphAttention(self.initial.width, self.width, config.graph_heads, "concat")
        self.second = GraphAttention(self.width, self.width, config.graph_heads, "mean")
        known = self.initial.present | torch.from_numpy(graph.lengths > 0)
        self.register_buffer("known", known.unsqueeze(1), persistent=False)

    def forward(self) -> Tensor:
        """I × width; of no meaning where `known` (I × 1) is False."""
        return self.second(self.first(self.initial.matrix, self.graph), self.graph)


class View(nn.Module):
    """A user by one of the user's sets of items, times the weight of this view (w1 or w2)."""

    def __init__(self, config: CRMMANConfig, rows: Rows, width: int, weight: float) -> None:
        super().__init__()
        self.sets = LatestSets(rows, config.set_size)
        self.attention = SetAttention(width, config.set_heads)
        self.empty = nn.Parameter(nn.init.xavier_normal_(torch.empty(1, width)))
        self.weight = nn.Parameter(torch.tensor(weight))

    def forward(self, projected: Tensor, members: Tensor, owner: Tensor, stays: Tensor) -> Tensor:
        """B × width, of subsets of sets of rows of a projected table (see `SetAttention`); learned for an empty one."""
        mean = self.attention(projected, members, owner, stays)
        return self.weight * torch.where(stays.any(1, keepdim=True), mean, self.empty)


def _mean_of_known(parts: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """The mean by row of the vectors (B × width) that are known (B × 1), zero where none is; and which have any."""
    known = torch.stack([known for _, known in parts])
    vectors = torch.stack([vectors for vectors, _ in parts]) * known
    return vectors.sum(0) / known.sum(0).clamp_min(1), known.any(0)


def _lacks_structure(config: CRMMANConfig, inputs: ModelInputs) -> str:
    """Why items have no structural part, or nothing."""
    if inputs.entities is None:
        return "no knowledge graph: items are described by their semantic part alone"
    if config.structure not in inputs.features:
        return f"no modality '{config.structure}': the knowledge graph is not used, items are their semantic part alone"
    return ""


def _dislikes_of(inputs: ModelInputs) -> Rows:
    if inputs.dislikes is None or inputs.dislikes.size == 0:
        raise ConfigError(
            "CRMMAN describes users by likes and dislikes, and there are no dislikes in the train part",
            do="say which ratings are dislikes (--dislike 2), or ask for one view (--set dislikes=none)",
        )
    return inputs.dislikes
