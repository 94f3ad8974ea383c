"""What its author forgot or mistook is told when a model is asked for, and is in no other model's way."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar, cast

import pytest
from pydantic import Field

from palate.core.config import Config
from palate.core.errors import ConfigError
from palate.core.search import Range
from palate.models import MODELS, Classical, Embeddings, Model, Recommender
from palate.models.bpr import BPR, BPRConfig
from palate.recipe import resolve


@pytest.fixture(autouse=True)
def registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MODELS, "_entries", dict(MODELS._entries))


class NoConfig(Recommender):
    def __init__(self, config: Config, inputs: Any) -> None: ...

    def loss(self, batch: Any, draws: Any) -> dict[str, Any]:
        return {}

    def embed(self) -> Embeddings:
        return cast(Any, None)


class NoEmbed(Recommender):
    Config = BPRConfig

    def __init__(self, config: Config, inputs: Any) -> None: ...

    def loss(self, batch: Any, draws: Any) -> dict[str, Any]:
        return {}


class NoFit(Classical):
    Config = Config

    def __init__(self, config: Config, inputs: Any) -> None: ...


class Plain(Model):
    Config = Config

    def __init__(self, config: Config, inputs: Any) -> None: ...

    def scorer(self) -> Any: ...


class WordForNumber(Config):
    dim: int = cast(int, "sixteen")


class NoDefault(Config):
    dim: int
    penalty_weight: float = Field(default=0.0)
    official: ClassVar[Any] = None


def variant(**attributes: Any) -> type[Model]:
    return type("Variant", (BPR,), {"__module__": __name__, **attributes})


def function(config: Config, inputs: Any) -> None: ...


PROBLEMS: dict[str, tuple[object, str]] = {
    "no Config": (NoConfig, "it has no Config"),
    "settings of another kind": (variant(Config={"dim": 4}), "its Config is no class of settings"),
    "a function": (function, "it is a function, not a class"),
    "no embed": (NoEmbed, "it has no embed"),
    "no fit": (NoFit, "it has no fit, items, score_block"),
    "a plain model": (Plain, "it is no Recommender or Classical"),
    "no model": (WordForNumber, "it is no Recommender or Classical"),
    "a number for needs": (variant(needs=2), "needs is 2"),
    "a list for a space": (variant(search={"dim": [4, 8]}), r"tuning tries for 'dim' is \[4, 8\]"),
    "a default of another type": (variant(Config=WordForNumber), "dim: input should be a valid integer"),
}


@pytest.mark.parametrize("mistake", PROBLEMS)
def test_what_cannot_be_a_model_says_what_it_lacks(mistake: str) -> None:
    kind, words = PROBLEMS[mistake]
    MODELS.register("mine")(kind)
    for ask in (lambda: MODELS["mine"], lambda: resolve("mine")):
        with pytest.raises(ConfigError, match=words) as caught:
            ask()
        assert "the model 'mine' cannot be used" in caught.value.what
        assert f"in {__file__}" in caught.value.where
        assert caught.value.do
    assert "mine" not in list(MODELS)
    assert resolve("bpr")[0] is BPR
    assert list(MODELS.problems) == ["mine"]


def test_mended_and_defined_again_it_can_be_used() -> None:
    MODELS.register("mine")(variant(needs=2))
    MODELS.register("mine")(variant())
    assert issubclass(MODELS["mine"], BPR)
    assert MODELS.problems == {}


def test_a_setting_without_a_default_is_asked_for() -> None:
    MODELS.register("mine")(variant(Config=NoDefault))
    with pytest.raises(ConfigError, match="mine has no default for: dim") as caught:
        resolve("mine")
    assert "--set dim=" in caught.value.do
    assert resolve("mine", settings={"dim": 4, "epochs": 2})[1].model_dump()["dim"] == 4


def test_a_setting_that_is_called_as_one_of_training_is_refused() -> None:
    class Own(BPRConfig):
        epochs: int = 3

    MODELS.register("mine")(variant(Config=Own))
    with pytest.raises(ConfigError, match="called as one of training: epochs") as caught:
        resolve("mine", settings={"epochs": 2})
    assert "Own in" in caught.value.where.replace(Own.__qualname__, "Own")


def test_a_title_may_be_left_out() -> None:
    assert NoEmbed.title == "NoEmbed"
    assert variant().title == BPR.title


def test_the_list_of_models_shows_what_cannot_be_used(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "from palate.models import MODELS\nfrom palate.core.config import Config\nfrom palate.models.bpr import BPR\n"
        "@MODELS.register('wrong')\nclass Wrong(BPR):\n    needs = 2\n"
        "class Settings(Config):\n    dim: int\n    penalty_weight: float = 0.0\n"
        "@MODELS.register('right')\nclass Right(BPR):\n    Config = Settings\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "PALATE_MODELS"}

    def palate(*words: str) -> str:
        command = [sys.executable, "-m", "palate", "--models", str(file), *words]
        ended = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    listed = palate("models")
    assert "bm3 " in listed
    assert "right " in listed
    assert f"the model 'wrong' cannot be used: needs is 2 (Wrong in {file})" in listed
    described = palate("models", "right")
    assert described.startswith("dim = to be set\npenalty_weight = 0.0\n")
    assert "None\n" not in described.split("Training:")[0]


def test_ranges_are_what_tuning_takes() -> None:
    MODELS.register("mine")(variant(search={"dim": Range(4, 8, whole=True)}))
    assert MODELS["mine"].search["dim"].holds(5)
