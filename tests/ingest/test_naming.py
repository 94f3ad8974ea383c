"""Names of columns arrive as they were meant, whatever signs they hold, and what is advised can be pasted."""

from __future__ import annotations

import re
import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palate.core.errors import ConfigError
from palate.ingest.naming import ColumnNames, ItemNames, option, read_columns


@pytest.mark.parametrize(
    "name", ["No", "null", "2009-05-04T00:08:57Z", "0", "1e3", "Customer ID", "[a]", "a=b", "Book's"]
)
def test_a_name_is_no_yaml(name: str) -> None:
    assert read_columns([f"user_id={name},rating=r"]) == ColumnNames(user_id=name, rating="r")


@pytest.mark.parametrize("written", [r"title=Title\, long", 'title="Title, long"', "title='Title, long'"])
def test_a_name_may_hold_a_comma(written: str) -> None:
    assert read_columns([f"user_id=u,{written}", "item_id=i"]) == ColumnNames(
        user_id="u", title="Title, long", item_id="i"
    )


def test_an_empty_name_leaves_a_column_out() -> None:
    assert read_columns(["rating=", "event=''"]) == ColumnNames(rating="", event="")


def test_a_name_may_be_for_one_file() -> None:
    found = read_columns(["item_id=song,items.item_id=id"])
    assert found == ColumnNames(item_id="song", items=ItemNames(item_id="id"))
    assert found.of("items") == {"item_id": "id"}
    assert found.of("interactions") == {"item_id": "song"}
    for wrong, meant in (
        ("item.item_id=id", "did you mean 'items'?"),
        ("items.itemid=id", "did you mean 'item_id'?"),
        ("interactions=No", "'interactions' is a file, not a column"),
        ("user_id=uid,interactions=No,interactions.item_id=No", "'interactions' is a file, not a column"),
    ):
        with pytest.raises(ConfigError, match=re.escape(meant)):
            read_columns([wrong])


@given(st.lists(st.text(alphabet="ab ,\\\"'=.é$", min_size=1, max_size=6), min_size=2, max_size=2))
def test_what_is_advised_is_read_as_it_was_meant(names: list[str]) -> None:
    user, item = names
    words = shlex.split(option({"user_id": user, "items.item_id": item}))
    assert words[0] == "--columns"
    assert read_columns(words[1:]) == ColumnNames(user_id=user, items=ItemNames(item_id=item))
