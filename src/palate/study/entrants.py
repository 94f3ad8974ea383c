"""Who takes part in a comparison: what each entrant is called, the recipe it names, and whether it suits the data.

Takes models' names and recipe files; gives labels and recipes, or says what is wrong with one of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from palate.core.errors import ConfigError
from palate.core.extensions import code_of
from palate.dataset.dataset import Dataset
from palate.models import MODELS
from palate.recipe import RecipeFile, recipe_for, resolve

RECIPES = Path("recipes")


def recipe_of(name: str, data: str, recipes: Path = RECIPES) -> str:
    """The recipe file of a model for a data set where there is one, else the model itself with its defaults.

    Raises:
        ConfigError: for an unknown model.
    """
    if name.endswith((".yaml", ".yml")):
        return name
    MODELS[name]
    stored = recipes / name / f"{data}.yaml"
    return str(stored) if stored.is_file() else name


def entrants_of(names: Sequence[str], data: str, recipes: Path = RECIPES) -> dict[str, str]:
    """Label → model or recipe file.

    Args:
        names: models or recipe files.
        data: name of the catalogue.
        recipes: folder of recipe files MODEL/DATA.yaml.

    Raises:
        ConfigError: for an unknown model, or two entrants with the same label.
    """
    given: dict[str, str] = {}
    for name in names:
        label = _label(name, data)
        if label in given:
            raise ConfigError(
                f"two entrants have the same name '{label}': {given[label]} and {name}",
                do="name each of them once, or give each recipe file a name of its own",
            )
        given[label] = name
    return {label: recipe_of(name, data, recipes) for label, name in given.items()}


def check_there(entrants: Mapping[str, str]) -> None:
    """Refuse a recipe file that is not there before anything is trained: its name is misspelt.

    Args:
        entrants: label → model or recipe file.

    Raises:
        ConfigError: naming the first one.
    """
    for name in entrants.values():
        if name.endswith((".yaml", ".yml")) and not Path(name).is_file():
            raise ConfigError(
                "there is no recipe here", where=name, do="name a recipe file, or a model (palate models)"
            )


def _label(name: str, data: str) -> str:
    path = Path(name)
    if path.suffix not in (".yaml", ".yml"):
        return name
    # What a run or a search leaves is called recipe.yaml everywhere; its folder tells which it is.
    if path.stem == "recipe":
        return path.resolve().parent.name or path.stem
    # recipes/bm3/ml100k-mm.yaml is bm3 and recipes/bm3/ml100k-mm-dense.yaml bm3-dense; other files bear their own name.
    kind = path.resolve().parent.name
    if kind not in MODELS or path.stem == kind:
        return path.stem
    rest = path.stem.removeprefix(data).strip("-_")
    return f"{kind}-{rest}" if rest else kind


def entrant_recipe(name: str, label: str, dataset: Dataset) -> RecipeFile:
    """The recipe that an entrant names, if it can be run on these data.

    Raises:
        ConfigError, ArtefactError: when it cannot be read, wants modalities that are not there, or wants what items
            lack filled in otherwise.
    """
    recipe = recipe_for(name)
    kind, _, _ = resolve(recipe.model, recipe.preset, recipe.settings)
    own = with_features(dataset, recipe.features, label)
    wanted = {modality: how for modality, how in recipe.impute.items() if how != "none"}
    if kind.modal and recipe.impute and wanted != own.imputation:
        raise ConfigError(
            f"the recipe of {label} wants what items lack filled in as {_ways(wanted)}, and this comparison has "
            f"{_ways(own.imputation)}",
            where=name,
            do="compare with that --impute, or take impute out of the recipe",
        )
    return recipe


def _ways(imputation: Mapping[str, str]) -> str:
    return ",".join(f"{modality}={how}" for modality, how in sorted(imputation.items())) or "none"


def with_features(dataset: Dataset, names: list[str] | None, label: str) -> Dataset:
    """The data set with the modalities that an entrant's recipe asks for; None takes all.

    Raises:
        ConfigError: when the comparison does not have one of them.
    """
    if names is None:
        return dataset
    lacking = [name for name in names if name not in dataset.features]
    if lacking:
        raise ConfigError(
            f"the recipe of {label} wants {', '.join(lacking)}, which this comparison does not have",
            do="encode it, or name it in --features; or take the modalities out of the recipe",
        )
    return dataset.with_features(names)


def resolved(recipe: RecipeFile) -> dict[str, Any]:
    """All that a run of this recipe depends on besides data and seed: plain values, every default in place."""
    kind, config, training = resolve(recipe.model, recipe.preset, recipe.settings)
    return {
        "model": recipe.model,
        "settings": config.model_dump(mode="json"),
        "training": training.model_dump(mode="json"),
        "features": None if recipe.features is None else sorted(recipe.features),
        "code": code_of(kind),
    }


def other_splits(recipes: Mapping[str, RecipeFile], dataset: Dataset) -> str:
    """One sentence about the recipes that were made for another split; empty when there is none."""
    found: list[str] = []
    for label, recipe in recipes.items():
        here = dataset.settings.model_dump()
        differing = [f"{name} {value}" for name, value in recipe.split.items() if here.get(name) != value]
        if differing:
            found.append(f"{label} ({', '.join(differing)})")
    made_for = f"made for another split, and compared on this one (split {dataset.settings.split})"
    return f"{made_for}: the recipe of {'; of '.join(found)}" if found else ""
