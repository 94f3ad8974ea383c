"""Recommendation tables: order, masks, titles, and files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

import worlds
from palate.core.errors import ConfigError
from palate.dataset.dataset import Dataset
from palate.ingest.catalogue import Catalogue
from palate.models import Embeddings
from palate.recommend.forgetting import forget
from palate.recommend.topk import history, recommend, write_table


def random_scorer(data: Dataset) -> Embeddings:
    generator = torch.Generator().manual_seed(0)
    return Embeddings(
        torch.randn(len(data.users), 4, generator=generator), torch.randn(len(data.items), 4, generator=generator)
    )


def test_each_list_is_the_best_unknown_items_in_order() -> None:
    data = worlds.dataset(split="user-time", thin=0.5)
    scorer = random_scorer(data)
    scores = (scorer.user @ scorer.item.T).numpy()
    users = data.users.rows(["u4", "u0", "u17"])
    table = recommend(scorer, data, users, 6)
    assert table.columns == ["user_id", "rank", "item_id", "title", "score"]
    assert table["user_id"].unique(maintain_order=True).to_list() == ["u4", "u0", "u17"]
    for name, user in zip(("u4", "u0", "u17"), users, strict=True):
        known = set(data.catalogue.interactions.filter(pl.col("user_id") == name)["item_id"])
        expected = [item for item in data.items.ids.gather(np.argsort(-scores[user])) if item not in known][:6]
        own = table.filter(pl.col("user_id") == name)
        assert own["item_id"].to_list() == expected
        assert own["rank"].to_list() == list(range(1, len(expected) + 1))
        np.testing.assert_allclose(own["score"], scores[user][data.items.rows(expected)], rtol=1e-5)
    assert all(title == f"The film {item[1:]}" for item, title in table.select("item_id", "title").iter_rows())


def test_a_user_who_knows_nearly_everything_gets_a_shorter_list() -> None:
    rows = pl.DataFrame({"user_id": ["a"] * 24 + ["b"], "item_id": [f"i{item}" for item in range(24)] + ["i0"]})
    data = worlds.dataset(worlds.catalogue(rows), split="random")
    table = recommend(random_scorer(data), data, data.users.rows(["a", "b"]), 10)
    assert table.filter(pl.col("user_id") == "a")["item_id"].to_list() == ["i24"]
    assert table.filter(pl.col("user_id") == "b").height == 10


def test_lists_are_cut_to_the_number_of_items() -> None:
    data = worlds.dataset(worlds.catalogue(worlds.interactions(most=2)), split="random", positive="all")
    table = recommend(random_scorer(data), data, data.users.rows(["u0"]), 1000)
    assert table.height == 25 - int(data.known().take(data.users.rows(["u0"])).size)


def test_without_users_the_table_is_empty_and_has_its_columns() -> None:
    data = worlds.dataset(split="random")
    table = recommend(random_scorer(data), data, np.zeros(0, np.int64), 3)
    assert table.is_empty()
    assert table.columns == ["user_id", "rank", "item_id", "title", "score"]


def test_history_is_latest_first_with_titles() -> None:
    data = worlds.dataset(split="random")
    table = history(data, data.users.row("u2"))
    own = data.catalogue.interactions.filter(pl.col("user_id") == "u2")
    assert table["timestamp"].to_list() == sorted(own["timestamp"].to_list(), reverse=True)
    assert sorted(table["item_id"]) == sorted(own["item_id"])
    assert table["title"].to_list() == [f"The film {item[1:]}" for item in table["item_id"]]


def test_a_catalogue_without_titles_has_none_to_show() -> None:
    data = worlds.dataset(Catalogue.of(worlds.interactions()), {}, split="random")
    table = recommend(random_scorer(data), data, np.arange(2), 2)
    assert table.columns == ["user_id", "rank", "item_id", "score"]


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_tables_are_written_and_read_again(tmp_path: Path, suffix: str) -> None:
    data = worlds.dataset(split="random")
    table = recommend(random_scorer(data), data, np.arange(5), 3)
    target = tmp_path / "new" / f"table.{suffix}"
    write_table(table, target)
    again = pl.read_parquet(target) if suffix == "parquet" else pl.read_csv(target)
    assert again.columns == table.columns
    for column in ("user_id", "rank", "item_id", "title"):
        assert again[column].to_list() == table[column].to_list()
    np.testing.assert_allclose(again["score"], table["score"])
    assert [path.name for path in target.parent.iterdir()] == [target.name]


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_odd_titles_and_ids_come_back_as_they_were(tmp_path: Path, suffix: str) -> None:
    odd = [
        'q"uo,te',
        "line\nbreak\r",
        "",
        None,
        " blanks ",
        "\x1b[31m\u2028",
        "NA",
        "=1+1",
        "'",
        '""',
        "\ufeffmark",
        "é日",
    ]
    users = [f"u\n{place}," for place in range(len(odd))]
    table = pl.DataFrame({"user_id": users, "rank": range(len(odd)), "item_id": users, "title": odd})
    target = tmp_path / f"table.{suffix}"
    write_table(table, target)

    def read() -> pl.DataFrame:
        return pl.read_parquet(target) if suffix == "parquet" else pl.read_csv(target, infer_schema=False)

    assert read().drop("rank").equals(table.drop("rank"))
    # And after somebody was forgotten in it.
    forget([target], users=users[:1])
    assert read().drop("rank").equals(table.drop("rank")[1:])


def test_another_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is neither"):
        write_table(pl.DataFrame({"a": [1]}), tmp_path / "table.xlsx")
    assert not list(tmp_path.iterdir())
