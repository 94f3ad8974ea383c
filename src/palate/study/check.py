"""`palate data check`: is a catalogue whole, and does it leak through the order of its ids."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from palate.core.errors import ConfigError, DataError
from palate.dataset.dataset import Dataset, Order
from palate.dataset.settings import SplitConfig
from palate.graph.rows import Rows
from palate.measure.evaluation import evaluate, of_some
from palate.measure.metrics import Values
from palate.models.base import Classical
from palate.models.classical.indexorder import IndexOrder, IndexOrderConfig
from palate.models.classical.popularity import Popularity, PopularityConfig

METRIC = "recall@20"
# The canary looks at no more users than this: they tell as much as millions do.
USERS = 20_000


@dataclass(frozen=True)
class CheckResult:
    """What `check` found.

    Attributes:
        facts: sizes, features and how the data were split for the check.
        canary: the best Recall@20 that the order of the source alone reaches, over orders and directions; None when
            the held-out part is empty.
        popularity: Recall@20 of Popularity under the same conditions.
        leaks: the canary beats Popularity by more than chance explains (four standard errors of the paired
            difference over users, for the best of six canaries).
        notes: what the split said, where every interaction had to count as a positive, and where the canary looked at a
            sample of the users.
    """

    facts: dict[str, Any]
    canary: float | None
    popularity: float | None
    leaks: bool
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return dataclasses.asdict(self)

    def text(self) -> str:
        """For people."""
        facts = self.facts
        lines = [
            f"{facts['name']}: {facts['users']:,} users, {facts['items']:,} items; every file is as it was written",
            *(f"  features {name}: {share:.1%} of the items" for name, share in facts["features"].items()),
            *(f"  {note}" for note in self.notes),
        ]
        if self.canary is None or self.popularity is None:
            return "\n".join([*lines, "  leak canary: not run, there is nothing held out"])
        lines.append(f"  leak canary: {METRIC} {self.canary:.4f} from id order alone, popularity {self.popularity:.4f}")
        if not self.leaks and self.canary <= self.popularity:
            lines.append("  no sign of a leak")
        elif not self.leaks:
            lines += [
                "  id order alone is ahead of popularity, but by less than four standard errors: no proof of a leak,",
                "  and none that there is none. Were the ids given in order of time or of item?",
            ]
        else:
            lines += [
                "WARNING: the order of the ids alone, with no learning, beats popularity: these data leak.",
                "  Palate numbers users and items at random, so its own models cannot use this; results of tools that",
                "  keep the order may be inflated, and if the source was sorted by time or item, so may its split.",
            ]
        return "\n".join(lines)


def check(folder: Path, *, quiet: bool = False) -> CheckResult:
    """Verify a catalogue folder with its features, and run the leak canary on its source order.

    The split and what is a positive are those that training takes where nothing is said. Where it would ask, or would
    have no positive to train on, every interaction counts as one, and the notes say so. Of many users with something
    held out the canary is shown 20,000, drawn at random.

    Args:
        folder: of the catalogue.
        quiet: show no progress.

    Raises:
        ArtefactError: when a file is missing or was changed.
        DataError: when the data do not make a data set.
    """
    dataset, unsaid = _split(folder)
    held_out = dataset.positives["test"]
    positives, sampled = of_some(held_out, USERS, "check"), ()
    if positives is not held_out:
        users = np.count_nonzero(held_out.lengths)
        sampled = (f"the leak canary looks at {USERS:,} of {users:,} users, drawn at random",)
    canary = popularity = None
    leaks = False
    if positives.size:
        inputs = dataset.inputs()
        popular = _recall(Popularity(PopularityConfig(), inputs), dataset, positives, "" if quiet else "popularity")
        orders: tuple[Order, ...] = ("ids", "items", "interactions")
        directions: tuple[Literal["users", "items"], ...] = ("users", "items")
        canaries = [
            _recall(
                IndexOrder(
                    IndexOrderConfig(direction=direction),
                    dataclasses.replace(inputs, numbers=partial(dataset.numbers, order)),
                ),
                dataset,
                positives,
                "" if quiet else f"leak canary: {direction} by order of {order}",
            )
            for order in orders
            for direction in directions
        ]
        best = max(canaries, key=lambda values: float(values.mean()))
        canary, popularity = float(best.mean()), float(popular.mean())
        gain = best - popular
        leaks = bool(gain.mean() > 4 * gain.std() / np.sqrt(len(gain)))
    return CheckResult(dataset.describe(), canary, popularity, leaks, (*dataset.notes, *unsaid, *sampled))


def _split(folder: Path) -> tuple[Dataset, tuple[str, ...]]:
    try:
        return Dataset.load(folder, SplitConfig()), ()
    except (ConfigError, DataError) as error:
        # What is wrong in some other way is so with every positive, and raised again.
        dataset = Dataset.load(folder, SplitConfig(positive="all"))
        return dataset, (f"every interaction counts as a positive in this check: {error.what}",)


def _recall(model: Classical, dataset: Dataset, positives: Rows, title: str) -> Values:
    model.fit()
    return evaluate(model, positives, dataset.mask("test", "train"), title=title).values[METRIC]
