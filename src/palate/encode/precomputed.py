"""Features that were made elsewhere: a `.npy` matrix, and the user's explicit word on which row belongs to which item.

Takes the matrix and either the ids of its rows or the statement that its rows follow the items' order; gives
`Features` for the catalogue's items and a summary of all that did not fit.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from palate.core.errors import ConfigError, DataError
from palate.encode.features import BLOCK, Features, repeated_ids, some

RowOrder = Literal["item-order", "id-order"]
ROW_ORDERS: tuple[RowOrder, ...] = ("item-order", "id-order")
# What the float32 matrix of the catalogue's items may take at most, unless the caller allows more.
MAX_BYTES = 16 * 1024**3
# What NumPy raises over a header that is damaged or malicious; the last four come from Python's own parser beneath it.
_UNREADABLE = (OSError, ValueError, EOFError, TokenError, SyntaxError, RecursionError, MemoryError)


@dataclass(frozen=True)
class PrecomputedSummary:
    """What became of a precomputed matrix.

    Args:
        items: items of the catalogue.
        present: items that have a row now.
        without_row: items that no row belongs to; absent.
        unknown_rows: rows whose id is no item of the catalogue; left out.
        broken: items whose row holds NaN or infinity (or does after the cast to float32); absent.
        zero: items whose row is all zero; absent only when the caller said so.
        notes: the above in sentences, with the first ids.
    """

    name: str
    items: int
    present: int
    without_row: int
    unknown_rows: int
    broken: int
    zero: int
    notes: tuple[str, ...]

    def __str__(self) -> str:
        first = f"{self.name}: {self.present:,} of {self.items:,} items have a row"
        return "\n".join([first, *(f"  note: {note}" for note in self.notes)])


def read_precomputed(
    matrix: Path,
    *,
    name: str,
    item_ids: Sequence[str],
    ids: Path | Sequence[str] | None = None,
    rows: RowOrder | None = None,
    strict: bool = False,
    zero_is_missing: bool = False,
    max_bytes: int = MAX_BYTES,
) -> tuple[Features, PrecomputedSummary]:
    """Align a stored matrix with the catalogue's items.

    Args:
        matrix: a `.npy` file, rows × width, of floats, integers or booleans; cast to float32.
        name: the modality.
        item_ids: the catalogue's items, in its order.
        ids: the ids of the matrix's rows, or a file of them (see `read_ids`); exactly one of `ids` and `rows` is given.
        rows: "item-order" states that row i belongs to `item_ids[i]`, and the numbers must agree; "id-order" that row i
            belongs to the item whose id is the number i, as in folders of other programs.
        strict: rows that are not finite are an error, not a note.
        zero_is_missing: a row of zeros means that the item has no such content.
        max_bytes: what the result's matrix may take.

    Raises:
        ConfigError: when not exactly one of `ids` and `rows` is given, or the name cannot name a modality.
        DataError: for a file that is missing, too large or no plain matrix of numbers; when ids and rows differ in
            number, an id occurs twice, or no id is an item's.
    """
    if (ids is None) == (rows is None):
        raise ConfigError(
            "say which row of the matrix belongs to which item",
            where=str(matrix),
            do="give the file of its rows' ids, or say rows='item-order' (row i is the catalogue's i-th item) or "
            "rows='id-order' (row i is the item with the id i): not both",
        )
    stored = _open(matrix, len(item_ids), max_bytes)
    if rows == "id-order":
        ids = [str(row) for row in range(len(stored))]
        _check_numbered(matrix, item_ids)
    source, unknown = _alignment(stored, matrix, item_ids, ids)
    values, present, broken, zero = _gather(stored, source, zero_is_missing)
    broken_ids = [item_ids[item] for item in broken]
    if broken_ids and strict:
        raise DataError(
            f"{len(broken_ids):,} rows hold NaN or infinity: {some(broken_ids)}",
            where=str(matrix),
            do="mend them, or leave strict out to treat these items as absent",
        )
    without = [item_ids[item] for item in np.flatnonzero(source < 0).tolist()]
    zero_ids = [item_ids[item] for item in zero]
    notes: list[str] = []
    if rows == "item-order" and _numbered_otherwise(item_ids):
        notes.append("the items' ids are 0, 1, … in another order: if the rows follow the ids, say id-order")
    if without:
        notes.append(f"{len(without):,} items have no row and are absent: {some(without)}")
    if unknown:
        notes.append(f"{len(unknown):,} rows belong to no item of the catalogue and were left out: {some(unknown)}")
    if broken_ids:
        notes.append(f"{len(broken_ids):,} rows hold NaN or infinity; absent: {some(broken_ids)}")
    if zero_ids:
        kept = "kept as present; palate encode --from … --zero-is-missing makes them absent"
        fate = "absent" if zero_is_missing else kept
        notes.append(f"{len(zero_ids):,} rows are all zero, {fate}: {some(zero_ids)}")
    features = Features(name, values, present, f"precomputed {matrix.name}", tuple(item_ids))
    summary = PrecomputedSummary(
        name=name,
        items=len(item_ids),
        present=int(present.sum()),
        without_row=len(without),
        unknown_rows=len(unknown),
        broken=len(broken_ids),
        zero=len(zero_ids),
        notes=tuple(notes),
    )
    return features, summary


def _check_numbered(matrix: Path, item_ids: Sequence[str]) -> None:
    """Refuse ids that are no row numbers."""
    named = [item for item in item_ids if not (item.isdecimal() and item.isascii() and str(int(item)) == item)]
    if named:
        raise DataError(
            f"rows='id-order' needs ids that are row numbers; {len(named):,} are not: {some(named)}",
            where=str(matrix),
            do="give the ids of the rows instead",
        )


def _numbered_otherwise(item_ids: Sequence[str]) -> bool:
    """The ids are the numbers of the items, and not in their order."""
    return list(item_ids) != (numbers := [str(item) for item in range(len(item_ids))]) and set(item_ids) == set(numbers)


def read_ids(path: Path) -> list[str]:
    """The ids of a matrix's rows, in order.

    Args:
        path: `.txt` with one id a line; `.csv`, `.tsv` or `.parquet` with a column `item_id`; or `.npy`, a vector of
            integers or strings.

    Raises:
        DataError: when it cannot be read, has no such column, or an id is empty.
    """
    suffix = path.suffix.lower()
    try:
        if suffix == ".txt":
            found: list[str | None] = [*path.read_text(encoding="utf-8-sig").removesuffix("\n").split("\n")]
        elif suffix in (".csv", ".tsv"):
            separator = "," if suffix == ".csv" else "\t"
            found = _id_column(pl.read_csv(path, separator=separator, infer_schema=False), path)
        elif suffix == ".parquet":
            found = _id_column(pl.read_parquet(path), path)
        elif suffix == ".npy":
            found = _id_vector(path)
        else:
            raise DataError(f"ids cannot be read from '{suffix}' files", where=str(path), do="use txt, csv or parquet")
    except FileNotFoundError:
        raise DataError("there is no such file of ids", where=str(path), do="check the path") from None
    except (*_UNREADABLE, pl.exceptions.PolarsError) as error:
        raise DataError(f"the ids cannot be read: {error}", where=str(path)) from None
    empty = [row for row, item in enumerate(found) if item is None or not item.strip()]
    if empty:
        shown = ", ".join(str(row) for row in empty[:5])
        raise DataError(f"{len(empty):,} ids are empty; the first at row {shown} (from 0)", where=str(path))
    return [item.strip() for item in found if item is not None]


def _id_column(table: pl.DataFrame, path: Path) -> list[str | None]:
    if "item_id" not in table.columns:
        raise DataError(
            f"there is no column item_id; found {', '.join(table.columns)}", where=str(path), do="rename the id column"
        )
    column = table["item_id"]
    if column.dtype.is_float():
        raise DataError(f"the column item_id is {column.dtype}, not whole numbers or text", where=str(path))
    return column.cast(pl.String).to_list()


def _id_vector(path: Path) -> list[str | None]:
    vector: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    if vector.ndim != 1 or vector.dtype.kind not in "iuU":
        raise DataError(
            f"the ids must be a vector of integers or strings; found {vector.dtype} of shape {vector.shape}",
            where=str(path),
        )
    return [str(item) for item in vector.tolist()]


def _open(path: Path, items: int, max_bytes: int) -> NDArray[Any]:
    """The matrix, memory-mapped; its header is judged before anything of its size is touched."""
    try:
        with open(path, "rb") as stream:
            version = np.lib.format.read_magic(stream)
            if version == (1, 0):
                shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
            elif version == (2, 0):
                shape, _, dtype = np.lib.format.read_array_header_2_0(stream)
            else:  # version 3 is only used for named columns
                raise ValueError(f"its format version {version} holds no plain matrix")
            available = os.fstat(stream.fileno()).st_size - stream.tell()
    except FileNotFoundError:
        raise DataError("there is no such matrix", where=str(path), do="check the path") from None
    except _UNREADABLE as error:
        raise DataError(f"this is no .npy matrix: {error}", where=str(path), do="store it with numpy.save") from None
    if dtype.kind not in "fiub":
        raise DataError(f"the matrix must hold numbers; it holds {dtype}", where=str(path), do="store it as float32")
    if len(shape) != 2 or min(shape) < 1:
        raise DataError(f"the matrix must be rows × width, neither of them 0; its shape is {shape}", where=str(path))
    # Python's integers do not overflow, whatever the header claims.
    claimed = shape[0] * shape[1] * dtype.itemsize
    if claimed > available:
        raise DataError(f"the file is cut off: {available:,} of {claimed:,} bytes of values", where=str(path))
    needed = items * shape[1] * 4
    if needed > max_bytes:
        raise DataError(
            f"{items:,} items × {shape[1]:,} numbers take {needed / 1e9:.1f} GB, the limit is {max_bytes / 1e9:.1f} GB",
            where=str(path),
            do="reduce the width first, or allow more with max_bytes",
        )
    return np.load(path, mmap_mode="r", allow_pickle=False)


def _alignment(
    stored: NDArray[Any], path: Path, item_ids: Sequence[str], ids: Path | Sequence[str] | None
) -> tuple[NDArray[np.int64], list[str]]:
    """For each item its row, -1 where it has none; and the ids of rows that are no items."""
    if ids is None:
        if len(stored) != len(item_ids):
            raise DataError(
                f"rows='item-order' needs one row per item; the matrix has {len(stored):,} rows, "
                f"the catalogue {len(item_ids):,} items",
                where=str(path),
                do="give the ids of the rows instead",
            )
        return np.arange(len(item_ids), dtype=np.int64), []
    row_ids = read_ids(ids) if isinstance(ids, Path) else list(ids)
    where = str(ids) if isinstance(ids, Path) else str(path)
    if len(row_ids) != len(stored):
        raise DataError(f"{len(row_ids):,} ids for {len(stored):,} rows of the matrix", where=where)
    repeated = repeated_ids(tuple(row_ids))
    if repeated:
        raise DataError(f"{some(repeated)} occurs more than once among the ids", where=where, do="keep one row each")
    row_of = {item: row for row, item in enumerate(row_ids)}
    source = np.fromiter((row_of.get(item, -1) for item in item_ids), np.int64, len(item_ids))
    known = set(item_ids)
    unknown = [item for item in row_ids if item not in known]
    if len(unknown) == len(row_ids):
        raise DataError(
            "none of the matrix's ids is an item of the catalogue",
            where=where,
            do=f"compare them: the rows are for {some(row_ids, 3)}; the catalogue has {some(list(item_ids[:3]))}",
        )
    return source, unknown


def _gather(
    stored: NDArray[Any], source: NDArray[np.int64], zero_is_missing: bool
) -> tuple[NDArray[np.float32], NDArray[np.bool_], list[int], list[int]]:
    """The items' rows as float32, their presence, the items with rows that are not finite, those with zero rows."""
    values = np.zeros((len(source), stored.shape[1]), dtype=np.float32)
    present = source >= 0
    broken: list[int] = []
    zero: list[int] = []
    having = np.flatnonzero(present)
    for start in range(0, len(having), BLOCK):
        items = having[start : start + BLOCK]
        # A float64 beyond float32 becomes infinity here, and is reported as such below.
        with np.errstate(over="ignore", invalid="ignore"):
            block = stored[source[items]].astype(np.float32)
        finite = np.isfinite(block).all(axis=1)
        empty = (block == 0).all(axis=1)
        broken += items[~finite].tolist()
        zero += items[empty].tolist()
        kept = finite & ~empty if zero_is_missing else finite
        present[items[~kept]] = False
        values[items[kept]] = block[kept]
    return values, present, broken, zero
