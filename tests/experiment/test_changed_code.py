"""A model's code changes while its runs lie there: nothing of an earlier run passes for one of the changed model."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import worlds
from experiment.folders import SMALL
from palate.core.errors import ArtefactError
from palate.dataset.dataset import Dataset
from palate.experiment import fit
from palate.models import MODELS

CELL = """
from palate.models import MODELS
from palate.models.bpr import BPR

SIGN = {sign}
thing = object()

class Mine(BPR):
    '''Mine.'''

    def loss(self, batch, draws):
        {first}
        return {{name: SIGN * value for name, value in super().loss(batch, draws).items()}}
"""


@pytest.fixture(autouse=True)
def notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "__main__", ModuleType("__main__"))
    monkeypatch.setattr(MODELS, "_entries", dict(MODELS._entries))
    monkeypatch.chdir(tmp_path)


def define(sign: int = 1, first: str = "pass") -> None:
    """Run the cell of a notebook that defines the model."""
    module = ModuleType("__main__")
    exec(compile(CELL.format(sign=sign, first=first), "<ipython-input-1>", "exec"), module.__dict__)
    MODELS._entries["mine"] = module.__dict__["Mine"]


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
    text = CELL.format(sign=1, first="pass").replace("class Mine", "@MODELS.register('mine')\nclass Mine")
    call = f"palate.load({str(catalogue)!r}, split='random')"
    script = f"import palate\n{text}\nprint(palate.fit('mine', {call}, settings={SMALL!r}, quiet=True).recipe.code)\n"
    ended = subprocess.run(
        [sys.executable, "-"], input=script, capture_output=True, text=True, check=False, cwd=tmp_path, env=os.environ
    )
    assert ended.returncode == 0, ended.stderr
    assert len(ended.stdout.strip()) == 64


def test_the_command_says_it_once(catalogue: Path, tmp_path: Path) -> None:
    words = ("train", "popularity", "--data", catalogue, "--split", "random", "-o", tmp_path / "run")
    assert "finished before" not in worlds.palate(*words).err
    assert worlds.palate(*words).err.count("finished before") == 1
    assert "finished before" not in worlds.palate(*words, "--quiet").err
