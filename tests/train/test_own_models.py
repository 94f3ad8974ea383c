"""A model of one's own, in a file outside the package: all tools take it, and nobody's rows are taken for another's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
import torch

import worlds
from palate.core.artefact import read_tensors
from palate.core.errors import ConfigError, TrainingError
from palate.core.extensions import VARIABLE, import_files, name_files
from palate.core.seeds import Draws
from palate.dataset.dataset import Dataset
from palate.experiment import fit, load
from palate.ingest.catalogue import Catalogue
from palate.models import MODELS, Batch, Embeddings
from palate.recommend.explain import explain_to
from palate.recommend.forgetting import forget
from palate.study.verify import verify
from palate.train.warmstart import WarmStart, sides_of

OWN = Path(__file__).parents[1] / "own.py"
SMALL = {"epochs": 2, "batch_size": 64}


@pytest.fixture(autouse=True)
def own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MODELS, "_entries", dict(MODELS._entries))
    import_files({VARIABLE: str(OWN)})


def world(users: int = 30, items: int = 25, seed: int = 0) -> Dataset:
    rows = worlds.interactions(users=users, items=items, least=4, seed=3)
    return worlds.dataset(worlds.catalogue(rows, items=items), {}, split="random", seed=seed)


def tables(users: int, items: int) -> dict[str, torch.Tensor]:
    shapes = {"u.weight": (users, 4), "i": (items, 4), "user_gate": (4, 4), "bias": (4,), "scale": ()}
    return {name: torch.zeros(shape) for name, shape in shapes.items()}


def ids(users: int, items: int) -> dict[str, pl.Series]:
    return {"user": pl.Series(map(str, range(users))), "item": pl.Series(map(str, range(items)))}


def test_whose_a_row_is_follows_from_how_many_there_are() -> None:
    sides = sides_of(MODELS["own"], tables(30, 25), ids(30, 25), where="here")
    assert sides == {"u.weight": "user", "i": "item", "user_gate": None, "bias": None, "scale": None}


def test_names_decide_where_users_and_items_are_as_many() -> None:
    named = {"user_table": torch.zeros(30, 4), "item_table": torch.zeros(30, 4), "bias": torch.zeros(30)}
    assert list(sides_of(MODELS["own"], named, ids(30, 30), where="here").values()) == ["user", "item", "item"]


@pytest.mark.parametrize(
    ("tensors", "users", "items"), [(tables(30, 30), 30, 30), ({"turned": torch.zeros(4, 30)}, 30, 25)]
)
def test_what_cannot_be_told_is_refused(tensors: dict[str, torch.Tensor], users: int, items: int) -> None:
    with pytest.raises(ConfigError, match="it cannot be told whether"):
        sides_of(MODELS["own"], tensors, ids(users, items), where="here")


def test_the_rows_of_somebody_who_is_forgotten_are_gone(tmp_path: Path) -> None:
    source = worlds.catalogue()
    folder = worlds.stored(tmp_path / "catalogue", source)
    run = fit("own", load(folder, split="random"), settings=SMALL, out=tmp_path / "run", quiet=True)
    before, _ = read_tensors(run.folder / "model.safetensors")
    row = run.data.users.row("u7")
    forget([folder, run.folder], users=["u7"])
    after, _ = read_tensors(run.folder / "model.safetensors")
    assert torch.equal(after["u.weight"], torch.cat([before["u.weight"][:row], before["u.weight"][row + 1 :]]))
    assert all(torch.equal(after[name], before[name]) for name in before if name != "u.weight")
    again = load(folder, split="random")
    fit("own", again, settings=SMALL, out=tmp_path / "next", quiet=True, warm_start=run.folder)


def test_nothing_is_forgotten_where_a_run_cannot_forget(tmp_path: Path) -> None:
    """Users and items are as many, so a table may be either's: the catalogue that was named first stays whole."""
    rows = worlds.interactions(users=25, items=25)
    folder = worlds.stored(tmp_path / "catalogue", worlds.catalogue(rows, items=25))
    run = fit("own", load(folder, split="random"), settings=SMALL, out=tmp_path / "run", quiet=True)
    assert len(run.data.users) == len(run.data.items)
    with pytest.raises(ConfigError, match="it cannot be told whether"):
        forget([folder, run.folder], users=["u7"])
    assert "u7" in Catalogue.load(folder).interactions["user_id"].to_list()
    assert {check.name: check.outcome for check in verify(run).checks}["row numbers"] == "not checked"


