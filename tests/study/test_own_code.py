"""Studies of models from outside: changed code is another model, a broken one costs nobody's runs, draws are seeded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import worlds
from palate.core.artefact import read_json, read_tensors, write_json
from palate.core.errors import ArtefactError, ConfigError
from palate.core.extensions import VARIABLE, import_files
from palate.experiment import fit
from palate.models import MODELS
from palate.study.compare import FAILED, PLAN, compare
from palate.study.data_plan import DataPlan
from palate.study.trials import search_for
from palate.study.tune import tune
from palate.study.verify import verify

OWN = Path(__file__).parents[1] / "own.py"
DRAWN = '''
import torch
from palate.core.config import Config
from palate.models import MODELS
from palate.models.base import Classical

class DrawnConfig(Config):
    """None."""

@MODELS.register("drawn")
class Drawn(Classical):
    """Random scores."""
    Config = DrawnConfig
    title = source = "Drawn"
    random = True

    def __init__(self, config, inputs):
        super().__init__(config, inputs)
        self.register_buffer("scores", torch.zeros(inputs.users, inputs.items))

    def fit(self):
        self.scores.copy_(torch.randn_like(self.scores))

    @property
    def items(self):
        return self.scores.shape[1]

    def score_block(self, users):
        return self.scores[users]
'''


class Author:
    """Somebody who writes a model, and changes it."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.file, self.monkeypatch, self.before = folder / "mine.py", monkeypatch, dict(MODELS._entries)

    def writes(self, text: str) -> None:
        self.file.write_text(text)
        self.monkeypatch.setattr(MODELS, "_entries", dict(self.before))
        import_files({VARIABLE: str(self.file)})


@pytest.fixture
def author(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Author:
    return Author(tmp_path, monkeypatch)


@pytest.fixture
def plan(tmp_path: Path) -> DataPlan:
    return DataPlan(str(worlds.stored(tmp_path / "catalogue")), {"split": "random"}, None)


def recipes(folder: Path, name: str = "own") -> str:
    file = folder / f"{name}.yaml"
    file.write_text(f"model: {name}\nsettings: {{epochs: 1, batch_size: 64}}\n")
    return str(file)


def test_a_comparison_does_not_mix_a_model_with_what_it_was_before(
    author: Author, plan: DataPlan, tmp_path: Path
) -> None:
    names: list[Any] = ["popularity", recipes(tmp_path)]
    author.writes(OWN.read_text())
    assert compare(names, plan, tmp_path / "c", seeds=1, quiet=True) == {}
    author.writes(OWN.read_text() + "\n# changed\n")
    with pytest.raises(ArtefactError, match="its code has changed"):
        compare(names, plan, tmp_path / "c", seeds=2, quiet=True)
    author.writes(OWN.read_text())
    assert compare(names, plan, tmp_path / "c", seeds=2, quiet=True) == {}


def test_what_was_begun_before_the_code_was_noted_goes_on(author: Author, plan: DataPlan, tmp_path: Path) -> None:
    names, settings = ["popularity", recipes(tmp_path)], {"epochs": 1, "batch_size": 64}
    author.writes(OWN.read_text())
    compare(names, plan, tmp_path / "c", seeds=1, quiet=True)
    stored = read_json(tmp_path / "c" / PLAN)
    for entry in stored["resolved"].values():
        del entry["code"]
    write_json(tmp_path / "c" / PLAN, stored)
    assert compare(names, plan, tmp_path / "c", seeds=1, quiet=True) == {}
    search = search_for("own", plan, settings=settings)
    now = search.identity("print")
    before = {key: value for key, value in json.loads(now).items() if key != "code"}
    assert now != json.dumps(before, sort_keys=True)
    assert search.is_of(now, "print")
    assert search.is_of(json.dumps(before, sort_keys=True), "print")
    assert not search.is_of(json.dumps(before | {"code": "other"}, sort_keys=True), "print")


def test_a_search_does_not_go_on_with_other_code(author: Author, plan: DataPlan, tmp_path: Path) -> None:
    settings = {"epochs": 1, "batch_size": 64}
    author.writes(OWN.read_text())
    tune(search_for("own", plan, settings=settings), tmp_path / "t", trials=1, quiet=True)
    author.writes(OWN.read_text() + "\n# changed\n")
    with pytest.raises(ArtefactError, match="another search is here"):
        tune(search_for("own", plan, settings=settings), tmp_path / "t", trials=2, quiet=True)


def test_a_model_with_a_mistake_costs_the_others_nothing(author: Author, plan: DataPlan, tmp_path: Path) -> None:
    text = OWN.read_text()
    broken = text.replace(
        "        user, items = self.u", "        torch.ones(2, 3) @ torch.ones(2, 3)\n        user, items = self.u"
    )
    assert broken != text
    author.writes(broken)
    line = broken[: broken.index("torch.ones")].count("\n") + 1
    failed = compare([recipes(tmp_path), "popularity"], plan, tmp_path / "c", seeds=2, quiet=True)
    assert sorted(failed) == ["own, seed 0", "own, seed 1"]
    assert failed["own, seed 0"].startswith("RuntimeError: mat1 and mat2 shapes")
    assert failed["own, seed 0"].endswith(f"({author.file}, line {line})")
    assert read_json(tmp_path / "c" / FAILED) == failed
    assert (tmp_path / "c/runs/popularity/whole/s0/run/metrics.json").is_file()


def test_a_recipe_that_is_not_there_is_told_before_anything_is_trained(plan: DataPlan, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no recipe here"):
        compare(["popularity", str(tmp_path / "none.yaml")], plan, tmp_path / "c", quiet=True)
    assert not (tmp_path / "c").exists()


def test_what_a_closed_form_draws_depends_on_the_seed_alone(author: Author, plan: DataPlan, tmp_path: Path) -> None:
    author.writes(DRAWN)
    data = plan.load()
    found: list[torch.Tensor] = []
    for number, seed in enumerate((3, 3, 4)):
        torch.manual_seed(number)
        run = fit("drawn", data, seed=seed, out=tmp_path / f"r{number}", quiet=True)
        found.append(read_tensors(run.folder / "model.safetensors")[0]["scores"])
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])
    assert compare(["drawn", "popularity"], plan, tmp_path / "c", seeds=2, quiet=True) == {}
    counts = {name: len(list((tmp_path / "c/runs" / name / "whole").iterdir())) for name in ("drawn", "popularity")}
    assert counts == {"drawn": 2, "popularity": 1}


def test_verify_meets_randomness_that_is_not_drawn_from_the_draws(
    author: Author, plan: DataPlan, tmp_path: Path
) -> None:
    for text, outcome in (
        (OWN.read_text(), "same"),
        (
            OWN.read_text().replace(
                "user, items = self.u(batch.users), ", "user, items = F.dropout(self.u(batch.users)), "
            ),
            "CHANGED",
        ),
    ):
        author.writes(text)
        run = fit("own", plan.load(), settings={"epochs": 1, "batch_size": 64}, out=tmp_path / outcome, quiet=True)
        checks = {check.name: check for check in verify(run).checks}
        assert checks["repeat step"].outcome == outcome
    assert "bpr" in checks["repeat step"].detail
