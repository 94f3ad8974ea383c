"""Options that say how a catalogue becomes a data set, shared by the commands that make one."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from palate.core.errors import ConfigError

if TYPE_CHECKING:
    from palate.dataset.dataset import Dataset

SplitOption = Annotated[
    str | None, typer.Option(help="random, user-time, time, latest, cold-items or given; default: as data allow.")
]
SplitSeedOption = Annotated[int | None, typer.Option(min=0, help="Of the split and the id permutation.")]
PositiveOption = Annotated[str | None, typer.Option(help="Least rating of a positive, or all.")]
DislikeOption = Annotated[float | None, typer.Option(help="Greatest rating of a dislike.")]
ThinOption = Annotated[float | None, typer.Option(help="Share of the train rows to keep.")]
ColdShareOption = Annotated[float | None, typer.Option(help="cold-items: share of items held out.")]
FeaturesOption = Annotated[str | None, typer.Option(help="Modalities, as image,text; default: all encoded.")]


def load_data(
    folder: Path,
    *,
    defaults: dict[str, Any] | None = None,
    features: str | list[str] | None = None,
    positive: str | None = None,
    **given: Any,
) -> Dataset:
    """The data set of `folder`; what the command line gives comes before `defaults` (those of a recipe).

    Args:
        defaults: fields of the split.
        features: names separated by commas, or a list; None takes all there are.
        positive: a rating, or all.
        given: further fields of the split; None where not given.
    """
    from palate.dataset.dataset import Dataset
    from palate.dataset.settings import SplitConfig

    asked = {name: value for name, value in given.items() if value is not None}
    if positive is not None:
        asked["positive"] = _threshold(positive)
    return Dataset.load(folder, SplitConfig.parse({**(defaults or {}), **asked}), names_of(features))


def names_of(features: str | list[str] | None) -> list[str] | None:
    """Modalities as the command line writes them."""
    if not isinstance(features, str):
        return features
    return [part.strip() for part in features.split(",") if part.strip()]


def say_notes(dataset: Dataset, *, quiet: bool) -> None:
    """What a person should know about the data, on the error stream."""
    for note in () if quiet else dataset.notes:
        print(note, file=sys.stderr)


def _threshold(text: str) -> float | str:
    if text == "all":
        return text
    try:
        return float(text)
    except ValueError:
        raise ConfigError(f"--positive takes a rating or 'all', not '{text}'") from None
