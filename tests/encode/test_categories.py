"""Categories: how cells are taken apart, what the vocabulary keeps, and that a row says exactly what an item has."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from palate.core.errors import ConfigError, DataError
from palate.encode import build_encoder, encode
from palate.encode.categories import CategoriesConfig, CategoriesEncoder, Labels, category_columns, item_categories


def fitted(inputs: list[Labels | None], **settings: object) -> CategoriesEncoder:
    return CategoriesEncoder(CategoriesConfig.parse(settings)).fit(inputs)


def labels(*names: str) -> Labels:
    return tuple(("genres", name) for name in names)


def taken_apart(cells: list[object], name: str = "genres", separator: str | None = None) -> list[list[str] | None]:
    items = pl.DataFrame({"item_id": [str(row) for row in range(len(cells))], name: cells})
    return [found and [label for _, label in found] for found in item_categories(items, [name], separator)]


@given(st.lists(st.none() | st.lists(st.sampled_from("abcdef"), max_size=5), min_size=1, max_size=30))
def test_a_row_says_which_frequent_categories_an_item_has(cells: list[list[str] | None]) -> None:
    inputs = [None if cell is None else labels(*cell) for cell in cells]
    owners = {name: {row for row, cell in enumerate(cells) if name in (cell or [])} for name in "abcdef"}
    frequent = {name for name, rows in owners.items() if len(rows) >= 2}
    if not frequent:
        with pytest.raises(DataError, match="belongs to 2 or more items"):
            fitted(inputs)
        return
    encoder = fitted(inputs)
    assert {name for _, name in encoder.vocabulary} == frequent
    features, summary = encode(inputs, encoder, ids=[str(row) for row in range(len(inputs))], quiet=True)
    for column, (_, name) in enumerate(encoder.vocabulary):
        assert set(np.flatnonzero(features.matrix[:, column]).tolist()) == owners[name]
    assert set(np.unique(features.matrix).tolist()) <= {0.0, 1.0}
    assert features.present.tolist() == [bool(frequent & set(cell or [])) for cell in cells]
    assert not summary.failed


def test_the_most_frequent_are_kept_and_ties_go_by_name() -> None:
    inputs: list[Labels | None] = [labels("b", "a", "c"), labels("c", "b", "a"), labels("c"), labels("d")]
    assert [name for _, name in fitted(inputs, min_count=1).vocabulary] == ["c", "a", "b", "d"]
    assert [name for _, name in fitted(inputs, max_columns=2).vocabulary] == ["c", "a"]
    assert fitted(inputs[::-1]).identity == fitted(inputs).identity


def test_identity_is_that_of_the_vocabulary() -> None:
    inputs: list[Labels | None] = [labels("a", "b"), labels("a", "b", "c")]
    assert fitted(inputs).identity == fitted([*inputs, None]).identity
    assert fitted(inputs).identity != fitted(inputs, min_count=1).identity
    renamed: list[Labels | None] = [(("brand", "a"), ("brand", "b"))] * 2
    assert fitted(inputs).identity != fitted(renamed).identity


def test_a_category_has_the_same_name_wherever_its_column_stands() -> None:
    small, grown = fitted([labels("a", "b")] * 2), fitted([labels("a", "b", "z"), labels("z", "b"), labels("z")])
    assert [name for _, name in grown.vocabulary] == ["z", "b"]
    assert grown.columns[1] == small.columns[1]
    assert grown.columns[0] not in small.columns
    brand: list[Labels | None] = [(("brand", "a"),)] * 2
    assert fitted(brand).columns[0] not in small.columns
    features, _ = encode([labels("z")], grown, ids=["i0"], quiet=True)
    assert features.columns == grown.columns


def test_nothing_is_encoded_before_the_vocabulary_is_known() -> None:
    with pytest.raises(ConfigError, match="no vocabulary yet"):
        _ = build_encoder("multihot").identity


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["Action|Sci-Fi", "Drama", None, ""], [["Action", "Sci-Fi"], ["Drama"], None, None]),
        (["Action, Sci Fi", "Drama ,"], [["Action", "Sci Fi"], ["Drama"]]),
        (["a, b; c", "d"], [["a, b", "c"], ["d"]]),
        ([["A", "B"], [], None, ["C", None]], [["A", "B"], None, None, ["C"]]),
        ([[["Toys"], ["Games", "Cards"]], [["Toys"]]], [["Toys", "Games", "Cards"], ["Toys"]]),
        (["Board Games", "Card Games"], [["Board Games"], ["Card Games"]]),
        ([1, 2, None], [["1"], ["2"], None]),
    ],
    ids=["bars", "commas", "semicolons", "lists", "nested", "names", "numbers"],
)
def test_cells_are_taken_apart(cells: list[object], expected: list[list[str] | None]) -> None:
    assert taken_apart(cells) == expected


def test_blanks_separate_where_few_words_make_many_cells() -> None:
    words = ["Action", "Comedy", "Drama", "Horror"]
    cells: list[object] = [f"{one} {two} {three}" for one in words for two in words for three in words]
    assert taken_apart(cells)[1] == ["Action", "Action", "Comedy"]
    assert taken_apart(cells, separator=",")[1] == ["Action Action Comedy"]
    assert taken_apart(["Action Drama", "Drama"], separator=" ") == [["Action", "Drama"], ["Drama"]]


def test_a_brand_is_one_category_whatever_is_in_its_name() -> None:
    assert taken_apart(["Toys, Inc", "A|B"], "brand") == [["Toys, Inc"], ["A|B"]]
    assert taken_apart(["Toys, Inc"], "brand", ",") == [["Toys", "Inc"]]


def test_columns_are_found_by_name_and_keep_their_categories_apart() -> None:
    items = pl.DataFrame(
        {"item_id": ["1", "2"], "brand": ["Comedy", "x"], "genres": ["Comedy", None], "tags": [None, None]}
    )
    assert category_columns(items) == ["genres", "brand"]
    assert item_categories(items) == [(("genres", "Comedy"), ("brand", "Comedy")), (("brand", "x"),)]
    with pytest.raises(DataError, match=r"did you mean 'genres'\?"):
        item_categories(items, ["genre"])
    with pytest.raises(DataError, match="no column of categories; looked for genres"):
        item_categories(items.select("item_id"))


def test_items_share_their_labels_in_memory() -> None:
    items = pl.DataFrame({"item_id": ["1", "2", "3"], "genres": ["x|y", "y", "x"], "brand": ["x", "x", None]})
    first, second, third = item_categories(items)
    assert first == (("genres", "x"), ("genres", "y"), ("brand", "x"))
    assert second == (("genres", "y"), ("brand", "x"))
    assert first is not None
    assert second is not None
    assert third is not None
    assert first[1] is second[0]
    assert first[2] is second[1]
    assert first[0] is third[0]
