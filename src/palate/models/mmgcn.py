"""MMGCN (Wei et al., ACM MM 2019): graph convolution on one copy of the user–item graph for each modality.

A branch learns what users prefer in its modality: items start from their features, users from a table of preferences,
and both pass messages. One id embedding, shared by all branches, ties them together.
"""

from __future__ import annotations

from typing import ClassVar, Literal, NamedTuple, cast

import torch
from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError
from torch import Tensor, nn
from torch.nn import functional as F

from palate.core.config import Config
from palate.core.search import Choice, Range, Space
from palate.core.seeds import Draws
from palate.core.width import ColumnLinear, normalize, squared_norm
from palate.dataset.inputs import ModelInputs
from palate.encode.features import Features
from palate.graph.bipartite import Bipartite
from palate.graph.maximum import NeighbourMaximum
from palate.graph.operator import SparseOperator
from palate.models.base import MODELS, Batch, Embeddings, Needs, Recommender
from palate.models.constants import Remembered
from palate.models.layers import FeatureTable, key_of, node_table, require_features
from palate.models.losses import batch_squared, bpr
from palate.models.projecting import project

Aggregator = SparseOperator | NeighbourMaximum


class MMGCNConfig(Config):
    """Settings of MMGCN. The defaults are the intended preset: the formulas as the paper means them."""

    dim: int = Field(default=64, ge=1, description="embedding width d of ids and of every layer's output")
    layers: int = Field(default=2, ge=1, description="hops of message passing L")
    aggregate: Literal["mean", "max"] = Field(
        default="mean", description="how the messages W1 x_j of the neighbours become one: their mean or their maximum"
    )
    combine: Literal["element", "concat"] = Field(
        default="element",
        description="how the message h joins a node's own x̂; element: LeakyReLU(W3 h + b3 + x̂); "
        "concat: LeakyReLU(W3 [h ‖ x̂] + b3)",
    )
    fusion: Literal["sum", "mean"] = Field(default="sum", description="final representation from those of the branches")
    train_tables: bool = Field(
        default=True, description="train the id embeddings and the preference tables; otherwise they stay random"
    )
    projection_width: int | dict[str, int] | None = Field(
        default=64,
        description="w_m of features that are projected, X W + b, the others enter raw; a number: all that are wider "
        "(projection_width=128); by name: exactly these, where the data have them "
        "(projection_width='{image: 256, text: 64}'); null: none, but the preference table of a modality is as wide "
        "as what enters, so wide raw features make it large",
    )
    message_width: int | None = Field(
        default=None, ge=1, description="width of the messages W1 x (the paper's d'_m); null: as wide as x"
    )
    leaky_slope: float = Field(default=0.01, ge=0, lt=1, description="slope of every LeakyReLU below 0")
    penalty: Literal["batch-squared", "pair-mean"] = Field(
        default="batch-squared",
        description="batch-squared: mean squared norms of the batch's ids and preferences of all modalities; "
        "pair-mean: mean squares of the ids of the 2B pairs, and of the whole table `penalised_preference`",
    )
    penalty_weight: float = Field(default=0.1, ge=0, description="λ of the penalty")
    penalised_preference: str | None = Field(
        default=None,
        description="with penalty=pair-mean, the modality whose preference table is penalised, where the data have it",
    )

    @classmethod
    def official(cls) -> MMGCNConfig:
        """As released: random tables that are never trained (so that the penalty has no effect), three layers."""
        return cls(
            layers=3,
            combine="concat",
            fusion="mean",
            train_tables=False,
            projection_width={"image": 256},
            penalty="pair-mean",
            penalty_weight=0.1,
            penalised_preference="image",
        )

    @field_validator("projection_width", mode="before")
    @classmethod
    def _one_width_or_widths_by_name(cls, value: object) -> object:
        widths = cast("dict[object, object]", value) if isinstance(value, dict) else {"": 1 if value is None else value}
        if all(isinstance(name, str) and type(width) is int and width >= 1 for name, width in widths.items()):
            return value
        raise PydanticCustomError("widths", "write one width (128), widths by name ({image: 256, text: 64}) or null")

    def projected_width(self, modality: str, width: int) -> int | None:
        """What features of this width are projected to; None leaves them raw."""
        if isinstance(self.projection_width, dict):
            return self.projection_width.get(modality)
        return None if self.projection_width is None or width <= self.projection_width else self.projection_width


class Side(NamedTuple):
    """Users, or items, whose states a layer forms.

    Attributes:
        aggregator: from all nodes of the other side to all of this one.
        ids: their id embeddings, n × d.
        rows: which they are (int64, n; they may repeat); None: all of this side.
    """

    aggregator: Aggregator
    ids: Tensor
    rows: Tensor | None = None

    def of(self, table: Tensor) -> Tensor:
        """Their rows of a table of this side."""
        return table if self.rows is None else F.embedding(self.rows, table)


