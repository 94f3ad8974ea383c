"""A model's code changes while its runs lie there: nothing of an earlier run passes for one of the changed model."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import worlds
from experiment.folders import SMALL
from palate.core.errors import ArtefactError, DataError
from palate.dataset.dataset import Dataset
from palate.dataset.settings import SplitConfig
from palate.encode.features import Features
from palate.experiment import Run, fit
from palate.ingest.catalogue import Catalogue
from palate.models import MODELS
from palate.train.restoring import tell_other_code

CELL = """
import torch
from palate.models import MODELS
from palate.models.bpr import BPR

SIGN = {sign}
thing = object()

class Mine(BPR):
    '''Mine.'''

    def __init__(self, config, inputs):
        super().__init__(config, inputs)
        {made}

    def loss(self, batch, draws):
        {first}
        return {{name: SIGN * value for name, value in super().loss(batch, draws).items()}}
"""


@pytest.fixture(autouse=True)
def notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "__main__", ModuleType("__main__"))
    monkeypatch.setattr(MODELS, "_entries", dict(MODELS._entries))
    monkeypatch.chdir(tmp_path)


def define(sign: int = 1, first: str = "pass", made: str = "pass", cell: str = CELL) -> None:
    """Run the cell of a notebook that defines the model."""
    module = ModuleType("__main__")
    exec(compile(cell.format(sign=sign, first=first, made=made), "<ipython-input-1>", "exec"), module.__dict__)
    MODELS.register("mine")(module.__dict__["Mine"])


def test_a_model_of_a_notebook_is_trained_anew_when_its_code_has_changed(
    data: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    define()
    first = fit("mine", data, settings=SMALL, quiet=True)
    define()
    capsys.readouterr()
    again = fit("mine", data, settings=SMALL)
    assert (again.folder, again.earlier) == (first.folder, True)
    assert "finished before, nothing is trained again" in capsys.readouterr().err
    assert fit("mine", data, settings=SMALL, quiet=True).earlier
    assert capsys.readouterr().err == ""
    define(sign=-1)
    other = fit("mine", data, settings=SMALL, quiet=True)
    assert (other.folder.name, other.earlier) == (f"{first.folder.name}-2", False)
    assert other.metrics["validation"] != first.metrics["validation"]
    with pytest.raises(ArtefactError, match="differ in: code"):
        fit("mine", data, settings=SMALL, out=first.folder, quiet=True)


def test_where_nobody_can_tell_what_it_does_it_is_trained_each_time(
    data: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    define(first="assert thing")
    folders = {fit("mine", data, settings=SMALL).folder.name for _ in range(2)}
    assert len(folders) == 2
    assert "mine uses thing, which may be another one each time" in capsys.readouterr().err


def test_a_script_on_standard_input_is_one_too(catalogue: Path, tmp_path: Path) -> None:
    text = CELL.format(sign=1, first="pass", made="pass").replace("class Mine", "@MODELS.register('mine')\nclass Mine")
    call = f"palate.load({str(catalogue)!r}, split='random')"
    script = f"import palate\n{text}\nprint(palate.fit('mine', {call}, settings={SMALL!r}, quiet=True).recipe.code)\n"
    ended = subprocess.run(
        [sys.executable, "-"], input=script, capture_output=True, text=True, check=False, cwd=tmp_path, env=os.environ
    )
    assert ended.returncode == 0, ended.stderr
    assert len(ended.stdout.strip()) == 64


FITTED = """
import torch
from palate.core.config import Config
from palate.models.classical.popularity import Popularity

class Mine(Popularity):
    def score_block(self, users):
        return {sign} * super().score_block(users)
"""


def test_a_run_that_is_opened_with_other_code_says_so(data: Dataset, capsys: pytest.CaptureFixture[str]) -> None:
    for cell, settings, follows in (
        (CELL, SMALL, "its vectors are those of then"),
        (FITTED, {}, "the code of now computes its scores"),
    ):
        MODELS._entries.pop("mine", None)
        define(cell=cell)
        run = fit("mine", data, settings=settings, out=f"run-{bool(settings)}", quiet=True)
        before = run.evaluate(quiet=True)
        capsys.readouterr()
        assert Run.load(run.folder).evaluate(quiet=True) == before
        assert capsys.readouterr().err == ""
        define(sign=-1, cell=cell)
        opened = Run.load(run.folder)
        told = capsys.readouterr().err
        assert told.count("\n") == 1
        assert f"{run.folder} was trained with other code of mine than Mine in __main__" in told
        assert follows in told
        assert (opened.evaluate(quiet=True) == before) == bool(settings)


def test_palates_own_models_are_what_they_are(data: Dataset, capsys: pytest.CaptureFixture[str]) -> None:
    run = fit("bpr", data, settings=SMALL, quiet=True)
    capsys.readouterr()
    tell_other_code("bpr", MODELS["bpr"], "another", run.folder)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("made", "words"),
    [
        ("self.extra = torch.nn.Parameter(torch.ones(2))", "has besides extra"),
        ("self.user_id = torch.nn.Parameter(torch.ones(2))", "has in another shape user_id"),
        ("del self.item_id", "has no item_id"),
    ],
)
def test_parameters_that_do_not_fit_are_named(data: Dataset, made: str, words: str) -> None:
    define()
    run = fit("mine", data, settings=SMALL, quiet=True)
    define(made=made)
    opened = Run.load(run.folder)
    with pytest.raises(ArtefactError, match="do not fit its model") as caught:
        opened.model()
    assert words in caught.value.what
    assert "train again" in caught.value.do
    assert caught.value.where == str(run.folder)


def test_the_command_says_it_once(catalogue: Path, tmp_path: Path) -> None:
    words = ("train", "popularity", "--data", catalogue, "--split", "random", "-o", tmp_path / "run")
    assert "finished before" not in worlds.palate(*words).err
    assert worlds.palate(*words).err.count("finished before") == 1
    assert "finished before" not in worlds.palate(*words, "--quiet").err


def test_data_of_then_that_only_the_memory_had_are_asked_for(catalogue: Path, tmp_path: Path) -> None:
    ids = tuple(Catalogue.load(catalogue).items["item_id"])
    matrix = np.random.default_rng(0).normal(size=(len(ids), 3)).astype(np.float32)
    made = Features("mine", matrix, np.ones(len(ids), np.bool_), "made", ids)
    data = Dataset.make(Catalogue.load(catalogue), SplitConfig(split="random"), {"mine": made})
    run = fit("vbpr", data, settings=SMALL, out=tmp_path / "run", quiet=True)
    with pytest.raises(DataError, match="learnt from mine, which its catalogue does not hold") as caught:
        Run.load(run.folder)
    assert "data=" in caught.value.do
    assert Run.load(run.folder, data=data).data.fingerprint == run.data.fingerprint
