"""The command line: the whole way on a small shop, and that no mistake of a person ends in a traceback."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import worlds
from palate.encode.store import FeatureStore
from palate.models import MODELS
from palate.train.batches import PairBatches

SMALL = ("--set", "dim=4", "--set", "epochs=2", "--quiet")
THEMES = ("a cowboy and his horse", "a submarine under the sea", "a spy in Berlin", "a wedding in Paris")


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PALATE_CACHE", str(tmp_path / "cache"))


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
def catalogue(tmp_path: Path) -> Path:
    return worlds.stored(tmp_path / "catalogue")


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
    assert "347 interactions, 25 items" in said.out
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
    assert f"{30 - facts['users']} users have no positive in the test part" in said.out

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


# Mistakes

Words = Callable[["Places"], tuple[object, ...]]


class Places:
    """The folders that a mistaken command may name."""

    def __init__(self, files: Path, catalogue: Path, run: Path) -> None:
        self.files, self.catalogue, self.run = files, catalogue, run
        self.folder = files.parent
        (self.folder / "empty").mkdir()
        (self.folder / "binary").write_bytes(bytes(range(256)))

    def train(self, *words: object) -> tuple[object, ...]:
        return ("train", "bm3", "--data", self.catalogue, "-o", self.folder / "new", *SMALL, *words)

    def takes(self, ids: object, matrix: Path | None = None) -> tuple[object, ...]:
        rows = matrix or self.files / "images.npy"
        return ("encode", self.catalogue, "--modality", "image", "--from", rows, "--ids", ids)

    def imports(self, *words: object) -> tuple[object, ...]:
        return ("data", "import", "--interactions", self.files / "interactions.csv", "-o", self.folder / "new", *words)


MISTAKES: dict[str, tuple[Words, str]] = {
    "no such command": (lambda at: ("trian",), "No such command"),
    "no such option": (lambda at: at.train("--sede", 1), "--se"),
    "an option without its value": (lambda at: ("train", "bm3", "--data"), "requires an argument"),
    "train without data": (lambda at: ("train", "bm3"), "--data"),
    "unknown model": (lambda at: ("train", "bm4", "--data", at.catalogue), "did you mean 'bm3'"),
    "unknown preset": (lambda at: at.train("--preset", "offical"), "did you mean 'official'"),
    "preset that a model lacks": (
        lambda at: ("train", "ease", "--data", at.catalogue, "--preset", "official"),
        "no official preset",
    ),
    "unknown setting": (lambda at: at.train("--set", "layer=2"), "did you mean 'layers'"),
    "setting without a value": (lambda at: at.train("--set", "dim"), "key=value"),
    "setting of the wrong type": (lambda at: at.train("--set", "dim=wide"), "dim"),
    "setting out of range": (lambda at: at.train("--set", "dropout=1.5"), "dropout"),
    "setting that is not YAML": (lambda at: at.train("--set", "dim=["), "not valid YAML"),
    "setting that no machine can hold": (lambda at: at.train("--set", "dim=1000000000000"), "not enough memory"),
    "unknown metric": (lambda at: at.train("--set", "metric=recal@20"), "unknown validation metric 'recal@20'"),
    "unknown device": (lambda at: at.train("--set", "device=tpu"), "device"),
    "unknown split": (lambda at: at.train("--split", "leave-one-out"), "split"),
    "split without its column": (lambda at: at.train("--split", "given"), "split column"),
    "positive that is no rating": (lambda at: at.train("--positive", "good"), "rating or 'all'"),
    "positive that is not finite": (lambda at: at.train("--positive", "nan"), "positive"),
    "nothing is positive": (lambda at: at.train("--positive", "6"), "no positive interaction"),
    "dislike above positive": (lambda at: at.train("--dislike", "5"), "must be below"),
    "thin of nothing": (lambda at: at.train("--thin", "0"), "thin"),
    "cold share of everything": (lambda at: at.train("--cold-share", "1", "--split", "cold-items"), "cold_share"),
    "negative seed": (lambda at: at.train("--seed", "-1"), "--seed"),
    "seed that is no number": (lambda at: at.train("--seed", "one"), "--seed"),
    "unknown modality": (lambda at: at.train("--features", "text,imag"), "did you mean 'image'"),
    "no modality": (lambda at: at.train("--features", ""), "at least one modality"),
    "path as modality": (lambda at: at.train("--features", "../text"), "cannot name a modality"),
    "missing catalogue": (lambda at: ("train", "bm3", "--data", at.folder / "nowhere"), "nowhere"),
    "catalogue that is a file": (lambda at: ("train", "bm3", "--data", at.folder / "binary"), "binary"),
    "catalogue that is an empty folder": (lambda at: ("train", "bm3", "--data", at.folder / "empty"), "manifest"),
    "catalogue that is a run": (lambda at: ("train", "bm3", "--data", at.run), "not a catalogue"),
    "run into a finished run": (
        lambda at: (*at.train("--seed", 5), "-o", at.run),
        "a finished run with other settings",
    ),
    "run into other files": (lambda at: (*at.train(), "-o", at.files), "something else"),
    "run into a file": (lambda at: (*at.train(), "-o", at.folder / "binary"), "something else"),
    "run below a file": (lambda at: (*at.train(), "-o", at.folder / "binary" / "run"), "binary"),
    "missing run": (lambda at: ("evaluate", at.folder / "nowhere"), "nowhere"),
    "run that is a catalogue": (lambda at: ("evaluate", at.catalogue), "not a run"),
    "unknown mask": (lambda at: ("evaluate", at.run, "--mask", "valid"), "--mask"),
    "data of another run": (lambda at: ("evaluate", at.run, "--data", at.folder / "empty"), "manifest"),
    "for nobody": (lambda at: ("recommend", at.run), "it is not said for whom"),
    "for one and all": (lambda at: ("recommend", at.run, "--user", "u1", "--all"), "--user and --all are both given"),
    "for all without a file": (lambda at: ("recommend", at.run, "--all"), "--all needs a file"),
    "unknown user": (lambda at: ("recommend", at.run, "--user", "U-1"), "unknown user 'U-1'"),
    "no items": (lambda at: ("recommend", at.run, "--user", "u1", "-k", "0"), "-k"),
    "k that is no number": (lambda at: ("recommend", at.run, "--user", "u1", "-k", "ten"), "-k"),
    "file of another kind": (lambda at: ("recommend", at.run, "--all", "-o", at.folder / "r.xlsx"), ".parquet"),
    "file in place of a folder": (
        lambda at: ("recommend", at.run, "--all", "-o", at.folder / "binary" / "r.csv"),
        "binary",
    ),
    "unknown source": (lambda at: ("data", "get", "movielens-10k", "-o", at.folder / "n"), "movielens-100k"),
    "missing interactions": (
        lambda at: ("data", "import", "--interactions", at.files / "no.csv", "-o", at.folder / "new"),
        "no.csv",
    ),
    "interactions that are a folder": (
        lambda at: ("data", "import", "--interactions", at.files, "-o", at.folder / "new"),
        "files",
    ),
    "interactions of bytes": (
        lambda at: ("data", "import", "--interactions", at.folder / "binary", "-o", at.folder / "new"),
        "binary",
    ),
    "column without a name": (lambda at: at.imports("--columns", "user_id"), "key=value"),
    "unknown column": (lambda at: at.imports("--columns", "usr_id=user_id"), "did you mean 'user_id'"),
    "column that is not there": (lambda at: at.imports("--columns", "user_id=customer"), "customer"),
    "core of nobody": (lambda at: at.imports("--min-user", "500"), "k-core"),
    "negative core": (lambda at: at.imports("--min-user", "-1"), "--min-user"),
    "import over a catalogue": (lambda at: (*at.imports(), "-o", at.catalogue), "exists already"),
    "import over something else": (lambda at: (*at.imports(), "-o", at.files, "--replace"), "no catalogue"),
    "check nothing": (lambda at: ("data", "check", at.folder / "nowhere"), "nowhere"),
    "encode nothing": (lambda at: ("encode", at.folder / "nowhere"), "nowhere"),
    "encode an unknown modality": (lambda at: ("encode", at.catalogue, "--modality", "smell"), "smell"),
    "unknown encoder": (lambda at: ("encode", at.catalogue, "--encoder", "minilmm"), "did you mean 'minilm'"),
    "unknown encoder setting": (lambda at: ("encode", at.catalogue, "--set", "poling=cls"), "did you mean 'pooling'"),
    "unknown item column": (lambda at: ("encode", at.catalogue, "--columns", "titel"), "title"),
    "ids without rows": (lambda at: ("encode", at.catalogue, "--ids", "x.txt"), "--from"),
    "rows without ids": (
        lambda at: ("encode", at.catalogue, "--modality", "image", "--from", at.files / "images.npy"),
        "--ids",
    ),
    "rows without a name": (
        lambda at: ("encode", at.catalogue, "--from", at.files / "images.npy", "--ids", "item-order"),
        "ready-made rows need a name",
    ),
    "rows with two names": (
        lambda at: (*at.takes("item-order"), "--modality", "text"),
        "ready-made rows need a name",
    ),
    "settings for two modalities": (
        lambda at: ("encode", at.catalogue, "--modality", "text", "--modality", "image", "--set", "pooling=cls"),
        "go with one modality, not with 2: text, image",
    ),
    "pictures that no item has": (
        lambda at: ("encode", at.catalogue, "--modality", "image"),
        "no item has content to encode as image",
    ),
    "item order misspelt": (lambda at: at.takes("item-ordr"), "did you mean 'item-order'"),
    "loop settings of a model in closed form": (
        lambda at: ("train", "ease", "--data", at.catalogue, "--set", "epochs=2"),
        "unknown setting 'epochs'",
    ),
    "rows that are no array": (
        lambda at: at.takes("item-order", at.folder / "binary"),
        "no .npy matrix",
    ),
    "rows of another number": (
        lambda at: at.takes("item-order"),
        "20 rows",
    ),
    "missing ids": (
        lambda at: at.takes(at.folder / "no.txt"),
        "no such file",
    ),
    "settings of an unknown model": (lambda at: ("models", "eas"), "did you mean 'ease'"),
    "negative threads": (lambda at: ("--threads", "-1", "models"), "--threads"),
}


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Places:
    folder = tmp_path_factory.mktemp("mistakes")
    files = folder / "files"
    files.mkdir()
    worlds.interactions().write_csv(files / "interactions.csv")
    np.save(files / "images.npy", np.ones((20, 5), np.float32))
    catalogue = worlds.stored(folder / "catalogue")
    assert worlds.palate("train", "bm3", "--data", catalogue, "-o", folder / "run", *SMALL).code == 0
    return Places(files, catalogue, folder / "run")


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_ends_in_a_message(mistake: str, places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(places.folder)
    make, words = MISTAKES[mistake]
    ended = worlds.palate(*make(places))
    assert ended.code in (1, 2), ended.text
    assert "Traceback" not in ended.text
    assert words in ended.err
    assert ended.out == ""


def test_a_loss_that_is_not_finite_any_more_is_said(places: Places, tmp_path: Path) -> None:
    words = ("train", "lightgcn", "--data", places.catalogue, "-o", tmp_path / "run", *SMALL)
    ended = worlds.palate(*words, "--set", "learning_rate=1e30")
    assert ended.code == 1
    assert "the loss is not finite any more" in ended.err
    assert "lower the learning rate" in ended.err


@pytest.mark.parametrize("name", ["manifest.json", "interactions.parquet", "features/text/manifest.json"])
@pytest.mark.parametrize("content", [b"", b"\xff\x00garbage", b"[]", b'{"kind": "catalogue"}', b"null"])
def test_damaged_catalogues_end_in_a_message(catalogue: Path, tmp_path: Path, name: str, content: bytes) -> None:
    (catalogue / name).write_bytes(content)
    for words in (("data", "check", catalogue), ("train", "bm3", "--data", catalogue, "-o", tmp_path / "n", *SMALL)):
        ended = worlds.palate(*words)
        assert ended.code == 1
        assert ended.err.startswith("error: ")


@pytest.mark.parametrize("name", ["manifest.json", "recipe.yaml", "metrics.json", "embeddings.safetensors"])
@pytest.mark.parametrize("content", [b"", b"\xff\x00garbage", b"[]", b"{}"])
def test_damaged_runs_end_in_a_message(places: Places, tmp_path: Path, name: str, content: bytes) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(places.run, folder)
    (folder / name).write_bytes(content)
    for words in (("evaluate", folder), ("recommend", folder, "--user", "u1")):
        ended = worlds.palate(*words)
        assert ended.code == 1
        assert ended.err.startswith("error: ")


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
    import palate.experiment

    def load(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(palate.experiment, "load", load)
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
