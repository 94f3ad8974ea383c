"""The catalogue: what is known of items and of what people did with them, as canonical tables in source order.

A folder of Parquet files with a manifest; features are stored beside them later and are no part of the manifest.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import polars as pl

from palate.core.errors import ArtefactError, DataError

KIND = "catalogue"
VERSION = 1
HASHED_AT_ONCE = 1 << 18

INTERACTION_TYPES: dict[str, type[pl.DataType]] = {
    "user_id": pl.String,
    "item_id": pl.String,
    "rating": pl.Float64,
    "timestamp": pl.Int64,
    "event": pl.String,
    "split": pl.String,
}
ITEM_TYPES: dict[str, type[pl.DataType]] = {
    "item_id": pl.String,
    "title": pl.String,
    "description": pl.String,
    "image": pl.String,
    "audio": pl.String,
}
KNOWLEDGE_TYPES: dict[str, type[pl.DataType]] = {"head": pl.String, "relation": pl.String, "tail": pl.String}
ENTITY_TYPES: dict[str, type[pl.DataType]] = {"item_id": pl.String, "entity": pl.String}

REQUIRED: dict[str, tuple[str, ...]] = {
    "interactions": ("user_id", "item_id"),
    "items": ("item_id",),
    "knowledge": ("head", "relation", "tail"),
    "item_entities": ("item_id", "entity"),
}
TYPES = {
    "interactions": INTERACTION_TYPES,
    "items": ITEM_TYPES,
    "knowledge": KNOWLEDGE_TYPES,
    "item_entities": ENTITY_TYPES,
}


@dataclass(frozen=True)
class Catalogue:
    """Canonical tables in source order; `Catalogue.of` makes one of plain frames.

    Args:
        interactions: `user_id`, `item_id` (String), `rating` (Float64), `timestamp` (Int64, seconds since 1970 unless
            the source counts otherwise), `event`, `split` (String: train, valid, test). All six columns are there;
            a column that the source does not have is null throughout. Each (user, item) pair occurs once, and each
            item is in `items`.
        items: `item_id`, `title`, `description`, `image`, `audio` (String, null where missing), and any other columns
            of the source. Ids are distinct.
        knowledge: `head`, `relation`, `tail` (String), or None.
        item_entities: `item_id`, `entity` (String): the items that have a node in the knowledge, or None.
        name: a short name for reports.
        folder: where it is stored, or None.
        media_root: folder to which relative `image` and `audio` paths belong, or None.

    Raises:
        DataError: when a table lacks a column or has one of another type.
    """

    interactions: pl.DataFrame
    items: pl.DataFrame
    knowledge: pl.DataFrame | None = None
    item_entities: pl.DataFrame | None = None
    name: str = "catalogue"
    folder: Path | None = None
    media_root: str | None = None

    def __post_init__(self) -> None:
        for table, frame in self.tables.items():
            for column, dtype in TYPES[table].items():
                found = frame.schema.get(column)
                if found != dtype:
                    raise DataError(
                        f"the {table} table has {'no' if found is None else f'a {found}'} column {column}, "
                        f"and needs one of type {dtype.__name__}",
                        where=str(self.folder or self.name),
                    )

    @classmethod
    def of(
        cls,
        interactions: pl.DataFrame,
        items: pl.DataFrame | None = None,
        knowledge: pl.DataFrame | None = None,
        item_entities: pl.DataFrame | None = None,
        *,
        name: str = "catalogue",
        media_root: str | None = None,
    ) -> Catalogue:
        """A catalogue of frames that have the required columns; optional ones are filled with nulls.

        Without `items`, they are the distinct item ids of the interactions in order of first appearance.

        Raises:
            DataError: when a required column is missing, an id is null, an item id occurs twice, a (user, item) pair
                occurs twice, or an interaction's item is not among the items.
        """
        rows = conform(interactions, "interactions").select(list(INTERACTION_TYPES))
        goods = conform(items_of(rows) if items is None else items, "items")
        _refuse(rows.select("user_id", "item_id").is_duplicated().any(), "a (user, item) pair occurs twice", name)
        _refuse(goods["item_id"].is_duplicated().any(), "an item id occurs twice in the items", name)
        unknown = rows.join(goods, on="item_id", how="anti")
        _refuse(unknown.height > 0, f"{unknown.height:,} interactions are with items that are not in the items", name)
        return cls(
            rows,
            goods,
            None if knowledge is None else conform(knowledge, "knowledge"),
            None if item_entities is None else conform(item_entities, "item_entities"),
            name=name,
            media_root=media_root,
        )

    @property
    def tables(self) -> dict[str, pl.DataFrame]:
        """The tables that there are, by name."""
        named = {
            "interactions": self.interactions,
            "items": self.items,
            "knowledge": self.knowledge,
            "item_entities": self.item_entities,
        }
        return {name: frame for name, frame in named.items() if frame is not None}

    @property
    def media_folder(self) -> Path | None:
        """The folder to which relative media paths belong."""
        return self.folder if self.media_root is None else Path(self.media_root)

    @cached_property
    def fingerprint(self) -> str:
        """Hex sha256 over the content of the tables; name and place do not matter."""
        digest = hashlib.sha256()
        for name, frame in self.tables.items():
            digest.update(f"{name}|{frame.height}|{frame.width}\n".encode())
            for column in frame.get_columns():
                _hash_column(digest, column)
        return digest.hexdigest()

    def save(self, folder: Path, *, replace: bool = False, media: Callable[[Path], None] | None = None) -> Catalogue:
        """Store the catalogue in `folder`, all or nothing.

        Args:
            folder: a folder that is not there yet, or is empty.
            replace: put it in the place of a catalogue that is there. Everything in that folder goes, the
                features of the old catalogue included.
            media: writes the files that relative `image` and `audio` paths name, into the folder that it is given,
                before anything is seen of the catalogue. They are no part of the manifest: a damaged picture is a
                missing picture, not a damaged catalogue.

        Returns:
            The catalogue, with its `folder`.

        Raises:
            ArtefactError: when something is there already that may not be replaced, or the disk refuses.
        """
        # Stored artefacts bring torch along, which reading and checking tables does without.
        from palate.core.artefact import atomic_folder, write_manifest

        empty = folder.is_dir() and not any(folder.iterdir())
        if replace and folder.exists() and not empty:
            _refuse_strangers(folder)
        facts = {
            "name": self.name,
            "media_root": self.media_root,
            "fingerprint": self.fingerprint,
            "rows": {name: frame.height for name, frame in self.tables.items()},
        }
        try:
            with atomic_folder(folder, replace=replace or empty) as temporary:
                for name, frame in self.tables.items():
                    # On ids a higher level costs half as much again and is no smaller.
                    frame.write_parquet(temporary / f"{name}.parquet", compression_level=1)
                write_manifest(temporary, KIND, VERSION, facts)
                if media is not None:
                    media(temporary)
        except OSError as error:
            raise ArtefactError(f"the catalogue cannot be stored: {error}", where=str(folder)) from None
        return dataclasses.replace(self, folder=folder)

    @classmethod
    def load(cls, folder: Path) -> Catalogue:
        """Read a stored catalogue, its files checked against the manifest.

        Raises:
            ArtefactError: when it is no catalogue, or is damaged.
        """
        from palate.core.artefact import read_manifest

        manifest = read_manifest(folder, KIND, VERSION)
        files = cast("dict[str, Any]", manifest["files"])
        tables: dict[str, pl.DataFrame | None] = {}
        for name in TYPES:
            if f"{name}.parquet" in files:
                tables[name] = _read_stored(folder / f"{name}.parquet")
            elif name in ("interactions", "items"):
                raise ArtefactError(f"the catalogue's manifest has no {name} table", where=str(folder))
        media_root = manifest.get("media_root")
        return cls(
            cast(pl.DataFrame, tables["interactions"]),
            cast(pl.DataFrame, tables["items"]),
            tables.get("knowledge"),
            tables.get("item_entities"),
            name=str(manifest.get("name", folder.name)),
            folder=folder,
            media_root=None if media_root is None else str(media_root),
        )


def items_of(interactions: pl.DataFrame) -> pl.DataFrame:
    """The distinct item ids of interactions, in order of first appearance."""
    return interactions.select(pl.col("item_id").unique(maintain_order=True))


def conform(frame: pl.DataFrame, table: str) -> pl.DataFrame:
    """A frame with the canonical columns of `table` first, cast to their types, missing optional ones as nulls.

    Raises:
        DataError: when a required column is missing or has nulls, or a value cannot be cast.
    """
    types = TYPES[table]
    for column in REQUIRED[table]:
        _refuse(column not in frame.columns, f"the {table} table has no column {column}", table)
    columns = [
        pl.col(name).cast(dtype) if name in frame.columns else pl.lit(None, dtype=dtype).alias(name)
        for name, dtype in types.items()
    ]
    try:
        canonical = frame.select(*columns, *(name for name in frame.columns if name not in types))
    except pl.exceptions.InvalidOperationError as error:
        raise DataError(f"the {table} table has values of another type: {error}", where=table) from None
    for column in REQUIRED[table]:
        _refuse(canonical[column].null_count() > 0, f"the column {column} of {table} has empty cells", table)
    return canonical


def _refuse(wrong: bool, what: str, where: str) -> None:
    if wrong:
        raise DataError(what, where=where)


def _refuse_strangers(folder: Path) -> None:
    from palate.core.artefact import MANIFEST, read_json

    found: object = read_json(folder / MANIFEST) if (folder / MANIFEST).is_file() else None
    if not isinstance(found, dict) or cast("dict[str, object]", found).get("kind") != KIND:
        raise ArtefactError(
            "this is no catalogue, so it is not replaced by one", where=str(folder), do="choose another folder"
        )


def _read_stored(path: Path) -> pl.DataFrame:
    try:
        return pl.read_parquet(path, glob=False, hive_partitioning=False)
    except (OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise ArtefactError(f"the file cannot be read: {error}", where=str(path), do="import the data again") from None


def _hash_column(digest: Any, column: pl.Series) -> None:
    numeric = column.dtype.is_integer() or column.dtype.is_float()
    values = column if numeric else column.cast(pl.String)
    digest.update(f"{column.name}|{column.dtype}|{values.null_count()}\n".encode())
    if values.null_count():
        digest.update(values.is_null().to_numpy().tobytes())
    if numeric:
        digest.update(values.fill_null(0).to_numpy().tobytes())
    else:
        filled = values.fill_null("")
        digest.update(filled.str.len_bytes().to_numpy().tobytes())
        for start in range(0, len(filled), HASHED_AT_ONCE):
            digest.update(str(filled.slice(start, HASHED_AT_ONCE).str.join("").item()).encode())