def test_a_training_goes_on_with_rows_by_their_ids(tmp_path: Path) -> None:
    old, new = world(30, 25, seed=0), world(34, 28, seed=5)
    assert old.users.ids.to_list() != new.users.ids.to_list()[:30]
    run = fit("own", old, settings=SMALL, out=tmp_path / "run", quiet=True)
    next_one = fit("own", new, settings={**SMALL, "epochs": 1, "learning_rate": 1e-12}, quiet=True)
    model = next_one.model()
    WarmStart.load(run.folder).apply(model, new)
    before, now = run.model().state_dict(), model.state_dict()
    known = set(old.users.ids)
    for row, user in enumerate(new.users.ids):
        if user in known:
            assert torch.equal(now["u.weight"][row], before["u.weight"][old.users.row(user)])
    assert torch.equal(now["user_gate"], before["user_gate"])


def test_it_is_sound_and_explains_itself(tmp_path: Path) -> None:
    run = fit("own", world(), settings=SMALL, out=tmp_path / "run", quiet=True)
    assert {check.name: check.outcome for check in verify(run).checks}["row numbers"] == "same"
    user, item = run.data.users.ids[0], run.data.items.ids[0]
    found = explain_to(run.data, run.scorer, user, item, parts=run.model().score_parts())  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType, reportUnknownArgumentType]
    assert found["parts"]["id"] == pytest.approx(found["score"], rel=1e-5)


def test_a_loss_that_is_no_named_scalars_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = {"a tensor": torch.ones(()), "a row": {"bpr": torch.ones(2)}, "a number": {"bpr": 1.0}, "nothing": {}}
    for given in wrong.values():

        def loss(self: object, batch: Batch, draws: Draws, given: object = given) -> object:
            return given

        monkeypatch.setattr(MODELS["own"], "loss", loss)
        with pytest.raises(TrainingError, match="named scalar terms"):
            fit("own", world(), settings=SMALL, quiet=True)


def test_vectors_of_items_first_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    right = MODELS["own"].embed  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]

    def swapped(self: object) -> Embeddings:
        vectors = right(self)
        return Embeddings(vectors.item, vectors.user)

    monkeypatch.setattr(MODELS["own"], "embed", swapped)
    with pytest.raises(TrainingError, match="scores 30 items for 25 users; there are 25 and 30"):
        fit("own", world(), settings={**SMALL, "evaluate_every": 1}, quiet=True)


def test_files_that_are_none_and_files_that_fail_are_named_with_their_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no Python file"):
        name_files([tmp_path / "none.py"], {})
    wrong = tmp_path / "wrong.py"
    for text, line, kind in (("x = 1\ny = 1 / 0\n", 2, "ZeroDivisionError"), ("x = (\n", 1, "SyntaxError")):
        wrong.write_text(text)
        with pytest.raises(ConfigError, match=kind) as caught:
            import_files({VARIABLE: str(wrong)})
        assert caught.value.where == f"{wrong}, line {line}"
    with pytest.raises(ConfigError, match="no Python file"):
        import_files({VARIABLE: str(tmp_path / "gone.py")})
    with pytest.raises(ConfigError, match="two models are called 'own'"):
        import_files({VARIABLE: str(OWN)})


def test_a_comparison_in_several_processes_knows_it(tmp_path: Path) -> None:
    folder = worlds.stored(tmp_path / "catalogue", worlds.catalogue())
    command = [sys.executable, "-m", "palate", "--threads", "1", "--models", str(OWN), "compare", "own", "popularity"]
    words = ["--data", str(folder), "--split", "random", "--seeds", "2", "--jobs", "2", "-o", str(tmp_path / "found")]
    environment = {name: value for name, value in os.environ.items() if name != VARIABLE}
    ended = subprocess.run(
        [*command, *words], capture_output=True, text=True, check=False, timeout=300, env=environment
    )
    assert ended.returncode == 0, ended.stderr
    assert "own" in ended.stdout
    assert len(pl.read_parquet(tmp_path / "found" / "results.parquet").filter(pl.col("model") == "own")) >= 2
    # Without the option its runs are not understood, and the message says what to do.
    run = next((tmp_path / "found" / "runs" / "own").rglob("manifest.json")).parent
    told = worlds.palate("recommend", run, "--all", "-o", tmp_path / "all.parquet", "--data", folder)
    assert told.code == 0
