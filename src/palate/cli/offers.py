"""From the folder and the files that a command names to what lists are made of."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from palate.printing import say_note

if TYPE_CHECKING:
    from palate.recommend.offer import Offer


def offer_of(folder: Path, data: Path | None, liked: Sequence[str] | None, *, content: bool) -> Offer:
    """What lists of a run or a bundle are made of.

    Args:
        folder: of the run or the bundle.
        data: of a run: its catalogue, where that has moved.
        liked: items of somebody new, in order of time; None: for known users.
        content: whether features will be asked for.

    Raises:
        PalateError: when it is neither, or an item is unknown.
    """
    from palate.core.artefact import kind_of
    from palate.experiment import Run
    from palate.recommend.bundle import KIND, Bundle
    from palate.recommend.offer import Offer

    if kind_of(folder) == KIND:
        bundle = Bundle.load(folder)
        return Offer.of_bundle(bundle) if liked is None else Offer.of_somebody_new(bundle, liked)
    run = Run.load(folder, data=data)
    if liked is not None:
        bundle = run.bundle(keep="float32" if content else "none", new_items="none")
        return Offer.of_somebody_new(bundle, liked)
    return Offer.of_dataset(run.scorer, run.data, run.content() if content else {}, run.recipe.seed)


def ids_of(path: Path, offer: Offer, *, needed: bool) -> list[str]:
    """The items that a file names; unknown ids are left out, which a note says.

    Args:
        needed: at least one must be known.

    Raises:
        DataError: when none is, though it must, or the file has no ids.
    """
    from palate.core.errors import DataError, nearest
    from palate.recommend.filters import known_ids, read_ids

    names = read_ids(path)
    known, notes = known_ids(names, offer.items, str(path))
    if needed and not known:
        near = nearest(names[0], offer.items.ids.head(100_000))
        guess = f"did you mean '{near}' by '{names[0]}'? " if near else ""
        raise DataError(
            "there is no item of an id in this file", where=str(path), do=f"{guess}there are {len(offer.items):,} items"
        )
    for note in notes:
        say_note(note)
    return known
