"""Why data are not those a run was trained on, in words that its owner can act on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from palate.core.errors import DataError
from palate.dataset.dataset import Dataset
from palate.train.columns import way_of
from palate.train.warmstart import IDS, Side, read_ids

NOT_THESE = "these are not the data this run was trained on"


def refuse_other_data(
    folder: Path, dataset: Dataset, encoders: Mapping[str, str], *, catalogue: str | None, learns: bool
) -> None:
    """Refuse to open a run on data whose fingerprint is another one.

    A run stands on its split, and the split on all users and items: with one more or less, its rows are of others.

    Args:
        folder: of the run.
        dataset: what it is to be opened on.
        encoders: modality → what made the rows that it was trained on, by its identity.
        catalogue: the folder it was trained on.
        learns: another run can start from its parameters.

    Raises:
        DataError: always.
    """
    again = "train again on the present data" + (f" (--warm-start {folder} begins where it ended)" if learns else "")
    shifted = _shifted(folder, dataset)
    if shifted:
        raise DataError(
            f"{NOT_THESE}: {', '.join(shifted)}",
            where=catalogue or str(folder),
            do=f"{again}, or point to the old data with --data",
        )
    for name, encoder in encoders.items():
        if name not in dataset.features or dataset.features[name].encoder == encoder:
            continue
        now = dataset.features[name].encoder
        where = f"trained on: {encoder}; now: {now}"
        if way_of(encoder) == way_of(now) != "precomputed":
            raise DataError(f"{NOT_THESE}: features '{name}' have other columns than then", where=where, do=again)
        raise DataError(
            f"{NOT_THESE}: features '{name}' were made by another encoder",
            where=where,
            do="encode the catalogue with that encoder again, or train again on the present features",
        )
    raise DataError(
        f"{NOT_THESE} (the catalogue or its features have changed)",
        where=catalogue or str(folder),
        do=f"{again}, or point to the old data with --data",
    )


def _shifted(folder: Path, dataset: Dataset) -> list[str]:
    """How many of the run's users and items are gone, and how many are new."""
    if not (folder / IDS).is_file():
        return []
    then = read_ids(folder)
    sides: tuple[tuple[Side, set[str]], ...] = (("user", set(dataset.users.ids)), ("item", set(dataset.items.ids)))
    found: list[str] = []
    for side, now in sides:
        before = set(then[side])
        for count, what in ((len(before - now), "gone"), (len(now - before), "new")):
            if count:
                found.append(f"{count:,} {side}{'s' if count > 1 else ''} {'are' if count > 1 else 'is'} {what}")
    return found
