"""Features cut to the directions along which their rows are longest: few columns for most of what all of them say.

Takes stored features of a catalogue; gives features of another name beside them. A model that is trained on these is
another one. The basis is made of the rows of one catalogue: rows of another have another basis.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from palate.core.errors import ConfigError
from palate.core.lock import changing
from palate.encode.features import BLOCK, Features, check_modality_name
from palate.encode.store import FeatureStore
from palate.ingest.catalogue import Catalogue

# Of the matrix of their products, which is as wide as the rows: 512 MB.
MOST_COLUMNS = 8192


@dataclass(frozen=True)
class DirectionsSummary:
    """What was cut.

    Args:
        features: what is left.
        columns: of the features that were cut.
        kept: share of the rows' squared lengths that is left.
    """

    features: Features
    columns: int
    kept: float

    def __str__(self) -> str:
        left = self.features
        return (
            f"{left.name}: {left.width:,} of {self.columns:,} columns, {self.kept:.0%} of the rows' squared length; "
            f"{int(left.present.sum()):,} of {len(left):,} items have a row"
        )


def leading(features: Features, count: int) -> DirectionsSummary:
    """X V, where the columns of V are the eigenvectors of XᵀX with the `count` largest eigenvalues.

    Nothing is centred, so that inner products of rows stay what they were but for what is cut. Of each eigenvector that
    sign is taken with which its largest entry is positive.

    Args:
        features: N × D; absent rows are zero and stay so.
        count: of directions, below D.

    Raises:
        ConfigError: when nothing would be cut, or D is above `MOST_COLUMNS`.
    """
    name, width = f"{features.name}-{count}", features.width
    check_modality_name(name)
    if not 1 <= count < width:
        raise ConfigError(
            f"'{features.name}' has {width:,} columns, so {count:,} directions are no part of them",
            do=f"ask for 1 to {width - 1:,}" if width > 1 else "leave it whole",
        )
    if width > MOST_COLUMNS:
        raise ConfigError(
            f"'{features.name}' has {width:,} columns, and directions are found for {MOST_COLUMNS:,} at most",
            do="cut it with another program and take the rows with palate encode --from",
        )
    products = np.zeros((width, width))
    for rows in _blocks(features):
        products += rows.T @ rows
    values, vectors = np.linalg.eigh(products)
    basis = vectors[:, : -count - 1 : -1]
    basis = basis * np.sign(basis[np.abs(basis).argmax(0), np.arange(count)])
    matrix = np.zeros((len(features), count), np.float32)
    for place, rows in enumerate(_blocks(features)):
        matrix[place * BLOCK : (place + 1) * BLOCK] = rows @ basis
    total = float(np.trace(products))
    kept = min(1.0, float(values[-count:].sum()) / total) if total else 0.0
    encoder = f"directions 1: {count} of {features.fingerprint[:16]} {features.encoder}"
    return DirectionsSummary(Features(name, matrix, features.present, encoder, features.ids), width, kept)


def _blocks(features: Features) -> Iterator[NDArray[np.float64]]:
    for start in range(0, len(features), BLOCK):
        yield features.matrix[start : start + BLOCK].astype(np.float64)


def cut_stored(folder: Path, modality: str, count: int) -> DirectionsSummary:
    """Cut features that a catalogue has, and store the result as `MODALITY-COUNT`.

    Raises:
        ConfigError: when the catalogue has no such features, or they cannot be cut.
    """
    with changing(folder, "encoding it", shared=True):
        store = FeatureStore(folder)
        found = leading(store.load(modality, Catalogue.load(folder).items["item_id"].to_list()), count)
        store.save(found.features)
        return found
