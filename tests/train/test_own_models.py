"""A model of one's own, in a file outside the package: all tools take it, and nobody's rows are taken for another's."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
import torch
from torch import Tensor

import worlds
from palate.core.artefact import read_tensors
from palate.core.errors import ArtefactError, ConfigError, DataError, TrainingError
from palate.core.extensions import VARIABLE, import_files, name_files, option_of
from palate.core.seeds import Draws
from palate.dataset.dataset import Dataset
from palate.encode.features import Features
from palate.experiment import fit, load
from palate.ingest.catalogue import Catalogue
from palate.models import MODELS, Batch, Embeddings
from palate.recipe import resolve
from palate.recommend.explain import explain_to
from palate.recommend.forgetting import forget
from palate.study.verify import verify
from palate.train.fitting import build
from palate.train.warmstart import WarmStart, sides_of, tell_sides

OWN = Path(__file__).parents[1] / "own.py"
SMALL = {"epochs": 2, "batch_size": 64}


@pytest.fixture(autouse=True)
def own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # Runs without a name lie where one is.
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(MODELS, "_entries", dict(MODELS._entries))
    import_files({VARIABLE: str(OWN)})


def world(users: int = 30, items: int = 25, seed: int = 0) -> Dataset:
    rows = worlds.interactions(users=users, items=items, least=4, seed=3)
    return worlds.dataset(worlds.catalogue(rows, items=items), {}, split="random", seed=seed)


def told(users: int, items: int, **settings: int) -> dict[str, str | None]:
    """What is stored of the tables of `Own`, and of some others, by a run on so many users and items."""
    data = world(users, items)
    assert (len(data.users), len(data.items)) == (users, items)
    kind, config, _ = resolve("own", settings=settings)
    model = build(kind, config, data.inputs(), 0, "float32")
    for name, shape in MORE.items():
        model.register_buffer(name, torch.zeros([{"U": users, "I": items}.get(part, part) for part in shape]))
    model.register_buffer("joint", torch.zeros(users + items, 4))
    return json.loads(tell_sides(model, config, data)["sides"])


MORE = {"turned": (4, "I"), "padded": (31, 4), "item_weight": ("I",), "scale": (), "small": (7, 4)}


def test_whose_a_row_is_follows_from_how_many_there_are() -> None:
    assert told(30, 25) == {
        "u.weight": "user", "i": "item", "item_weight": "item", "user_gate": None, "bias": None, "scale": None,
        "small": None, "turned": "unknown", "padded": "unknown", "joint": "unknown",
    }  # fmt: skip


def test_names_decide_where_users_and_items_are_as_many() -> None:
    found = told(30, 30)
    assert (found["item_weight"], found["u.weight"], found["i"]) == ("item", "unknown", "unknown")


def test_a_setting_of_the_same_number_leaves_it_unknown() -> None:
    found = told(30, 25, dim=30)
    assert (found["u.weight"], found["user_gate"], found["bias"], found["i"]) == ("unknown",) * 3 + ("item",)


@pytest.mark.parametrize("metadata", [{}, {"sides": "[]"}, {"sides": '{"other": null}'}])
def test_what_is_not_stored_is_not_guessed(metadata: dict[str, str]) -> None:
    with pytest.raises(ArtefactError, match="not stored whose rows"):
        sides_of(MODELS["own"], {"i": torch.zeros(25, 4)}, metadata, where="here")


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
    # One after the other, past the point where users are as many as items.
    for user in ("u1", "u2", "u3", "u4", "u5", "u6"):
        forget([run.folder], users=[user])
    assert len(read_tensors(run.folder / "model.safetensors")[0]["u.weight"]) == 23


def test_nothing_is_forgotten_where_a_run_cannot_forget(tmp_path: Path) -> None:
    """Users and items are as many, so a table may be either's: the catalogue that was named first stays whole."""
    rows = worlds.interactions(users=25, items=25)
    folder = worlds.stored(tmp_path / "catalogue", worlds.catalogue(rows, items=25))
    run = fit("own", load(folder, split="random"), settings=SMALL, out=tmp_path / "run", quiet=True)
    assert len(run.data.users) == len(run.data.items)
    with pytest.raises(ConfigError, match="it cannot be told whether"):
        forget([folder, run.folder], users=["u7"])
    # A run that does not know somebody is in nobody's way.
    with pytest.raises(DataError, match="no user 'nobody'"):
        forget([run.folder], users=["nobody"])
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


def test_a_loss_without_a_gradient_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    right = MODELS["own"].loss  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]

    def loss(self: object, batch: Batch, draws: Draws) -> object:
        return {name: term.detach() for name, term in right(self, batch, draws).items()}

    loss.__module__, loss.__qualname__ = MODELS["own"].__module__, "Own.loss"
    monkeypatch.setattr(MODELS["own"], "loss", loss)
    with pytest.raises(TrainingError, match="no term of the loss has a gradient: bpr") as caught:
        fit("own", world(), settings=SMALL, quiet=True)
    assert caught.value.where == f"Own.loss in {OWN}"


def test_vectors_of_items_first_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    right = MODELS["own"].embed  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]

    def swapped(self: object) -> Embeddings:
        vectors = right(self)
        return Embeddings(vectors.item, vectors.user)

    monkeypatch.setattr(MODELS["own"], "embed", swapped)
    with pytest.raises(TrainingError, match="scores 30 items for 25 users; there are 25 and 30"):
        fit("own", world(), settings={**SMALL, "evaluate_every": 1}, quiet=True)


