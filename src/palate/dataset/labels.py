"""What counts as a positive and as a dislike: thresholds on ratings, or every interaction where there are none."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl
from numpy.typing import NDArray

from palate.core.errors import ConfigError, DataError
from palate.dataset.settings import SplitConfig

# Values above both this and this many times their median are counts of something, no scale.
FAR = 100
FAR_MEDIANS = 10
# What data say where somebody did not rate, and how many times the next rating's count gives that away.
MARKS = (-1.0, 0.0)
APART = 3


def holds(table: pl.DataFrame, column: str) -> bool:
    """Whether a column says anything at all."""
    return table[column].null_count() < len(table)


def check_ratings(table: pl.DataFrame) -> None:
    """Refuse ratings that only some of the interactions have.

    Raises:
        DataError: for ratings that are missing or not finite among others that are there.
    """
    wrong = len(table) - int(table["rating"].is_finite().sum())
    if wrong and holds(table, "rating"):
        raise DataError(
            f"{wrong:,} interactions have no rating, or one that is not finite, and the others do",
            do="drop these rows, as 'palate data import' does",
        )


def usual(ratings: pl.Series) -> bool:
    """Whether these are a scale up to 5 on which 4 is a positive and 2 a dislike without a word.

    A 0 below whole stars is "not rated" in most data and a rating in others, so that somebody must say; on a scale
    that has something between 0 and 1 it is a rating.

    Args:
        ratings: all of them, or each that occurs once.
    """
    if not len(ratings):
        return False
    least, greatest = float(ratings.min()), float(ratings.max())  # pyright: ignore[reportArgumentType]
    unclear = least == 0 and not ratings.is_between(0, 1, closed="none").any()
    return 4 <= greatest <= 5 and least >= 0 and not unclear


def marks(ratings: Mapping[float, int]) -> tuple[float, ...]:
    """The values that lie apart from the ratings and may say "not rated".

    These are a −1 where nothing else is negative, and a 0 where 1 comes next, on a scale up to 5 or given far more
    often than that 1.

    Args:
        ratings: rating → how often it was given.
    """
    found: list[float] = []
    if run_far(ratings):
        return ()
    for mark in MARKS:
        others = [rating for rating in ratings if rating not in (mark, *found)]
        if mark not in ratings or not others or min(others) < mark + 1 or max(others) < 3:
            continue
        if mark < 0 or 4 <= max(others) <= 5 or ratings[mark] > APART * ratings[min(others)]:
            found.append(mark)
    return tuple(found)


def marks_text(ratings: Mapping[float, int]) -> str:
    """The marks with the share that each has, as "0 (31% of them)"; empty where there are none."""
    total = sum(ratings.values())
    return " and ".join(f"{mark:g} ({ratings[mark] / total:.0%} of them)" for mark in marks(ratings))


def upper(ratings: Mapping[float, int]) -> float:
    """The least rating from which at most 60 % lie, or else the greatest.

    Args:
        ratings: rating → how often it was given.
    """
    total, above = sum(ratings.values()), 0
    chosen = max(ratings)
    for rating in sorted(ratings, reverse=True):
        above += ratings[rating]
        if above > 0.6 * total:
            break
        chosen = rating
    return chosen


def share_from(ratings: Mapping[float, int], threshold: float) -> float:
    """The share of the ratings that are `threshold` or more."""
    return sum(count for rating, count in ratings.items() if rating >= threshold) / sum(ratings.values())


def run_far(ratings: Mapping[float, int]) -> bool:
    """Whether these are counts with a long tail, such as plays, and no scale on which somebody rated."""
    half, below, median = sum(ratings.values()) / 2, 0, 0.0
    for rating in sorted(ratings):
        below += ratings[rating]
        if below >= half:
            median = rating
            break
    return min(ratings) >= 0 and max(ratings) > max(FAR, FAR_MEDIANS * median)


def number_text(value: float) -> str:
    """A threshold as it is to be typed: no digit is lost, or the ratings that equal it would not be met."""
    return repr(float(value)).removesuffix(".0")


def advised(ratings: Mapping[float, int]) -> tuple[str, ...]:
    """What `--positive` may be, the best first: "all", or a rating from which at most 60 % lie where one leaves some.

    Marks that may say "not rated" count as no ratings, and where what is left is a scale up to 5 it is 4.

    Args:
        ratings: rating → how often it was given.
    """
    if len(ratings) == 1:
        return ("all",)
    apart = marks(ratings)
    scale = {rating: count for rating, count in ratings.items() if rating not in apart}
    some = "4" if apart and usual(pl.Series(list(scale))) else number_text(upper(scale))
    return ("all", some) if run_far(ratings) else (some, "all")


def option_text(ratings: Mapping[float, int], word: str) -> str:
    """The option that says what a positive is, with the share of the ratings that it takes."""
    share = "" if word == "all" else f" ({share_from(ratings, float(word)):.0%} of the ratings)"
    return f"--positive {word}{share}"


def resolve(settings: SplitConfig, table: pl.DataFrame) -> SplitConfig:
    """Fill in the defaults that depend on the data.

    Raises:
        ConfigError: for thresholds that the ratings do not suit, or a scale that needs one to be given.
    """
    split = settings.split
    if split is None:
        split = "given" if holds(table, "split") else "user-time" if holds(table, "timestamp") else "random"
    positive, dislike = settings.positive, settings.dislike
    ratings = table["rating"].drop_nulls()
    if len(ratings) == 0:
        if isinstance(positive, float) or dislike is not None:
            raise ConfigError("positive and dislike are rating thresholds, and these data have no ratings")
        return settings.override({"split": split, "positive": "all"})
    least, greatest = float(ratings.min()), float(ratings.max())  # pyright: ignore[reportArgumentType]
    if positive is None:
        if not usual(ratings):
            counts: dict[float, int] = dict(ratings.value_counts().iter_rows())
            words = advised(counts)
            typed = ", or ".join(option_text(counts, word) for word in words)
            python = " or ".join("'all'" if word == "all" else word for word in words)
            unclear = marks_text(counts)
            raise ConfigError(
                f"ratings run from {least:,.12g} to {greatest:,.12g}; what is a positive must be said"
                + (f": {unclear} may say 'not rated'" if unclear else ""),
                do=f"say it: {typed}; in Python positive={python}"
                + ("; nothing is a dislike here unless --dislike says so" if unclear else ""),
            )
        positive = 4.0
    if isinstance(positive, float) and positive > 2 and dislike is None and usual(ratings):
        dislike = 2.0
    if positive == "all" and dislike is not None:
        raise ConfigError(
            f"with positive=all what is rated {dislike:g} or less is a positive too, and cannot be a dislike",
            do="give the least rating of a positive with --positive, or leave --dislike out",
        )
    if isinstance(positive, float) and dislike is not None and dislike >= positive:
        raise ConfigError(f"dislike={dislike:g} must be below positive={positive:g}")
    return settings.override({"split": split, "positive": positive, "dislike": dislike})


def labels(settings: SplitConfig, table: pl.DataFrame) -> tuple[NDArray[np.bool_], NDArray[np.bool_] | None]:
    """Which rows are positives, and which are dislikes (None where nothing can be one)."""
    everything = np.ones(len(table), dtype=np.bool_)
    if not holds(table, "rating"):
        return everything, None
    rating = table["rating"].to_numpy()
    positive = everything if settings.positive == "all" else rating >= settings.positive
    return positive, None if settings.dislike is None else rating <= settings.dislike
