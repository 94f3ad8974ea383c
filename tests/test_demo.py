"""The demonstration, with a small catalogue in the place of the one it fetches, and what it does without."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import palate.demo
import worlds
from palate.core.errors import DataError
from palate.encode.base import EncodeSummary
from palate.encode.catalogue import EncodeReport, encode_all
from palate.encode.features import Features
from palate.encode.store import FeatureStore
from palate.experiment import Run, fit, load
from palate.ingest.catalogue import Catalogue
from palate.ingest.sources.synthetic import SyntheticConfig

SMALL: dict[str, dict[str, Any]] = {
    "popularity": {},
    "ease": {},
    "lightgcn": {"epochs": 2, "dim": 4},
    "bm3": {"epochs": 2, "dim": 4},
}
OTHER: dict[str, dict[str, Any]] = {**SMALL, "bm3": {"epochs": 2, "dim": 4, "content_weight": 0.5}}
FOLDERS = {name: f"{name}-text" if name == "bm3" else name for name in SMALL}
SHOP = SyntheticConfig(
    users=40, items=40, interactions=8, missing={"image": 0.1, "text": 0.2}, media=("image",), picture_size=24
)


@pytest.fixture(autouse=True)
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The catalogues that were fetched; content becomes random rows."""
    made: list[Path] = []

    def get(folder: Path) -> Catalogue:
        made.append(folder)
        return worlds.catalogue().save(folder)

    def encode(folder: Path, modalities: list[str]) -> EncodeReport:
        items = Catalogue.load(folder).items
        ids, (name,) = tuple(items["item_id"]), modalities
        present = items["title" if name == "text" else name].is_not_null().to_numpy()
        rows = np.random.default_rng(0).normal(size=(len(ids), 4)).astype(np.float32) * present[:, None]
        FeatureStore(folder).save(Features(name, rows.astype(np.float32), present, "random", ids))
        absent = int((~present).sum())
        return EncodeReport((EncodeSummary(name, len(ids), len(ids) - absent, 0, 0, absent, (), (), 0.0),))

    monkeypatch.setattr(palate.demo, "get_movielens_100k", get)
    monkeypatch.setattr(palate.demo, "encode_all", encode)
    monkeypatch.setattr(palate.demo, "DENSE", SMALL)
    monkeypatch.setattr(palate.demo, "SPARSE", OTHER)
    monkeypatch.setattr(palate.demo, "SHOP", SHOP)
    return made


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing can be fetched."""

    def get(folder: Path) -> Catalogue:
        raise DataError("MovieLens-100K could not be fetched\n  tried: everything", do="connect to the network once")

    monkeypatch.setattr(palate.demo, "get_movielens_100k", get)


def demonstrate(
    out: Path, user: str | None = "u2", catalogue: Path | None = None
) -> tuple[list[str], list[pl.DataFrame]]:
    said: list[str] = []
    shown: list[pl.DataFrame] = []
    palate.demo.run_demo(out, user, catalogue, show_table=shown.append, say=said.append)
    return said, shown


def busiest(folder: Path) -> str:
    counts = Catalogue.load(folder).interactions["user_id"].value_counts()
    return counts.filter(pl.col("count") == counts["count"].max())["user_id"].sort()[0]


def test_it_ends_in_a_table_of_test_figures_and_one_users_recommendations(tmp_path: Path) -> None:
    said, (table, past, recommended) = demonstrate(tmp_path / "demo")
    assert table["model"].to_list() == list(SMALL)
    assert table["content"].to_list() == ["", "", "", "text"]
    for name, folder in FOLDERS.items():
        run = Run.load(tmp_path / "demo" / "runs" / folder)
        row = table.row(by_predicate=pl.col("model") == name, named=True)
        for metric in palate.demo.SHOWN:
            assert row[metric] == run.metrics["test"][metric] == run.evaluate()[metric]
    known = set(worlds.interactions().filter(pl.col("user_id") == "u2")["item_id"])
    assert set(past["item_id"]) <= known
    assert not set(recommended["item_id"]) & known
    assert recommended["rank"].to_list() == list(range(1, recommended.height + 1))
    assert recommended["title"].null_count() == 0
    best = max(FOLDERS.values(), key=lambda folder: validated(tmp_path / "demo" / "runs" / folder))
    assert f"palate recommend {tmp_path / 'demo' / 'runs' / best} --user u2" in said[-1]
    assert pl.read_csv(tmp_path / "demo" / "table.csv")["model"].to_list() == list(SMALL)
    assert "features text: 25 of 25 films (100.0%)" in said


def validated(folder: Path) -> float:
    return Run.load(folder).metrics["validation"]["recall@20"]


def test_the_recommendations_are_those_of_the_best_model_on_validation(tmp_path: Path) -> None:
    said, (_, _, recommended) = demonstrate(tmp_path / "demo")
    best = max(SMALL, key=lambda name: validated(tmp_path / "demo" / "runs" / FOLDERS[name]))
    assert any(f"what {best}{' on text' if best == 'bm3' else ''} recommends" in line for line in said)
    assert recommended.equals(Run.load(tmp_path / "demo" / "runs" / FOLDERS[best]).recommend(["u2"], 10))


def test_a_second_demonstration_does_not_fetch_again_and_gives_the_same_figures(
    tmp_path: Path, fetched: list[Path]
) -> None:
    first = demonstrate(tmp_path / "demo")[1][0].drop("train seconds")
    second = demonstrate(tmp_path / "demo")[1][0].drop("train seconds")
    assert first.equals(second)
    assert len(fetched) == 1


@pytest.mark.usefixtures("offline")
def test_without_a_network_a_made_up_world_with_pictures_takes_its_place_and_that_is_said(tmp_path: Path) -> None:
    said, (table, past, recommended) = demonstrate(tmp_path / "demo", None)
    text = "\n".join(said)
    assert "could not be fetched\n  tried: everything" in text
    assert "made-up record shop" in text
    assert "nothing about real people" in text
    shop = tmp_path / "demo" / "synthetic"
    items = Catalogue.load(shop).items
    assert all((shop / path).read_bytes().startswith(b"\x89PNG") for path in items["image"].drop_nulls())
    assert "features image: 36 of 40 records (90.0%)" in said
    assert "features text: 32 of 40 records (80.0%)" in said
    # What pictures add is shown beside what there is without them.
    assert table["model"].to_list() == [*SMALL, "bm3"]
    assert table["content"].to_list() == ["", "", "", "text", "image + text"]
    run = Run.load(tmp_path / "demo" / "runs-synthetic" / "bm3-image-text")
    assert run.recipe.settings["content_weight"] == 0.5
    assert any(f"User {busiest(shop)}:" in line for line in said)
    assert set(recommended["user_id"]) == {busiest(shop)}
    assert past.height > 0
    assert pl.read_csv(tmp_path / "demo" / "table-synthetic.csv").height == 5
    # Whoever asked for a user of MovieLens still gets to see something.
    again = demonstrate(tmp_path / "demo", "196")[0]
    assert "there is no user 196 in the made-up shop" in again
    assert any(f"User {busiest(shop)}:" in line for line in again)


def test_the_made_up_world_and_movielens_do_not_meet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fetched: list[Path]
) -> None:
    online = palate.demo.get_movielens_100k

    def fail(folder: Path) -> Catalogue:
        raise DataError("not there")

    monkeypatch.setattr(palate.demo, "get_movielens_100k", fail)
    first = demonstrate(tmp_path / "demo", None)[1][0]
    monkeypatch.setattr(palate.demo, "get_movielens_100k", online)
    second = demonstrate(tmp_path / "demo")[1][0]
    assert fetched == [tmp_path / "demo" / "movielens-100k"]
    assert second["recall@20"].to_list() != first["recall@20"].to_list()


def pictured(folder: Path, **columns: Any) -> Path:
    """A catalogue of one's own with a picture for most items."""
    paths = [f"{number}.png" if number % 5 else None for number in range(25)]
    worlds.catalogue(image=pl.Series(paths, dtype=pl.String), **columns).save(folder)
    return folder