WRONG: dict[str, tuple[Callable[[Tensor, Tensor], object], str]] = {
    "a tuple": (lambda user, item: (user, item), r"no vectors to score with \(tuple\)"),
    "nothing": (lambda user, item: None, r"no vectors to score with \(NoneType\)"),
    "arrays": (lambda user, item: Embeddings(user.numpy(), item.numpy()), "user vectors are no tensor"),  # pyright: ignore[reportArgumentType]
    "widths": (lambda user, item: Embeddings(user[:, :2], item), "user vectors are 2 wide and item vectors 4"),
    "types": (lambda user, item: Embeddings(user.double(), item), "float64 and item vectors torch.float32"),
    "numbers": (lambda user, item: Embeddings(user.long(), item), "of torch.int64"),
    "a vector": (lambda user, item: Embeddings(user[:, 0], item), "the user vectors are 30 of"),
}


@pytest.mark.parametrize("mistake", WRONG)
def test_what_is_no_vectors_is_told(mistake: str, monkeypatch: pytest.MonkeyPatch) -> None:
    give, words = WRONG[mistake]
    kind = MODELS["own"]
    right = kind.embed  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]

    def embed(self: object) -> object:
        vectors = right(self)
        return give(vectors.user, vectors.item)

    monkeypatch.setattr(kind, "embed", embed)
    with pytest.raises(TrainingError, match=words) as caught:
        fit("own", world(), settings=SMALL, quiet=True)
    assert caught.value.where == f"embed of Own in {OWN}"
    assert "Embeddings(user, item)" in caught.value.do


def test_vectors_may_be_the_parameters_themselves(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(MODELS["own"], "embed", lambda self: Embeddings(self.u.weight, self.vectors()))  # pyright: ignore
    run = fit("own", world(), settings=SMALL, out=tmp_path / "run", quiet=True)
    assert isinstance(run.scorer, Embeddings)
    assert not run.scorer.user.requires_grad
    assert not run.scorer.item.requires_grad
    assert run.bundle().facts.model == "own"


def test_a_model_that_forgot_to_ask_for_features_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MODELS["vbpr"], "modal", False)
    with pytest.raises(ConfigError, match="its class says modal = False") as caught:
        fit("vbpr", worlds.dataset(split="random"), settings=SMALL, quiet=True)
    assert "modal = True" in caught.value.do
    looks: list[Callable[[dict[str, Features]], object]] = [
        dict, list, bool, len, lambda given: given.get("text"), lambda given: [*given.items()],
        lambda given: given | {}, lambda given: "text" in given, lambda given: given["text"], lambda given: given == {},
        lambda given: given.copy(), lambda given: copy.deepcopy(given).keys(),
    ]  # fmt: skip
    for look in looks:
        made = {"__init__": lambda self, config, inputs, look=look: look(inputs.features)}
        hopeful = type("Hopeful", (MODELS["own"],), made)
        with pytest.raises(ConfigError, match="Hopeful looks at features"):
            build(hopeful, hopeful.Config(), world().inputs(), 0, "float32")
    monkeypatch.setattr(MODELS["vbpr"], "modal", True)
    with pytest.raises(ConfigError, match="this data set has none"):
        fit("vbpr", world(), settings=SMALL, quiet=True)


def test_the_option_that_names_it_is_known() -> None:
    assert option_of(MODELS["own"], {VARIABLE: str(OWN)}) == f"--models {OWN} "
    assert option_of(MODELS["own"], {}) == option_of(MODELS["bpr"], {VARIABLE: str(OWN)}) == ""


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
    # The same file again is the same model; another one is not.
    import_files({VARIABLE: str(OWN)})
    (tmp_path / "copy.py").write_text(OWN.read_text())
    with pytest.raises(ConfigError, match="two models are called 'own'"):
        import_files({VARIABLE: str(tmp_path / "copy.py")})


def test_a_file_that_is_named_twice_is_imported_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MODELS, "_entries", {})
    (tmp_path / "link.py").symlink_to(OWN)
    environment = {VARIABLE: str(tmp_path / "link.py")}
    name_files([OWN, tmp_path / ".." / tmp_path.name / "link.py"], environment)
    import_files(environment)
    assert list(MODELS) == ["own"]


def test_a_run_of_other_code_is_another_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MODELS, "_entries", {})
    file = tmp_path / "mine.py"
    for text in (OWN.read_text(), OWN.read_text() + "# another loss\n"):
        monkeypatch.setattr(MODELS, "_entries", {})
        file.write_text(text)
        import_files({VARIABLE: str(file)})
        if text.endswith("loss\n"):
            with pytest.raises(ArtefactError, match="differ in: code"):
                fit("own", world(), settings=SMALL, out=tmp_path / "run", quiet=True)
        else:
            fit("own", world(), settings=SMALL, out=tmp_path / "run", quiet=True)


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
    words = ["-m", "palate", "evaluate", str(run)]
    ended = subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, check=False, timeout=300, env=environment
    )
    assert ended.returncode == 1
    assert "unknown model 'own'" in ended.stderr
    assert "--models FILE.py" in ended.stderr
