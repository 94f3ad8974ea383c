"""Arrays and tables of a stored folder, believed only after they were checked: types, shapes, ranges, finite values.

Shapes are read before the values are, so that a file cannot make more room than its manifest says it needs.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import polars as pl
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from palate.core.artefact import read_tensors
from palate.core.errors import ArtefactError
from palate.graph.rows import Rows

Shapes = Mapping[str, tuple[str, tuple[int, ...]]]
# What bundles are written in; of others torch cannot do all arithmetic.
TYPES = ("F32", "F16", "I64", "I32", "BOOL")


def stored_tensors(path: Path, shapes: Shapes, types: tuple[str, ...] = TYPES) -> dict[str, Tensor]:
    """The tensors of a file.

    Args:
        shapes: name → type ("F32", "I64", …) and shape that each must have; empty: whatever is there.
        types: that they may have.

    Raises:
        ArtefactError: when there are others, or a value is not finite.
    """
    found = _header(path)
    for name, (kind, _) in found.items():
        if kind not in types:
            raise ArtefactError(f"the array '{name}' is {kind}, not {' or '.join(types)}", where=str(path))
    if shapes:
        for name in sorted(set(shapes) ^ set(found)):
            raise ArtefactError(f"the array '{name}' is {'missing' if name in shapes else 'unknown'}", where=str(path))
        for name, wanted in shapes.items():
            if found[name] != wanted:
                raise ArtefactError(
                    f"the array '{name}' is {found[name][0]} of shape {found[name][1]}, not {wanted[0]} of {wanted[1]}",
                    where=str(path),
                )
    tensors, _ = read_tensors(path)
    for name, value in tensors.items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise ArtefactError(f"the array '{name}' holds values that are not finite", where=str(path))
    return tensors


def _header(path: Path) -> dict[str, tuple[str, tuple[int, ...]]]:
    try:
        with safe_open(str(path), framework="pt", device="cpu") as stream:
            handle = cast(Any, stream)
            slices = {name: handle.get_slice(name) for name in handle.keys()}  # noqa: SIM118
            return {name: (str(part.get_dtype()), tuple(part.get_shape())) for name, part in slices.items()}
    except (OSError, SafetensorError) as error:
        raise ArtefactError(f"the file cannot be read: {error}", where=str(path)) from None


def rows_of(tensors: Mapping[str, Tensor], name: str, count: int, width: int, *, where: Path) -> Rows:
    """The rows stored as `NAME_pointer` and `NAME_columns`.

    Raises:
        ArtefactError: when they are no `count` rows of columns in [0, width).
    """
    pointer, columns = tensors.get(f"{name}_pointer"), tensors.get(f"{name}_columns")
    sound = (
        pointer is not None
        and columns is not None
        and (pointer.dtype, columns.dtype) == (torch.int64, torch.int32)
        and pointer.shape == (count + 1,)
        and columns.ndim == 1
        and int(pointer[0]) == 0
        and int(pointer[-1]) == len(columns)
        and bool((pointer[1:] >= pointer[:-1]).all())
        and (len(columns) == 0 or (int(columns.min()) >= 0 and int(columns.max()) < width))
        and _distinct(pointer, columns, width)
    )
    if not sound or pointer is None or columns is None:
        raise ArtefactError(f"the lists '{name}' are damaged", where=str(where))
    return Rows(pointer.numpy(), columns.numpy(), width)


def _distinct(pointer: Tensor, columns: Tensor, width: int) -> bool:
    """Whether no row holds a column twice."""
    row = torch.repeat_interleave(torch.arange(len(pointer) - 1), pointer.diff())
    return len(torch.unique(row * width + columns)) == len(columns)


def stored_table(path: Path, key: str, count: int) -> pl.DataFrame:
    """A table with `count` distinct ids in its column `key`.

    Raises:
        ArtefactError: when it is not that.
    """
    try:
        lazy = pl.scan_parquet(path, glob=False, hive_partitioning=False)
        if lazy.collect_schema().get(key) != pl.String:
            raise ArtefactError(f"the table has no column '{key}' of ids", where=str(path))
        rows = int(lazy.select(pl.len()).collect().item())
        if rows != count:
            raise ArtefactError(f"the table has {rows:,} rows, and the manifest says {count:,}", where=str(path))
        table = pl.read_parquet(path, glob=False, hive_partitioning=False)
    except (OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise ArtefactError(f"the file cannot be read: {error}", where=str(path)) from None
    if table[key].null_count() or table[key].n_unique() < count:
        raise ArtefactError(f"the ids of '{key}' are not distinct, or some are missing", where=str(path))
    return table


def stored_ids(path: Path, key: str, count: int) -> pl.Series:
    """The ids of such a table."""
    return stored_table(path, key, count)[key]