class Hop(nn.Module):
    """One layer of a branch: messages from the neighbours, joined with what a node has of its own.

    Args:
        config: settings.
        inputs: width of the states x that come in; those that go out have width d.
    """

    def __init__(self, config: MMGCNConfig, inputs: int) -> None:
        super().__init__()
        messages = config.message_width or inputs
        self.inputs, self.messages, self.slope = inputs, messages, config.leaky_slope
        self.concat = config.combine == "concat"
        self.message = ColumnLinear(inputs, messages, bias=False)
        self.own = ColumnLinear(inputs, config.dim)
        self.combine = ColumnLinear(messages + config.dim if self.concat else messages, config.dim)
        self.means = Remembered()

    def gather(self, side: Side, others: Tensor, frozen: bool = False, slope: float | None = None) -> Tensor:
        """mean_j (W1 x_j), or max_j (W1 x_j), over the neighbours j of each node of `side`; without any, zeros.

        Args:
            others: x of all nodes of the other side.
            frozen: they are the same tensor at every step.
            slope: of a LeakyReLU of the result; None: none.
        """
        wanted = len(side.ids)
        # The mean and W1 commute: what is narrower goes through the graph, and W1 meets fewer rows.
        first = isinstance(side.aggregator, NeighbourMaximum) or (self.messages, len(others)) < (self.inputs, wanted)
        if first:
            gathered = side.of(side.aggregator(self.message(others, common=True)))
            return gathered if slope is None else F.leaky_relu(gathered, slope, inplace=True)
        means = self.means.of(side.aggregator, others) if frozen else side.aggregator(others)
        return self.message(side.of(means), common=True, slope=slope)

    def forward(self, side: Side, states: Tensor, others: Tensor, frozen: bool = False) -> Tensor:
        """x' of the nodes of `side`, from h, x̂ = LeakyReLU(W2 x + b2) + id, and W3, b3.

        Args:
            states, others: x of all nodes of this side, and of the other.
            frozen: `others` are the same at every step.
        """
        message = self.gather(side, others, frozen, self.slope)
        own = self.own(side.of(states), common=True, slope=self.slope) + side.ids
        if self.concat:
            return self.combine(message, own, common=True, slope=self.slope)
        return F.leaky_relu(self.combine(message, common=True) + own, self.slope)


class Branch(nn.Module):
    """One modality: its features, the users' preferences in it, and its layers.

    Args:
        config: settings.
        features: of this modality; an item that lacks it starts from zeros, and gets all it has from messages.
        users: U.
        projected: w_m, where the features are projected; None leaves them raw.
    """

    preference: Tensor

    def __init__(self, config: MMGCNConfig, features: Features, users: int, projected: int | None) -> None:
        super().__init__()
        self.features = FeatureTable(features)
        # Biases start away from zero: a row of zeros would otherwise be divided by its norm of zero.
        self.projection = None if projected is None else nn.Linear(features.width, projected)
        self.width = width = projected or features.width
        add_table(self, "preference", users, width, config.train_tables)
        # Users, items: whether what enters the first layer stays as it is.
        self.frozen = not config.train_tables, projected is None
        self.units, self.square = (Remembered(), Remembered()), Remembered()
        self.hops = nn.ModuleList(Hop(config, config.dim if layer else width) for layer in range(config.layers))

    def start(self) -> tuple[Tensor, Tensor]:
        """x of users and items before the first layer, rows of unit length."""
        items = self.features.matrix
        if self.projection is not None:
            items = project(self.features, None, self.projection.weight, self.projection.bias)
            if not self.features.complete:
                items = items * self.features.present.unsqueeze(1)
        user, item = (
            units.of(normalize, rows) if frozen else normalize(rows)
            for units, rows, frozen in zip(self.units, (self.preference, items), self.frozen, strict=True)
        )
        return user, item

    def preference_square(self) -> Tensor:
        """The mean square of the entries of the preference table."""
        of_rows = self.square.of(_mean_row, self.preference) if self.frozen[0] else _mean_row(self.preference)
        return of_rows / self.width

    def forward(self, layers: list[tuple[Side, Side]]) -> tuple[Tensor, Tensor]:
        """x of users and items after the last layer, from the users and items that each layer forms."""
        user, item = self.start()
        frozen_users, frozen_items = self.frozen
        for hop, (users, items) in zip(self.hops, layers, strict=True):
            user, item = hop(users, user, item, frozen_items), hop(items, item, user, frozen_users)
            frozen_users = frozen_items = False
        return user, item


def _mean_row(table: Tensor) -> Tensor:
    return squared_norm(table).mean()


