"""Features on disk: a catalogue's own features, memory-mapped when read, and the cache of encoded rows.

`FeatureStore` keeps one folder per modality under a catalogue. `RowCache` keeps every row that an encoder ever made,
by the sha256 of what was encoded, so that work is done once and an interrupted run goes on where it was.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import re
import secrets
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from torch import Tensor

from palate.core.artefact import (
    MANIFEST,
    atomic_folder,
    atomic_path,
    read_manifest,
    read_tensors,
    tensor_digest,
    write_manifest,
    write_tensors,
    write_text,
)
from palate.core.errors import ArtefactError, ConfigError, DataError, unknown_name
from palate.core.places import cache_folder
from palate.encode.features import Features, check_modality_name, some

KIND = "features"
VERSION = 1
DIGEST_BYTES = 32

_MATRIX, _PRESENT, _IDS = "matrix.npy", "present.npy", "ids.parquet"
FAILED = "failed.csv"


class FeatureStore:
    """The features of one catalogue: `CATALOGUE/features/<modality>/`.

    Args:
        catalogue: the catalogue's folder.
    """

    def __init__(self, catalogue: Path) -> None:
        self.folder = catalogue / "features"

    def names(self) -> list[str]:
        """The modalities that are stored, sorted."""
        if not self.folder.is_dir():
            return []
        return sorted(
            path.name for path in self.folder.iterdir() if path.name[0] != "." and (path / MANIFEST).is_file()
        )

    def save(self, features: Features, failed: pl.DataFrame | None = None) -> Path:
        """Store `features` under their name; features of that name are replaced in one step. Gives the folder.

        Args:
            failed: what could not be encoded and why, one row each; kept beside the rows as `failed.csv`.
        """
        target = self.folder / features.name
        with atomic_folder(target, replace=True) as folder:
            _write_array(folder / _MATRIX, features.matrix)
            _write_array(folder / _PRESENT, features.present)
            with atomic_path(folder / _IDS) as path:
                pl.DataFrame({"item_id": pl.Series(features.ids, dtype=pl.String)}).write_parquet(path)
            if failed is not None and failed.height:
                with atomic_path(folder / FAILED) as path:
                    failed.write_csv(path)
            facts: dict[str, Any] = {
                "name": features.name,
                "encoder": features.encoder,
                "fingerprint": features.fingerprint,
                "items": len(features),
                "width": features.width,
                "present": int(features.present.sum()),
            }
            if features.columns:
                facts["columns"] = list(features.columns)
            write_manifest(folder, KIND, VERSION, facts)
        return target

    def load(self, name: str, item_ids: Sequence[str]) -> Features:
        """The features `name`, row i for `item_ids[i]`; memory-mapped when they are stored in that order.

        Args:
            name: the modality.
            item_ids: the catalogue's items in the order that is wanted. Rows of further items are left out.

        Raises:
            ConfigError: for a modality that is not stored, with the nearest that is.
            ArtefactError: when the files are damaged or were changed.
            DataError: when an item has no row.
        """
        check_modality_name(name)
        names = self.names()
        if name not in names:
            raise ConfigError(
                unknown_name("modality", name, names),
                where=str(self.folder),
                do=f"stored modalities: {', '.join(names)}" if names else "nothing is encoded yet: run palate encode",
            )
        features = self._read(name)
        if features.ids == tuple(item_ids):
            return features
        row_of = {item: row for row, item in enumerate(features.ids)}
        missing = [item for item in item_ids if item not in row_of]
        if missing:
            raise DataError(
                f"features '{name}' have {len(features):,} rows, but none for {len(missing):,} of the "
                f"{len(item_ids):,} items: {some(missing)}",
                where=str(self.folder / name),
                do="the items changed since they were encoded: run palate encode again",
            )
        return features.take(np.fromiter((row_of[item] for item in item_ids), np.int64, len(item_ids)))

    def _read(self, name: str) -> Features:
        folder = self.folder / name
        facts = read_manifest(folder, KIND, VERSION)
        try:
            matrix = np.load(folder / _MATRIX, mmap_mode="r", allow_pickle=False)
            present = np.load(folder / _PRESENT, allow_pickle=False)
            ids = pl.read_parquet(folder / _IDS, columns=["item_id"])["item_id"].cast(pl.String).to_list()
            made_by, digest, columns = str(facts["encoder"]), str(facts["fingerprint"]), facts.get("columns", [])
            return Features(name, matrix, present, made_by, tuple(ids), digest, tuple(map(str, columns)))
        except (OSError, ValueError, KeyError, TypeError, pl.exceptions.PolarsError, DataError) as error:
            raise ArtefactError(
                f"these features cannot be read: {error}", where=str(folder), do="run palate encode again"
            ) from None


class RowCache:
    """Encoded rows of one encoder by the sha256 of what was encoded, in append-only files of a few hundred rows.

    Each file is written whole under a name of its own, so processes that encode at the same time do not disturb each
    other. A damaged file is removed with a note in `notes`; its rows count as never made. Where two files hold the
    same content, the earlier one counts, so that a row once read stays the same.

    Args:
        folder: where the caches of all encoders live; None for the machine's cache folder.
        key: the encoder's identity (`Encoder.identity`).
    """

    _counter = itertools.count()

    def __init__(self, folder: Path | None, key: str) -> None:
        self.key = key
        self.notes: list[str] = []
        base = folder if folder is not None else cache_folder() / "rows"
        readable = re.sub(r"[^a-z0-9]+", "-", key.lower()).strip("-")[:40]
        self.folder = base / f"{readable}-{hashlib.sha256(key.encode()).hexdigest()[:16]}"

    def fetch(self, digests: Sequence[bytes], rows: NDArray[np.int64], into: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Copy the cached rows of `digests` into a matrix; holds one cache file in memory at a time.

        Args:
            digests: sha256 of each content, no content twice.
            rows: the row of `into` that each content belongs to.
            into: float32, rows × width; rows whose content is not cached are left alone.

        Returns:
            bool, one per content: whether it was cached.
        """
        found = np.zeros(len(digests), dtype=np.bool_)
        if not digests or not self.folder.is_dir():
            return found
        wanted = {digest: position for position, digest in enumerate(digests)}
        for path in sorted(self.folder.glob("rows-*.safetensors")):
            shard = self._read(path, into.shape[1])
            if shard is None:
                continue
            hashes, values = shard
            for row, digest in enumerate(hashes):
                position = wanted.pop(digest, None)
                if position is not None:
                    into[rows[position]] = values[row]
                    found[position] = True
            if not wanted:
                break
        return found

    def append(self, digests: Sequence[bytes], values: NDArray[np.float32]) -> None:
        """Add rows in one new file.

        Args:
            digests: sha256 of each content.
            values: float32, contents × width, finite.

        Raises:
            ArtefactError: when the file cannot be written.
        """
        if not digests:
            return
        hashes = np.frombuffer(b"".join(digests), dtype=np.uint8).reshape(len(digests), DIGEST_BYTES)
        tensors = {
            "hashes": torch.from_numpy(hashes.copy()),
            "rows": torch.from_numpy(np.array(values, dtype=np.float32, order="C")),
        }
        # The time comes first so that names sort by age; process, counter and chance keep writers apart, also those
        # of two machines or containers that share the folder.
        name = f"rows-{time.time_ns():020d}-{os.getpid()}-{next(self._counter)}-{secrets.token_hex(4)}.safetensors"
        try:
            described = self.folder / "encoder.txt"
            if not described.is_file():
                write_text(described, self.key + "\n")
            write_tensors(self.folder / name, tensors, {"digest": tensor_digest(tensors)})
        except (OSError, SafetensorError) as error:
            raise ArtefactError(
                f"the cache of encoded rows cannot be written: {error}",
                where=str(self.folder),
                do="make room, or set PALATE_CACHE to a folder that can be written",
            ) from None

    def _read(self, path: Path, width: int) -> tuple[list[bytes], NDArray[np.float32]] | None:
        tensors: dict[str, Tensor] = {}
        try:
            tensors, metadata = read_tensors(path)
            problem = _shard_problem(tensors, metadata, width)
        except ArtefactError as error:
            problem = error.what
        if problem:
            # It may be gone already: another process can have found it damaged first.
            if path.exists():
                self.notes.append(f"a damaged cache file was removed, its rows are made again: {path.name} ({problem})")
                path.unlink(missing_ok=True)
            return None
        stored = tensors["hashes"].numpy().tobytes()
        hashes = [stored[start : start + DIGEST_BYTES] for start in range(0, len(stored), DIGEST_BYTES)]
        return hashes, tensors["rows"].numpy()


def _shard_problem(tensors: dict[str, Tensor], metadata: dict[str, str], width: int) -> str:
    if set(tensors) != {"hashes", "rows"}:
        return f"it holds {sorted(tensors)}"
    hashes, rows = tensors["hashes"], tensors["rows"]
    if hashes.dtype != torch.uint8 or rows.dtype != torch.float32 or rows.ndim != 2:
        return "its types are wrong"
    if hashes.shape != (len(rows), DIGEST_BYTES) or rows.shape[1] != width:
        return f"its shapes are {tuple(hashes.shape)} and {tuple(rows.shape)}, the width should be {width}"
    if metadata.get("digest") != tensor_digest(tensors):
        return "its checksum differs"
    return "" if bool(torch.isfinite(rows).all()) else "it holds NaN or infinity"


def _write_array(target: Path, array: NDArray[Any]) -> None:
    with atomic_path(target) as temporary, open(temporary, "wb") as stream:
        np.save(stream, np.ascontiguousarray(array), allow_pickle=False)
