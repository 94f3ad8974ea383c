"""Precomputed matrices: rows reach the items they were made for, and nothing odd in a file gets through unnoticed."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from palate.core.errors import ConfigError, DataError
from palate.encode.precomputed import read_ids, read_precomputed

ITEMS = ["i0", "i1", "i2", "i3"]


def stored(folder: Path, array: np.ndarray) -> Path:
    path = folder / "image.npy"
    np.save(path, array)
    return path


def ramp(rows: int = 4, dtype: str = "float32") -> np.ndarray:
    return (np.arange(rows * 2).reshape(rows, 2) + 1).astype(dtype)


@given(st.permutations(ITEMS), st.integers(0, 3))
def test_rows_reach_their_items_whatever_the_order_of_the_file(
    tmp_path_factory: pytest.TempPathFactory, order: list[str], kept: int
) -> None:
    folder = tmp_path_factory.mktemp("aligned")
    row_ids = [*order[: kept + 1], "stranger"]
    path = stored(folder, ramp(len(row_ids)))
    features, summary = read_precomputed(path, name="image", item_ids=ITEMS, ids=row_ids)
    for item, row, present in zip(ITEMS, features.matrix, features.present, strict=True):
        assert present == (item in row_ids)
        assert row.tolist() == (ramp(9)[row_ids.index(item)].tolist() if present else [0, 0])
    assert (summary.present, summary.without_row, summary.unknown_rows) == (kept + 1, 3 - kept, 1)
    assert "'stranger'" in str(summary)


def test_rows_may_follow_ids_that_are_numbers(tmp_path: Path) -> None:
    """The folders of other programs number items, and events name them in any order."""
    path, items = stored(tmp_path, ramp(5)), ["3", "0", "2", "1"]
    features, summary = read_precomputed(path, name="image", item_ids=items, rows="id-order")
    assert features.matrix.tolist() == ramp(5)[[3, 0, 2, 1]].tolist()
    assert summary.unknown_rows == 1
    _, summary = read_precomputed(stored(tmp_path, ramp()), name="image", item_ids=items, rows="item-order")
    assert "id-order" in str(summary)
    _, summary = read_precomputed(stored(tmp_path, ramp()), name="image", item_ids=sorted(items), rows="item-order")
    assert "id-order" not in str(summary)
    with pytest.raises(DataError, match="row numbers; 1 are not: item '03'"):
        read_precomputed(path, name="image", item_ids=["0", "1", "03"], rows="id-order")


@pytest.mark.parametrize("dtype", ["float16", "float64", ">f4", "int64", "uint8", "bool"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_any_numbers_in_any_layout_are_cast(tmp_path: Path, dtype: str, order: str) -> None:
    path = stored(tmp_path, np.asarray(ramp(dtype=dtype), order="F" if order == "F" else "C"))
    features, _ = read_precomputed(path, name="image", item_ids=ITEMS, rows="item-order")
    assert features.matrix.dtype == np.float32
    assert features.matrix.tolist() == ramp(dtype=dtype).astype(float).tolist()
    assert features.encoder == "precomputed image.npy"


def test_alignment_must_be_stated_and_only_once(tmp_path: Path) -> None:
    path = stored(tmp_path, ramp())
    with pytest.raises(ConfigError, match="say which row"):
        read_precomputed(path, name="image", item_ids=ITEMS)
    with pytest.raises(ConfigError, match="say which row"):
        read_precomputed(path, name="image", item_ids=ITEMS, ids=ITEMS, rows="item-order")


@pytest.mark.parametrize("rows", [3, 5])
def test_item_order_needs_as_many_rows_as_items(tmp_path: Path, rows: int) -> None:
    with pytest.raises(DataError, match=f"{rows} rows, the catalogue 4 items"):
        read_precomputed(stored(tmp_path, ramp(rows)), name="image", item_ids=ITEMS, rows="item-order")


def test_ids_must_fit_the_rows_and_the_catalogue(tmp_path: Path) -> None:
    path = stored(tmp_path, ramp())
    with pytest.raises(DataError, match="3 ids for 4 rows"):
        read_precomputed(path, name="image", item_ids=ITEMS, ids=ITEMS[:3])
    with pytest.raises(DataError, match="'i1' occurs more than once"):
        read_precomputed(path, name="image", item_ids=ITEMS, ids=["i0", "i1", "i1", "i2"])
    with pytest.raises(DataError, match=r"none of the matrix's ids[^$]*the rows are for item 'a', 'b', 'c' and 1 more"):
        read_precomputed(path, name="image", item_ids=ITEMS, ids=list("abcd"))


def test_broken_rows_are_absent_and_reported_or_refused_when_strict(tmp_path: Path) -> None:
    matrix = ramp(dtype="float64")
    matrix[1, 0], matrix[2, 1] = np.nan, 1e300
    path = stored(tmp_path, matrix)
    features, summary = read_precomputed(path, name="image", item_ids=ITEMS, rows="item-order")
    assert features.present.tolist() == [True, False, False, True]
    assert not features.matrix[1:3].any()
    assert summary.broken == 2
    assert "2 rows hold NaN or infinity; absent: item 'i1', 'i2'" in str(summary)
    with pytest.raises(DataError, match="2 rows hold NaN or infinity: item 'i1', 'i2'"):
        read_precomputed(path, name="image", item_ids=ITEMS, rows="item-order", strict=True)


def test_zero_rows_are_counted_and_absent_only_on_request(tmp_path: Path) -> None:
    matrix = ramp()
    matrix[2] = 0
    path = stored(tmp_path, matrix)
    kept, summary = read_precomputed(path, name="image", item_ids=ITEMS, rows="item-order")
    assert kept.present.all()
    assert summary.zero == 1
    assert "1 rows are all zero, kept as present" in str(summary)
    dropped, _ = read_precomputed(path, name="image", item_ids=ITEMS, rows="item-order", zero_is_missing=True)
    assert dropped.present.tolist() == [True, True, False, True]


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array([["a", "b"]], dtype=object), "it holds object"),
        (np.array([["a", "b"]]), "it holds <U1"),
        (np.ones((4, 2), dtype=complex), "it holds complex128"),
        (np.zeros(4, dtype=[("x", "f4")]), "it holds"),
        (np.ones(4), r"its shape is \(4,\)"),
        (np.ones((4, 2, 2)), r"its shape is \(4, 2, 2\)"),
        (np.ones((4, 0)), r"its shape is \(4, 0\)"),
    ],
)
def test_what_is_no_matrix_of_numbers_is_refused(tmp_path: Path, array: np.ndarray, message: str) -> None:
    path = tmp_path / "image.npy"
    np.save(path, array, allow_pickle=True)
    with pytest.raises(DataError, match=message):
        read_precomputed(path, name="image", item_ids=ITEMS, rows="item-order")


def header(text: str) -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not a matrix at all",
        b"\x93NUMPY\x09\x09" + b"\x00" * 40,
        header("(" * 9000),
        header("-" * 9000 + "1"),
        header("{'descr': '<f4', 'fortran_order': False, 'shape': (4, 2), }\n") + b"\x00" * 31,
        header(f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({2**62}, {2**62}), }}\n") + b"\x00" * 64,
        header("{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 2), }\n") + b"\x00" * 64,
    ],
)
def test_damaged_and_hostile_files_are_refused_without_a_traceback(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "image.npy"
    path.write_bytes(content)
    with pytest.raises(DataError):
        read_precomputed(path, name="image", item_ids=ITEMS, rows="item-order")


def test_the_header_is_judged_before_memory_is_taken(tmp_path: Path) -> None:
    # A sparse file: 40 GB by its header and its length, next to nothing on disk.
    text = "{'descr': '<f4', 'fortran_order': False, 'shape': (4, 2500000000), }\n"
    path = tmp_path / "image.npy"
    with open(path, "wb") as stream:
        stream.write(header(text))
        stream.truncate(len(header(text)) + 40_000_000_000)
    with pytest.raises(DataError, match=r"take 40\.0 GB, the limit is 17\.2 GB"):
        read_precomputed(path, name="image", item_ids=ITEMS, rows="item-order")


def test_a_missing_matrix_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no such matrix[^$]*gone\.npy"):
        read_precomputed(tmp_path / "gone.npy", name="image", item_ids=ITEMS, rows="item-order")


def test_ids_are_read_alike_from_every_kind_of_file(tmp_path: Path) -> None:
    ids = ["10", "007", "3"]
    table = pl.DataFrame({"place": [1, 2, 3], "item_id": ids})
    (tmp_path / "ids.txt").write_text("10\r\n007\r\n3\r\n")
    table.write_csv(tmp_path / "ids.csv")
    table.write_csv(tmp_path / "ids.tsv", separator="\t")
    table.write_parquet(tmp_path / "ids.parquet")
    np.save(tmp_path / "ids.npy", np.array(ids))
    np.save(tmp_path / "numbers.npy", np.array([10, 7, 3]))
    for kind in ("txt", "csv", "tsv", "parquet", "npy"):
        assert read_ids(tmp_path / f"ids.{kind}") == ids
    assert read_ids(tmp_path / "numbers.npy") == ["10", "7", "3"]


def test_a_file_of_ids_aligns_the_matrix(tmp_path: Path) -> None:
    (tmp_path / "ids.txt").write_text("i3\ni2\ni1\ni0\n")
    features, _ = read_precomputed(stored(tmp_path, ramp()), name="image", item_ids=ITEMS, ids=tmp_path / "ids.txt")
    assert features.matrix.tolist() == ramp()[::-1].tolist()


def test_files_of_ids_that_cannot_be_used_say_why(tmp_path: Path) -> None:
    (tmp_path / "blank.txt").write_text("a\n\nb\n")
    (tmp_path / "other.csv").write_text("asin\na\n")
    (tmp_path / "empty.npy").write_bytes(b"")
    (tmp_path / "ids.pkl").write_bytes(b"")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 no")
    np.save(tmp_path / "objects.npy", np.array(["a", 1], dtype=object), allow_pickle=True)
    np.save(tmp_path / "floats.npy", np.ones(3))
    pl.DataFrame({"item_id": [1.0]}).write_parquet(tmp_path / "floats.parquet")
    for file, message in {
        "blank.txt": "1 ids are empty; the first at row 1",
        "other.csv": "no column item_id; found asin",
        "empty.npy": "cannot be read",
        "ids.pkl": "use txt, csv or parquet",
        "bad.parquet": "cannot be read",
        "objects.npy": "cannot be read",
        "floats.npy": "a vector of integers or strings",
        "floats.parquet": "not whole numbers or text",
        "gone.txt": "no such file",
    }.items():
        with pytest.raises(DataError, match=message):
            read_ids(tmp_path / file)
