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
    assert vocabulary.names(row_of) == ordered.to_list()
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


def test_numbers_by_rows_follow_first_appearance() -> None:
    vocabulary = made(["10", "9", "b", "a"])
    numbers = vocabulary.numbers(pl.Series(["b", "10", "b", "a", "10", "9"]), "rows")
    assert {name: int(numbers[vocabulary.row(name)]) for name in vocabulary.ids} == {"b": 0, "10": 1, "a": 2, "9": 3}


def test_numbers_by_ids_are_numeric_and_not_alphabetical() -> None:
    vocabulary = made(["10", "9", "100"])
    source = pl.Series(["100", "9", "10"])
    for order in ("ids", None):
        numbers = vocabulary.numbers(source, order)
        assert {name: int(numbers[vocabulary.row(name)]) for name in vocabulary.ids} == {"9": 0, "10": 1, "100": 2}


def test_without_numeric_ids_the_default_is_the_order_of_appearance() -> None:
    vocabulary = made(["10", "9", "a"])
    source = pl.Series(["a", "10", "9"])
    np.testing.assert_array_equal(vocabulary.numbers(source, None), vocabulary.numbers(source, "rows"))


@given(ids, st.sampled_from(["ids", "rows", None]), st.integers(0, 3))
def test_numbers_are_a_permutation(names: list[str], order: object, seed: int) -> None:
    numbers = made(names, seed).numbers(pl.Series([*names, *names], dtype=pl.String), order)  # type: ignore[arg-type]
    assert sorted(numbers.tolist()) == list(range(len(names)))
