"""What cells mean: ids, ratings and splits, parsed from text or taken from typed columns, whole columns at once.

Each function takes a column and gives its values beside masks of the rows that cannot be what they should.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

SPLITS = {
    "train": "train", "training": "train", "0": "train",
    "valid": "valid", "validation": "valid", "val": "valid", "dev": "valid", "1": "valid",
    "test": "test", "testing": "test", "2": "test",
}  # fmt: skip

# What programs write where there is no value; exact words, so that few ids are really called so.
MISSING = ("NA", "N/A", "NULL", "null", "nan", "NaN", "None", "\\N", "<NA>")
TRUTH = {"true": 1.0, "false": 0.0}

EXACT_FLOAT = 2**53


@dataclass(frozen=True)
class Cells:
    """A parsed column.

    Args:
        values: the parsed values, null where `empty` or `bad`.
        empty: rows without a value.
        bad: rows whose value is not what it should be.
    """

    values: pl.Series
    empty: pl.Series
    bad: pl.Series


def parse_text(column: pl.Series) -> pl.Series:
    """A column as strings; blank ones are null."""
    text = column.cast(pl.String)
    frame = pl.DataFrame({"text": text})
    blank = pl.col("text").str.strip_chars() == ""
    return frame.select(pl.when(~blank).then("text").alias("text")).to_series().alias(column.name)


def parse_ids(column: pl.Series) -> Cells:
    """Ids as strings without surrounding blanks; words of `MISSING` are empty.

    Whole numbers of any type become their decimal text. Floating-point ids are bad where they are not whole, or too
    large to be exact.
    """
    if column.dtype.is_decimal():
        text = column.cast(pl.String).str.replace(r"\.0+$", "")
        fraction = sure(text.str.contains(".", literal=True))
        return Cells(text.set(fraction, None), column.is_null(), fraction)
    if column.dtype.is_float():
        exact = whole(column, EXACT_FLOAT)
        values = column.set(~exact, None).cast(pl.Int64).cast(pl.String)
        empty = column.is_null()
        return Cells(values, empty, ~exact & ~empty)
    if not _is_id_type(column.dtype):
        nothing = column.is_null()
        return Cells(pl.Series(column.name, [None] * len(column), dtype=pl.String), nothing, ~nothing)
    values = column.cast(pl.String).str.strip_chars()
    empty = _empty(values)
    return Cells(values.set(empty, None), empty, _nowhere(column))


def parse_ratings(column: pl.Series) -> tuple[Cells, pl.Series]:
    """Ratings as Float64, and the mask of those that are NaN or infinite (null in the values, not in `bad`).

    True and false are 1 and 0, whether they are words or typed.
    """
    raw, empty = stripped(column)
    if raw.dtype == pl.String:
        values = raw.cast(pl.Float64, strict=False)
        left = (values.is_null() & ~empty).arg_true()
        if len(left):
            words = raw.gather(left).str.to_lowercase()
            values = values.scatter(left, words.replace_strict(TRUTH, default=None, return_dtype=pl.Float64))
    elif raw.dtype.is_numeric() or raw.dtype == pl.Boolean:
        values = raw.cast(pl.Float64, strict=False)
    else:
        values = pl.Series(column.name, [None] * len(column), dtype=pl.Float64)
    infinite = sure(~values.is_finite())
    return Cells(values.set(infinite, None), empty, values.is_null() & ~empty), infinite


def parse_splits(column: pl.Series) -> Cells:
    """Splits as "train", "valid" or "test"; also known are validation, val, dev and RecBole-style 0, 1, 2."""
    raw, empty = stripped(column)
    if raw.dtype.is_float():
        raw = raw.cast(pl.Int64, strict=False)
    text = raw.cast(pl.String, strict=False).str.to_lowercase()
    values = text.replace_strict(SPLITS, default=None, return_dtype=pl.String)
    return Cells(values, empty, values.is_null() & ~empty)


def stripped(column: pl.Series) -> tuple[pl.Series, pl.Series]:
    """A column without blanks around its text, null where it is empty or a word of `MISSING`; and which are."""
    if column.dtype.base_type() in (pl.Categorical, pl.Enum):
        column = column.cast(pl.String)
    if column.dtype != pl.String:
        return column, column.is_null()
    text = column.str.strip_chars()
    empty = _empty(text)
    return text.set(empty, None), empty


def _empty(text: pl.Series) -> pl.Series:
    return text.is_in(["", *MISSING]) | text.is_null()


def whole(column: pl.Series, limit: int) -> pl.Series:
    """Which numbers are whole and smaller than `limit`."""
    return sure(column.is_finite() & (column == column.round(0)) & (column.abs() < limit))


def _is_id_type(dtype: pl.DataType) -> bool:
    return dtype.is_integer() or dtype.base_type() in (pl.String, pl.Categorical, pl.Enum)


def sure(mask: pl.Series) -> pl.Series:
    """A mask with nothing for what is not known."""
    return mask.fill_null(False)


def _nowhere(column: pl.Series) -> pl.Series:
    return pl.repeat(False, len(column), dtype=pl.Boolean, eager=True)
