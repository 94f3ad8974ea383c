"""Recipes: the resolved settings of one run, and the short files of `recipes/` that lead to them.

Takes YAML; gives validated settings of model, training and data.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast

import yaml
from pydantic import Field

from palate.core.artefact import MANIFEST, leftover, write_json, write_text
from palate.core.config import Config, read_yaml
from palate.core.environment import environment
from palate.core.errors import ArtefactError, ConfigError, DataError, unknown_name
from palate.core.sources import place_of
from palate.dataset.dataset import Dataset
from palate.dataset.settings import Imputation, SplitConfig
from palate.encode.store import FeatureStore
from palate.models import MODELS, Model, Recommender
from palate.train.fitting import TrainConfig

PASS_DATA = "pass the data set: Run.load(folder, data=…)"


class DataRecipe(Config):
    """Where a run's data came from."""

    catalogue: str | None = Field(default=None, description="folder of the catalogue; unset when it was made in memory")
    name: str = Field(default="", description="name of the catalogue")
    split: SplitConfig = SplitConfig()
    features: list[str] = Field(default=[], description="modalities used")
    encoders: dict[str, str] = Field(default={}, description="what made the rows of each modality, by its identity")
    impute: dict[str, Imputation] = Field(default={}, description="how content that items lack was filled in")
    fingerprint: str = Field(default="", description="of the data set that came of it")

    def load(self, run: Path, moved: Path | str | None = None) -> Dataset:
        """The data set.

        Args:
            run: the run's folder, for messages.
            moved: the catalogue, where it is elsewhere now.

        Raises:
            DataError: when the data were made in memory, or are not there any more.
            ArtefactError: when they are damaged.
        """
        place = moved or self.catalogue
        if place is None:
            raise DataError("this run's data were made in memory", where=str(run), do=PASS_DATA)
        if not Path(place).is_dir():
            raise DataError(
                "this run's catalogue is not there any more", where=str(place), do="say where it is now with --data"
            )
        lacking = [name for name in self.features if name not in FeatureStore(Path(place)).names()]
        # Of a folder that is no catalogue, loading says so.
        if lacking and (Path(place) / MANIFEST).is_file():
            what = f"this run learnt from {', '.join(lacking)}, which its catalogue does not hold"
            do = f"encode it again; or, where it was made in memory, {PASS_DATA}"
            raise DataError(what, where=f"{run}, of {place}", do=do)
        return Dataset.load(place, self.split, self.features, self.impute)


class Recipe(Config):
    """Resolved settings of one run: everything needed to repeat it."""

    model: str
    settings: dict[str, Any] = Field(default={}, description="the model's config")
    train: TrainConfig = TrainConfig()
    data: DataRecipe = DataRecipe()
    seed: int = Field(default=0, ge=0, description="of parameters, batches, negatives and draws")
    warm_start: str | None = Field(default=None, description="sha256 of the parameters that training began with")
    code: str | None = Field(default=None, description="digest of the code of a model from outside Palate")

    @classmethod
    def read(cls, path: Path) -> Recipe:
        """A recipe from YAML.

        Raises:
            ArtefactError, ConfigError: when it cannot be read, or is no recipe.
        """
        return cls.parse(_mapping(path), where=str(path))

    def at(self, catalogue: str | None) -> Recipe:
        """The same recipe with its catalogue in another folder: where that lies is no part of what a run is."""
        return self.override({"data": self.data.override({"catalogue": catalogue})})

    def is_of(self, folder: Path) -> bool:
        """Whether a run of this recipe is here; its catalogue may have moved, the fingerprint says it is the same."""
        if not (folder / "recipe.yaml").is_file():
            return False
        try:
            return Recipe.read(folder / "recipe.yaml").at(self.data.catalogue).text() == self.text()
        except (ArtefactError, ConfigError):
            return False

    def begin(self, folder: Path, files: Iterable[str]) -> None:
        """Make a run folder, or check that an unfinished one is this recipe's.

        Args:
            files: names of what training writes into it.

        Raises:
            ArtefactError: when it holds something else.
        """
        if (folder / "recipe.yaml").exists():
            if not self.is_of(folder):
                # Before its first checkpoint a run holds nothing worth keeping: its settings may be mended.
                finished = (folder / MANIFEST).exists()
                if finished or (folder / "checkpoint").exists():
                    stored = Recipe.read(folder / "recipe.yaml").at(self.data.catalogue)
                    changed = differences(stored.model_dump(), self.model_dump())
                    kind = "a finished" if finished else "an unfinished"
                    raise ArtefactError(
                        f"{kind} run with other settings is here (they differ in: {', '.join(changed) or 'layout'})",
                        where=str(folder),
                        do="choose another folder" + ("" if finished else ", or repeat its settings to go on with it"),
                    )
                for name in files:
                    (folder / name).unlink(missing_ok=True)
        elif folder.exists() and (not folder.is_dir() or any(not leftover(path) for path in folder.iterdir())):
            raise ArtefactError("there is something else here", where=str(folder), do="choose a new or empty folder")
        # The recipe comes first: a folder that has it is known as a run, whenever the process is killed.
        write_text(folder / "recipe.yaml", self.text())
        write_json(folder / "environment.json", environment())
        for path in filter(leftover, folder.iterdir()):
            path.unlink(missing_ok=True)

    def text(self) -> str:
        """As YAML."""
        values = self.model_dump(mode="json")
        # Left out where there is none, as in the runs that were made before there was such a thing.
        for name in ("warm_start", "code"):
            if values[name] is None:
                del values[name]
        return yaml.safe_dump(values, sort_keys=False, allow_unicode=True)


