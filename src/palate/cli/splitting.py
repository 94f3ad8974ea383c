"""Options that say how a catalogue becomes a data set, shared by the commands that make one."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from palate.core.errors import ConfigError

if TYPE_CHECKING:
    from palate.dataset.dataset import Dataset
    from palate.recipe import RecipeFile
    from palate.study.data_plan import DataPlan

SplitOption = Annotated[
    str | None, typer.Option(help="random, user-time, time, latest, cold-items or given; default: as data allow.")
]
SplitSeedOption = Annotated[int | None, typer.Option(min=0, help="Of the split and the id permutation.")]
PositiveOption = Annotated[str | None, typer.Option(help="Least rating of a positive, or all.")]
DislikeOption = Annotated[float | None, typer.Option(help="Greatest rating of a dislike.")]
ThinOption = Annotated[float | None, typer.Option(help="Share of the train rows to keep.")]
ColdShareOption = Annotated[float | None, typer.Option(help="cold-items: share of items held out.")]
ImputeOption = Annotated[
    str | None,
    typer.Option(
        help="Fill in what items lack, from the train part: zero, mean, neighbours or knowledge; or by modality, as "
        "image=neighbours,text=mean. Default: none, left out."
    ),
]
FeaturesOption = Annotated[str | None, typer.Option(help="Modalities, as image,text; default: all encoded.")]


def plan_of(
    folder: Path,
    recipe: RecipeFile,
    *,
    features: str | None,
    positive: str | None,
    impute: str | None,
    **given: Any,
) -> DataPlan:
    """How the data set of `folder` is made; what the command line gives comes before what the recipe says.

    Args:
        features: names separated by commas; None takes the recipe's, or all there are.
        positive: a rating, or all.
        impute: a way to fill in what is missing, or one for each modality; None takes the recipe's.
        given: further fields of the split; None where not given.

    Raises:
        ConfigError: for a positive that is none, words that are no assignments, or a share of cold items that the split
            does not hold out.
    """
    from palate.core.config import read_assignments
    from palate.study.data_plan import DataPlan

    asked = {name: value for name, value in given.items() if value is not None}
    split = asked.get("split", recipe.split.get("split"))
    if "cold_share" in asked and split != "cold-items":
        raise ConfigError(
            f"--cold-share is for --split cold-items, and the split here is {split or 'left to the data'}",
            do="add --split cold-items, or leave --cold-share out",
        )
    if positive is not None:
        asked["positive"] = _threshold(positive)
    names = recipe.features if features is None else names_of(features)
    ways: str | Mapping[str, str] = recipe.impute or "none"
    if impute is not None:
        ways = (
            read_assignments(impute.split(","), "--impute", "image=neighbours,text=mean") if "=" in impute else impute
        )
    return DataPlan(str(folder), {**recipe.split, **asked}, names, ways)


def names_of(features: str) -> list[str]:
    """Modalities as the command line writes them."""
    return [part.strip() for part in features.split(",") if part.strip()]


def say_notes(dataset: Dataset, *, quiet: bool) -> None:
    """What a person should know about the data, on the error stream."""
    for note in () if quiet else dataset.notes:
        print(note, file=sys.stderr)


def _threshold(text: str) -> float | str:
    if text == "all":
        return text
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ConfigError(
            f"--positive takes a rating or 'all', not '{text}'", do="give the least rating of a positive, as 4"
        )
    return value