def test_a_catalogue_that_is_there_is_taken_with_its_pictures(tmp_path: Path, fetched: list[Path]) -> None:
    own = pictured(tmp_path / "my films")
    said, (table, past, recommended) = demonstrate(tmp_path / "demo", None, own)
    assert fetched == []
    assert "features image: 20 of 25 items (80.0%)" in said
    assert table["content"].to_list()[-1] == "image + text"
    assert set(recommended["user_id"]) == {busiest(own)}
    assert past.columns == ["item_id", "title", "rating"]
    runs = tmp_path / "demo" / "runs-my-films"
    choices = {label: validated(runs / f"bm3-image-text-{label}") for label in ("dense", "sparse")}
    chosen = max(choices, key=lambda label: choices[label])
    # The one with the better validation is the one that was measured, and nothing was read of the other's test.
    assert any(line.startswith(f"bm3-image-text: settings for {chosen} behaviour") for line in said)
    measured = Run.load(runs / f"bm3-image-text-{chosen}").metrics["test"]
    assert table["recall@20"].to_list()[-1] == measured["recall@20"]
    (other,) = set(choices) - {chosen}
    assert "test" not in Run.load(runs / f"bm3-image-text-{other}").metrics
    # Settings that are the same for both need one run.
    assert {path.name for path in runs.iterdir()} >= {"popularity", "ease", "lightgcn"}