class Figures(Config):
    """Measured or published figures that stand beside settings.

    Attributes:
        source: paper and table, or the command that measured them.
    """

    source: str
    data: str = Field(default="", description="data set and split, where they are not the recipe's own")
    seeds: int = Field(default=1, ge=1, description="runs averaged")
    metrics: dict[str, float] = Field(default={}, description="recall@20 and so on")
    seconds_per_epoch: float | None = Field(default=None, ge=0)
    peak_memory_mb: float | None = Field(default=None, ge=0)
    note: str = ""


class RecipeFile(Config):
    """A file of `recipes/`: what to set for a model on a data set, and the figures to expect."""

    model: str
    preset: str = Field(default="intended", description="intended or official")
    data: str = Field(default="", description="name of the data set it was made for")
    settings: dict[str, Any] = Field(default={}, description="of model and training, over those of the preset")
    split: dict[str, Any] = Field(default={}, description="fields of the split, over those that the data suggest")
    features: list[str] | None = Field(default=None, description="modalities; unset: all that are encoded")
    impute: dict[str, Imputation] = Field(default={}, description="modality → how to fill in what items lack")
    seed: int = Field(default=0, ge=0)
    published: list[Figures] = Field(default=[], description="figures of others, with their source")
    ours: list[Figures] = Field(default=[], description="figures measured with these settings")

    @classmethod
    def read(cls, path: Path) -> RecipeFile:
        """A recipe file, or the `recipe.yaml` of a run as one.

        Raises:
            ArtefactError, ConfigError: when it cannot be read, or names settings that do not exist.
        """
        values = _mapping(path)
        if "train" in values:
            run = Recipe.parse(values, where=str(path))
            settings = {**run.settings, **(run.train.model_dump() if _trained(run.model) else {})}
            split = run.data.split.model_dump(exclude_none=True)
            found = cls(
                model=run.model,
                data=run.data.name,
                settings=settings,
                split=split,
                features=run.data.features or None,
                impute=run.data.impute,
                seed=run.seed,
            )
        else:
            found = cls.parse(values, where=str(path))
        resolve(found.model, found.preset, found.settings)
        SplitConfig.parse(found.split, where=str(path))
        return found

    def text(self) -> str:
        """As YAML, without what is not set."""
        values = self.model_dump(mode="json", exclude_defaults=True)
        return yaml.safe_dump(values, sort_keys=False, allow_unicode=True)


def recipe_for(model: str) -> RecipeFile:
    """What `model` names: a registered model with its defaults, or a recipe file (a path that ends in .yaml).

    Raises:
        ConfigError: for an unknown model.
        ArtefactError: when there is no such file.
    """
    if model.endswith((".yaml", ".yml")):
        return RecipeFile.read(Path(model))
    MODELS[model]
    return RecipeFile(model=model)


def _trained(model: str) -> bool:
    return issubclass(MODELS[model], Recommender)


def _mapping(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ArtefactError("there is no recipe here", where=str(path))
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ArtefactError("this recipe is not text", where=str(path)) from None
    value = read_yaml(text, where=str(path))
    if not isinstance(value, dict):
        raise ConfigError("a recipe is a mapping of settings", where=str(path))
    return cast("dict[str, Any]", value)


def resolve(
    model: str, preset: str = "intended", settings: Mapping[str, Any] | None = None
) -> tuple[type[Model], Config, TrainConfig]:
    """A model's class, and its and the training's settings, from a preset and overrides of either by name.

    Raises:
        ConfigError: for an unknown model, a preset that it lacks, or an unknown setting.
    """
    kind = MODELS[model]
    mine: dict[str, Any] = {}
    if preset == "official":
        official = getattr(kind.Config, "official", None)
        if official is None:
            raise ConfigError(f"{model} has no official preset", do="leave --preset out")
        mine = official().model_dump()
    elif preset != "intended":
        raise ConfigError(unknown_name("preset", preset, ["intended", "official"]), do="use intended or official")
    training: dict[str, Any] = {}
    trained = tuple(TrainConfig.model_fields) if issubclass(kind, Recommender) else ("precision",)
    shared = [name for name in trained if name in kind.Config.model_fields]
    if shared:
        what = f"{model} has a setting of its own that is called as one of training: {', '.join(shared)}"
        raise ConfigError(what, where=place_of(kind.Config), do="rename it, so that --set can mean either")
    for name, value in (settings or {}).items():
        if name in kind.Config.model_fields:
            mine[name] = value
        elif name in trained:
            training[name] = value
        else:
            valid = [*kind.Config.model_fields, *trained] or ["none"]
            raise ConfigError(unknown_name("setting", name, valid), do=f"valid settings: {', '.join(valid)}")
    unset = [name for name, field in kind.Config.model_fields.items() if field.is_required() and name not in mine]
    if unset:
        do = f"set it: --set {unset[0]}=… (in Python settings={{'{unset[0]}': …}})"
        raise ConfigError(f"{model} has no default for: {', '.join(unset)}", where=place_of(kind.Config), do=do)
    return kind, kind.Config.parse(mine), TrainConfig.parse(training)


def differences(one: Mapping[str, Any], other: Mapping[str, Any], prefix: str = "") -> list[str]:
    """The dotted names of the settings that differ."""
    names: list[str] = []
    for key in dict.fromkeys([*one, *other]):
        left, right = one.get(key), other.get(key)
        if isinstance(left, dict) and isinstance(right, dict):
            names += differences(cast("dict[str, Any]", left), cast("dict[str, Any]", right), f"{prefix}{key}.")
        elif left != right:
            names.append(f"{prefix}{key}")
    return names
