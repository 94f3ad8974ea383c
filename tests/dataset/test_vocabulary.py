"""Ids and row numbers: a seeded permutation, and the place of each id in the source."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from palate.core.errors import DataError
from palate.dataset.vocabulary import Vocabulary, codes

ids = st.lists(st.text(min_size=1, max_size=6), min_size=1, max_size=40, unique=True)


def made(names: list[str], seed: int = 0) -> Vocabulary:
    return Vocabulary.permuted("item", pl.Series(names, dtype=pl.String).sort(), seed)[0]


@given(ids, st.integers(0, 9))
def test_ids_and_rows_are_inverse(names: list[str], seed: int) -> None:
    ordered = pl.Series(names, dtype=pl.String).sort()
    vocabulary, row_of = Vocabulary.permuted("item", ordered, seed)
    assert sorted(vocabulary.ids) == sorted(names)
    assert vocabulary.ids.gather(row_of).to_list() == ordered.to_list()
    np.testing.assert_array_equal(vocabulary.rows(ordered.to_list()), row_of)
    assert [vocabulary.row(name) for name in vocabulary.ids] == list(range(len(names)))


def test_the_permutation_depends_on_the_seed_and_on_the_kind() -> None:
    ordered = pl.Series([str(number) for number in range(50)]).sort()
    orders = {
        (kind, seed): tuple(Vocabulary.permuted(kind, ordered, seed)[0].ids)
        for kind in ("user", "item")
        for seed in (0, 1)
    }
    assert len(set(orders.values())) == 4
    assert orders["user", 0] == tuple(Vocabulary.permuted("user", ordered, 0)[0].ids)


@given(ids, st.randoms(use_true_random=False))
def test_codes_are_places_among_the_sorted_ids(names: list[str], random: object) -> None:
    ordered = pl.Series(names, dtype=pl.String).sort()
    wanted = pl.Series([*names, *names[::-1]], dtype=pl.String)
    assert ordered.gather(codes(wanted, ordered)).to_list() == wanted.to_list()


def test_an_unknown_id_names_a_near_one() -> None:
    vocabulary = made(["toy-story", "golden-eye", "four-rooms"])
    with pytest.raises(DataError, match="unknown item 'toy-stori'") as caught:
        vocabulary.row("toy-stori")
    assert "did you mean 'toy-story'" in caught.value.do
    with pytest.raises(DataError) as caught:
        vocabulary.rows(["golden-eye", "§§§"])
    assert "did you mean" not in caught.value.do
    assert "3 items" in caught.value.do


def places(names: list[str], source: list[str], *, by_id: bool, seed: int = 0) -> dict[str, int]:
    vocabulary = made(names, seed)
    found = vocabulary.places(pl.Series(source, dtype=pl.String), by_id=by_id)
    return {name: int(found[vocabulary.row(name)]) for name in names}


def test_places_in_the_source_follow_first_appearance() -> None:
    found = places(["10", "9", "b", "a"], ["b", "10", "b", "a", "10", "9"], by_id=False)
    assert found == {"b": 0, "10": 1, "a": 2, "9": 3}


@pytest.mark.parametrize("prefix", ["", "u", "user-", "2024/"])
def test_places_by_id_follow_the_numbers_in_them(prefix: str) -> None:
    names = [f"{prefix}{number}" for number in (100, 9, 10, 1, 9999, 1000)]
    found = places(names, names, by_id=True)
    assert sorted(names, key=found.__getitem__) == [f"{prefix}{number}" for number in (1, 9, 10, 100, 1000, 9999)]


def test_places_by_id_compare_text_and_numbers_part_by_part() -> None:
    expected = ["7", "12", "B2", "a", "a2b1", "a2b10", "a2c1", "a10b2", "b"]
    found = places(expected, expected[::-1], by_id=True)
    assert sorted(expected, key=found.__getitem__) == expected


def test_numbers_of_any_length_in_ids_are_compared_by_value() -> None:
    expected = ["u9", "u" + "9" * 5000, "u1" + "0" * 5000, "u1" + "0" * 4999 + "1"]
    found = places(expected, expected[::-1], by_id=True)
    assert sorted(expected, key=found.__getitem__) == expected


def test_ids_that_are_equal_by_value_still_have_places_of_their_own() -> None:
    names = ["1", "01", "001", "²", "٣", "u1", "u01"]
    for source in (names, names[::-1]):
        assert sorted(places(names, source, by_id=True).values()) == list(range(len(names)))


@given(ids, st.booleans(), st.integers(0, 3))
def test_places_are_a_permutation(names: list[str], by_id: bool, seed: int) -> None:
    found = places(names, [*names, *names], by_id=by_id, seed=seed)
    assert sorted(found.values()) == list(range(len(names)))
    if not by_id:
        assert found == {name: place for place, name in enumerate(names)}
