"""What a comparison found, read back from its `results.json` and checked: typed values that tables, plots and sentences
of the report are made of, and the few questions that they all ask of them.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, Field

from palate.core.artefact import read_json
from palate.core.config import Config
from palate.core.errors import ArtefactError, ConfigError
from palate.study.compare import Plan
from palate.study.results import COMPARED, RESULTS

FIRST = COMPARED[0]
# Below so many users a mean says little, and its interval less than it seems to.
THIN_USERS = 30
BASELINE = "popularity"
AGAIN = "run the comparison again: what is trained already is kept"


class _Found(Config):
    # A later palate may store more than this one shows.
    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)


class Interval(_Found):
    """A mean over users and its interval."""

    mean: float
    low: float
    high: float


class Measure(Interval):
    """One metric of one model; `over_seeds` is the standard deviation of the seeds' means, None for one seed."""

    over_seeds: float | None = None


class SliceFound(_Found):
    """One slice of one model; without figures where nobody was counted."""

    kind: str
    meaning: str
    members: int
    users: int
    positives: int
    recall: Interval | None = Field(default=None, alias="recall@20")
    ndcg: Interval | None = Field(default=None, alias="ndcg@20")

    @property
    def thin(self) -> bool:
        """Too few users to say much."""
        return self.users < THIN_USERS


class Cost(_Found):
    """Means over seeds; None where a model has no such figure."""

    seconds: float | None
    seconds_per_epoch: float | None
    epochs: float | None
    best_epoch: float | None
    process_peak_memory_mb: float | None
    parameters: float | None


class Epoch(_Found):
    """One epoch of the first seed; `seconds` are those since the training began."""

    epoch: int
    loss: float
    seconds: float
    validation: float | None = None


class ModelFound(_Found):
    """One entrant."""

    model: str
    title: str
    source: str
    settings_from: str
    settings: dict[str, Any]
    training: dict[str, Any]
    features: list[str]
    seeds: int
    metrics: dict[str, Measure]
    clicks: dict[str, float]
    beyond: dict[str, float | None]
    slices: dict[str, SliceFound]
    validation: dict[str, float]
    cost: Cost
    history: list[Epoch]

    @property
    def trained(self) -> bool:
        """By the loop, epoch by epoch; a closed form is not."""
        return self.cost.epochs is not None

    @property
    def selection(self) -> str:
        """The validation metric that chose the epoch."""
        return str(self.training.get("metric", FIRST))

    @property
    def hit_the_limit(self) -> bool:
        """Every seed trained as long as it was allowed to, so that longer might have been better."""
        limit = self.training.get("epochs")
        return limit is not None and self.cost.epochs is not None and self.cost.epochs >= limit


class PairFound(_Found):
    """`first` against `second`, the mean of `first` being no lower."""

    first: str
    second: str
    difference: Interval
    corrected: Interval
    p: float
    corrected_p: float
    effect: float | None
    better: float
    worse: float
    separated: bool


class SeparationFound(_Found):
    """All entrants against each other on one metric."""

    order: list[str]
    winner: str | None
    level_with_best: list[str]
    verdict: str
    users: int
    left_out: int
    resamples: int
    level: float
    pairs: list[PairFound]

    @cached_property
    def _by_names(self) -> dict[tuple[str, str], PairFound]:
        return {(pair.first, pair.second): pair for pair in self.pairs}

    def pair(self, one: str, other: str) -> PairFound | None:
        """The pair of two entrants, whichever is first; None for an entrant and itself."""
        return self._by_names.get((one, other)) or self._by_names.get((other, one))


class KnockOut(_Found):
    """An entrant trained again without the true rows of a modality; `difference` is true rows - without."""

    label: str
    modality: str
    how: str
    metric: str
    true: float = Field(alias="with")
    without: float
    seeds: int
    difference: Interval
    corrected: Interval
    corrected_p: float
    separated: bool
    note: str = ""


class DataFound(_Found):
    """The data set."""

    name: str
    users: int
    items: int
    train_interactions: int
    valid_interactions: int
    test_interactions: int
    train_positives: int
    valid_positives: int
    test_positives: int
    features: dict[str, float]
    missing: dict[str, int]
    imputed: dict[str, str] = Field(default_factory=dict)
    settings: dict[str, Any]
    fingerprint: str
    notes: list[str]

    @property
    def interactions(self) -> int:
        """Of all parts."""
        return self.train_interactions + self.valid_interactions + self.test_interactions


class Findings(_Found):
    """The whole of it; `models` are in the order of the first compared metric."""

    plan: Plan
    environment: dict[str, Any]
    data: DataFound
    test_users: int
    models: dict[str, ModelFound] = Field(min_length=1)
    separation: dict[str, SeparationFound]
    knock_out: list[KnockOut]
    failed: dict[str, str]

    def name(self, label: str) -> str:
        """What an entrant is called: by its title, unless it is one of several settings of a model."""
        found = self.models.get(label)
        return found.title if found is not None and found.model == label else label

    @property
    def baseline(self) -> str | None:
        """The label of Popularity; None where it did not take part."""
        return next((label for label, found in self.models.items() if found.model == BASELINE), None)

    @property
    def unfinished(self) -> list[str]:
        """Entrants of the plan that are in no table."""
        return [label for label in self.plan.entrants if label not in self.models]


def read_findings(out: Path) -> Findings:
    """The stored results of a comparison.

    Raises:
        ArtefactError: when there are none, or they cannot be read.
    """
    path = out / RESULTS
    if not path.is_file():
        raise ArtefactError(
            "there are no results of a comparison here", where=str(out), do="make them with: palate compare … -o FOLDER"
        )
    stored = read_json(path)
    if not isinstance(stored, dict):
        raise ArtefactError("these are no results of a comparison", where=str(path), do=AGAIN)
    try:
        found = Findings.parse(stored, where=str(path))
    except ConfigError as error:
        raise ArtefactError(f"these results cannot be read: {error.what[:400]}", where=str(path), do=AGAIN) from None
    for metric in COMPARED:
        separation = found.separation.get(metric)
        known = separation is not None and set(separation.order) == set(found.models)
        if not known or any(metric not in model.metrics for model in found.models.values()):
            raise ArtefactError(f"these results do not hold {metric} of every model", where=str(path), do=AGAIN)
    return found
