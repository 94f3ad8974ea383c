"""New items in a bundle without training: their content places them among the items that the model knows.

Takes a bundle and a catalogue that has more items, encoded as those of the bundle were; gives a bundle that has them
too. They can be recommended, found, and be part of histories; what the model learnt stays as it is.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import torch

from palate.core.errors import ConfigError, DataError
from palate.dataset.vocabulary import Vocabulary
from palate.encode.features import Features, some
from palate.encode.store import FeatureStore
from palate.graph.rows import Rows
from palate.ingest.catalogue import Catalogue
from palate.recommend.bundle import Bundle, ModalityFacts
from palate.recommend.bundling import unit
from palate.recommend.colditem import Modality, described_by
from palate.recommend.contentpaths import NeighbourPath
from palate.recommend.foldin import of_items
from palate.recommend.forms import Vectors
from palate.recommend.moments import microseconds_of
from palate.train.columns import way_of


@dataclass(frozen=True)
class Grown:
    """What was taken in.

    Attributes:
        bundle: the new one.
        added: items that were placed.
        left_out: ids of new items without content that could place them.
        lacking: modalities that place items, and that the catalogue has none of.
        notes: what should be known besides.
    """

    bundle: Bundle
    added: int
    left_out: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    lacking: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [f"{self.added:,} new items placed by their content"]
        if self.left_out:
            lines.append(
                f"left out: {len(self.left_out):,} new items without content that could place them: "
                f"{some(list(self.left_out))}"
                + (f"; the catalogue has no {', '.join(self.lacking)}: palate encode it first" if self.lacking else "")
            )
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])


def grow_from(bundle: Bundle, catalogue: Path) -> Grown:
    """`grow` by the items of a catalogue folder that the bundle does not know.

    Raises:
        ArtefactError: when the catalogue is damaged, or there is none.
        ConfigError, DataError: see `grow`.
    """
    found = Catalogue.load(catalogue)
    new = found.items.filter(~pl.col("item_id").is_in(bundle.items.ids.implode()))
    if new.height == 0:
        # Nor does it matter then whether the bundle could place any: tonight's events still come in.
        return Grown(bundle, 0)
    store, ids = FeatureStore(catalogue), new["item_id"].to_list()
    wanted = _read(bundle)
    content = {name: store.load(name, ids) for name in store.names() if name in wanted}
    placing = () if bundle.content is None else bundle.content.modalities
    lacking = tuple(name for name in placing if name not in store.names())
    return dataclasses.replace(grow(bundle, new, content), lacking=lacking)


def grow(bundle: Bundle, items: pl.DataFrame, content: Mapping[str, Features]) -> Grown:
    """A bundle that has further items.

    Args:
        items: the new ones, as a catalogue's item table has them.
        content: modality → their features, row by row; further modalities are left out. Items without any of those that
            place items are left out.

    Raises:
        ConfigError: when the bundle cannot place new items among its own.
        DataError: when features were made by another encoder.
    """
    path, form = bundle.content, bundle.form
    if path is None or not isinstance(form, Vectors) or isinstance(path, NeighbourPath):
        why = "knows items by their interactions alone, or was exported without their content"
        if path is not None:
            why = "places new items by their neighbours among those that it was made with"
        raise ConfigError(
            f"this {bundle.facts.title} takes no new items in: it {why}",
            do="train again with them; or export a model with vectors anew with --new-items regression",
        )
    usable, notes = _usable(content, _read(bundle), bundle.facts.columns, tuple(items["item_id"]))
    placeable = described_by(path, usable, np.arange(items.height))
    missing = items["item_id"].gather(np.setdiff1d(np.arange(items.height), placeable))
    if len(placeable) == 0:
        return Grown(bundle, 0, tuple(missing), notes)
    usable = {name: value.take(placeable) for name, value in usable.items()}
    placed = bundle.place({name: usable[name] for name in path.modalities}).vectors
    assert placed is not None
    item, count = torch.cat([form.item, placed.to(form.item)]), len(bundle.items) + len(placeable)
    ids = pl.concat([bundle.items.ids, items["item_id"].gather(placeable)])
    kept = {
        name: _longer(value, unit(usable[name], bundle.facts.precision), tuple(ids))
        for name, value in bundle.features.items()
    }
    facts = {"items": count, "placed": bundle.facts.placed + len(placeable)}
    made = dataclasses.replace(
        bundle,
        facts=bundle.facts.override(facts),
        form=Vectors(form.user, item, of_items(form.folding, item)),
        items=Vocabulary("item", ids),
        table=_longer_table(bundle.table, items[placeable]),
        features=kept,
        folder=None,
        **{name: _wider(getattr(bundle, name), count) for name in ("liked", "disliked", "seen")},
    )
    return Grown(made, len(placeable), tuple(missing), notes)


def _read(bundle: Bundle) -> dict[str, Modality | ModalityFacts]:
    """What features of new items must be like, of all modalities that the bundle places items by or keeps."""
    return {**bundle.facts.features, **({} if bundle.content is None else bundle.content.modalities)}


def _usable(
    content: Mapping[str, Features],
    wanted: Mapping[str, Modality | ModalityFacts],
    columns: Mapping[str, Sequence[str]],
    ids: tuple[str, ...],
) -> tuple[dict[str, Features], tuple[str, ...]]:
    """Features of all `wanted` modalities; absent where there are none.

    Args:
        columns: of the bundle, by name: categories whose columns have moved are put back in their places.
    """
    found: dict[str, Features] = {}
    notes: list[str] = []
    for name, like in wanted.items():
        value = content.get(name)
        if value is not None and value.encoder != like.encoder:
            if way_of(value.encoder) != way_of(like.encoder):
                raise DataError(
                    f"the features '{name}' were made by another encoder than those of the bundle",
                    where=f"{value.encoder}; wanted: {like.encoder}",
                    do="encode the catalogue as that of the bundle was, or train again and export",
                )
            value, said = _by_name(value, columns.get(name, ()), like)
            notes.append(said)
        if value is None:
            rows, absent = np.zeros((len(ids), like.width), np.float32), np.zeros(len(ids), np.bool_)
            value = Features(name, rows, absent, like.encoder, ids)
        found[name] = value
    return found, tuple(notes)


def _by_name(features: Features, columns: Sequence[str], like: Modality | ModalityFacts) -> tuple[Features | None, str]:
    """Rows of categories in the columns of the bundle, as far as it knows their names; and what is to be said."""
    place = {name: number for number, name in enumerate(columns)}
    pairs = [(number, place[name]) for number, name in enumerate(features.columns) if name in place]
    if not pairs or len(columns) != like.width:
        return None, f"features '{features.name}' have other columns than then, and say nothing of the new items"
    now, then = np.array(pairs, dtype=np.int64).T
    rows = np.zeros((len(features), like.width), np.float32)
    rows[:, then] = features.matrix[:, now]
    present = features.present & rows.any(axis=1)
    said = f"features '{features.name}' have other columns than then: {len(pairs):,} of {features.width:,} are known"
    return Features(features.name, rows, present, like.encoder, features.ids), said


def _longer(known: Features, new: Features, ids: tuple[str, ...]) -> Features:
    rows, present = np.concatenate([known.matrix, new.matrix]), np.concatenate([known.present, new.present])
    return Features(known.name, rows, present, known.encoder, ids)


def _longer_table(known: pl.DataFrame, new: pl.DataFrame) -> pl.DataFrame:
    """The columns that are known, in their types; what does not fit them is left empty.

    A column of whole numbers that meets its first fraction becomes one of fractions: 9.95 is no 9.
    """
    columns = [
        _fitting(new[name], dtype) if name in new.columns else pl.Series(name, [None] * new.height, dtype)
        for name, dtype in known.schema.items()
    ]
    return pl.concat([known, pl.DataFrame(columns)], how="vertical_relaxed")


def _fitting(column: pl.Series, dtype: pl.DataType) -> pl.Series:
    fractions = dtype.is_integer() and column.dtype.is_float() and bool((column != column.round(0)).any())
    if fractions:
        return column
    if column.dtype == pl.String and isinstance(dtype, pl.Date | pl.Datetime):
        zone = dtype.time_zone if isinstance(dtype, pl.Datetime) else None
        column = microseconds_of(column).cast(pl.Datetime("us", None if zone is None else "UTC"))
    try:
        return column.cast(dtype, strict=False)
    except pl.exceptions.PolarsError:
        return pl.Series(column.name, [None] * len(column), dtype)


def _wider(rows: Rows, width: int) -> Rows:
    return Rows(rows.pointer, rows.columns, width)
