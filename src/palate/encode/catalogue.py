"""Features of a stored catalogue: read its items, run an encoder or take ready-made rows, store the result."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from palate.core.errors import ConfigError, DataError, MissingDependency, nearest, unknown_name
from palate.core.lock import changing
from palate.encode.base import ENCODERS, Encoder, EncodeSummary, Fitting, build_encoder, cache_key, encode
from palate.encode.categories import CategoriesEncoder, category_columns, item_categories
from palate.encode.knowledge import KnowledgeConfig, encode_knowledge, item_entities
from palate.encode.media import MediaFile, media_files
from palate.encode.precomputed import ROW_ORDERS, PrecomputedSummary, read_precomputed
from palate.encode.scaling import Scaling, remark, scaled
from palate.encode.store import FAILED, FeatureStore, RowCache
from palate.encode.text import TEXT_COLUMNS, item_texts
from palate.ingest.catalogue import Catalogue
from palate.ingest.folders import FeatureFile


@dataclass(frozen=True)
class Content:
    """How a catalogue holds one kind of content.

    Args:
        encoder: the default encoder of this kind.
        there: whether the catalogue has any.
        inputs: one input per item for an encoder of this kind, read from the given columns or from the usual ones.
    """

    encoder: str
    there: Callable[[Catalogue], bool]
    inputs: Callable[[Catalogue, Sequence[str] | None, Encoder[Any]], Sequence[Any]]


def _texts(catalogue: Catalogue, columns: Sequence[str] | None, encoder: Encoder[Any]) -> Sequence[Any]:
    return item_texts(catalogue.items, columns)


def _categories(catalogue: Catalogue, columns: Sequence[str] | None, encoder: Encoder[Any]) -> Sequence[Any]:
    separator = encoder.config.separator if isinstance(encoder, CategoriesEncoder) else None
    return item_categories(catalogue.items, columns, separator)


def _media(catalogue: Catalogue, columns: Sequence[str] | None, encoder: Encoder[Any]) -> Sequence[Any]:
    return media_files(catalogue.items, encoder.modality, catalogue.media_folder, columns)


def _entities(catalogue: Catalogue, columns: Sequence[str] | None, encoder: Encoder[Any]) -> Sequence[Any]:
    return item_entities(catalogue)


def _has_knowledge(catalogue: Catalogue) -> bool:
    return catalogue.knowledge is not None and catalogue.item_entities is not None


def _filled(items: pl.DataFrame, names: Sequence[str]) -> bool:
    return any(name in items.columns and items[name].null_count() < items.height for name in names)


# In the order in which they are encoded: the slowest last.
CONTENTS: dict[str, Content] = {
    "text": Content("minilm", lambda catalogue: _filled(catalogue.items, TEXT_COLUMNS), _texts),
    "categories": Content("multihot", lambda catalogue: bool(category_columns(catalogue.items)), _categories),
    "knowledge": Content("sdne", _has_knowledge, _entities),
    "audio": Content("logmel", lambda catalogue: _filled(catalogue.items, ["audio"]), _media),
    "image": Content("efficientnet-lite0", lambda catalogue: _filled(catalogue.items, ["image"]), _media),
}


class AllFailed(DataError):
    """Items have content of a modality, and none of it could be encoded."""


@dataclass(frozen=True)
class EncodeReport:
    """What a call of `encode_all` did.

    Args:
        summaries: one per modality that was encoded and stored.
        skipped: modalities that could not be, with the reason.
        failed: those of them whose content is there and failed with every item, as when its folder has moved.
    """

    summaries: tuple[EncodeSummary, ...]
    skipped: tuple[tuple[str, str], ...] = ()
    failed: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [str(summary) for summary in self.summaries]
        return "\n".join([*lines, *(f"{name}: skipped: {reason}" for name, reason in self.skipped)])


def encode_all(
    folder: Path,
    modalities: Sequence[str] | None = None,
    encoder: str | None = None,
    columns: Sequence[str] | None = None,
    settings: Mapping[str, Any] | None = None,
    *,
    quiet: bool = False,
) -> EncodeReport:
    """Encode the content of every item of a catalogue and store it, one modality after the other.

    Args:
        folder: the catalogue.
        modalities: the features' names; None for all kinds of content that the catalogue has, or for the kind that
            `encoder` reads. A name that is no kind of content needs an `encoder`.
        encoder: a registered encoder for the one modality; None for each kind's default.
        columns: item columns that are read for the one modality; None for the usual ones.
        settings: the encoder's settings, for the one modality.
        quiet: show no progress.

    Raises:
        DataError: when there is nothing to encode, or none of a modality's files can be read.
        ArtefactError, ConfigError, MissingDependency, Interrupted: see `encode` and `Catalogue.load`.
    """
    with changing(folder, "encoding it", shared=True):
        catalogue = Catalogue.load(folder)
        if modalities is not None:
            names = list(dict.fromkeys(modalities))
        elif encoder is not None:
            names = [ENCODERS[encoder].modality]
        else:
            names = [name for name, content in CONTENTS.items() if content.there(catalogue)]
            if not names:
                raise DataError(
                    f"the catalogue has no content to encode; looked for {', '.join(CONTENTS)}",
                    where=str(folder),
                    do="import items with a title, a description, genres, or paths of pictures or sounds; "
                    "or bring ready-made rows",
                )
        if len(names) != 1 and (encoder is not None or columns is not None or settings):
            raise ConfigError(
                f"an encoder, columns and settings go with one modality, not with {len(names)}: {', '.join(names)}",
                do="name one modality",
            )
        plans = [(name, *_plan(name, encoder)) for name in names]
        summaries: list[EncodeSummary] = []
        skipped: list[tuple[str, MissingDependency | DataError]] = []
        for name, chosen, content in plans:
            try:
                summaries.append(_encode_one(catalogue, folder, name, chosen, content, columns, settings, quiet=quiet))
            except (MissingDependency, DataError) as error:
                # What somebody asked for by name must not be missing silently.
                if modalities is not None or encoder is not None:
                    raise
                skipped.append((name, error))
        if not summaries and skipped:
            raise skipped[0][1]
        return EncodeReport(
            tuple(summaries),
            tuple((name, f"{error.what}{f' ({error.do})' if error.do else ''}") for name, error in skipped),
            tuple(name for name, error in skipped if isinstance(error, AllFailed)),
        )


def encode_text(
    folder: Path,
    name: str = "text",
    encoder: str | None = None,
    columns: Sequence[str] | None = None,
    settings: Mapping[str, Any] | None = None,
    *,
    quiet: bool = False,
) -> EncodeSummary:
    """Encode the words of every item of a catalogue and store them as features `name`; see `encode_all`."""
    return encode_all(folder, [name], encoder, columns, settings, quiet=quiet).summaries[0]


def _plan(name: str, encoder: str | None) -> tuple[str, Content]:
    """The encoder for features of that name, and the content that it reads."""
    if encoder is None and name not in CONTENTS:
        raise ConfigError(
            unknown_name("modality", name, CONTENTS),
            do=f"take one of {', '.join(CONTENTS)}; or name an encoder with --encoder ({', '.join(ENCODERS)}), "
            "or bring ready-made rows with --from",
        )
    chosen = encoder if encoder is not None else CONTENTS[name].encoder
    return chosen, CONTENTS[ENCODERS[chosen].modality]


def _encode_one(
    catalogue: Catalogue,
    folder: Path,
    name: str,
    encoder: str,
    content: Content,
    columns: Sequence[str] | None,
    settings: Mapping[str, Any] | None,
    *,
    quiet: bool,
) -> EncodeSummary:
    if encoder == "sdne":
        wanted = KnowledgeConfig.parse(settings, where="encoder sdne")
        features, summary = encode_knowledge(catalogue, wanted, quiet)
        FeatureStore(folder).save(dataclasses.replace(features, name=name))
        return dataclasses.replace(summary, name=name)
    built = build_encoder(encoder, settings)
    inputs = content.inputs(catalogue, columns, built)
    if isinstance(built, Fitting):
        built = built.fit(inputs)
    ids = catalogue.items["item_id"].to_list()
    cache = RowCache(None, cache_key(built)) if ENCODERS[encoder].cached else None
    features, summary = encode(inputs, built, ids=ids, cache=cache, name=name, quiet=quiet)
    if summary.failed and not features.present.any():
        item, reason = summary.failed[0]
        raise AllFailed(
            f"none of the {len(summary.failed):,} items with content could be encoded as {name}; "
            f"item '{item}': {reason}",
            where=str(catalogue.media_folder or folder),
            do="check that the files are where the catalogue says; what was stored before is kept",
        )
    if not features.present.any():
        raise DataError(
            f"no item has content to encode as {name}",
            where=str(folder),
            do="name the columns that hold it with --columns; what was stored before is kept",
        )
    target = FeatureStore(folder).save(features, _failures(summary, ids, inputs))
    return dataclasses.replace(summary, listed=str(target / FAILED)) if summary.failed else summary


def _failures(summary: EncodeSummary, ids: Sequence[str], inputs: Sequence[Any]) -> pl.DataFrame:
    """Item, file and reason of all that failed."""
    reasons = dict(summary.failed)
    rows = [(item, value, reasons[item]) for item, value in zip(ids, inputs, strict=True) if item in reasons]
    return pl.DataFrame(
        {
            "item_id": [item for item, _, _ in rows],
            "file": [value.cell if isinstance(value, MediaFile) else None for _, value, _ in rows],
            "reason": [reason for _, _, reason in rows],
        },
        schema={"item_id": pl.String, "file": pl.String, "reason": pl.String},
    )


def take_file(folder: Path, file: FeatureFile, item_ids: Sequence[str]) -> tuple[str, ...]:
    """Store a feature file that came with the imported data; its rows' ids are known.

    Returns:
        What should be known of its rows, in sentences.

    Raises:
        DataError: when its rows do not fit.
    """
    features, summary = read_precomputed(file.path, name=file.name, item_ids=item_ids, ids=file.ids)
    FeatureStore(folder).save(features)
    return summary.notes


def take_precomputed(
    folder: Path, name: str, matrix: Path, ids: str | None, scale: Scaling = "none", *, zero_is_missing: bool = False
) -> PrecomputedSummary:
    """Store ready-made rows as features `name`.

    Args:
        matrix: a `.npy` file.
        ids: a file with the ids of its rows; or "item-order" when row i belongs to the catalogue's i-th item,
            "id-order" when it belongs to the item whose id is the number i.
        scale: see `palate.encode.scaling.scaled`.
        zero_is_missing: a row of zeros means that the item has no such content.

    Raises:
        ConfigError: when the alignment was not said.
        DataError: when the rows do not fit, or every row counts as missing.
    """
    with changing(folder, "encoding it", shared=True):
        if ids is None:
            raise ConfigError(
                "which row belongs to which item must be said",
                do="name the file of the rows' ids with --ids, or say --ids item-order (row i is the catalogue's i-th "
                "item) or --ids id-order (row i is the item with the id i)",
            )
        item_ids = Catalogue.load(folder).items["item_id"].to_list()
        if ids in ROW_ORDERS:
            features, summary = read_precomputed(
                matrix, name=name, item_ids=item_ids, rows=ids, zero_is_missing=zero_is_missing
            )
        else:
            guess = nearest(ids, ROW_ORDERS)
            if guess and not Path(ids).exists():
                raise ConfigError(f"there is no file '{ids}'; did you mean '{guess}'?")
            features, summary = read_precomputed(
                matrix, name=name, item_ids=item_ids, ids=Path(ids), zero_is_missing=zero_is_missing
            )
        if zero_is_missing and not features.present.any():
            raise DataError(
                "no row is left: all are zero, or not finite", where=str(matrix), do="check how it was made"
            )
        note = remark(features) if scale == "none" else ""
        FeatureStore(folder).save(scaled(features, scale))
        return dataclasses.replace(summary, notes=(*summary.notes, note)) if note else summary