def test_features_that_somebody_made_are_used_and_not_made_again(tmp_path: Path) -> None:
    own = pictured(tmp_path / "own")
    ids = Catalogue.load(own).items["item_id"].to_list()
    FeatureStore(own).save(worlds.features(ids, "text", width=3))
    FeatureStore(own).save(worlds.features(ids, "audio", width=5, missing=("i3",)))
    before = FeatureStore(own).load("text", ids).fingerprint
    said, (table, _, _) = demonstrate(tmp_path / "demo", None, own)
    assert table["content"].to_list()[-1] == "audio + image + text"
    assert "features audio: 24 of 25 items (96.0%)" in said
    assert FeatureStore(own).load("text", ids).fingerprint == before


def test_an_own_catalogue_needs_neither_content_nor_ratings_nor_a_known_scale(tmp_path: Path) -> None:
    rows = worlds.interactions()
    bare = Catalogue.of(rows.drop("rating", "timestamp"), name="bare")
    bare.save(tmp_path / "bare")
    said, (table, past, _) = demonstrate(tmp_path / "demo", None, tmp_path / "bare")
    assert table["model"].to_list() == ["popularity", "ease", "lightgcn"]
    assert any(line.startswith("bm3 is left out") for line in said)
    assert past.columns == ["item_id"]
    Catalogue.of(rows.with_columns(pl.col("rating") * 20), name="percent").save(tmp_path / "percent")
    said, (table, _, _) = demonstrate(tmp_path / "demo", None, tmp_path / "percent")
    assert (
        "ratings run from 20 to 100; what is a positive must be said; here every interaction counts as a positive"
        in said
    )
    assert table.height == 3


def test_a_missing_extra_is_one_line_and_the_rest_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec

    def find_others(name: str) -> ModuleSpec | None:
        return None if name == "PIL" else find(name)

    plain = palate.demo.encode_all

    def encode(folder: Path, modalities: list[str]) -> EncodeReport:
        return plain(folder, modalities) if modalities == ["text"] else encode_all(folder, modalities)

    monkeypatch.setattr(importlib.util, "find_spec", find_others)
    monkeypatch.setattr(palate.demo, "encode_all", encode)
    own = pictured(tmp_path / "own")
    said, (table, _, _) = demonstrate(tmp_path / "demo", None, own)
    line = "image: left out: reading pictures needs the package PIL (pip install 'palate[image]')"
    assert line in said
    assert table["content"].to_list()[-1] == "text"
    # Installed later, the pictures are used, beside what was trained without them.
    monkeypatch.setattr(palate.demo, "encode_all", plain)
    assert demonstrate(tmp_path / "demo", None, own)[1][0]["content"].to_list()[-1] == "image + text"


