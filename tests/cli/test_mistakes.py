"""No mistake of a person, and no damaged file, ends in a traceback: each is answered with what to do."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import worlds
from cli.settings import SMALL

Words = Callable[["Places"], tuple[object, ...]]


class Places:
    """The folders that a mistaken command may name."""

    def __init__(self, files: Path, catalogue: Path, run: Path) -> None:
        self.files, self.catalogue, self.run = files, catalogue, run
        self.folder = files.parent
        (self.folder / "empty").mkdir()
        (self.folder / "binary").write_bytes(bytes(range(256)))

    def train(self, *words: object, out: Path | None = None) -> tuple[object, ...]:
        return ("train", "bm3", "--data", self.catalogue, "-o", out or self.folder / "new", *SMALL, *words)

    def takes(self, ids: object, matrix: Path | None = None) -> tuple[object, ...]:
        rows = matrix or self.files / "images.npy"
        return ("encode", self.catalogue, "--modality", "image", "--from", rows, "--ids", ids)

    def imports(self, *words: object, out: Path | None = None) -> tuple[object, ...]:
        log = self.files / "interactions.csv"
        return ("data", "import", "--interactions", log, "-o", out or self.folder / "new", *words)


MISTAKES: dict[str, tuple[Words, str]] = {
    "no such command": (lambda at: ("trian",), "No such command"),
    "no such option": (lambda at: at.train("--sede", 1), "--se"),
    "an option without its value": (lambda at: ("train", "bm3", "--data"), "requires an argument"),
    "train without data": (lambda at: ("train", "bm3"), "--data"),
    "unknown model": (lambda at: ("train", "bm4", "--data", at.catalogue), "did you mean 'bm3'"),
    "recipe that is not there": (
        lambda at: ("compare", "popularity", at.folder / "none.yaml", "--data", at.catalogue, "-o", at.folder / "new"),
        "no recipe here",
    ),
    "recipes that are not there": (
        lambda at: ("compare", "popularity", "--recipes", at.folder / "none", "--data", at.catalogue),
        "check --recipes",
    ),
    "settings of no model": (
        lambda at: ("probe", "mask-modality", "--hide", "text", "--set", "epochs=1", "--data", at.catalogue),
        "--set goes with --model",
    ),
    "unknown preset": (lambda at: at.train("--preset", "offical"), "did you mean 'official'"),
    "preset that a model lacks": (
        lambda at: ("train", "ease", "--data", at.catalogue, "--preset", "official"),
        "no official preset",
    ),
    "unknown setting": (lambda at: at.train("--set", "layer=2"), "did you mean 'layers'"),
    "setting without a value": (lambda at: at.train("--set", "dim"), "key=value"),
    "setting that is given twice": (
        lambda at: at.train("--set", "layers=1", "--set", "layers=2"),
        "'layers' is given more than once",
    ),
    "setting of the wrong type": (lambda at: at.train("--set", "dim=wide"), "dim"),
    "setting out of range": (lambda at: at.train("--set", "dropout=1.5"), "dropout"),
    "setting that is not YAML": (lambda at: at.train("--set", "layers=["), "not valid YAML"),
    "setting that no machine can hold": (
        lambda at: ("train", "bm3", "--data", at.catalogue, "-o", at.folder / "new", "--set", "dim=1000000000000"),
        "not enough memory",
    ),
    "unknown metric": (lambda at: at.train("--set", "metric=recal@20"), "unknown validation metric 'recal@20'"),
    "unknown device": (lambda at: at.train("--set", "device=tpu"), "device"),
    "unknown split": (lambda at: at.train("--split", "leave-one-out"), "split"),
    "split without its column": (lambda at: at.train("--split", "given"), "split column"),
    "positive that is no rating": (lambda at: at.train("--positive", "good"), "rating or 'all'"),
    "positive that is not finite": (lambda at: at.train("--positive", "nan"), "rating or 'all', not 'nan'"),
    "nothing is positive": (lambda at: at.train("--positive", "6"), "no positive interaction"),
    "dislike above positive": (lambda at: at.train("--dislike", "5"), "must be below"),
    "thin of nothing": (lambda at: at.train("--thin", "0"), "thin"),
    "cold share of everything": (lambda at: at.train("--cold-share", "1", "--split", "cold-items"), "cold_share"),
    "cold share without cold items": (lambda at: at.train("--cold-share", "0.3"), "add --split cold-items"),
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
        lambda at: at.train("--seed", 5, out=at.run),
        "a finished run with other settings",
    ),
    "run into other files": (lambda at: at.train(out=at.files), "something else"),
    "run into a file": (lambda at: at.train(out=at.folder / "binary"), "something else"),
    "run below a file": (lambda at: at.train(out=at.folder / "binary" / "run"), "binary"),
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
    "column without a name": (lambda at: at.imports("--columns", "user_id"), "for example user_id=uid"),
    "column that is named twice": (
        lambda at: at.imports("--columns", "user_id=a,user_id=b"),
        "'user_id' is given more than once",
    ),
    "event without a number": (lambda at: at.imports("--events", "buy"), "for example view=1,buy=5"),
    "event that is chosen twice": (lambda at: at.imports("--events", "buy=1,buy=2"), "'buy' is given more than once"),
    "unknown column": (lambda at: at.imports("--columns", "usr_id=user_id"), "did you mean 'user_id'"),
    "unknown file without a header": (lambda at: at.imports("--no-header", "item"), "did you mean 'items'"),
    "column that is not there": (lambda at: at.imports("--columns", "user_id=customer"), "customer"),
    "core of nobody": (lambda at: at.imports("--min-user", "500"), "k-core"),
    "negative core": (lambda at: at.imports("--min-user", "-1"), "--min-user"),
    "import over a catalogue": (lambda at: at.imports(out=at.catalogue), "exists already"),
    "import over something else": (lambda at: at.imports("--replace", out=at.files), "no catalogue"),
    "check nothing": (lambda at: ("data", "check", at.folder / "nowhere"), "nowhere"),
    "encode nothing": (lambda at: ("encode", at.folder / "nowhere"), "nowhere"),
    "encode an unknown modality": (lambda at: ("encode", at.catalogue, "--modality", "smell"), "smell"),
    "unknown encoder": (lambda at: ("encode", at.catalogue, "--encoder", "minilmm"), "did you mean 'minilm'"),
    "unknown encoder setting": (lambda at: ("encode", at.catalogue, "--set", "poling=cls"), "did you mean 'pooling'"),
    "unknown item column": (lambda at: ("encode", at.catalogue, "--columns", "titel"), "title"),
    "directions of nothing": (lambda at: ("encode", at.catalogue, "--directions", 2), "add one --modality"),
    "directions of an encoder": (
        lambda at: ("encode", at.catalogue, "--modality", "text", "--directions", 2, "--encoder", "minilm"),
        "--modality alone",
    ),
    "directions of no features": (
        lambda at: ("encode", at.catalogue, "--modality", "txet", "--directions", 2),
        "did you mean 'text'",
    ),
    "more directions than columns": (
        lambda at: ("encode", at.catalogue, "--modality", "text", "--directions", 6000),
        "6,000 directions are no part",
    ),
    "no directions": (lambda at: ("encode", at.catalogue, "--modality", "text", "--directions", 0), "ask for 1 to"),
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
    "zeros of no file": (
        lambda at: ("encode", at.catalogue, "--zero-is-missing"),
        "--zero-is-missing goes with --from",
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
    "option of the program after the command": (
        lambda at: at.train("--models", "mine.py"),
        "it comes before the command: palate --models",
    ),
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


def test_an_option_of_one_value_is_given_once(tmp_path: Path) -> None:
    """Of two logs the first was left out, and nobody was told."""
    for words in (
        ("data", "import", "--interactions", "a.csv", "--interactions=b.csv", "-o", tmp_path / "c"),
        ("data", "import", "--interactions", "a.csv", "-o", tmp_path / "c", "--out", tmp_path / "d"),
        ("train", "bm3", "--data", tmp_path, "--features", "image", "--features", "text"),
        ("recommend", tmp_path, "--user", "u1", "-k3", "-k5"),
        ("--threads", "1", "--threads=2", "models"),
    ):
        ended = worlds.palate(*words)
        assert ended.code == 2
        assert "given 2 times" in ended.text
    many = worlds.palate("train", "bm3", "--data", tmp_path, "--set", "dim=2", "--set", "dim=3")
    assert many.code == 1
