"""The demonstration, with a small catalogue in the place of the one it fetches."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import palate.demo
import worlds
from palate.encode.features import Features
from palate.encode.store import FeatureStore
from palate.experiment import Run, fit, load
from palate.ingest.catalogue import Catalogue

SMALL = {"popularity": {}, "ease": {}, "lightgcn": {"epochs": 2, "dim": 4}, "bm3": {"epochs": 2, "dim": 4}}


@pytest.fixture(autouse=True)
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The catalogues that were fetched; texts become random rows."""
    made: list[Path] = []

    def get(folder: Path) -> Catalogue:
        made.append(folder)
        return worlds.catalogue().save(folder)

    def encode(folder: Path) -> str:
        ids = tuple(Catalogue.load(folder).items["item_id"])
        rows = np.random.default_rng(0).normal(size=(len(ids), 4)).astype(np.float32)
        FeatureStore(folder).save(Features("text", rows, np.ones(len(ids), np.bool_), "random", ids))
        return "text: 25 of 25 items"

    monkeypatch.setattr(palate.demo, "get_movielens_100k", get)
    monkeypatch.setattr(palate.demo, "encode_text", encode)
    monkeypatch.setattr(palate.demo, "MODELS", SMALL)
    return made


def demonstrate(out: Path) -> tuple[list[str], list[pl.DataFrame]]:
    said: list[str] = []
    shown: list[pl.DataFrame] = []
    palate.demo.run_demo(out, "u2", show_table=shown.append, say=said.append)
    return said, shown


def test_it_ends_in_a_table_of_test_figures_and_one_users_recommendations(tmp_path: Path) -> None:
    said, (table, past, recommended) = demonstrate(tmp_path / "demo")
    assert table["model"].to_list() == list(SMALL)
    for name in SMALL:
        run = Run.load(tmp_path / "demo" / "runs" / name)
        row = table.row(by_predicate=pl.col("model") == name, named=True)
        for metric in palate.demo.SHOWN:
            assert row[metric] == run.metrics["test"][metric] == run.evaluate()[metric]
    known = set(worlds.interactions().filter(pl.col("user_id") == "u2")["item_id"])
    assert set(past["item_id"]) <= known
    assert not set(recommended["item_id"]) & known
    assert recommended["rank"].to_list() == list(range(1, recommended.height + 1))
    assert recommended["title"].null_count() == 0
    best = max(SMALL, key=lambda name: Run.load(tmp_path / "demo" / "runs" / name).metrics["validation"]["recall@20"])
    assert f"palate recommend {tmp_path / 'demo' / 'runs' / best} --user u2" in said[-1]
    assert pl.read_csv(tmp_path / "demo" / "table.csv")["model"].to_list() == list(SMALL)


def test_the_recommendations_are_those_of_the_best_model_on_validation(tmp_path: Path) -> None:
    said, (_, _, recommended) = demonstrate(tmp_path / "demo")
    runs = {name: Run.load(tmp_path / "demo" / "runs" / name) for name in SMALL}
    best = max(runs, key=lambda name: runs[name].metrics["validation"]["recall@20"])
    assert any(f"what {best} recommends" in line for line in said)
    assert recommended.equals(runs[best].recommend(["u2"], 10))


def test_a_second_demonstration_does_not_fetch_again_and_gives_the_same_figures(
    tmp_path: Path, fetched: list[Path]
) -> None:
    first = demonstrate(tmp_path / "demo")[1][0].drop("train seconds")
    second = demonstrate(tmp_path / "demo")[1][0].drop("train seconds")
    assert first.equals(second)
    assert len(fetched) == 1


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
@pytest.mark.parametrize("name", ["popularity", "bm3"])
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
    before = {name: (runs / name / "model.safetensors").stat().st_mtime_ns for name in SMALL}
    second = demonstrate(tmp_path / "demo")[1][0].drop("train seconds")
    assert first.equals(second)
    after = {name: (runs / name / "model.safetensors").stat().st_mtime_ns for name in SMALL}
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


def test_a_damaged_catalogue_from_an_earlier_time_is_an_error(tmp_path: Path) -> None:
    demonstrate(tmp_path / "demo")
    shutil.copy(tmp_path / "demo" / "table.csv", tmp_path / "demo" / "movielens-100k" / "items.parquet")
    ended = worlds.palate("demo", "-o", tmp_path / "demo")
    assert ended.code == 1
    assert "not the one that was written" in ended.err
