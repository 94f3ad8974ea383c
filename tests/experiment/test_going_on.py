"""Going on: an interrupted, killed or failed run ends as an undisturbed one, and only with its own settings."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from experiment.folders import FILES, SMALL, names
from palate.core.artefact import sha256_of
from palate.core.errors import ArtefactError, ConfigError, Interrupted
from palate.dataset.dataset import Dataset
from palate.experiment import Recipe, Run, fit, load
from palate.models.base import Batch
from palate.train.batches import PairBatches

LONGER = {**SMALL, "epochs": 6, "batch_size": 16, "checkpoint_seconds": 0}


@pytest.fixture
def stopping(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Ctrl-C at the (epoch, batch) pairs of this list, each once."""
    moments: list[tuple[int, int]] = []
    whole = PairBatches.epoch

    def epoch(self: PairBatches, number: int) -> Iterator[Batch]:
        for step, batch in enumerate(whole(self, number)):
            if (number, step) in moments:
                moments.remove((number, step))
                signal.raise_signal(signal.SIGINT)
            yield batch

    monkeypatch.setattr(PairBatches, "epoch", epoch)
    return moments


def same_bits(one: Path, other: Path) -> None:
    for name in ("model.safetensors", "embeddings.safetensors", "recipe.yaml"):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    facts = [json.loads((folder / "metrics.json").read_text()) for folder in (one, other)]
    assert facts[0]["validation"] == facts[1]["validation"]
    for name in ("epochs", "best_epoch", "stopped", "parameters"):
        assert facts[0]["training"][name] == facts[1]["training"][name]
    entries = [
        [
            {key: value for key, value in json.loads(line).items() if key != "seconds"}
            for line in (folder / "history.jsonl").read_text().splitlines()
        ]
        for folder in (one, other)
    ]
    assert entries[0] == entries[1]
    assert names(one) == names(other)


@pytest.mark.parametrize("model", ["bm3", "lightgcn"])
def test_ctrl_c_keeps_the_state_and_the_same_call_goes_on(
    model: str, data: Dataset, tmp_path: Path, stopping: list[tuple[int, int]]
) -> None:
    whole = fit(model, data, settings=LONGER, out=tmp_path / "whole", quiet=True)
    stopping += [(1, 0), (3, 1), (6, 2)]
    for _ in range(3):
        with pytest.raises(Interrupted, match="nothing is lost"):
            fit(model, data, settings=LONGER, out=tmp_path / "parts", quiet=True)
        with pytest.raises(ArtefactError, match="not finished"):
            Run.load(tmp_path / "parts")
    fit(model, data, settings=LONGER, out=tmp_path / "parts", quiet=True)
    same_bits(whole.folder, tmp_path / "parts")


def test_a_run_goes_on_where_its_catalogue_has_moved(
    catalogue: Path, data: Dataset, tmp_path: Path, stopping: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = fit("bm3", data, settings=LONGER, out=tmp_path / "whole", quiet=True)
    monkeypatch.chdir(tmp_path)
    stopping += [(2, 1), (4, 1)]
    with pytest.raises(Interrupted):
        fit("bm3", data, settings=LONGER, quiet=True)
    shutil.move(catalogue, tmp_path / "elsewhere")
    moved = load(tmp_path / "elsewhere", split="random")
    with pytest.raises(ArtefactError, match=r"differ in: seed\)"):
        fit("bm3", moved, settings=LONGER, seed=3, out="runs/bm3-world-random-s0", quiet=True)
    with pytest.raises(Interrupted):
        fit("bm3", moved, settings=LONGER, out="runs/bm3-world-random-s0", quiet=True)
    # It has begun after the second epoch, and knows where its data are now.
    run = fit("bm3", moved, settings=LONGER, quiet=True)
    assert [path.name for path in Path("runs").iterdir()] == ["bm3-world-random-s0"]
    assert (run.folder / "model.safetensors").read_bytes() == (whole.folder / "model.safetensors").read_bytes()
    assert Run.load(run.folder).recipe.data.catalogue == str(tmp_path / "elsewhere")
    # A finished one is given back, wherever its data are.
    shutil.move(tmp_path / "elsewhere", catalogue)
    again = fit("bm3", load(catalogue, split="random"), settings=LONGER, out=run.folder, quiet=True)
    assert again.earlier


def test_without_a_name_the_same_call_finds_its_unfinished_run(
    data: Dataset, tmp_path: Path, stopping: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    stopping.append((2, 1))
    with pytest.raises(Interrupted):
        fit("bm3", data, settings=LONGER, quiet=True)
    other = fit("bm3", data, settings={**LONGER, "dim": 5}, quiet=True)
    assert other.folder.name == "bm3-world-random-s0-2"
    assert fit("bm3", data, settings=LONGER, quiet=True).folder.name == "bm3-world-random-s0"


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"settings": {**LONGER, "dim": 5}}, r"differ in: settings\.dim\)"),
        ({"settings": {**LONGER, "learning_rate": 0.1}}, r"differ in: train\.learning_rate\)"),
        ({"seed": 3}, r"differ in: seed\)"),
        ({"model": "lightgcn"}, "differ in: model, settings"),
    ],
)
def test_an_unfinished_run_with_other_settings_is_refused(
    data: Dataset, tmp_path: Path, stopping: list[tuple[int, int]], changed: dict[str, Any], named: str
) -> None:
    settings: dict[str, Any] = {"model": "bm3", "settings": LONGER, "out": tmp_path / "run", "quiet": True}
    stopping.append((2, 1))
    with pytest.raises(Interrupted):
        fit(data=data, **settings)
    before = {path: sha256_of(path) for path in (tmp_path / "run").rglob("*") if path.is_file()}
    with pytest.raises(ArtefactError, match=named):
        fit(data=data, **{**settings, **changed})
    other = load(str(data.catalogue.folder), split="latest")
    with pytest.raises(ArtefactError, match=r"data\.split\.split, data\.fingerprint"):
        fit(data=other, **settings)
    assert {path: sha256_of(path) for path in (tmp_path / "run").rglob("*") if path.is_file()} == before
    fit(data=data, **settings)


