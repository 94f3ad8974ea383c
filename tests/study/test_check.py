"""`data check`: it finds damage, and warns of an order that leaks and of no other."""

from __future__ import annotations

import dataclasses
import json
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import worlds
from palate.core.errors import ArtefactError
from palate.dataset.dataset import Dataset, Order
from palate.dataset.settings import SplitConfig
from palate.ingest.catalogue import Catalogue
from palate.measure.evaluation import evaluate
from palate.models.classical.indexorder import IndexOrder, IndexOrderConfig
from palate.study.check import CheckResult, check


def sparse(seed: int = 0) -> list[tuple[int, int]]:
    generator = np.random.default_rng(seed)
    return [(user, item) for user in range(300) for item in generator.choice(300, 5, replace=False).tolist()]


def stored(folder: Path, pairs: list[tuple[str, str]]) -> Path:
    rows = pl.DataFrame(pairs, schema=["user_id", "item_id"], orient="row")
    Catalogue.of(rows, name="shop").save(folder)
    return folder


def test_a_file_sorted_by_item_leaks_through_the_order_of_its_users(tmp_path: Path) -> None:
    by_item = sorted(sparse(), key=lambda pair: pair[1])
    result = check(stored(tmp_path / "c", [(f"u{user}", f"i{item}") for user, item in by_item]))
    assert result.canary is not None
    assert result.popularity is not None
    assert result.leaks
    assert result.canary > 2 * result.popularity
    assert "WARNING: the order of the ids alone" in result.text()


def test_of_many_users_a_sample_is_looked_at_and_that_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    by_item = sorted(sparse(), key=lambda pair: pair[1])
    folder = stored(tmp_path / "c", [(f"u{user}", f"i{item}") for user, item in by_item])
    whole = check(folder)
    assert not any("drawn at random" in note for note in whole.notes)
    monkeypatch.setattr("palate.study.check.USERS", 250)
    some = check(folder)
    assert some.leaks
    assert some.canary != whole.canary
    assert some == check(folder)
    assert some.notes[-1] == "the leak canary looks at 250 of 300 users, drawn at random"


def test_it_shows_how_far_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("palate.core.progress.PLAIN_INTERVAL", 0.0)
    folder = stored(tmp_path / "c", [(f"u{user}", f"i{item}") for user, item in sparse()])
    check(folder, quiet=True)
    assert capsys.readouterr().err == ""
    check(folder)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 7
    assert lines[0].startswith("popularity: 300/300 users")
    assert lines[-1].startswith("leak canary: items by order of interactions: 300/300 users")


def test_numeric_ids_in_order_of_appearance_leak_even_when_the_rows_are_shuffled(tmp_path: Path) -> None:
    by_item = sorted(sparse(), key=lambda pair: pair[1])
    number = {user: str(place) for place, user in enumerate(dict.fromkeys(user for user, _ in by_item))}
    items = {item: str(place) for place, item in enumerate(dict.fromkeys(item for _, item in by_item))}
    pairs = [(number[user], items[item]) for user, item in by_item]
    mixed = [pairs[place] for place in np.random.default_rng(1).permutation(len(pairs))]
    result = check(stored(tmp_path / "c", mixed))
    assert result.leaks
    assert result.canary is not None
    assert result.popularity is not None
    assert result.canary > 2 * result.popularity


def test_a_leak_in_string_ids_is_found_when_nothing_else_is_left_of_the_order(tmp_path: Path) -> None:
    """u1 … u9999 in order of appearance; their order as text is another one, and rows and items are shuffled."""
    by_item = sorted(sparse(), key=lambda pair: pair[1])
    user = {user: f"u{1 + 33 * place}" for place, user in enumerate(dict.fromkeys(user for user, _ in by_item))}
    item = {item: f"i{1 + 33 * place}" for place, item in enumerate(dict.fromkeys(item for _, item in by_item))}
    assert {len(name) for name in user.values()} == {2, 3, 4, 5}
    generator = np.random.default_rng(1)
    mixed = [(user[by_item[place][0]], item[by_item[place][1]]) for place in generator.permutation(len(by_item))]
    rows = pl.DataFrame(mixed, schema=["user_id", "item_id"], orient="row")
    goods = pl.DataFrame({"item_id": generator.permutation(list(item.values()))})
    Catalogue.of(rows, goods, name="shop").save(tmp_path / "c")
    result = check(tmp_path / "c")
    assert result.leaks
    assert result.canary is not None
    assert result.popularity is not None
    assert result.canary > 2 * result.popularity
    data = Dataset.load(tmp_path / "c", SplitConfig(positive="all"))
    alone = {order: recall_of_order(data, order) for order in ("ids", "items", "interactions")}
    assert alone["ids"] == result.canary
    assert max(alone["items"], alone["interactions"]) < 2 * result.popularity


