"""New users without training: the vector of a user who is known by a list of items alone.

Takes the items that somebody liked and disliked, in order of time; gives vectors in the space of a trained model's.
CRMMAN describes users by their items anyway and does so exactly. The other models learn a vector for each user; there
a linear map leads from the mean of the items' vectors to the user's, fitted on the users that the model knows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from palate.core.config import Config
from palate.core.errors import ArtefactError, ConfigError, DataError
from palate.core.seeds import numpy_generator
from palate.graph.operator import SparseOperator
from palate.graph.rows import IntArray, Rows
from palate.measure.evaluation import evaluate
from palate.measure.ranking import Masking
from palate.models.base import Embeddings
from palate.models.crmman import CRMMAN, CRMMANConfig, View
from palate.models.sets import LatestSets
from palate.recommend.ridge import ridge

Spread = Literal["mean", "root"]

# Users that are looked at together.
USERS = 1024
# Users with validation positives whose folded vectors are compared with the trained ones: at most, and at least.
MOST_MEASURED, LEAST_MEASURED = 2000, 20
METRIC = "recall@20"


class FoldIn(Protocol):
    """How a list of items becomes a user vector.

    Attributes:
        kind: its name where it is stored.
        dislikes: whether it looks at what a user dislikes.
    """

    kind: ClassVar[str]

    @property
    def dislikes(self) -> bool:
        """Whether it looks at what a user dislikes."""
        ...

    def vectors(self, liked: Rows, disliked: Rows) -> Tensor:
        """The vectors of n users, n × d, in the precision of the items' vectors.

        Args:
            liked, disliked: item row numbers of each user in order of time.
        """
        ...

    def settings(self) -> dict[str, Any]:
        """What must be stored beside its tensors."""
        ...

    def tensors(self) -> dict[str, Tensor]:
        """What it learnt."""
        ...


def aggregate(items: Tensor, histories: Rows, spread: Spread) -> Tensor:
    """Σ v_i / n over the n items of each history ("mean"), or Σ v_i / √n ("root"); zero for an empty one."""
    lengths = np.maximum(histories.lengths, 1).astype(np.float64)
    scale = 1 / lengths if spread == "mean" else lengths**-0.5
    values = scale[histories.row_of_entry()]
    # "Symmetric" spares it the transpose, which nobody asks for.
    return SparseOperator(histories, values, symmetric=True, dtype=items.dtype).product(items)


class MapSettings(Config):
    """What is stored of a map beside its tensors."""

    spread: Spread


class SetSettings(Config):
    """What is stored of a fold-in by attention beside its tensors."""

    set_size: int = Field(ge=1, le=1 << 31)
    set_heads: int = Field(ge=1, le=1 << 20)
    views: Literal[1, 2]


class MappedMean:
    """u = (Σ v_i / n^p) W + b over the n items of the history, p = 1 ("mean") or ½ ("root").

    Args:
        items: v, I × d.
        weight, bias: W (d × d) and b (d).
        empty: d, the vector of somebody who liked nothing yet.
        spread: which p.
    """

    kind: ClassVar[str] = "map"
    dislikes = False

    def __init__(self, items: Tensor, weight: Tensor, bias: Tensor, empty: Tensor, spread: Spread) -> None:
        self.items, self.weight, self.bias, self.empty = items, weight, bias, empty
        self.spread: Spread = spread

    @classmethod
    def fit(cls, embeddings: Embeddings, liked: Rows, users: IntArray, spread: Spread) -> MappedMean:
        """W and b by ridge regression on `users`; each of them has liked something."""
        inputs = aggregate(embeddings.item.double(), liked.take(users), spread).numpy()
        targets = embeddings.user.double().numpy()[users]
        found = ridge(inputs, targets)
        dtype = embeddings.item.dtype
        weight, bias, empty = (
            torch.from_numpy(value).to(dtype) for value in (found.weight, found.bias, targets.mean(0))
        )
        return cls(embeddings.item, weight, bias, empty, spread)

    @classmethod
    def plain(cls, embeddings: Embeddings, users: IntArray) -> MappedMean:
        """The mean itself; somebody without items is the mean of `users`."""
        items, width = embeddings.item, embeddings.item.shape[1]
        empty = embeddings.user[torch.from_numpy(users)].mean(0) if len(users) else items.new_zeros(width)
        return cls(items, torch.eye(width, dtype=items.dtype), items.new_zeros(width), empty, "mean")

    def vectors(self, liked: Rows, disliked: Rows) -> Tensor:
        """See `FoldIn`."""
        mapped = aggregate(self.items, liked, self.spread) @ self.weight + self.bias
        some = torch.from_numpy(liked.lengths > 0).unsqueeze(1)
        return torch.where(some, mapped, self.empty)

    def settings(self) -> dict[str, Any]:
        """See `FoldIn`."""
        return {"spread": self.spread}

    def tensors(self) -> dict[str, Tensor]:
        """See `FoldIn`."""
        return {"weight": self.weight, "bias": self.bias, "empty": self.empty}


class SetAttentionFold:
    """u = w1 u_prefer + w2 u_dislike by the model's own attention over the latest liked and disliked items (CRMMAN).

    Exact: the vector of a known user's history is the vector that the model has for that user.

    Args:
        items: r, I × width.
        views: of the liked items and, where the model has it, of the disliked ones.
        set_size: latest items that are looked at.
        set_heads: heads of the attention.
    """

    kind: ClassVar[str] = "sets"

    def __init__(self, items: Tensor, views: Sequence[View], set_size: int, set_heads: int) -> None:
        self.views, self.set_size, self.set_heads = tuple(views), set_size, set_heads
        with torch.inference_mode():
            self.projected = [view.attention.project(items) for view in self.views]

    @property
    def dislikes(self) -> bool:
        """See `FoldIn`."""
        return len(self.views) > 1

    @torch.inference_mode()
    def vectors(self, liked: Rows, disliked: Rows) -> Tensor:
        """See `FoldIn`."""
        described: list[list[Tensor]] = []
        for view, table, rows in zip(self.views, self.projected, (liked, disliked), strict=False):
            sets, parts = LatestSets(rows, self.set_size), list[Tensor]()
            for block in torch.arange(rows.count).split(USERS):
                members, inside = sets(block)
                parts.append(view(table, members, torch.arange(len(block)), inside))
            described.append(parts)
        views = [torch.cat(parts) if parts else self.projected[0].new_zeros(0, 1) for parts in described]
        return torch.stack(views).sum(0)

    def settings(self) -> dict[str, Any]:
        """See `FoldIn`."""
        return {"set_size": self.set_size, "set_heads": self.set_heads, "views": len(self.views)}

    def tensors(self) -> dict[str, Tensor]:
        """See `FoldIn`."""
        return {
            f"{number}.{name}": value
            for number, view in enumerate(self.views)
            for name, value in view.state_dict().items()
        }

    @classmethod
    def restore(cls, items: Tensor, settings: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> SetAttentionFold:
        """What `settings` and `tensors` gave away."""
        said = SetSettings.parse(settings)
        config = CRMMANConfig(set_size=said.set_size, set_heads=said.set_heads)
        nobody = Rows(np.zeros(1, np.int64), np.zeros(0, np.int32), len(items))
        views: list[View] = []
        for number in range(said.views):
            prefix = f"{number}."
            with torch.random.fork_rng(devices=[]):
                view = View(config, nobody, items.shape[1], 1.0).to(items.dtype)
            own = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
            view.load_state_dict(own)
            views.append(view)
        path = cls(items, views, config.set_size, config.set_heads)
        # `load_state_dict` takes a row of one number for a number.
        if {name: value.shape for name, value in tensors.items()} != {
            name: value.shape for name, value in path.tensors().items()
        }:
            raise ValueError("its arrays are of other shapes, or of further views")
        return path


def of_items(folding: FoldIn, items: Tensor) -> FoldIn:
    """The same way to fold in over other items.

    Args:
        items: their vectors, n × d.
    """
    if isinstance(folding, MappedMean):
        return MappedMean(items, folding.weight, folding.bias, folding.empty, folding.spread)
    assert isinstance(folding, SetAttentionFold)
    return SetAttentionFold(items, folding.views, folding.set_size, folding.set_heads)


def restore(kind: str, items: Tensor, settings: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> FoldIn:
    """A stored way to fold in.

    Raises:
        ArtefactError: when its parts do not fit each other or the items.
    """
    try:
        if kind == SetAttentionFold.kind:
            return SetAttentionFold.restore(items, settings, tensors)
        width = items.shape[1]
        shapes = {"weight": (width, width), "bias": (width,), "empty": (width,)}
        fits = {name: tuple(value.shape) for name, value in tensors.items()} == shapes
        if kind == MappedMean.kind and fits:
            spread = MapSettings.parse(settings).spread
            return MappedMean(items, tensors["weight"], tensors["bias"], tensors["empty"], spread)
    # What `load_state_dict` has to say of tensors that do not fit comes as a RuntimeError.
    except (ArithmeticError, KeyError, TypeError, ValueError, RuntimeError, ConfigError) as error:
        raise ArtefactError(f"the fold-in of new users is damaged: {error}", do="export the run again") from None
    raise ArtefactError("the fold-in of new users is damaged, or of a kind unknown here", do="export the run again")


@dataclass(frozen=True)
class Quality:
    """How good folded vectors are beside the trained ones of the same users, none of whom the fit had seen.

    Attributes:
        users: that were measured; 0: the data do not allow it.
        trained, folded: the metric on the validation part; None when not measured.
        tried: the metric of each way that was tried.
        metric: its name.
    """

    users: int = 0
    trained: float | None = None
    folded: float | None = None
    tried: Mapping[str, float] | None = None
    metric: str = METRIC


def choose(
    embeddings: Embeddings, liked: Rows, held_out: Rows, mask: Masking, seed: int = 0
) -> tuple[MappedMean, Quality]:
    """Fit the ways to fold in on three quarters of the users, keep the best one for the others, and fit it on all.

    Args:
        embeddings: of the trained model.
        liked: the train positives of each user, which the vectors came of.
        held_out: the validation positives.
        mask: items that are no candidates in validation.
        seed: of who is held out, and of ties.
    """
    known = np.flatnonzero(liked.lengths)
    if len(known) < 2:
        return MappedMean.plain(embeddings, known), Quality()
    order = numpy_generator(seed, "fold-in").permutation(known)
    out, kept = order[: len(order) // 4], np.sort(order[len(order) // 4 :])
    out = np.sort(out[held_out.lengths[out] > 0][:MOST_MEASURED])
    if len(out) < LEAST_MEASURED:
        return MappedMean.fit(embeddings, liked, known, "root"), Quality()
    nothing = Rows(np.zeros(len(out) + 1, np.int64), np.zeros(0, np.int32), liked.width)
    ways = {
        "mean": MappedMean.plain(embeddings, kept),
        "map of the mean": MappedMean.fit(embeddings, liked, kept, "mean"),
        "map of the root": MappedMean.fit(embeddings, liked, kept, "root"),
    }
    positives, hidden = held_out.take(out), Taken(mask, out)

    def measured(user: Tensor) -> float:
        return evaluate(Embeddings(user, embeddings.item), positives, hidden, seed=seed, cuts=(20,)).means()[METRIC]

    tried = {name: measured(way.vectors(liked.take(out), nothing)) for name, way in ways.items()}
    best = max(tried, key=lambda name: tried[name])
    trained = measured(embeddings.user[torch.from_numpy(out)])
    quality = Quality(len(out), trained, tried[best], tried)
    if best == "mean":
        return MappedMean.plain(embeddings, known), quality
    return MappedMean.fit(embeddings, liked, known, ways[best].spread), quality


@dataclass(frozen=True)
class Taken:
    """A mask of some users, who are numbered anew.

    Attributes:
        mask: of all users.
        users: which of them.
    """

    mask: Masking
    users: IntArray

    def take(self, rows: IntArray) -> Rows:
        """The hidden items of the users `rows` of these."""
        return self.mask.take(self.users[rows])


def set_attention(model: CRMMAN, items: Tensor) -> SetAttentionFold:
    """CRMMAN's own way.

    Args:
        items: its item vectors.
    """
    return SetAttentionFold(items, model.views, model.config.set_size, model.config.set_heads)


def by_rating(
    items: IntArray, ratings: Sequence[float] | None, positive: float | Literal["all"], dislike: float | None
) -> tuple[IntArray, IntArray]:
    """Which items of a new user count as liked and which as disliked, as they did in training.

    Args:
        items: row numbers.
        ratings: one for each item; None: all are liked.
        positive: least rating of what is liked; "all": whatever the rating.
        dislike: greatest rating of what is disliked; None: nothing is.

    Raises:
        DataError: when ratings and items differ in number, or a rating is not finite.
    """
    if ratings is None:
        return items, items[:0]
    rated = np.asarray(ratings, dtype=np.float64)
    if rated.shape != items.shape:
        raise DataError(f"{len(items):,} items but {rated.size:,} ratings", do="give each item its rating, or none any")
    if not np.isfinite(rated).all():
        raise DataError("a rating is not finite", do="write ratings as plain numbers")
    liked = np.ones(len(items), dtype=np.bool_) if positive == "all" else rated >= positive
    disliked = np.zeros(len(items), dtype=np.bool_) if dislike is None else rated <= dislike
    return items[liked], items[disliked]