def add_table(module: nn.Module, name: str, count: int, width: int, trained: bool) -> None:
    """Give `module` a random table: a parameter, or a buffer that is stored like one but stays as it is."""
    table = node_table(count, width)
    if trained:
        module.register_parameter(name, table)
    else:
        module.register_buffer(name, table.detach())


@MODELS.register("mmgcn")
class MMGCN(Recommender):
    """s(u, i) = u* · i*, each the sum (or mean) over modalities of what their branches have after L layers.

    Args:
        config: settings.
        inputs: at least one modality in `features`.

    Raises:
        ConfigError: when there is no modality.
    """

    Config = MMGCNConfig
    title = "MMGCN"
    source = "Wei et al., ACM MM 2019"
    needs = Needs(negatives=1)
    modal = True
    search: ClassVar[Space] = {
        "layers": Range(1, 3, whole=True),
        "projection_width": Choice((32, 64, 128)),
        "penalty_weight": Range(1e-3, 1.0, log=True),
    }
    user_id: Tensor
    item_id: Tensor
    to_users: Aggregator
    to_items: Aggregator

    def __init__(self, config: MMGCNConfig, inputs: ModelInputs) -> None:
        super().__init__(config, inputs)
        require_features(self.title, inputs.features)
        self.config = config
        self.modalities = tuple(inputs.features)
        add_table(self, "user_id", inputs.users, config.dim, config.train_tables)
        add_table(self, "item_id", inputs.items, config.dim, config.train_tables)
        self.branches = nn.ModuleDict(
            {
                key_of(name): Branch(config, features, inputs.users, config.projected_width(name, features.width))
                for name, features in inputs.features.items()
            }
        )
        # Seen from the items, the graph has its two sides swapped.
        graph, swapped = inputs.train, Bipartite(inputs.train.by_item)
        if config.aggregate == "mean":
            self.to_users, self.to_items = graph.history_mean(), swapped.history_mean()
        else:
            self.to_users, self.to_items = NeighbourMaximum(graph.by_user), NeighbourMaximum(graph.by_item)

    def everyone(self) -> tuple[Side, Side]:
        """All users and all items."""
        return Side(self.to_users, self.user_id), Side(self.to_items, self.item_id)

    def represent(self, users: Side, items: Side) -> tuple[Tensor, Tensor]:
        """u* of `users` and i* of `items`: only they go through the last layer."""
        layers = [self.everyone()] * (self.config.layers - 1) + [(users, items)]
        ends = [branch(layers) for branch in self.branches.values()]
        user, item = (torch.stack(side) for side in zip(*ends, strict=True))
        return (user.sum(0), item.sum(0)) if self.config.fusion == "sum" else (user.mean(0), item.mean(0))

    def loss(self, batch: Batch, draws: Draws) -> dict[str, Tensor]:
        """`bpr` and `penalty`."""
        assert batch.negatives is not None
        items = torch.cat([batch.positives, batch.negatives])
        user_id, item_id = F.embedding(batch.users, self.user_id), F.embedding(items, self.item_id)
        user, item = self.represent(Side(self.to_users, user_id, batch.users), Side(self.to_items, item_id, items))
        penalty = self.penalty(batch.users, user_id, item_id)
        return {"bpr": bpr(user, *item.chunk(2)), "penalty": self.config.penalty_weight * penalty}

    def penalty(self, users: Tensor, user_id: Tensor, item_id: Tensor) -> Tensor:
        """What λ weighs: of a batch's users (int64, B), their ids (B × d), and those of its 2B items."""
        if self.config.penalty == "batch-squared":
            preferences = [F.embedding(users, self.branch(name).preference) for name in self.modalities]
            return batch_squared(user_id, *item_id.chunk(2), *preferences)
        squares = batch_squared(user_id, item_id) / self.config.dim
        if self.config.penalised_preference in self.modalities:
            squares = squares + self.branch(self.config.penalised_preference).preference_square()
        return squares

    def branch(self, name: str) -> Branch:
        """The branch of a modality."""
        branch = self.branches[key_of(name)]
        assert isinstance(branch, Branch)
        return branch

    @torch.inference_mode()
    def embed(self) -> Embeddings:
        """u* and i* of all."""
        return Embeddings(*self.represent(*self.everyone()))

    @torch.inference_mode()
    def score_parts(self) -> dict[str, Embeddings]:
        """For each modality m: u* · i_m, with i_m what branch m adds to i*."""
        layers = [self.everyone()] * self.config.layers
        ends = {name: self.branch(name)(layers) for name in self.modalities}
        share = 1.0 if self.config.fusion == "sum" else 1.0 / len(ends)
        user = share * torch.stack([user for user, _ in ends.values()]).sum(0)
        return {name: Embeddings(user, share * item) for name, (_, item) in ends.items()}