def recall_of_order(data: Dataset, order: Order) -> float:
    """The better Recall@20 of the two canaries that look at one order alone."""
    inputs = dataclasses.replace(data.inputs(), numbers=partial(data.numbers, order))
    found: list[float] = []
    for direction in ("users", "items"):
        model = IndexOrder(IndexOrderConfig.parse({"direction": direction}), inputs)
        model.fit()
        found.append(evaluate(model, data.positives["test"], data.mask("test", "train")).means()["recall@20"])
    return max(found)


def test_a_shuffled_file_with_popular_items_is_silent(tmp_path: Path) -> None:
    generator = np.random.default_rng(2)
    weights = 1 / np.arange(1, 301)
    pairs = [
        (f"u{user}", f"i{item}")
        for user in generator.permutation(300)
        for item in generator.choice(300, 8, replace=False, p=weights / weights.sum())
    ]
    mixed = [pairs[place] for place in generator.permutation(len(pairs))]
    goods = pl.DataFrame({"item_id": [f"i{item}" for item in generator.permutation(300)]})
    rows = pl.DataFrame(mixed, schema=["user_id", "item_id"], orient="row")
    Catalogue.of(rows, goods, name="shop").save(tmp_path / "c")
    result = check(tmp_path / "c")
    assert not result.leaks
    assert "WARNING" not in result.text()


def test_a_canary_that_is_ahead_by_chance_is_no_all_clear() -> None:
    facts = {"name": "shop", "users": 9, "items": 9, "features": {}}
    texts = [
        CheckResult(facts, canary, 0.1, leaks, ()).text() for canary, leaks in ((0.1, False), (0.2, False), (0.2, True))
    ]
    assert ["no sign of a leak" in text for text in texts] == [True, False, False]
    assert ["ahead of popularity" in text for text in texts] == [False, True, False]
    assert ["WARNING" in text for text in texts] == [False, False, True]


def test_it_tells_sizes_features_and_split_and_is_json(tmp_path: Path) -> None:
    result = check(worlds.stored(tmp_path / "c"))
    assert "world: 30 users, 25 items" in result.text()
    assert "features text: 96.0% of the items" in result.text()
    assert "split user-time" in result.text()
    again = json.loads(json.dumps(result.as_dict(), allow_nan=False))
    assert again["facts"]["users"] == 30


def rated(folder: Path, factor: float) -> CheckResult:
    rows = worlds.interactions()
    worlds.catalogue(rows.with_columns(rating=rows["rating"] * factor)).save(folder)
    return check(folder)


def test_positives_are_those_of_training_and_otherwise_all_with_a_word(tmp_path: Path) -> None:
    stars = rated(tmp_path / "stars", 1)
    assert stars.facts["settings"]["positive"] == 4
    assert "positive=4.0" in stars.text()
    assert "counts as a positive" not in stars.text()
    found = rated(tmp_path / "percent", 20)
    assert found.facts["settings"]["positive"] == "all"
    assert found.notes[-1] == (
        "every interaction counts as a positive in this check: "
        "ratings run from 20 to 100; what is a positive must be said"
    )


def test_with_nothing_held_out_the_canary_rests(tmp_path: Path) -> None:
    result = check(stored(tmp_path / "c", [("a", "x"), ("b", "y")]))
    assert (result.canary, result.leaks) == (None, False)
    assert "nothing held out" in result.text()


@pytest.mark.parametrize("name", ["interactions.parquet", "features/text/matrix.npy", "features/text/present.npy"])
def test_changed_files_are_found(tmp_path: Path, name: str) -> None:
    folder = worlds.stored(tmp_path / "c")
    path = folder / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(ArtefactError, match="not the one that was written"):
        check(folder)
