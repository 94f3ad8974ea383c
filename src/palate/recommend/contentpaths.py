"""The ways from content to items that models have themselves, each restored from a few tensors.

MMGCN, CRMMAN and VBPR compute an item from its content and, at most, an id that a new item does not have: the model
itself is run on a world of new items without interactions. AlignRec and FREEDOM hand ids on along a graph of similar
items, of which a new item gets its share; ContentKNN weighs similar items.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from palate.core.config import Config
from palate.core.errors import ArtefactError, ConfigError
from palate.dataset.inputs import ModelInputs
from palate.encode.features import Features
from palate.graph.bipartite import Bipartite, inverse_root
from palate.graph.neighbours import STREAM
from palate.graph.rows import IntArray, Rows
from palate.graph.ties import Priorities, best
from palate.models.alignrec import AlignRec
from palate.models.base import MODELS, Model, Recommender
from palate.models.classical.contentknn import ContentKNN
from palate.models.crmman import CRMMAN
from palate.models.freedom import FREEDOM, weights_of
from palate.models.mmgcn import MMGCN
from palate.models.vbpr import VBPR
from palate.recommend.colditem import ContentPath, Modality, Placed, described
from palate.train.fitting import build, made_in
from palate.train.warmstart import side_of

Rule = Literal["normalised", "equal", "cosine"]

# New items whose similarities with all known ones are held at once.
NEW_ITEMS = 256


class ModelSettings(Config):
    """What is stored of a `ModelPath` beside its tensors."""

    model: str
    config: dict[str, Any]
    linked: bool


class GroupSettings(Config):
    """What is stored of a `Group`."""

    modalities: tuple[str, ...] = Field(min_length=1)
    neighbours: int = Field(ge=1, le=1 << 31)
    share: float = Field(ge=0)


class NeighbourSettings(Config):
    """What is stored of a `NeighbourPath` beside its tensors."""

    rule: Rule
    groups: tuple[GroupSettings, ...] = Field(min_length=1)


class ModelPath:
    """The model itself, run on a world that holds the new items and nothing else.

    Tables with a row for each item get the mean row of the warm items, as nothing is known of a new one; tables of
    users play no part.

    Args:
        model: registered name.
        config: the model's settings.
        modalities: what it reads.
        parameters: those that belong to no user or item, and one row of each table of items.
        linked: it was built with a knowledge graph; new items have no links in it.
    """

    kind: ClassVar[str] = "model"

    def __init__(
        self,
        model: str,
        config: Mapping[str, Any],
        modalities: Mapping[str, Modality],
        parameters: Mapping[str, Tensor],
        linked: bool,
    ) -> None:
        self.model, self.config = model, dict(config)
        self._modalities, self.parameters, self.linked = dict(modalities), dict(parameters), linked

    @property
    def modalities(self) -> dict[str, Modality]:
        """See `ContentPath`."""
        return self._modalities

    @classmethod
    def of(cls, name: str, model: Recommender, features: Mapping[str, Features], warm: IntArray) -> ModelPath:
        """The path of a trained model.

        Args:
            name: its registered name.
            features: what it was built with.
            warm: items with train interactions.
        """
        config = {**cast(Any, model).config.model_dump()}
        linked = isinstance(model, CRMMAN) and model.structure is not None
        if linked:
            # New items share no entities with each other, whatever the threshold.
            config["shared_entities"] = 0
        path = cls(name, config, described(features), {}, linked)
        blank = path._world({name: value.take(np.arange(0)) for name, value in features.items()}).state_dict()
        rows = torch.from_numpy(warm)
        for key, value in model.state_dict().items():
            if blank[key].shape == value.shape:
                path.parameters[key] = value.detach().float()
            elif len(blank[key]) == 0:
                path.parameters[key] = value.detach()[rows].mean(0, keepdim=True).float()
        return path

    def _world(self, content: Mapping[str, Features]) -> Model:
        count, users = len(next(iter(content.values()))), 1
        nothing = Rows(np.zeros(users + 1, np.int64), np.zeros(0, np.int32), count)
        entities = Rows(np.zeros(count + 1, np.int64), np.zeros(0, np.int32), 1) if self.linked else None
        # CRMMAN refuses a world without dislikes; who dislikes what does not touch the items.
        dislikes = Rows(np.array([0, 1], np.int64), np.zeros(1, np.int32), max(1, count))
        inputs = ModelInputs(users, count, Bipartite(nothing), nothing, dict(content), dislikes, entities)
        kind = MODELS[self.model]
        return build(kind, kind.Config.parse(self.config), inputs, 0, "float32")

    def check(self) -> None:
        """Make sure that the parameters are those of the model.

        Raises:
            ValueError: when one is missing, unknown, or of another shape.
        """
        absent = np.zeros(1, dtype=np.bool_)
        state = self._world(
            {
                name: Features(name, np.zeros((1, like.width), np.float32), absent, like.encoder, ("",))
                for name, like in self._modalities.items()
            }
        ).state_dict()
        # Tables of users are kept where they have one row, as in a world of one user.
        for name in sorted({name for name in state if side_of(name) != "user"} ^ set(self.parameters)):
            if name not in state or side_of(name) != "user":
                raise ValueError(f"the array '{name}' is {'unknown' if name in self.parameters else 'missing'}")
        for name, value in self.parameters.items():
            if value.shape != state[name].shape:
                raise ValueError(f"the array '{name}' is of another shape")

    def place(self, content: Mapping[str, Features]) -> Placed:
        """See `ContentPath`."""
        world = self._world(content)
        state = world.state_dict()
        for key, value in self.parameters.items():
            state[key] = value if state[key].shape == value.shape else value.expand(state[key].shape)
        world.load_state_dict(state)
        with torch.inference_mode(), made_in("float32"):
            if isinstance(world, CRMMAN):
                return Placed(world.item_vectors(torch.arange(world.items)))
            return Placed(cast(Recommender, world).embed().item)

    def settings(self) -> dict[str, Any]:
        """See `ContentPath`."""
        return {"model": self.model, "config": self.config, "linked": self.linked}

    def tensors(self) -> dict[str, Tensor]:
        """See `ContentPath`."""
        return self.parameters


# Neighbours of a new item that a stored path may ask for.
MOST = 1 << 31


@dataclass(frozen=True)
class Group:
    """Modalities that make up one similarity: the cosine of their unit rows side by side.

    Attributes:
        modalities: their names.
        neighbours: known items that a new one is tied to.
        share: weight beside other groups that the item has.
    """

    modalities: tuple[str, ...]
    neighbours: int
    share: float = 1.0


class NeighbourPath:
    """What similar items that were met in training hand on to a new one.

    Args:
        rule: the weight of neighbour j. "normalised": r^-1/2 max(0, cos) r_j^-1/2 with r = 1 + Σ max(0, cos), as in
            AlignRec's graph; "equal": 1 / (neighbours + 1), as in FREEDOM's; "cosine": max(0, cos), as in ContentKNN.
        groups: similarities.
        known: modality → features of the known items, I rows; unit rows will do.
        handed: I × d, what each known item hands on; None: the weights themselves are wanted.
        scale: I, r_j^-1/2 of each known item, 0 for items that are nobody's neighbours.
    """

    kind: ClassVar[str] = "neighbours"

    def __init__(
        self,
        rule: Rule,
        groups: tuple[Group, ...],
        known: Mapping[str, Features],
        handed: Tensor | None,
        scale: Tensor,
    ) -> None:
        self.groups, self.handed, self.scale = groups, handed, scale
        self.rule: Rule = rule
        self.priorities = Priorities.named(np.arange(len(scale)), STREAM)
        self.known = {name: known[name] for name in sorted({name for group in groups for name in group.modalities})}
        self.units = {name: F.normalize(torch.tensor(value.matrix), dim=1) for name, value in self.known.items()}

    @property
    def modalities(self) -> dict[str, Modality]:
        """See `ContentPath`."""
        return described(self.known)

    def place(self, content: Mapping[str, Features]) -> Placed:
        """See `ContentPath`."""
        count = len(next(iter(content.values())))
        blocks = [
            self._weights({name: value.take(rows) for name, value in content.items()})
            for rows in np.array_split(np.arange(count), max(1, -(-count // NEW_ITEMS)))
        ]
        if self.handed is None:
            return Placed(weights=torch.cat(blocks))
        return Placed(torch.cat([block @ self.handed for block in blocks]))

    def _weights(self, content: Mapping[str, Features]) -> Tensor:
        """n × I: the weight of each known item for each new one."""
        count = len(next(iter(content.values())))
        total, shares = self.scale.new_zeros(count, len(self.scale)), self.scale.new_zeros(count, 1)
        for group in self.groups:
            cosine, some = self._cosines(group, content)
            # Of known items that are as near, a random choice: the same for new items of the same content.
            most, nobody = min(group.neighbours, cosine.shape[1]), np.zeros(count, np.int64)
            values, nearest = best(cosine, most, self.priorities, nobody, above=-np.inf)
            real = torch.isfinite(values)
            if self.rule == "equal":
                weight = torch.full_like(values, 1 / (group.neighbours + 1))
            else:
                weight = values.clamp_min(0)
            weight = torch.where(real, weight, 0.0)
            if self.rule == "normalised":
                weight = weight * self.scale[nearest] * (1 + weight.sum(1, keepdim=True)) ** -0.5
            share = group.share * some.float().unsqueeze(1)
            total += share * torch.zeros_like(total).scatter_(1, nearest, weight)
            shares += share
        return total / shares.clamp_min(torch.finfo(shares.dtype).tiny)

    def _cosines(self, group: Group, content: Mapping[str, Features]) -> tuple[Tensor, Tensor]:
        """Cosines of new with known items, -inf for those that are no neighbours; and who has any of the content."""
        product: Tensor | float = 0.0
        new: Tensor | float = 0.0
        known: Tensor | float = 0.0
        for name in group.modalities:
            own = F.normalize(torch.tensor(content[name].matrix), dim=1)
            product = product + own @ self.units[name].T
            new = new + torch.tensor(content[name].present).float()
            known = known + torch.tensor(self.known[name].present).float()
        assert isinstance(product, Tensor)
        assert isinstance(new, Tensor)
        assert isinstance(known, Tensor)
        cosine = product / (new.clamp_min(1).sqrt().unsqueeze(1) * known.clamp_min(1).sqrt())
        possible = (known > 0) & (self.scale > 0)
        return torch.where(possible & (new > 0).unsqueeze(1), cosine, -torch.inf), new > 0

    def settings(self) -> dict[str, Any]:
        """See `ContentPath`."""
        groups = [{**asdict(group), "modalities": list(group.modalities)} for group in self.groups]
        return {"rule": self.rule, "groups": groups}

    def tensors(self) -> dict[str, Tensor]:
        """See `ContentPath`."""
        return {"scale": self.scale, **({} if self.handed is None else {"handed": self.handed})}


def own_path(
    name: str, model: Model, features: Mapping[str, Features], warm: IntArray, rows: Mapping[str, Features] | None
) -> ContentPath | None:
    """The model's own way from content to items, or None where it has none (or none with its settings).

    Args:
        name: the model's registered name.
        features: what the model was built with.
        warm: items with train interactions.
        rows: features (or unit rows of them) that may be kept, for the ways that need the known items' content; None
            where they may not.
    """
    if isinstance(model, MMGCN | CRMMAN | VBPR):
        return ModelPath.of(name, model, features, warm)
    if rows is None or not features:
        return None
    met = np.zeros(len(next(iter(features.values()))), dtype=np.float32)
    met[warm] = 1.0
    if isinstance(model, FREEDOM) and model.config.item_layers:
        path = _freedom(model, features, rows, met)
        return path if path.groups else None
    if isinstance(model, AlignRec) and model.config.item_layers and model.config.fuse == "sum":
        return _alignrec(model, features, rows, met)
    if isinstance(model, ContentKNN):
        group = Group(tuple(sorted(features)), model.config.neighbours)
        return NeighbourPath("cosine", (group,), rows, None, torch.from_numpy(met))
    return None


@torch.inference_mode()
def _freedom(
    model: FREEDOM, features: Mapping[str, Features], rows: Mapping[str, Features], met: NDArray[np.float32]
) -> NeighbourPath:
    handed = model.item_id.detach()
    for _ in range(model.config.item_layers - 1):
        handed = model.item_graph(handed)
    shares = weights_of(model.config.modality_weights, features)
    groups = tuple(
        Group((name,), model.config.neighbours - 1, share)
        for name, share in shares.items()
        if share and model.config.neighbours > 1
    )
    return NeighbourPath("equal", groups, rows, handed.float().clone(), torch.from_numpy(met))


@torch.inference_mode()
def _alignrec(
    model: AlignRec, features: Mapping[str, Features], rows: Mapping[str, Features], met: NDArray[np.float32]
) -> NeighbourPath:
    config = model.config
    handed = model.item_id * model.item_gate()
    for _ in range(config.item_layers - 1):
        handed = model.item_graph(handed)
    content = config.content if config.content != "auto" else ("joint" if "joint" in features else "concat")
    names = tuple(sorted(features)) if content == "concat" else (content,)
    # An item is its own neighbour with cosine 1, so its entry on the diagonal of the graph is 1 / r.
    diagonal = _diagonal(model)
    scale = met * np.where(diagonal > 0, np.sqrt(np.maximum(diagonal, 0)), inverse_root(np.ones_like(diagonal)))
    group = Group(names, max(1, config.neighbours - 1))
    return NeighbourPath("normalised", (group,), rows, handed.float().clone(), torch.from_numpy(scale).float())


def _diagonal(model: AlignRec) -> NDArray[np.float64]:
    graph = model.item_graph
    pointer = graph.get_buffer("forward_pointer").numpy()
    columns, values = graph.get_buffer("forward_columns").numpy(), graph.get_buffer("forward_values").double().numpy()
    owner = np.repeat(np.arange(len(pointer) - 1), np.diff(pointer))
    found = np.zeros(len(pointer) - 1)
    own = owner == columns
    found[owner[own]] = values[own]
    return found


def restore_own(
    kind: str,
    settings: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    modalities: Mapping[str, Modality],
    known: Mapping[str, Features],
) -> ContentPath:
    """A stored path of `own_path`.

    Args:
        modalities: what it reads.
        known: features of the known items that were stored.

    Raises:
        ArtefactError: when its parts do not fit.
    """
    do = "export the run again"
    try:
        if kind == ModelPath.kind and modalities:
            said = ModelSettings.parse(settings)
            path = ModelPath(said.model, said.config, modalities, tensors, said.linked)
            path.check()
            return path
        if kind == NeighbourPath.kind:
            wanted = NeighbourSettings.parse(settings)
            groups = tuple(Group(**group.model_dump()) for group in wanted.groups)
            found = NeighbourPath(wanted.rule, groups, known, tensors.get("handed"), tensors["scale"])
            rows = {len(value) for value in found.known.values()}
            fits = set(tensors) <= {"scale", "handed"} and rows == {len(found.scale)} and found.scale.ndim == 1
            handed = found.handed is None or (found.handed.ndim == 2 and len(found.handed) == len(found.scale))
            # Weights alone are what a model of weights wants; all others hand something on.
            if fits and handed and (found.handed is None) == (wanted.rule == "cosine"):
                if found.modalities != dict(modalities):
                    raise ValueError("it reads other modalities than are kept")
                return found
    except (ArithmeticError, KeyError, TypeError, ValueError, RuntimeError, ConfigError) as error:
        raise ArtefactError(f"the way from content to items is damaged: {error}", do=do) from None
    raise ArtefactError("the way from content to items is damaged, or of a kind unknown here", do=do)
