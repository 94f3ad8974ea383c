"""AlignRec's protocols between pre-training and recommending: what features say of taste before anything is trained.

Take a data set and names of modalities; give figures for each of them and for their concatenation, so that features,
a joint encoder's among them, can be compared and chosen cheaply. The paper names the protocols and gives no formulas:
these definitions are ours (docs/probes.md).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from palate.core.errors import ConfigError, DataError, unknown_name
from palate.dataset.dataset import Dataset, HeldOut
from palate.dataset.inputs import ModelInputs
from palate.encode.concat import CONCAT, concatenated
from palate.encode.features import Features
from palate.graph.bipartite import Bipartite
from palate.graph.neighbours import nearest
from palate.graph.rows import IntArray, contains
from palate.measure.evaluation import evaluate
from palate.measure.metrics import Accuracy
from palate.models import Scorer
from palate.models.classical.contentknn import ContentKNN, ContentKNNConfig
from palate.models.classical.itemknn import ItemKNN, ItemKNNConfig
from palate.models.classical.neighbourhood import nearest_by
from palate.recipe import resolve
from palate.study.masking import hide_in, items_to_hide
from palate.train.fitting import fit_model

Target = Literal["neighbours", "recommendation"]
Figures = dict[str, dict[str, float]]
# Neighbours of an item: of AlignRec's item graph where neighbours are compared, of ContentKNN where they recommend.
NEAREST, RECOMMENDING = 10, 100
SHOWN = ("recall@20", "ndcg@20")


@dataclass(frozen=True)
class ProbeResult:
    """Figures of one protocol.

    Attributes:
        probe: its name.
        about: data set, split, part, sizes, and what chance gives.
        figures: content (a modality, or `concat`) → measure → value.
        intact: mask-modality: the same before anything was hidden; else empty.
    """

    probe: str
    about: dict[str, Any]
    figures: Figures
    intact: Figures = field(default_factory=Figures)

    @property
    def drops(self) -> dict[str, dict[str, float | None]]:
        """(intact - figure) / intact, by content and measure; None where the intact figure is 0."""
        lost: dict[str, dict[str, float | None]] = {}
        for content, intact in self.intact.items():
            hidden = self.figures[content]
            lost[content] = {name: 1 - hidden[name] / before if before else None for name, before in intact.items()}
        return lost

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        plain = {"probe": self.probe, "about": self.about, "figures": self.figures}
        return {**plain, "intact": self.intact, "drops": self.drops} if self.intact else plain

    def text(self) -> str:
        """For people."""
        about = dict(self.about)
        chance = about.pop("chance", {})
        width = max(len(name) for name in (*self.figures, "content")) + 2
        lines = [f"{self.probe}: " + ", ".join(f"{name} {value}" for name, value in about.items())]
        if self.intact:
            lines.append(f"{'content':<{width}}{'measure':<24}{'intact':>9}{'hidden':>9}{'drop':>9}")
            for content, row in self.drops.items():
                for name, drop in row.items():
                    values = f"{self.intact[content][name]:>9.4f}{self.figures[content][name]:>9.4f}"
                    lines.append(f"{content:<{width}}{name:<24}{values}{'' if drop is None else f'{drop:>9.1%}'}")
            return "\n".join(lines)
        first = next(iter(self.figures.values()))
        names = [name for name in first if name in SHOWN] or list(first)
        lines.append(f"{'content':<{width}}" + "".join(f"{name:>12}" for name in names))
        for content, row in self.figures.items():
            values = (f"{row[name]:>12.4f}" if name != "items" else f"{row[name]:>12,.0f}" for name in names)
            lines.append(f"{content:<{width}}" + "".join(values))
        return "\n".join([*lines, *(f"chance: {name} {value:.4f}" for name, value in chance.items() if name in SHOWN)])


class ZeroShot:
    """The Scorer of the zero-shot protocol: cos(mean of the L2-normalised h over the train history, h_i).

    An item without content scores 0 with everybody, and so does every item for a user whose history has none: such
    users get a random list.

    Args:
        features: h of every item.
        train: the train interactions.
    """

    def __init__(self, features: Features, train: Bipartite) -> None:
        self.rows = F.normalize(torch.tensor(features.matrix, dtype=torch.get_default_dtype()), dim=1)
        self.history = train.history_mean()

    @property
    def items(self) -> int:
        """Number of items."""
        return len(self.rows)

    def score_block(self, users: Tensor) -> Tensor:
        """Cosines of the users' profiles with all items."""
        return F.normalize(self.history.product_at(self.rows, users), dim=1) @ self.rows.T


