"""Errors say what, where and what to do, and guess the name that was meant."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palate.core import errors
from palate.core.errors import DataError, PalateError, nearest, unknown_name


@pytest.mark.parametrize(
    ("where", "do", "text"),
    [
        ("", "", "a rating is no number"),
        ("ratings.csv, line 3", "", "a rating is no number\n  where: ratings.csv, line 3"),
        ("", "mend it", "a rating is no number\n  do:    mend it"),
        ("line 3", "mend it", "a rating is no number\n  where: line 3\n  do:    mend it"),
    ],
)
def test_the_message_holds_what_is_known_and_no_empty_lines(where: str, do: str, text: str) -> None:
    assert str(DataError("a rating is no number", where=where, do=do)) == text


def test_every_kind_of_error_can_be_caught_as_one() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    assert len(kinds) > 5
    assert all(issubclass(kind, PalateError) for kind in kinds)


@pytest.mark.parametrize(("name", "meant"), [("layer", "layers"), ("LAYERS", "layers"), ("xyz", None), ("dmi", "dim")])
def test_the_nearest_name_is_named_where_one_is_near(name: str, meant: str | None) -> None:
    assert nearest(name, ["dim", "layers", "dropout"]) == meant
    expected = f"unknown setting '{name}'" + (f"; did you mean '{meant}'?" if meant else "")
    assert unknown_name("setting", name, ["dim", "layers", "dropout"]) == expected


@given(st.sampled_from(["popularity", "lightgcn", "random"]), st.integers(0, 20))
def test_one_dropped_letter_is_forgiven(name: str, place: int) -> None:
    place %= len(name)
    assert nearest(name[:place] + name[place + 1 :], ["popularity", "lightgcn", "random"]) == name
