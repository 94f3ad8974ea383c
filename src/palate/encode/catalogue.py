"""Features of a stored catalogue: read its items, run an encoder or take ready-made rows, store the result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from palate.core.errors import ConfigError
from palate.encode.base import ENCODERS, EncodeSummary, build_encoder, encode
from palate.encode.precomputed import PrecomputedSummary, read_precomputed
from palate.encode.store import FeatureStore, RowCache
from palate.encode.text import item_texts
from palate.ingest.catalogue import Catalogue

DEFAULT_ENCODERS = {"text": "minilm"}


def encode_text(
    folder: Path,
    name: str = "text",
    encoder: str | None = None,
    columns: Sequence[str] | None = None,
    settings: Mapping[str, Any] | None = None,
    *,
    quiet: bool = False,
) -> EncodeSummary:
    """Encode the words of every item of a catalogue and store them as features `name`.

    Args:
        folder: the catalogue.
        name: the features' name.
        encoder: a registered text encoder; None for the default.
        columns: item columns whose words are read, joined in this order; None for all columns that hold words.
        settings: the encoder's settings.

    Raises:
        ArtefactError, ConfigError, MissingDependency, Interrupted: see `encode` and `Catalogue.load`.
    """
    if encoder is None and name not in DEFAULT_ENCODERS:
        raise ConfigError(
            f"there is no encoder for '{name}' yet",
            do=f"name one with --encoder ({', '.join(ENCODERS)}), or bring ready-made rows with --from",
        )
    catalogue = Catalogue.load(folder)
    built = build_encoder(encoder or DEFAULT_ENCODERS[name], settings)
    texts = item_texts(catalogue.items, columns)
    ids = catalogue.items["item_id"].to_list()
    cache = RowCache(None, built.identity)
    features, summary = encode(texts, built, ids=ids, cache=cache, name=name, quiet=quiet)
    FeatureStore(folder).save(features)
    return summary


def take_precomputed(folder: Path, name: str, matrix: Path, ids: str | None) -> PrecomputedSummary:
    """Store ready-made rows as features `name`.

    Args:
        matrix: a `.npy` file.
        ids: a file with the ids of its rows, or "item-order" when row i belongs to the catalogue's i-th item.

    Raises:
        ConfigError: when the alignment was not said.
        DataError: when the rows do not fit.
    """
    if ids is None:
        raise ConfigError(
            "which row belongs to which item must be said",
            do="name the file of the rows' ids with --ids, or use --ids item-order when row i is the i-th item",
        )
    item_ids = Catalogue.load(folder).items["item_id"].to_list()
    if ids == "item-order":
        features, summary = read_precomputed(matrix, name=name, item_ids=item_ids, rows="item-order")
    else:
        features, summary = read_precomputed(matrix, name=name, item_ids=item_ids, ids=Path(ids))
    FeatureStore(folder).save(features)
    return summary