def zero_shot(
    data: Dataset, names: Sequence[str] | None = None, *, part: HeldOut = "valid", seed: int = 0
) -> ProbeResult:
    """Rank all items by cosine to the mean of a user's train history, with no training (see `ZeroShot`).

    Args:
        data: the data set.
        names: modalities to try, each alone and, where there are several, `concat`; None: all.
        part: what is ranked for: "valid" to choose features by, "test" to report.
        seed: of the tie-breaking.

    Raises:
        ConfigError: for an unknown modality, or none.
        DataError: when nobody has a positive in `part`.
    """
    train = data.inputs().train
    found = {
        name: _accuracy(data, ZeroShot(features, train), part, seed) for name, features in contents(data, names).items()
    }
    return ProbeResult("zero-shot", _about(data, part, found), {name: value.means() for name, value in found.items()})


def item_cf(
    data: Dataset,
    names: Sequence[str] | None = None,
    *,
    target: Target = "neighbours",
    k: int | None = None,
    part: HeldOut = "valid",
    seed: int = 0,
) -> ProbeResult:
    """Compare near in content with near in behaviour.

    "neighbours": overlap@k, the share of an item's k nearest items by co-occurrence (cosine of their train users) that
    are among its k nearest by feature cosine, and the overlap that chance gives; see `neighbour_overlap`.
    "recommendation": item-based CF whose item similarity is the feature cosine, the k nearest items kept (ContentKNN).

    Args:
        data: the data set.
        names: as `zero_shot`.
        target: which of the two.
        k: neighbours of an item; None: 10 for "neighbours", 100 for "recommendation".
        part, seed: as `zero_shot`; "neighbours" looks at train alone.

    Raises:
        ConfigError: for an unknown modality or target, or k below 1.
        DataError: when there is nothing to compare with.
    """
    size = k if k is not None else NEAREST if target == "neighbours" else RECOMMENDING
    if size < 1:
        raise ConfigError(f"k must be at least 1, not {size}")
    tried = contents(data, names)
    if target == "recommendation":
        found = {name: _accuracy(data, _content_knn(data, each, size), part, seed) for name, each in tried.items()}
        about = {**_about(data, part, found), "k": size}
        return ProbeResult("item-CF recommendation", about, {name: value.means() for name, value in found.items()})
    if target != "neighbours":
        raise ConfigError(
            unknown_name("target", target, ["neighbours", "recommendation"]), do="neighbours or recommendation"
        )
    inputs = data.inputs()
    figures = {name: neighbour_overlap(features, inputs, size) for name, features in tried.items()}
    about = {"data": data.catalogue.name, "split": data.settings.split, "part": "train", "k": size}
    return ProbeResult("item-CF neighbours", about, figures)


def neighbour_overlap(
    features: Features, inputs: ModelInputs, k: int, among: NDArray[np.bool_] | None = None
) -> dict[str, float]:
    """Overlap of neighbours by content and by behaviour.

    Both are sought among the n items that have content and a train user, the item itself left out. By behaviour only
    items with a common user are near, so there may be fewer than k; the overlap is the share of THEM found among the k
    by content, averaged over the items that have any. A random k of the others would find k / (n - 1) of them.

    Args:
        features: of all items.
        inputs: the train interactions.
        k: neighbours of an item.
        among: items to take for those with content, bool; one of them without content finds nothing. None: as it is.

    Returns:
        `overlap@k`, `chance@k`, and how many items the mean is over (`items`).

    Raises:
        DataError: when no two of these items share a user.
    """
    taken = (features.present if among is None else among) & (inputs.train.by_item.lengths > 0)
    by_content = nearest(features.matrix, k, present=taken & features.present, names=inputs.names)[0]
    behaviour = ItemKNN(ItemKNNConfig(neighbours=k, shrink=0.0), inputs)

    def near(items: IntArray) -> NDArray[np.float64]:
        return np.where(taken, behaviour.near(items), -1.0)

    structure, weights = nearest_by(near, inputs.items, min(k, inputs.items - 1), inputs.names)
    rows = structure.row_of_entry()
    kept = (weights > 0) & taken[rows]
    rows, columns = rows[kept], structure.columns[kept]
    if len(rows) == 0:
        raise DataError(
            f"no two items with '{features.name}' share a train user", do="take features that more items have"
        )
    shared = contains(by_content.keys(), rows * inputs.items + columns)
    counts = np.bincount(rows, minlength=inputs.items)
    with_some = counts > 0
    shares = np.bincount(rows, weights=shared, minlength=inputs.items)[with_some] / counts[with_some]
    others = int(taken.sum()) - 1
    return {
        f"overlap@{k}": float(shares.mean()),
        f"chance@{k}": min(k, others) / others,
        "items": float(with_some.sum()),
    }


