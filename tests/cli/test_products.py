"""From a run to what is served: export, refresh, forget, warm starts and new items, and how mistakes in them end."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Generator
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import worlds
from cli.settings import SMALL, good
from palate.core import lock
from palate.core.artefact import read_json, write_json
from palate.core.lock import changing
from palate.experiment import Run
from palate.ingest.catalogue import Catalogue
from palate.recommend.bundle import Bundle


@pytest.fixture
def run(catalogue: Path, tmp_path: Path) -> Path:
    good("train", "bm3", "--data", catalogue, "-o", tmp_path / "run", *SMALL)
    return tmp_path / "run"


@pytest.fixture
def bundle(run: Path, tmp_path: Path) -> Path:
    good("export", run, "-o", tmp_path / "bundle")
    return tmp_path / "bundle"


@pytest.fixture
def events(tmp_path: Path) -> Path:
    rows = [("u1", "i1", 5, 900), ("newcomer", "i2", 5, 901), ("newcomer", "i4", 1, 902), ("newcomer", "i99", 5, 903)]
    table = pl.DataFrame(rows, schema=["user_id", "item_id", "rating", "timestamp"], orient="row")
    table.write_csv(tmp_path / "events.csv")
    return tmp_path / "events.csv"


def test_lists_of_a_bundle_are_those_of_its_run_and_take_somebody_new(run: Path, bundle: Path, tmp_path: Path) -> None:
    tables: list[pl.DataFrame] = []
    for number, place in enumerate((run, bundle)):
        target = tmp_path / f"{number}.parquet"
        good("recommend", place, "--all", "-k", "5", "-o", target)
        tables.append(pl.read_parquet(target))
    assert tables[0].drop("score").equals(tables[1].drop("score"))
    np.testing.assert_allclose(tables[0]["score"], tables[1]["score"], rtol=1e-5)

    found: list[pl.DataFrame] = []
    for number, place in enumerate((run, bundle)):
        target = tmp_path / f"new-{number}.csv"
        good("recommend", place, "--liked", "i3", "--liked", "i7", "-k", "4", "--diversify", "model:0.5", "-o", target)
        found.append(pl.read_csv(target))
    assert found[0]["item_id"].to_list() == found[1]["item_id"].to_list()
    assert found[0]["user_id"].unique().to_list() == ["(new)"]
    assert found[0].height == 4
    assert not {"i3", "i7"} & set(found[0]["item_id"])
    plain = tmp_path / "plain.csv"
    good("recommend", bundle, "--liked", "i3", "--liked", "i7", "-k", "4", "-o", plain)
    scores = Bundle.load(bundle).fold_in(["i3", "i7"]).scores[0].numpy()
    scores[Bundle.load(bundle).items.rows(["i3", "i7"])] = -np.inf
    best = Bundle.load(bundle).items.ids.gather(np.argsort(-scores)[:4]).to_list()
    assert pl.read_csv(plain)["item_id"].to_list() == best

    for words, said in (
        (("--liked", "i-3"), "unknown item 'i-3'"),
        (("--liked", "i3", "--liked", "i3"), "an item is named twice"),
        (("--liked", "i3", "-u", "u1"), "--user and --liked are both given"),
    ):
        ended = worlds.palate("recommend", bundle, *words)
        assert ended.code == 1, ended.text
        assert said in ended.text


def test_the_way_of_a_bundle(catalogue: Path, run: Path, events: Path, tmp_path: Path) -> None:
    bundle, newer = tmp_path / "bundle", tmp_path / "newer"
    said = good("export", run, "-o", bundle)
    assert "BM3 on world: 30 users, 25 items, vectors of 4 numbers" in said.out
    assert "new items: from image, text, by a regression that explains" in said.out
    assert str(catalogue.resolve()) not in (bundle / "manifest.json").read_text()
    # It stands alone.
    catalogue.rename(tmp_path / "away")
    run.rename(tmp_path / "run-away")
    opened = Bundle.load(bundle)
    assert opened.fold_in(["i1", "i2"], [5, 1]).scores.shape == (1, 25)

    said = good("refresh", bundle, "--interactions", events, "-o", newer)
    assert "3 events: 1 users refreshed, 1 new users" in said.out
    assert "1 events with 1 items that the bundle does not know: item 'i99'" in said.out
    assert "newcomer" in Bundle.load(newer).users.ids
    bare = tmp_path / "bare.csv"
    bare.write_text(events.read_text().partition("\n")[2])
    named = ("--no-header", "interactions", "--columns", "user_id=column_1,item_id=column_2,rating=column_3")
    again = good("refresh", bundle, "--interactions", bare, *named, "-o", tmp_path / "bare")
    assert "3 events: 1 users refreshed, 1 new users" in again.out
    good("refresh", newer, "--interactions", events, "-o", newer, "--replace")
    assert len(Bundle.load(newer).users) == 31

    said = good("forget", newer, "--user", "newcomer", "--item", "i2")
    assert "forgot user 'newcomer', item 'i2'" in said.out
    assert "until it is trained again" in said.out
    left = Bundle.load(newer)
    assert (len(left.users), len(left.items)) == (30, 24)


def test_new_items_join_a_bundle_and_the_day_counts_them(
    catalogue: Path, bundle: Path, events: Path, tmp_path: Path
) -> None:
    source = Catalogue.load(catalogue)
    item = pl.DataFrame({"item_id": ["i99"]})
    more = Catalogue.of(source.interactions, pl.concat([source.items, item], how="diagonal"), name="world")
    grown = worlds.stored(tmp_path / "grown", more)
    said = good("refresh", bundle, "--items", grown, "--interactions", events, "-o", tmp_path / "newer")
    assert "1 new items placed by their content" in said.out
    assert "4 events: 1 users refreshed, 1 new users" in said.out
    assert "does not know" not in said.out
    assert "i99" in Bundle.load(tmp_path / "newer").items.ids
    good("refresh", bundle, "--items", grown, "-o", tmp_path / "items")
    assert len(Bundle.load(tmp_path / "items").items) == 26
    nothing = worlds.palate("refresh", bundle, "-o", tmp_path / "n")
    assert nothing.code == 1
    assert "there is nothing to take in" in nothing.err


@pytest.mark.parametrize(("keep", "way"), [("none", "regression"), ("float32", "content")])
def test_an_export_keeps_what_it_is_told_to(catalogue: Path, tmp_path: Path, keep: str, way: str) -> None:
    good("train", "mmgcn", "--data", catalogue, "-o", tmp_path / "run", *SMALL)
    said = good("export", tmp_path / "run", "-o", tmp_path / "bundle", "--keep", keep, "--new-items", way)
    made = Bundle.load(tmp_path / "bundle")
    assert set(made.features) == (set() if keep == "none" else {"image", "text"})
    assert ("the model's own way" in said.out) == (way == "content")


def test_a_nightly_training_starts_from_the_last_one(catalogue: Path, run: Path, tmp_path: Path) -> None:
    source = Catalogue.load(catalogue)
    added = worlds.interactions(users=33).filter(pl.col("user_id").is_in(["u30", "u31", "u32"]))
    rows = pl.concat([source.interactions, added.select("user_id", "item_id", "rating", "timestamp")], how="diagonal")
    grown = worlds.stored(tmp_path / "grown", Catalogue.of(rows, source.items, name="world"))
    words = ("train", "bm3", "--data", grown, "-o", tmp_path / "next", "--warm-start", run)
    said = good(*words, *[word for word in SMALL if word != "--quiet"])
    assert "30 of 33 users and 25 of 25 items were known to it" in said.err
    good("evaluate", tmp_path / "next")
    ended = worlds.palate(*words, "--set", "dim=5", "--set", "epochs=2", "--quiet")
    assert ended.code == 1


def test_new_items_are_measured_when_asked_for_and_old_figures_stay(catalogue: Path, tmp_path: Path) -> None:
    folder = tmp_path / "cold"
    good("train", "bm3", "--data", catalogue, "-o", folder, "--split", "cold-items", *SMALL)
    plain = good("evaluate", folder, "--json")
    assert "5 of 25 items have no positive train interaction" in plain.err
    assert "--new-items auto" in plain.err
    before = json.loads(plain.out)
    said = good("evaluate", folder, "--new-items", "auto")
    assert "5 items without a positive train interaction placed by content (regression)" in said.out
    assert "among new" in said.out
    after = json.loads(good("evaluate", folder, "--json", "--new-items", "regression").out)
    assert after["test"] == before["test"]
    assert Run.load(folder).metrics["test_new_items"] == after["test_new_items"]
    # Among the five alone, a list of twenty holds every positive.
    assert after["test_new_items"]["alone"]["recall@20"] == pytest.approx(1.0)


def test_among_new_items_only_they_and_who_took_them_count(catalogue: Path, tmp_path: Path) -> None:
    """By time some items are new and most positives are not: a list of all new items still holds all that count."""
    source = Catalogue.load(catalogue)
    late = source.interactions.with_columns(
        timestamp=pl.when(pl.col("item_id").is_in(["i3", "i4"])).then(10**9).otherwise(pl.col("timestamp"))
    )
    goods = source.items.with_columns(
        genres=pl.when(pl.int_range(pl.len()) % 2 == 0).then(pl.lit("a")).otherwise(pl.lit("b"))
    )
    folder = worlds.stored(tmp_path / "late", Catalogue.of(late, goods, name="late"))
    good("encode", folder, "--modality", "categories")
    good("train", "lightgcn", "--data", folder, "-o", tmp_path / "run", "--split", "latest", *SMALL)
    found = json.loads(good("evaluate", tmp_path / "run", "--json", "--new-items", "auto").out)
    placed = found["test_new_items"]
    assert placed["items"] == 2
    assert 0 < placed["users"] < found["users"]
    assert placed["alone"]["recall@20"] == placed["alone"]["hit@20"] == 1.0


def test_pictures_of_taste_alone_rank_new_items_better_than_untrained_ids_do(tmp_path: Path) -> None:
    """In a world where taste is content, items that nobody met are found by their content and not by their ids."""
    rows, content = worlds.planted(1, users=150, items=100, groups=5)
    ids = [f"i{item}" for item in range(100)]
    source = Catalogue.of(rows, pl.DataFrame({"item_id": ids}), name="planted")
    source.save(tmp_path / "world")
    np.save(tmp_path / "rows.npy", content)
    (tmp_path / "ids.txt").write_text("\n".join(ids) + "\n")
    words = ("--modality", "text", "--from", tmp_path / "rows.npy", "--ids", tmp_path / "ids.txt")
    good("encode", tmp_path / "world", *words)
    folder = tmp_path / "run"
    training = ("--set", "epochs=40", "--set", "learning_rate=0.02", "--set", "batch_size=256", "--set", "dim=16")
    words = ("train", "lightgcn", "--data", tmp_path / "world", "--split", "cold-items", "-o", folder, "--quiet")
    good(*words, *training, "--set", "evaluate_every=40")
    found = json.loads(good("evaluate", folder, "--json", "--new-items", "auto").out)
    # By chance, ten of the twenty new items would hold half of the positives.
    assert found["test_new_items"]["alone"]["recall@10"] > 0.8
    assert found["test_new_items"]["all"]["recall@20"] > found["test"]["recall@20"] + 0.3
    # A bundle has them where their content places them, and the others where training left them.
    run = Run.load(folder)
    vectors = run.scorer.item.numpy()
    cold = run.data.positives["train"].transpose().lengths == 0
    for way, placed in (("auto", found["test_new_items"]["items"]), ("none", 0)):
        good("export", folder, "-o", tmp_path / way, "--new-items", way)
        made = Bundle.load(tmp_path / way)
        assert made.facts.placed == placed
        assert made.item_vectors is not None
        np.testing.assert_array_equal((made.item_vectors != vectors).any(1), cold if placed else np.zeros(len(cold)))


MISTAKES: dict[str, tuple[Callable[[Path, Path, Path], tuple[object, ...]], str]] = {
    "export of a catalogue": (lambda at, run, bundle: ("export", at / "catalogue", "-o", at / "n"), "not a run"),
    "export over a bundle": (lambda at, run, bundle: ("export", run, "-o", bundle), "exists already"),
    "export over something else": (
        lambda at, run, bundle: ("export", run, "-o", at / "catalogue", "--replace"),
        "not a bundle",
    ),
    "unknown precision": (
        lambda at, run, bundle: ("export", run, "-o", at / "n", "--keep", "float8"),
        "did you mean 'float",
    ),
    "a way that the model lacks": (
        lambda at, run, bundle: ("export", run, "-o", at / "n", "--new-items", "content"),
        "no way of its own",
    ),
    "evaluate in an unknown way": (
        lambda at, run, bundle: ("evaluate", run, "--new-items", "regresion"),
        "did you mean 'regression'",
    ),
    "nothing new to evaluate": (
        lambda at, run, bundle: ("evaluate", run, "--new-items", "auto"),
        "every item has train",
    ),
    "refresh a run": (
        lambda at, run, bundle: ("refresh", run, "--interactions", at / "events.csv", "-o", at / "n"),
        "not a bundle",
    ),
    "refresh from nothing": (
        lambda at, run, bundle: ("refresh", bundle, "--interactions", at / "no.csv", "-o", at / "n"),
        "no.csv",
    ),
    "refresh from a folder": (
        lambda at, run, bundle: ("refresh", bundle, "--interactions", at / "catalogue", "-o", at / "n"),
        "one file",
    ),
    "refresh over itself": (
        lambda at, run, bundle: ("refresh", bundle, "--interactions", at / "events.csv", "-o", bundle),
        "exists already",
    ),
    "forget nobody": (lambda at, run, bundle: ("forget", bundle), "it is not said whom"),
    "forget a stranger": (lambda at, run, bundle: ("forget", bundle, "--user", "u99"), "no user 'u99'"),
    "forget nowhere": (lambda at, run, bundle: ("forget", at / "bundel", "--user", "u1"), "did you mean 'bundle'"),
    "start from a catalogue": (
        lambda at, run, bundle: (
            "train", "bm3", "--data", at / "catalogue", "-o", at / "n", *SMALL, "--warm-start", at / "catalogue",
        ),
        "not a run",
    ),
    "start of another model": (
        lambda at, run, bundle: (
            "train", "lightgcn", "--data", at / "catalogue", "-o", at / "n", *SMALL, "--warm-start", run,
        ),
        "is of bm3, and this is lightgcn",
    ),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_ends_in_a_message(mistake: str, tmp_path: Path, run: Path, bundle: Path, events: Path) -> None:
    words, expected = MISTAKES[mistake]
    before = {path: path.read_bytes() for path in bundle.iterdir()}
    ended = worlds.palate(*words(tmp_path, run, bundle))
    assert ended.code == 1, ended.text
    assert "Traceback" not in ended.text
    assert expected in ended.err
    assert {path: path.read_bytes() for path in bundle.iterdir()} == before
    assert not (tmp_path / "n").exists()


def test_a_bundle_that_was_tampered_with_is_no_start_for_a_refresh(bundle: Path, events: Path, tmp_path: Path) -> None:
    manifest = read_json(bundle / "manifest.json")
    manifest["items"] = 26
    write_json(bundle / "manifest.json", manifest)
    ended = worlds.palate("refresh", bundle, "--interactions", events, "-o", tmp_path / "n")
    assert ended.code == 1
    assert "the manifest says 26" in ended.err


@contextlib.contextmanager
def held(place: Path, *, shared: bool = False) -> Generator[None, None, None]:
    """Somebody else holds the place."""
    ready, done = threading.Event(), threading.Event()

    def hold() -> None:
        with changing(place, "testing", shared=shared):
            ready.set()
            done.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    assert ready.wait(10)
    try:
        yield
    finally:
        done.set()
        thread.join(30)


def test_nobody_writes_what_somebody_else_is_at(
    catalogue: Path, run: Path, bundle: Path, events: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "PATIENCE", 0.1)
    day = ("--interactions", events)
    cases: list[tuple[Path, bool, tuple[object, ...]]] = [
        # While somebody encodes, others may encode too, and may not replace what is encoded.
        (catalogue, True, ("data", "import", *day, "-o", catalogue, "--replace")),
        (catalogue, True, ("forget", catalogue, "--user", "u1")),
        (catalogue, False, ("encode", catalogue, "--modality", "text", "--directions", "2")),
        # Whom somebody forgets there would come back.
        (run, False, ("export", run, "-o", tmp_path / "of-run")),
        (bundle, False, ("refresh", bundle, *day, "-o", tmp_path / "of-bundle")),
        (bundle, True, ("refresh", bundle, *day, "-o", bundle, "--replace")),
    ]
    for place, shared, words in cases:
        with held(place, shared=shared):
            ended = worlds.palate(*words)
        assert (ended.code, "another palate is testing" in ended.err) == (1, True), (words, ended.text)
        assert place.is_dir()
    with held(catalogue, shared=True):
        good("encode", catalogue, "--modality", "text", "--directions", "2")
    good("refresh", bundle, *day, "-o", bundle, "--replace")
