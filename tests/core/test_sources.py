"""The digest of a class's code: another one when what the class does has changed, and only then."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from palate.core.artefact import sha256_of
from palate.core.extensions import UNTOLD, code_of
from palate.core.sources import digest_of, keep_code, same_definition
from palate.models import MODELS

CELL = """
import torch
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pydantic import field_validator
from palate.core.config import Config
from palate.models import Needs
from palate.models.bpr import BPR

SIGN = 1
data = object()

@dataclass
class Weights:
    one: float = 0.5

WEIGHTS = Weights()
SCALE = torch.ones(3)

def turned(value):
    return SIGN * value

class Settings(Config):
    dim: int = 8

    @field_validator("dim")
    @classmethod
    def even(cls, value):
        return value - value % 2

class Before(BPR):
    def before(self):
        return 3

class Mine(Before):
    '''Mine.'''
    Config = Settings
    needs = Needs(negatives=2)

    @cached_property
    def kept(self):
        return WEIGHTS

    @torch.inference_mode()
    def embed(self):
        return super().embed()

    def loss(self, batch, draws):
        self.data = {"a", "b", "c"}
        return {name: turned(value * SCALE.sum()) for name, value in super().loss(batch, draws).items()}
"""


def made(text: str) -> Any:
    """The class that a cell of a notebook defines."""
    module = ModuleType("__main__")
    exec(compile(text, "<ipython-input-1>", "exec", dont_inherit=True), module.__dict__)
    return module.__dict__["Mine"]


@pytest.fixture(autouse=True)
def notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "__main__", ModuleType("__main__"))


def test_a_class_without_a_file_has_a_digest_of_what_it_does() -> None:
    first = code_of(made(CELL))
    assert first == code_of(made(CELL)) == code_of(made(f"# moved\n\n{CELL}".replace("# moved", "# here")))
    assert len(first or "") == 64


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("SIGN = 1", "SIGN = -1"),
        ("one: float = 0.5", "one: float = 0.25"),
        ("torch.ones(3)", "torch.zeros(3)"),
        ("return SIGN * value", "return SIGN * value + 1"),
        ("value % 2", "value % 4"),
        ("return 3", "return 4"),
        ("negatives=2", "negatives=3"),
        ("return WEIGHTS", "return [WEIGHTS]"),
        ("return super().embed()", "return None"),
        ('"c"}', '"d"}'),
    ],
)
def test_whatever_it_uses_makes_it_another_one(old: str, new: str) -> None:
    assert CELL.count(old) == 1
    assert code_of(made(CELL.replace(old, new))) != code_of(made(CELL))


def test_it_is_the_same_in_another_process() -> None:
    """Sets have another order there."""
    source = (
        "import sys\nfrom types import ModuleType\nsys.modules['__main__'] = module = ModuleType('__main__')\n"
        "from palate.core.extensions import code_of\n"
        f"exec(compile({CELL!r}, '<x>', 'exec'), module.__dict__)\nprint(code_of(module.Mine))"
    )
    command = [sys.executable, "-"]
    found = {
        subprocess.run(command, input=source, capture_output=True, text=True, check=True).stdout.strip()
        for _ in range(2)
    }
    assert found == {code_of(made(CELL))}


def test_where_it_cannot_be_told_every_digest_is_another_one() -> None:
    kind = made(CELL.replace("return 3", "return data"))
    first, second = code_of(kind), code_of(kind)
    assert first != second
    assert first is not None
    assert first.startswith(f"{UNTOLD}data:")
    assert (code_of(type("Made", (MODELS["bpr"],), {})) or "").startswith(f"{UNTOLD}Made:")


def test_what_palate_and_installed_packages_hold_is_not_looked_into() -> None:
    assert code_of(MODELS["bpr"]) is None
    kind = made(CELL.replace("return 3", "return Path, F.relu, relu, numpy.log").replace(
        "SIGN = 1", "SIGN = 1\nimport numpy\nfrom pathlib import Path\nfrom torch import relu\n"
        "from torch.nn import functional as F",
    ))  # fmt: skip
    assert not (code_of(kind) or UNTOLD).startswith(UNTOLD)


def written(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def test_a_file_that_imports_nothing_beside_it_has_its_own_sha256(tmp_path: Path) -> None:
    written(tmp_path, {"mine.py": "import json, torch\nfrom palate.models import MODELS\n", "other.py": "x = 1\n"})
    assert digest_of(tmp_path / "mine.py") == sha256_of(tmp_path / "mine.py")


@pytest.mark.parametrize("name", ["helper.py", "deep/er.py", "deep/__init__.py"])
def test_what_it_imports_from_its_folder_belongs_to_it(tmp_path: Path, name: str) -> None:
    mine = "from helper import SIGN\n"
    written(tmp_path, {"mine.py": mine, "helper.py": "import deep.er\n", "deep/er.py": "", "deep/__init__.py": ""})
    before = digest_of(tmp_path / "mine.py")
    written(tmp_path, {"unused.py": "x = 1\n"})
    assert digest_of(tmp_path / "mine.py") == before
    written(tmp_path, {name: "SIGN = -1\n"})
    assert digest_of(tmp_path / "mine.py") != before


@pytest.mark.parametrize(
    "line", ["from ..near import a", "import pack.near", "from pack import near", "from .. import near"]
)
def test_in_a_package_it_is_what_the_package_holds(tmp_path: Path, line: str) -> None:
    files = {"pack/__init__.py": "", "pack/near.py": "a = 1\n", "pack/models/__init__.py": ""}
    written(tmp_path, {**files, "pack/models/mine.py": f"{line}\n", "far.py": "x = 1\n"})
    before = digest_of(tmp_path / "pack/models/mine.py")
    written(tmp_path, {"far.py": "x = 2\n"})
    assert digest_of(tmp_path / "pack/models/mine.py") == before
    written(tmp_path, {"pack/near.py": "a = 2\n"})
    assert digest_of(tmp_path / "pack/models/mine.py") != before


def imported(file: Path) -> Any:
    found = importlib.util.spec_from_file_location(f"file_{file.stem}", file)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules[found.name] = module
    found.loader.exec_module(module)
    return module


def test_what_runs_is_what_the_file_was_when_it_was_imported(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("class Mine: ...\n")
    kind = imported(file).Mine
    keep_code(kind)
    before = sha256_of(file)
    file.write_text("class Mine:\n    x = 1\n")
    assert code_of(kind) == before
    again = imported(file).Mine
    assert code_of(again) == sha256_of(file) != before
    assert same_definition(kind, again)


def test_other_files_have_other_definitions(tmp_path: Path) -> None:
    kinds: list[Any] = []
    for name in ("one.py", "two.py"):
        (tmp_path / name).write_text("class Mine: ...\nclass Other: ...\n")
        kinds.append(imported(tmp_path / name))
    assert not same_definition(kinds[0].Mine, kinds[1].Mine)
    assert not same_definition(kinds[0].Mine, kinds[0].Other)
    assert not same_definition("a word", "a word")
    assert same_definition(made(CELL), made(CELL))
