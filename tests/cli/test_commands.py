"""The commands: the whole way on a small shop, what they say and write, and how they end and are interrupted."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import worlds
from cli.settings import SMALL
from palate.dataset.dataset import Dataset
from palate.encode.store import FeatureStore
from palate.ingest.sources.synthetic import SyntheticConfig, make_synthetic
from palate.models import MODELS
from palate.train.batches import PairBatches

THEMES = ("a cowboy and his horse", "a submarine under the sea", "a spy in Berlin", "a wedding in Paris")


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """What a shop brings: interactions and items as csv, image features with the ids of their rows."""
    folder = tmp_path / "files"
    folder.mkdir()
    worlds.interactions().write_csv(folder / "interactions.csv")
    items = [f"i{item}" for item in range(25)]
    words = [f"{THEMES[item % 4]}, part {item // 4}" for item in range(24)]
    pl.DataFrame({"item_id": items, "title": [*words, None]}).write_csv(folder / "items.csv")
    np.save(folder / "images.npy", np.random.default_rng(0).normal(size=(20, 5)))
    (folder / "ids.txt").write_text("\n".join(items[5:]) + "\n")
    return folder


@pytest.fixture
def run(catalogue: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    assert worlds.palate("train", "bm3", "--data", catalogue, "-o", folder, *SMALL).code == 0
    return folder


def good(*words: object) -> worlds.Ended:
    ended = worlds.palate(*words)
    assert ended.code == 0, ended.text
    return ended


def test_from_files_to_recommendations(files: Path, tmp_path: Path) -> None:
    shop, folder = tmp_path / "shop", tmp_path / "run"
    said = good(
        "data", "import", "--interactions", files / "interactions.csv", "--items", files / "items.csv", "-o", shop
    )
    assert "347 interactions of 30 users with 25 items" in said.out
    said = good("encode", shop, "--modality", "image", "--from", files / "images.npy", "--ids", files / "ids.txt")
    assert "image: 20 of 25 items have a row" in said.out
    said = good("encode", shop)
    assert "text: 24 of 25 items" in said.out
    said = good("encode", shop, "--modality", "words", "--encoder", "minilm", "--set", "pooling=cls")
    assert "words: 24 of 25 items" in said.out

    said = good("data", "check", shop)
    assert "features image: 80.0% of the items" in said.out
    assert "leak canary: recall@20" in said.out
    assert json.loads(good("data", "check", shop, "--json").out)["facts"]["items"] == 25

    said = good("train", "bm3", "--data", shop, "-o", folder, "--features", "image,text", *SMALL, "--seed", "3")
    assert str(folder) in said.out
    assert "best of 2 epochs: " in said.out
    facts = json.loads(good("evaluate", folder, "--json").out)
    assert facts["model"] == "bm3"
    assert 0 <= facts["test"]["recall@20"] <= 1
    assert json.loads(good("evaluate", folder, "--json").out) == facts
    said = good("evaluate", folder, "--mask", "train")
    assert f"{facts['users']} of 30 users" in said.out
    assert f"users without a positive in the test part, who are not measured: {30 - facts['users']}" in said.out

    said = good("recommend", folder, "--user", "u1", "-k", "3")
    assert len(said.out.strip().splitlines()) == 4
    for target in (tmp_path / "recs.parquet", tmp_path / "recs.csv"):
        good("recommend", folder, "--all", "-o", target, "-k", "4")
    stored, text = pl.read_parquet(tmp_path / "recs.parquet"), pl.read_csv(tmp_path / "recs.csv")
    assert stored["item_id"].to_list() == text["item_id"].to_list()
    assert stored.columns == ["user_id", "rank", "item_id", "title", "score"]
    assert stored.select("user_id", "rank").is_unique().all()
    known = pl.read_csv(files / "interactions.csv").select("user_id", "item_id")
    assert stored.join(known, on=["user_id", "item_id"]).is_empty()
    mine = stored.filter(pl.col("user_id") == "u1").head(3)
    for title, line in zip(mine["title"], said.out.strip().splitlines()[1:], strict=True):
        assert (title or "") in line


def test_encode_takes_all_content_there_is_or_what_is_named(tmp_path: Path) -> None:
    genres = ["Western|Drama" if item % 2 else "Spy" for item in range(25)]
    shop = tmp_path / "shop"
    worlds.catalogue(genres=pl.Series(genres)).save(shop)
    store, every = FeatureStore(shop), worlds.catalogue().items["item_id"].to_list()
    said = good("encode", shop)
    assert store.names() == ["categories", "text"]
    for name in ("categories", "text"):
        assert f"{name}: 25 of 25 items" in said.out
        assert store.load(name, every).present.all()
    assert store.load("categories", every).width == 3
    before = store.load("text", every).fingerprint
    shutil.rmtree(shop / "features" / "categories")
    said = good("encode", shop, "--modality", "categories", "--modality", "text")
    assert (said.out.index("categories: 25"), store.names()) == (0, ["categories", "text"])
    assert store.load("text", every).fingerprint == before
    refused = worlds.palate("encode", shop, "--modality", "image")
    assert refused.code == 1
    assert store.names() == ["categories", "text"]


def test_encoding_what_is_not_there_keeps_what_was_stored(catalogue: Path) -> None:
    every = worlds.catalogue().items["item_id"].to_list()
    before = FeatureStore(catalogue).load("image", every).fingerprint
    refused = worlds.palate("encode", catalogue, "--modality", "image")
    assert "no item has content to encode as image" in refused.err
    assert FeatureStore(catalogue).load("image", every).fingerprint == before


def test_columns_may_have_other_names(files: Path, tmp_path: Path) -> None:
    renamed = pl.read_csv(files / "interactions.csv").rename({"user_id": "who", "item_id": "what", "rating": "liked"})
    renamed.write_csv(files / "renamed.csv")
    names = ["--columns", "user_id=who,item_id=what", "--columns", "rating=liked"]
    good("data", "import", "--interactions", files / "renamed.csv", *names, "-o", tmp_path / "shop")
    found = pl.read_parquet(tmp_path / "shop" / "interactions.parquet")
    expected = pl.read_csv(files / "interactions.csv")
    assert found.select("user_id", "item_id", "rating").equals(expected.select("user_id", "item_id", "rating"))


def test_all_problems_of_a_file_come_in_one_report(files: Path, tmp_path: Path) -> None:
    with open(files / "interactions.csv", "a") as stream:
        stream.write("u1,i1,3,often\nu2,i999,4,4\n,i3,1,2\n")
    words = ("data", "import", "--interactions", files / "interactions.csv", "--items", files / "items.csv", "-o")
    said = good(*words, tmp_path / "shop")
    assert "347 interactions" in said.out
    for part in ("not in the items file", "i999", "not a number", "the cell is empty"):
        assert part in said.out
    refused = worlds.palate(*words, tmp_path / "strict", "--strict")
    assert refused.code == 1
    assert not (tmp_path / "strict").exists()


def test_models_are_listed_and_described() -> None:
    listed = good("models").out
    assert [line.split()[0] for line in listed.splitlines()] == list(MODELS)
    for name in MODELS:
        described = good("models", name).out
        for key, field in MODELS[name].Config.model_fields.items():
            assert f"{key} = {field.default}" in described
            assert str(field.description) in described
    assert "align_stops_target = False, official True" in good("models", "bm3").out


def test_splits_and_labels_reach_the_recipe(catalogue: Path, tmp_path: Path) -> None:
    given = {"split": "cold-items", "split-seed": 4, "positive": 3, "dislike": 1, "thin": 0.5, "cold-share": 0.3}
    words = [word for name, value in {**given, "seed": 9}.items() for word in (f"--{name}", value)]
    good("train", "popularity", "--data", catalogue, "-o", tmp_path / "run", *words)
    recipe = (tmp_path / "run" / "recipe.yaml").read_text()
    for line in ("split: cold-items", "seed: 4", "positive: 3.0", "dislike: 1.0", "thin: 0.5", "cold_share: 0.3"):
        assert f"    {line}\n" in recipe
    assert recipe.endswith("seed: 9\n")


def test_the_official_preset_and_settings_reach_the_recipe(catalogue: Path, tmp_path: Path) -> None:
    good("train", "bm3", "--data", catalogue, "-o", tmp_path / "run", "--preset", "official", *SMALL)
    recipe = (tmp_path / "run" / "recipe.yaml").read_text()
    for line in ("align_stops_target: true", "dim: 4", "epochs: 2"):
        assert f"  {line}\n" in recipe


def test_progress_goes_to_stderr_and_quiet_is_quiet(catalogue: Path, tmp_path: Path) -> None:
    loud = good("train", "bm3", "--data", catalogue, "-o", tmp_path / "a", *SMALL[:-1])
    assert "split user-time" in loud.err
    assert "split user-time" not in loud.out
    assert good("train", "bm3", "--data", catalogue, "-o", tmp_path / "b", *SMALL).err == ""


def test_moved_data_are_found_with_data(run: Path, catalogue: Path, tmp_path: Path) -> None:
    expected = good("recommend", run, "--user", "u1").out
    catalogue.rename(tmp_path / "moved")
    lost = worlds.palate("recommend", run, "--user", "u1")
    assert lost.code == 1
    assert "--data" in lost.err
    assert good("recommend", run, "--user", "u1", "--data", tmp_path / "moved").out == expected


def test_ctrl_c_ends_with_130_and_a_message_and_the_same_command_goes_on(
    catalogue: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("train", "bm3", "--data", catalogue, "-o", tmp_path / "run", *SMALL)
    whole = PairBatches.epoch

    def epoch(self: PairBatches, number: int) -> object:
        if number == 2:
            signal.raise_signal(signal.SIGINT)
        return whole(self, number)

    with monkeypatch.context() as patched:
        patched.setattr(PairBatches, "epoch", epoch)
        ended = worlds.palate(*words)
    assert ended.code == 130
    assert "nothing is lost" in ended.err
    assert "run the same command again" in ended.err
    unfinished = worlds.palate("evaluate", tmp_path / "run")
    assert unfinished.code == 1
    assert "not finished" in unfinished.err
    good(*words)
    good("evaluate", tmp_path / "run")


def test_ctrl_c_before_training_ends_with_130_too(
    catalogue: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Dataset, "load", load)
    ended = worlds.palate("train", "bm3", "--data", catalogue, "-o", tmp_path / "run")
    assert ended.code == 130
    assert "Traceback" not in ended.text


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_help_and_version_load_nothing_heavy() -> None:
    heavy = "torch", "polars", "numpy", "pydantic", "transformers", "palate.experiment", "palate.models"
    code = f"""