def test_a_run_that_failed_before_it_began_can_be_mended_in_its_place(catalogue: Path, tmp_path: Path) -> None:
    """BM3 without features fails; after encoding, the same command must work."""
    out = tmp_path / "run"
    with pytest.raises(ConfigError, match="at least one modality"):
        fit("bm3", load(catalogue, split="random", features=[]), settings=SMALL, out=out, quiet=True)
    run = fit("bm3", load(catalogue, split="random"), settings=SMALL, out=out, quiet=True)
    assert run.recipe.data.features == ["image", "text"]
    assert Recipe.read(out / "recipe.yaml") == run.recipe


def test_what_a_kill_leaves_half_written_does_not_stand_in_the_way(data: Dataset, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / ".recipe.yaml.abc.partial").write_text("model: b")
    fit("bm3", data, settings=SMALL, out=folder, quiet=True)
    assert names(folder) == FILES


def command(catalogue: Path, out: Path) -> list[str]:
    settings = {
        "dim": 16, "batch_size": 16, "epochs": 60, "evaluate_every": 3, "patience": 999, "checkpoint_seconds": 0.05
    }  # fmt: skip
    words = [sys.executable, "-m", "palate", "--threads", "1", "train", "bm3", "--data", str(catalogue), "-o", str(out)]
    for name, value in settings.items():
        words += ["--set", f"{name}={value}"]
    return words


def stamp(path: Path) -> int:
    return path.stat().st_mtime_ns if path.exists() else 0


def test_killed_at_three_random_moments_it_ends_with_the_same_bits(catalogue: Path, tmp_path: Path) -> None:
    """The moments: soon after the recipe is written, and twice a random while after a new checkpoint."""
    parts, whole = tmp_path / "parts", tmp_path / "whole"
    state, chance = parts / "checkpoint" / "state.safetensors", random.Random()
    undisturbed = subprocess.Popen(command(catalogue, whole), stderr=subprocess.PIPE, text=True)
    for kill in range(3):
        awaited = parts / "recipe.yaml" if kill == 0 else state
        before = stamp(awaited)
        with subprocess.Popen(command(catalogue, parts), stderr=subprocess.PIPE, text=True) as process:
            limit = time.monotonic() + 60
            while stamp(awaited) == before and process.poll() is None and time.monotonic() < limit:
                time.sleep(0.002)
            time.sleep(chance.uniform(0, 0.1))
            process.send_signal(signal.SIGKILL)
            message = process.communicate()[1]
            assert process.returncode == -signal.SIGKILL, message
    last = subprocess.run(command(catalogue, parts), capture_output=True, text=True, timeout=120, check=False)
    assert last.returncode == 0, last.stderr
    assert undisturbed.wait(120) == 0, undisturbed.communicate()[1]
    undisturbed.communicate()
    same_bits(parts, whole)
    assert Run.load(parts).evaluate() == Run.load(whole).evaluate()
