"""Conditions on items, lists of ids, and that they hold before a list is cut."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

import worlds
from palate.core.errors import ConfigError, DataError
from palate.dataset.vocabulary import Vocabulary
from palate.measure.ranking import top_items
from palate.models import Embeddings
from palate.recommend.conditions import Condition
from palate.recommend.filters import ItemFilters, Restricted, both, known_ids, read_ids, require_items

TABLE = (
    pl.DataFrame(
        {
            "item_id": ["a", "b", "c", "d", "e"],
            "title": ["Alien", "Big", "Casino", "Dune", "Emma"],
            "genre": ["Horror|Sci-Fi", "Comedy", None, "Sci-Fi|Drama", "Comedy | Drama"],
            "mood": ["dark", "light|warm", "dark", None, "warm"],
            "tags": [["space", "cat"], ["piano"], [], ["space", "sand"], None],
            "year": ["1979", "1988", "1995", "2021", "unknown"],
            "price": [10.0, 9.5, 10.0, None, 12.25],
            "preis": ["357,71", "9,5", None, "1.357,71", "12"],
            "adult": [True, False, True, False, False],
            "made": [date(2024, 5, 31), date(2024, 6, 1), None, date(2024, 6, 2), date(1969, 12, 31)],
            "added": [
                datetime(2024, 5, 31, 23, 59, 59, 999_999),
                datetime(2024, 6, 1),
                datetime(2024, 6, 1, 18, 30),
                datetime(2024, 6, 2),
                None,
            ],
            "nothing": pl.Series([None] * 5, dtype=pl.String),
        }
    )
    .with_columns(
        # The same moments, as a clock in Berlin shows them, in another unit.
        local=pl.col("added").cast(pl.Datetime("ns", "UTC")).dt.convert_time_zone("Europe/Berlin"),
        coarse=pl.col("added").cast(pl.Datetime("ms")),
    )
    .with_columns(
        # As files without types have them.
        made_text=pl.col("made").dt.to_string().fill_null(""),
        added_text=pl.col("added").dt.to_string(" %Y-%m-%d %H:%M:%S%.6f"),
        local_text=pl.col("local").dt.to_string("iso:strict").str.replace("+02:00", "+0200", literal=True),
    )
)
FILTERS = ItemFilters(TABLE, Vocabulary("item", TABLE["item_id"]))


def left(*where: str, **lists: list[str]) -> str:
    mask = FILTERS.mask(where, **lists)
    assert mask is not None
    return "".join(TABLE["item_id"].filter(pl.Series(mask)))


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (["genre=Comedy"], "be"),
        (["preis>=100"], "ad"),
        (["preis<=12"], "be"),
        (["preis=9,5"], "b"),
        (["genre=Sci-Fi|Comedy"], "abde"),
        (["genre=Drama", "genre=Comedy"], "e"),
        (["genre!=Drama"], "abc"),
        (["genre!=Drama|Horror"], "bc"),
        (["genre = Sci-Fi ", " year > 2000"], "d"),
        (["mood=warm"], "be"),
        (["tags=space"], "ad"),
        (["tags!=space"], "bce"),
        (["title=Big|Emma"], "be"),
        (["year>=1988"], "bcd"),
        (["year>=1988", "year<=1995"], "bc"),
        (["year<1988"], "a"),
        (["year=unknown"], "e"),
        (["price=10"], "ac"),
        (["price<=10"], "abc"),
        (["price>9.5"], "ace"),
        (["price!=10.0"], "bde"),
        (["adult=true"], "ac"),
    ],
)
def test_conditions_say_which_items_may_be_listed(where: list[str], expected: str) -> None:
    assert left(*where) == expected


@pytest.mark.parametrize("column", ["made", "added", "local", "coarse", "made_text", "added_text", "local_text"])
@pytest.mark.parametrize(
    ("wanted", "by_day"),
    [
        (">=2024-06-01", "bcd"),
        ("> 2024-06-01 ", "d"),
        ("<=2024-06-01", "abc"),
        ("<2024-06-01", "a"),
        ("=2024-06-01", "bc"),
        ("=2024-06-02|2024-05-31", "ad"),
        ("!=2024-06-01", "ade"),
    ],
)
def test_a_day_stands_for_all_of_it(column: str, wanted: str, by_day: str) -> None:
    if column.startswith("made"):
        # Item c has no date; e was made on the last day before 1970.
        by_day = {"a": "ae", "abc": "abe", "ade": "acde"}.get(by_day, by_day.replace("c", ""))
    assert left(f"{column}{wanted}") == by_day


@pytest.mark.parametrize("column", ["added", "local", "coarse", "added_text", "local_text"])
@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (">=2024-06-01T18:30", "cd"),
        (">2024-06-01 18:30:00", "d"),
        ("<=2024-06-01T20:30+02:00", "abc"),
        ("<2024-06-01T20:30+02:00", "ab"),
        ("=2024-06-01T18:30Z", "c"),
        (">=2024-06-02T00:00:00.000001", ""),
        (">=0001-01-01T00:00+14:00", "abcd"),
        ("<=9999-12-31T23:59:59-12:00", "abcd"),
    ],
)
def test_a_time_without_a_zone_is_utc(column: str, wanted: str, expected: str) -> None:
    assert left(f"{column}{wanted}") == expected


@pytest.mark.parametrize("column", ["made", "made_text"])
def test_a_date_is_its_first_moment(column: str) -> None:
    assert left(f"{column}>=2024-06-01T00:00") == "bd"
    assert left(f"{column}>2024-06-01T00:00") == "d"
    assert left(f"{column}<=2024-06-01T01:00+02:00") == "ae"


def test_lists_of_ids_allow_and_deny() -> None:
    assert left(allow=["d", "a", "a"]) == "ad"
    assert left(deny=["b", "e"]) == "acd"
    assert left(allow=["a", "b", "c"], deny=["b"]) == "ac"
    assert left("genre=Comedy", allow=["a", "b"]) == "b"
    assert left(allow=[]) == ""


def test_without_wishes_there_is_no_mask() -> None:
    assert FILTERS.mask() is None


@pytest.mark.parametrize(
    ("text", "kind", "words"),
    [
        ("genre", ConfigError, "COLUMN=VALUE"),
        ("=Comedy", ConfigError, "no condition"),
        ("genre=", ConfigError, "no condition"),
        ("genre=|", ConfigError, "no condition"),
        ("genres=Comedy", DataError, "did you mean 'genre'"),
        ("nothing=x", DataError, "unknown item column 'nothing'"),
        ("genre=Comdy", DataError, "did you mean 'Comedy'"),
        ("tags=cats", DataError, "did you mean 'cat'"),
        ("price=11", DataError, "no item has the price '11'"),
        ("price=cheap", DataError, "'cheap' is no number"),
        ("year>=nan", DataError, "'nan' is no number"),
        ("year>=1980|1990", ConfigError, "one number"),
        ("made>=1990", DataError, "'1990' is no date"),
        ("made=yesterday", DataError, "where: made=yesterday"),
        ("added<2024-06-31", DataError, "write a day (2024-06-01)"),
        ("added>=2024-06-01T25:00", DataError, "'2024-06-01T25:00' is no date"),
        ("added>=2024-06-01|2024-06-02", ConfigError, "one date"),
        ("added=2024-06-05", DataError, "no item has the added '2024-06-05'"),
        ("year>=2024-06-01", DataError, "'2024-06-01' is no number"),
        ("title>=3", DataError, "'title' is text, and holds no numbers"),
        ("tags>=3", DataError, "holds no numbers"),
    ],
)
def test_what_cannot_be_asked_is_answered_with_what_can(text: str, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind) as caught:
        FILTERS.mask([text])
    assert words in str(caught.value)


def test_unknown_ids_are_named() -> None:
    for lists in ({"allow": ["a", "x"]}, {"deny": ["x"]}):
        with pytest.raises(DataError, match="unknown item 'x'"):
            FILTERS.mask(**lists)


def test_conditions_read_as_they_are_written() -> None:
    for text in ("genre=Comedy|Drama", "year>=1990", "title!=Big", r"title=a\|b|c"):
        assert str(Condition.parse(text)) == text
    assert Condition.parse("title=a=b") == Condition("title", "=", ("a=b",))


def test_ids_come_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "ids.txt"
    file.write_text(" b\n\nx \n")
    assert read_ids(file) == ["b", "x"]
    file.write_bytes("\ufeff50\r\n181\r\na\u2028b\r\n".encode())
    assert read_ids(file) == ["50", "181", "a\u2028b"]
    for nothing in ("\n", "\ufeff\r\n"):
        file.write_text(nothing, encoding="utf-8")
        with pytest.raises(DataError, match="no id"):
            read_ids(file)
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="UTF-8"):
        read_ids(file)
    with pytest.raises(DataError, match="no such file") as caught:
        read_ids(tmp_path / "nofile.txt")
    assert str(tmp_path / "nofile.txt") == caught.value.where
    with pytest.raises(DataError, match="a folder"):
        read_ids(tmp_path)


def test_ids_that_are_no_items_are_left_out_and_named() -> None:
    assert known_ids(["b", "a", "b"], FILTERS.items, "deny") == (["b", "a", "b"], [])
    assert known_ids(["x", "b"], FILTERS.items, "deny") == (["b"], ["deny: 1 id that is no item is left out: x"])
    kept, said = known_ids([*"zyxwvuzb", "z"], FILTERS.items, "old.txt")
    assert kept == ["b"]
    assert said == ["old.txt: 6 ids that are no item are left out: z, y, x, w, v and 1 more"]


def test_the_table_of_a_data_set_is_in_the_order_of_its_items() -> None:
    source = worlds.catalogue(colour=pl.Series(["red", "green", "blue", "red", "grey"] * 5))
    data = worlds.dataset(source, split="random")
    mask = ItemFilters.of(data).mask(["colour=red"])
    assert mask is not None
    assert set(data.items.ids.filter(pl.Series(mask))) == set(source.items.filter(colour="red")["item_id"])


def test_a_restricted_scorer_lists_allowed_items_alone() -> None:
    generator = torch.Generator().manual_seed(0)
    scorer = Embeddings(torch.randn(4, 3, generator=generator), torch.randn(30, 3, generator=generator))
    allowed = np.arange(30) % 3 == 0
    items, scores = top_items(Restricted(scorer, allowed), np.arange(4), 12)
    whole = (scorer.user @ scorer.item.T).numpy()
    for user in range(4):
        expected = np.flatnonzero(allowed)[np.argsort(-whole[user, allowed])]
        np.testing.assert_array_equal(items[user, :10], expected)
        np.testing.assert_array_equal(items[user, 10:], [-1, -1])
        np.testing.assert_allclose(scores[user, :10], whole[user, expected], rtol=1e-6)


def test_masks_join_and_an_empty_one_is_refused() -> None:
    one, other = np.array([True, True, False]), np.array([False, True, True])
    np.testing.assert_array_equal(both(one, other), [False, True, False])
    assert both(None, other) is other
    assert both(one, None) is one
    assert both(None, None) is None
    require_items(None, [])
    require_items(one, ["a=1"])
    with pytest.raises(DataError, match="no item satisfies"):
        require_items(np.zeros(3, np.bool_), ["a=1", "b=2"])