import sys
from palate.cli import main
sys.argv = ["palate", "--help"]
try:
    main()
except SystemExit as stop:
    assert not stop.code
sys.stdout.flush()
print("loaded:", [name for name in {heavy!r} if name in sys.modules])
"""
    said = python(code)
    assert "recommend" in said
    assert said.strip().endswith("loaded: []")


def test_every_command_has_help_with_its_options_explained() -> None:
    for command in (
        "train",
        "evaluate",
        "recommend",
        "encode",
        "models",
        "demo",
        "data get",
        "data import",
        "data check",
    ):
        said = good(*command.split(), "--help")
        assert "Usage:" in said.out
    assert good("--version").out.startswith("palate ")


def test_a_reader_that_leaves_early_is_no_error() -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as closed:
        done = subprocess.run(
            [sys.executable, "-m", "palate", "models"], stdout=closed, stderr=subprocess.PIPE, text=True, check=False
        )
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


def test_a_catalogue_is_described_on_screen_as_json_and_as_a_page(catalogue: Path, tmp_path: Path) -> None:
    told = good("data", "describe", catalogue)
    assert "interactions" in told.out
    assert "advice" in told.out
    page = tmp_path / "page.html"
    found = json.loads(good("data", "describe", catalogue, "--json", "--html", page).out)
    assert str(found)
    assert page.read_text(encoding="utf-8").lstrip().lower().startswith("<!doctype html>")


def test_three_files_make_a_given_split(tmp_path: Path) -> None:
    for part, rows in {"train": "a,x\na,y\nb,x", "valid": "b,y", "test": "a,z\nb,z"}.items():
        (tmp_path / f"{part}.csv").write_text(f"user_id,item_id\n{rows}\n")
    parts = (
        "--interactions",
        tmp_path / "train.csv",
        "--valid",
        tmp_path / "valid.csv",
        "--test",
        tmp_path / "test.csv",
    )
    good("data", "import", *parts, "-o", tmp_path / "shop")
    good("train", "popularity", "--data", tmp_path / "shop", "-o", tmp_path / "run", "--quiet")
    measured = json.loads(good("evaluate", tmp_path / "run", "--json").out)
    assert measured["users"] == 2
    assert measured["test"]["recall@5"] == 1.0


def test_a_joint_encoder_is_trained_and_used(tmp_path: Path) -> None:
    config = SyntheticConfig(users=30, items=24, interactions=5, media=("image",))
    make_synthetic(tmp_path / "world", config, quiet=True)
    small = ("width=16", "layers=2", "fusion_layers=1", "heads=2", "epochs=1", "codes=8", "probe_partners=2")
    words = [word for setting in small for word in ("--set", setting)]
    told = good("pretrain", "joint", tmp_path / "world", "-o", tmp_path / "encoder", *words)
    assert "hidden" in told.out
    assert "24 of 24 items" in good("encode", tmp_path / "world", "--encoder", tmp_path / "encoder").out
    assert "joint" in good("data", "describe", tmp_path / "world").out