def mask_modality(
    data: Dataset,
    names: Sequence[str] | None = None,
    *,
    hide: str,
    share: float = 0.5,
    part: HeldOut = "valid",
    seed: int = 0,
    encoder: Path | None = None,
    model: str | None = None,
    settings: Mapping[str, Any] | None = None,
    quiet: bool = True,
) -> ProbeResult:
    """Hide one modality for a share of the items, repeat zero-shot and item-CF, and report the relative drop.

    Plain features: rows of hidden items are marked absent. `joint` features: hidden items are encoded again without
    their picture (hide="image") or words (hide="text"). Overlaps are averaged over the same items before and after, of
    which those left without content find nothing. Content that does not change is left out of the figures.

    Args:
        data: the data set.
        names: as `zero_shot`.
        hide: the modality to hide.
        share: of the items that have it, in (0, 1]; which ones, `seed` decides.
        part, seed: as `zero_shot`.
        encoder: folder of the encoder that made the `joint` features, needed when they depend on `hide`.
        model: train this model too, before and after, on all of `names`; None trains nothing.
        settings: overrides of the model's and the training's settings.
        quiet: show no progress.

    Raises:
        ConfigError: for unknown names, a share out of range, or a missing or other encoder.
        DataError: when no item has the modality, or there is nothing to compare with.
    """
    whole = _restricted(data, names)
    hidden = items_to_hide(whole, hide, share, seed)
    masked = dataclasses.replace(whole, features=hide_in(whole, hide, hidden, encoder, quiet=quiet))
    tried = contents(whole, None)
    changed = [name for name, each in contents(masked, None).items() if each.fingerprint != tried[name].fingerprint]
    sides: list[Figures] = []
    for side in (whole, masked):
        shown = contents(side, None)
        figures = {name: _untrained(side, shown[name], tried[name].present, part, seed) for name in changed}
        if model is not None:
            kind, config, training = resolve(model, settings=settings)
            trained = fit_model(kind, config, side, training, seed=seed, quiet=quiet).model
            means = _accuracy(side, trained.scorer(), part, seed).means()
            figures[f"{model} (trained)"] = {name: means[name] for name in SHOWN}
        sides.append(figures)
    about = {"data": data.catalogue.name, "split": data.settings.split, "part": part, "hidden": hide}
    return ProbeResult("mask-modality", {**about, "items": int(hidden.sum())}, figures=sides[1], intact=sides[0])


def contents(data: Dataset, names: Sequence[str] | None) -> dict[str, Features]:
    """Each of the modalities by itself, and `concat` of them where there are several.

    Raises:
        ConfigError: for an unknown modality, none at all, or several with one that is itself called `concat`.
    """
    chosen = _restricted(data, names).features
    if len(chosen) == 1:
        return dict(chosen)
    if CONCAT in chosen:
        raise ConfigError(f"a modality is called '{CONCAT}', as all of them together are", do="name it alone")
    return {**chosen, CONCAT: concatenated(chosen)}


def _restricted(data: Dataset, names: Sequence[str] | None) -> Dataset:
    chosen = data if names is None else data.with_features(names)
    if not chosen.features:
        raise ConfigError("there are no features to probe", do="encode the catalogue first (palate encode CAT)")
    return chosen


def _content_knn(data: Dataset, features: Features, k: int) -> Scorer:
    inputs = dataclasses.replace(data.inputs(), features={features.name: features})
    model = ContentKNN(ContentKNNConfig(neighbours=k), inputs)
    model.fit()
    return model


def _untrained(
    data: Dataset, features: Features, among: NDArray[np.bool_], part: HeldOut, seed: int
) -> dict[str, float]:
    inputs = data.inputs()
    overlap = f"overlap@{NEAREST}"
    found = {f"item-CF {overlap}": neighbour_overlap(features, inputs, NEAREST, among)[overlap]}
    scorers = {"zero-shot": ZeroShot(features, inputs.train), "item-CF": _content_knn(data, features, RECOMMENDING)}
    for protocol, scorer in scorers.items():
        means = _accuracy(data, scorer, part, seed).means()
        found |= {f"{protocol} {name}": means[name] for name in SHOWN}
    return found


def _accuracy(data: Dataset, scorer: Scorer, part: HeldOut, seed: int) -> Accuracy:
    if part not in ("valid", "test"):
        raise ConfigError(unknown_name("part", part, ["valid", "test"]), do="valid or test")
    positives = data.positives[part]
    if positives.size == 0:
        raise DataError(f"the {part} part has no positive interaction", do="choose another split or positive")
    return evaluate(scorer, positives, data.mask(part), seed=seed)


def _about(data: Dataset, part: HeldOut, found: Mapping[str, Accuracy]) -> dict[str, Any]:
    """What the figures are of, and the Recall of a random order of each user's candidates."""
    users = next(iter(found.values())).users
    candidates = len(data.items) - data.mask(part).take(users).lengths
    chance = {f"recall@{k}": float(np.minimum(1.0, k / candidates).mean()) for k in (5, 10, 20, 50)}
    about = {"data": data.catalogue.name, "split": data.settings.split, "part": part, "users": len(users)}
    return {**about, "chance": chance}