@pytest.mark.usefixtures("offline")
def test_the_pictures_of_the_made_up_world_are_really_encoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PALATE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(palate.demo, "encode_all", encode_all)
    monkeypatch.setattr(palate.demo, "SHOP", SHOP.override({"items": 20, "interactions": 4}))
    said, (table, _, _) = demonstrate(tmp_path / "demo", None)
    shop = tmp_path / "demo" / "synthetic"
    ids = Catalogue.load(shop).items["item_id"].to_list()
    features = {name: FeatureStore(shop).load(name, ids) for name in ("image", "text")}
    assert "efficientnet-lite0" in features["image"].encoder
    assert "minilm" in features["text"].encoder
    assert {name: int(value.present.sum()) for name, value in features.items()} == {"image": 18, "text": 16}
    assert any(line.startswith("image: 18 of 20 items in") for line in said)
    assert table["content"].to_list()[-1] == "image + text"


def write_notes(folder: Path) -> None:
    (folder / "notes.txt").write_text("mine")


def fit_on_other_data(folder: Path) -> None:
    other = worlds.stored(folder.parents[2] / "other")
    fit("popularity", load(other, split="random"), out=folder, quiet=True)


def fit_in_memory(folder: Path) -> None:
    fit("popularity", worlds.dataset(split="random"), out=folder, quiet=True)


@pytest.mark.parametrize(
    ("fill", "words"),
    [(write_notes, "something else"), (fit_on_other_data, "other settings"), (fit_in_memory, "other settings")],
)
@pytest.mark.parametrize("name", ["popularity", "bm3-text"])
def test_it_neither_clears_nor_uses_what_is_not_its_own(
    tmp_path: Path, fill: Callable[[Path], None], words: str, name: str
) -> None:
    folder = tmp_path / "demo" / "runs" / name
    folder.mkdir(parents=True)
    fill(folder)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert before
    ended = worlds.palate("demo", "-o", tmp_path / "demo", "--user", "u2")
    assert ended.code == 1
    assert words in ended.err
    assert str(folder) in ended.err
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_what_an_earlier_demonstration_trained_is_kept_and_what_it_left_unfinished_is_finished(tmp_path: Path) -> None:
    first = demonstrate(tmp_path / "demo")[1][0].drop("train seconds")
    runs = tmp_path / "demo" / "runs"
    (runs / "lightgcn" / "manifest.json").unlink()
    before = {name: (runs / FOLDERS[name] / "model.safetensors").stat().st_mtime_ns for name in SMALL}
    second = demonstrate(tmp_path / "demo")[1][0].drop("train seconds")
    assert first.equals(second)
    after = {name: (runs / FOLDERS[name] / "model.safetensors").stat().st_mtime_ns for name in SMALL}
    assert {name for name in SMALL if after[name] != before[name]} == {"lightgcn"}


def test_the_command_prints_it(tmp_path: Path) -> None:
    ended = worlds.palate("demo", "-o", tmp_path / "demo", "--user", "u2")
    assert ended.code == 0, ended.text
    for words in ("popularity", "lightgcn", "The film", "Done in"):
        assert words in ended.out


def test_an_unknown_user_is_named(tmp_path: Path) -> None:
    ended = worlds.palate("demo", "-o", tmp_path / "demo", "--user", "u200")
    assert ended.code == 1
    assert "unknown user 'u200'" in ended.err
    with pytest.raises(DataError, match="unknown user '196'"):
        demonstrate(tmp_path / "demo", "196", pictured(tmp_path / "own"))


def test_a_damaged_catalogue_from_an_earlier_time_is_an_error(tmp_path: Path) -> None:
    demonstrate(tmp_path / "demo")
    shutil.copy(tmp_path / "demo" / "table.csv", tmp_path / "demo" / "movielens-100k" / "items.parquet")
    ended = worlds.palate("demo", "-o", tmp_path / "demo")
    assert ended.code == 1
    assert "not the one that was written" in ended.err
