"""Recipe files: short settings beside figures, and the recipe of a run read as one."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

import worlds
from palate.core.errors import ArtefactError, ConfigError
from palate.experiment import Recipe, fit
from palate.models import MODELS
from palate.recipe import RecipeFile, recipe_for, resolve
from palate.train.fitting import TrainConfig

SHORT = {
    "model": "bm3",
    "preset": "official",
    "settings": {"dim": 8, "epochs": 2},
    "split": {"split": "random"},
    "features": ["text"],
    "seed": 3,
    "published": [{"source": "a paper", "metrics": {"recall@20": 0.5}}],
}


def written(folder: Path, **changes: object) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump({**SHORT, **changes}))
    return path


def test_a_short_recipe_trains_what_it_says_and_arguments_come_first(tmp_path: Path) -> None:
    path = written(tmp_path)
    data = worlds.dataset(split="random")
    run = fit(str(path), data, out=tmp_path / "one", quiet=True)
    assert run.recipe.model == "bm3"
    assert run.recipe.settings["train_features"] is True, "the official preset"
    assert (run.recipe.settings["dim"], run.recipe.train.epochs, run.recipe.seed) == (8, 2, 3)
    other = fit(
        str(path), data, seed=4, preset="intended", settings={"dim": 4}, out=tmp_path / "two", quiet=True
    ).recipe
    assert other.settings["train_features"] is False
    assert (other.settings["dim"], other.train.epochs, other.seed) == (4, 2, 4)


def test_a_runs_recipe_leads_to_the_same_run(tmp_path: Path) -> None:
    data = worlds.dataset(split="random")
    settings = {"dim": 4, "epochs": 2}
    first = fit("bm3", data, seed=5, preset="official", settings=settings, out=tmp_path / "one", quiet=True)
    again = fit(str(tmp_path / "one" / "recipe.yaml"), data, out=tmp_path / "two", quiet=True)
    assert again.recipe == first.recipe
    closed = fit("ease", data, settings={"ridge": 3.0}, out=tmp_path / "three", quiet=True)
    assert RecipeFile.read(tmp_path / "three" / "recipe.yaml").settings == closed.recipe.settings


def test_the_text_holds_what_is_set_and_reads_back() -> None:
    recipe = RecipeFile.parse(SHORT)
    assert RecipeFile.parse(yaml.safe_load(recipe.text())) == recipe
    assert set(yaml.safe_load(recipe.text())) == set(SHORT)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model": "bm4"}, "bm3"),
        ({"preset": "final"}, "preset"),
        ({"settings": {"dimm": 3}}, "dim"),
        ({"split": {"spilt": "random"}}, "split"),
        ({"modell": "bm3"}, "model"),
        ({"published": [{"metrics": {}}]}, "source"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, changes: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        RecipeFile.read(written(tmp_path, **changes))


def test_what_is_neither_model_nor_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="bm4"):
        recipe_for("bm4")
    with pytest.raises(ArtefactError, match="no recipe"):
        recipe_for(str(tmp_path / "none.yaml"))
    (tmp_path / "list.yaml").write_text("- 1")
    with pytest.raises(ConfigError, match="mapping"):
        recipe_for(str(tmp_path / "list.yaml"))
    assert Recipe(model="bm3").model == recipe_for("bm3").model


def test_the_valid_settings_are_named_in_the_order_of_their_declaration() -> None:
    for model, training in (("bpr", list(TrainConfig.model_fields)), ("ease", ["precision"])):
        with pytest.raises(ConfigError) as caught:
            resolve(model, settings={"zzz": 1})
        wanted = [*MODELS[model].Config.model_fields, *training]
        assert caught.value.do == f"valid settings: {', '.join(wanted)}"
