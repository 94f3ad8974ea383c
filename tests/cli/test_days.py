"""What `palate refresh` makes of a day: none of its events counts, or some kinds do, or its ratings are strange."""

from __future__ import annotations

import gzip
from pathlib import Path

import polars as pl
import pytest

import worlds
from cli.settings import SMALL, good
from palate.ingest.catalogue import Catalogue
from palate.recommend.bundle import Bundle


@pytest.fixture
def bundle(catalogue: Path, tmp_path: Path) -> Path:
    good("train", "bm3", "--data", catalogue, "-o", tmp_path / "run", *SMALL)
    good("export", tmp_path / "run", "-o", tmp_path / "bundle")
    return tmp_path / "bundle"


def test_a_day_without_events_changes_nothing(bundle: Path, tmp_path: Path) -> None:
    log, table = tmp_path / "log.csv", tmp_path / "log.parquet"
    log.write_text("user_id,item_id,rating\n")
    pl.DataFrame(schema={"user_id": pl.String, "item_id": pl.String}).write_parquet(table)
    before = (bundle / "manifest.json").read_bytes()
    (lines := tmp_path / "log.jsonl").write_text("")
    for empty in (log, table, lines):
        assert "no events" in good("refresh", bundle, "--interactions", empty, "-o", bundle, "--replace").out
        assert (bundle / "manifest.json").read_bytes() == before
        good("refresh", bundle, "--interactions", empty, "-o", tmp_path / empty.suffix)
        assert len(Bundle.load(tmp_path / empty.suffix).users) == 30
    pressed = tmp_path / "pressed.csv.gz"
    for nothing, content in ((log, b""), (pressed, gzip.compress(b""))):
        nothing.write_bytes(content)
        assert "no events" in good("refresh", bundle, "--interactions", nothing, "-o", bundle, "--replace").out
    assert (bundle / "manifest.json").read_bytes() == before
    table.write_bytes(b"")
    broken = worlds.palate("refresh", bundle, "--interactions", table, "-o", bundle, "--replace")
    assert broken.code == 1
    assert "the file is empty" in broken.err


def test_a_refresh_counts_the_kinds_of_event_that_the_bundle_came_of(tmp_path: Path) -> None:
    log = [(f"u{n % 9}", f"i{n % 7}", ("view", "buy")[n % 2], n) for n in range(60)]
    names = ["user_id", "item_id", "event", "timestamp"]
    pl.DataFrame(log, schema=names, orient="row").write_csv(tmp_path / "log.csv")
    tomorrow = [
        ("u1", "i0", "view", 90),
        ("u1", "i1", "return", 91),
        ("new", "i2", "buy", 92),
        ("new", "i3", "view", 93),
    ]
    pl.DataFrame(tomorrow, schema=names, orient="row").write_csv(tmp_path / "tomorrow.csv")
    for name, words, added in (
        ("chosen", ("--events", "buy=1"), {"new": ["i2"]}),
        ("all", (), {"new": ["i2", "i3"], "u1": ["i0"]}),
    ):
        good("data", "import", "--interactions", tmp_path / "log.csv", "-o", tmp_path / name, *words)
        good("train", "ease", "--data", tmp_path / name, "--split", "random", "-o", tmp_path / f"{name}-run", "--quiet")
        good("export", tmp_path / f"{name}-run", "-o", tmp_path / f"{name}-bundle")
        before = Bundle.load(tmp_path / f"{name}-bundle")
        words = ("refresh", tmp_path / f"{name}-bundle", "--interactions", tmp_path / "tomorrow.csv")
        said = good(*words, "-o", tmp_path / f"{name}-next")
        assert "left out: events that were not chosen: return (1)" in said.out.replace("view (2), ", "")
        after = Bundle.load(tmp_path / f"{name}-next")
        assert after.facts.events == sum(map(len, added.values()))
        ids = before.items.ids.to_list()
        for user, items in added.items():
            liked = [ids[item] for item in after.liked[after.users.row(user)]]
            known = (
                [ids[item] for item in before.liked[before.users.row(user)]] if user in list(before.users.ids) else []
            )
            assert sorted(set(known) | set(items)) == sorted(liked)
    # Who asks for other kinds gets them.
    said = good(*words, "-o", tmp_path / "other", "--events", "return=1")
    assert Bundle.load(tmp_path / "other").facts.events == 1


def test_a_day_without_an_event_that_counts_is_a_day_without_events(catalogue: Path, tmp_path: Path) -> None:
    source = Catalogue.load(catalogue)
    rows = source.interactions.with_columns(event=pl.lit("buy"))
    bought = worlds.stored(tmp_path / "bought", Catalogue.of(rows, source.items, name="world"))
    good("train", "bm3", "--data", bought, "-o", tmp_path / "run", *SMALL)
    good("export", tmp_path / "run", "-o", tmp_path / "bundle")
    looked = [("u1", "i1", "view", 5), ("u2", "i1", "view", 5), ("new", "i2", "return", 5)]
    log = tmp_path / "today.csv"
    pl.DataFrame(looked, schema=["user_id", "item_id", "event", "rating"], orient="row").write_csv(log)
    before = (tmp_path / "bundle" / "manifest.json").read_bytes()
    words = ("refresh", tmp_path / "bundle", "--interactions", log, "--replace", "-o")
    for said in (
        good(*words, tmp_path / "bundle"),
        good(*words, tmp_path / "bundle", "--events", "buy=2,click=1"),
    ):
        assert "left out: view (2), return (1); --events chooses\nno events: users stay as they are" in said.out
    assert "of a kind that counts (buy, click)" in said.out
    # Kinds that neither the bundle nor the day knows are mistyped.
    mistyped = worlds.palate(*words, tmp_path / "bundle", "--events", "bux=1")
    assert mistyped.code == 1
    assert "the chosen event 'bux' never occurs" in mistyped.err
    assert (tmp_path / "bundle" / "manifest.json").read_bytes() == before
    # New items come in all the same.
    goods = pl.concat([source.items, pl.DataFrame({"item_id": ["i99"]})], how="diagonal")
    grown = worlds.stored(tmp_path / "grown", Catalogue.of(rows, goods, name="world"))
    good(*words, tmp_path / "bundle", "--items", grown)
    after = Bundle.load(tmp_path / "bundle")
    assert "i99" in after.items.ids
    assert (len(after.users), after.facts.events) == (30, 0)
    # A column that is not there is a mistake as ever.
    log.write_text("user_id,item_id\nu1,i1\n")
    wrong = worlds.palate(*words, tmp_path / "bundle", "--events", "buy=1")
    assert wrong.code == 1
    assert "there is no column event" in wrong.err
