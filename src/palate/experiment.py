"""One Recipe → one Run folder: wires data, model, training, evaluation and recommendations of a single run.

`fit` trains, or goes on with a run that was interrupted; `Run.load` opens a finished one. A finished folder holds
`recipe.yaml`, `environment.json`, `history.jsonl`, `ids.parquet`, `model.safetensors`, `embeddings.safetensors`,
`metrics.json` and a manifest with the sha256 of each.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from palate.core.artefact import (
    MANIFEST,
    read_json,
    read_manifest,
    read_tensors,
    replace_json,
    unchanged,
    write_json,
    write_manifest,
    write_tensors,
)
from palate.core.environment import environment
from palate.core.errors import ArtefactError, DataError
from palate.core.extensions import UNTOLD, code_of
from palate.core.places import file_name
from palate.core.progress import tell
from palate.dataset.dataset import Dataset, Mask
from palate.dataset.settings import SplitConfig
from palate.encode.features import Features
from palate.encode.store import FeatureStore
from palate.graph.rows import IntArray
from palate.measure.evaluation import evaluate
from palate.measure.metrics import Accuracy
from palate.models import MODELS, Embeddings, Model, Recommender, Scorer
from palate.optimise.profile import Profile
from palate.recipe import DataRecipe, Recipe, differences, recipe_for, resolve
from palate.recommend.bundle import Bundle
from palate.recommend.bundling import Keep, bundle_of
from palate.recommend.colditem import How
from palate.recommend.filters import BoolArray
from palate.recommend.forgetting_stored import refuse_forgotten
from palate.recommend.newitems import measure_new_items
from palate.recommend.rerank import Rules
from palate.recommend.topk import recommend
from palate.train.columns import tell_columns
from palate.train.fitting import fit_model
from palate.train.otherdata import refuse_other_data
from palate.train.restoring import restored, tell_other_code
from palate.train.scorers import scorer_of
from palate.train.warmstart import WarmStart, tell_sides, write_ids

__all__ = ["DataRecipe", "Recipe", "Run", "differences", "environment", "fit", "load", "resolve"]

KIND, VERSION = "run", 1
MODEL, EMBEDDINGS, METRICS = "model.safetensors", "embeddings.safetensors", "metrics.json"
OTHER = "another folder (-o FOLDER, in Python out=…) makes a new one"


def load(
    folder: Path | str,
    *,
    features: str | list[str] | None = None,
    impute: str | Mapping[str, str] = "none",
    split_seed: int = 0,
    **settings: Any,
) -> Dataset:
    """The data set of a catalogue folder: `palate.load("CAT", split="user-time")`.

    Args:
        features: a name of an encoded modality, or several; None takes all there are.
        impute: how to fill in content that items lack (none, zero, mean, neighbours, knowledge), for all modalities or
            by modality: `{"image": "neighbours"}`. See `Dataset.imputed`.
        split_seed: of the id permutation and the split.
        settings: further fields of `SplitConfig`: split, positive, dislike, thin, cold_share.
    """
    return Dataset.load(folder, SplitConfig.parse({"seed": split_seed, **settings}), features, impute)


def fit(
    model: str,
    data: Dataset | Path | str,
    *,
    seed: int | None = None,
    preset: str | None = None,
    settings: Mapping[str, Any] | None = None,
    out: Path | str | None = None,
    quiet: bool = False,
    profile: Profile | None = None,
    warm_start: Path | str | None = None,
) -> Run:
    """Train a model on a data set into a run folder.

    The same call goes on with a run that was interrupted, and gives back one that is finished.

    Args:
        model: a registered name (`palate models`), or a recipe file.
        data: see `load`; of a catalogue's folder, what `load(folder)` gives.
        seed: of parameters, batches, negatives and draws; the split has a seed of its own. Default: the recipe's, or 0.
        preset: "intended" (the paper's formulas, errors repaired) or "official" (as released). Default: the recipe's,
            or intended.
        settings: overrides of the model's and the training's settings by name.
        out: the run folder; None makes `runs/MODEL-DATA-SPLIT-sSEED` (with a number when other settings have it).
        quiet: show no progress.
        profile: is told where the time of each epoch goes (`Profile.text`); the run is the same with and without.
        warm_start: folder of a finished run of the same model, whose parameters training begins with; rows of users
            and items are matched by their ids, new ones begin as usual.

    Raises:
        ConfigError: for unknown names or settings, or a run to start from that does not fit.
        ArtefactError: when `out` holds something else.
        TrainingError: when training cannot go on.
        Interrupted: after Ctrl-C.
    """
    chosen = recipe_for(model)
    kind, config, training = resolve(chosen.model, preset or chosen.preset, {**chosen.settings, **(settings or {})})
    seed = chosen.seed if seed is None else seed
    data = data if isinstance(data, Dataset) else load(data)
    data = data.seen_by(features=kind.modal, knowledge=kind.knowledge)
    begin = None if warm_start is None else WarmStart.load(Path(warm_start))
    if begin is not None:
        begin.check(chosen.model, kind)
    folder = data.catalogue.folder
    facts = {
        "model": chosen.model,
        "settings": config.model_dump(),
        "train": training,
        "data": DataRecipe(
            catalogue=str(folder.resolve()) if folder else None,
            name=data.catalogue.name,
            split=data.settings,
            features=list(data.features),
            encoders={name: value.encoder for name, value in data.features.items()},
            impute=data.imputation,
            fingerprint=data.fingerprint,
        ),
        "seed": seed,
        "warm_start": None if begin is None else begin.digest,
        "code": code_of(kind),
    }
    recipe = Recipe.parse(facts)
    run_folder = Path(out) if out is not None else _free_folder(recipe)
    if (recipe.code or "").startswith(UNTOLD) and not quiet:
        used = (recipe.code or "").split(":")[1]
        tell(f"{chosen.model} uses {used}, which may be another one each time: no earlier run of it is used again")
    if recipe.is_of(run_folder) and (run_folder / MANIFEST).exists():
        if not quiet:
            tell(f"this run was finished before, nothing is trained again; {OTHER}")
        return replace(Run.load(run_folder, data=data), earlier=True)
    recipe.begin(run_folder, ("history.jsonl", MODEL, EMBEDDINGS, METRICS))
    fitted = fit_model(
        kind, config, data, training, seed=seed, folder=run_folder, quiet=quiet, profile=profile, warm_start=begin
    )
    write_ids(run_folder, data)
    write_tensors(
        run_folder / MODEL, fitted.model.state_dict(), tell_sides(fitted.model, config, data) | tell_columns(data)
    )
    scorer = scorer_of(fitted.model, data.inputs())
    if isinstance(fitted.model, Recommender) and isinstance(scorer, Embeddings):
        write_tensors(run_folder / EMBEDDINGS, {"user": scorer.user, "item": scorer.item})
    write_json(run_folder / METRICS, {"validation": fitted.validation, "training": fitted.facts})
    # Finished from here on: killed before, the run goes on from its checkpoint; killed after, that is left over.
    write_manifest(run_folder, KIND, VERSION, {"model": chosen.model}, without="checkpoint")
    shutil.rmtree(run_folder / "checkpoint", ignore_errors=True)
    return Run(run_folder, recipe, scorer, data)


def _free_folder(recipe: Recipe) -> Path:
    name = f"{recipe.model}-{file_name(recipe.data.name)}-{recipe.data.split.split}-s{recipe.seed}"
    for number in range(1, 10_000):
        folder = Path("runs") / (name if number == 1 else f"{name}-{number}")
        if not folder.exists() or recipe.is_of(folder):
            return folder
    raise ArtefactError("there are 10,000 runs of this name", where="runs", do="say where to put it (-o RUN)")


@dataclass
class Run:
    """A finished run.

    Attributes:
        folder: where it is stored.
        recipe: its settings.
        scorer: its model, ready to score.
        data: its data set.
        earlier: `fit` found it finished, and trained nothing.
    """

    folder: Path
    recipe: Recipe
    scorer: Scorer
    data: Dataset
    earlier: bool = False
    measured: dict[str, Accuracy] = field(default_factory=dict[str, Accuracy])

    def __repr__(self) -> str:
        name = f"{self.recipe.model}, seed {self.recipe.seed}, on {self.recipe.data.name or 'data of the memory'}"
        return f"Run {self.folder}: {name} (split {self.recipe.data.split.split})"

    @classmethod
    def load(cls, folder: Path | str, *, data: Dataset | Path | str | None = None) -> Run:
        """Open a finished run; every file is checked against its manifest.

        Where the code of a model from outside Palate is not what it was, a note says so.

        Args:
            data: its data set, or its catalogue's folder where that has moved.

        Raises:
            ArtefactError: when the folder is no finished run or was changed.
            DataError: when the data are not those it was trained on.
        """
        with unchanged(Path(folder), but=METRICS) as folder:
            if (folder / "recipe.yaml").exists() and not (folder / MANIFEST).exists():
                raise ArtefactError(
                    "this run is not finished", where=str(folder), do="run its 'palate train' command again to go on"
                )
            manifest = read_manifest(folder, KIND, VERSION)
            refuse_forgotten(manifest, folder)
            files = manifest["files"]
            recipe = Recipe.read(folder / "recipe.yaml")
            kind = MODELS[recipe.model]
            tell_other_code(recipe.model, kind, recipe.code, folder)
            whole = data if isinstance(data, Dataset) else recipe.data.load(folder, data)
            dataset = whole.seen_by(features=kind.modal, knowledge=kind.knowledge)
            if dataset.fingerprint != recipe.data.fingerprint:
                refuse_other_data(
                    folder,
                    dataset,
                    recipe.data.encoders,
                    catalogue=recipe.data.catalogue,
                    learns=issubclass(kind, Recommender),
                )
            return cls(folder, recipe, _scorer_of(recipe, folder, dataset, EMBEDDINGS in files), dataset)

    @property
    def metrics(self) -> dict[str, Any]:
        """`metrics.json`: validation, training facts, and test once it was measured."""
        return read_json(self.folder / METRICS)

    def evaluate(self, *, mask: Mask = "train+valid", quiet: bool = False) -> dict[str, float]:
        """Measure the test part, and note it in the run folder.

        Args:
            mask: which rows are no candidates; "train" is for parity with published tables.
            quiet: show no progress.

        Raises:
            ConfigError: for another mask.
            DataError: when no user has a positive in the test part.
        """
        result = self.accuracy(mask, quiet=quiet)
        means = result.means()
        about = {"users": len(result.users), "all_users": len(self.data.users), "mask": mask}
        replace_json(self.folder, METRICS, {**self.metrics, "test": means, "test_about": about})
        return means

    def accuracy(self, mask: Mask = "train+valid", *, quiet: bool = False) -> Accuracy:
        """The test metrics of each user."""
        positives = self.data.positives["test"]
        if positives.size == 0:
            raise DataError("the test part has no positive interaction", do="choose another split or positive")
        if mask not in self.measured:
            hidden, title = self.data.mask("test", mask), "" if quiet else "evaluating"
            self.measured[mask] = evaluate(self.scorer, positives, hidden, seed=self.recipe.seed, title=title)
        return self.measured[mask]

    def evaluate_new_items(self, how: How = "auto", *, mask: Mask = "train+valid") -> dict[str, Any]:
        """Measure the test part with the items that have no train positive placed by their content, and note it.

        Args:
            how: see `bundle_of`.
            mask: as in `evaluate`.

        Returns and raises: see `measure_new_items`.
        """
        content = self.content() | self.data.features
        found = measure_new_items(
            self.recipe.model, self.model(), self.scorer, self.data, content, how, mask, seed=self.recipe.seed
        )
        replace_json(self.folder, METRICS, {**self.metrics, "test_new_items": found})
        return found

    def model(self) -> Model:
        """The trained model itself, with its parameters."""
        return _model_of(self.recipe, self.folder, self.data)

    def bundle(self, *, keep: Keep = "float16", new_items: How = "auto") -> Bundle:
        """What is served of this run (see `bundle_of`); `Bundle.save` stores it.

        All modalities that the catalogue has are kept, also those that the model does not read.

        Raises:
            ConfigError: see `bundle_of`.
        """
        # Where the catalogue lies on this machine is nobody's business who is given the bundle.
        recipe = self.recipe.at(None)
        return bundle_of(
            self.recipe.model,
            self.model(),
            self.scorer,
            self.data,
            content=self.content() | self.data.features,
            keep=keep,
            new_items=new_items,
            recipe=recipe.model_dump(mode="json"),
            seed=self.recipe.seed,
        )

    def content(self) -> dict[str, Features]:
        """All modalities of the catalogue, rows in item order, also those that the model does not read.

        Where the catalogue is stored, these are the features as they were encoded, with nothing filled in.
        """
        folder, ids = self.data.catalogue.folder, self.data.items.ids.to_list()
        if folder is None:
            return self.data.features
        store = FeatureStore(folder)
        return {name: store.load(name, ids) for name in store.names()}

    def recommend(
        self,
        users: str | int | Sequence[str | int] | None = None,
        k: int = 10,
        *,
        allowed: BoolArray | None = None,
        rules: Rules | None = None,
    ) -> pl.DataFrame:
        """The k best items of each user that the user does not know yet.

        Args:
            users: a user id, or several (a number is one, too); None for all.
            k: list length.
            allowed: items that may be in a list; `ItemFilters.of(run.data).mask(["genre=Comedy"])` makes such a mask.
            rules: what every list should be like beyond its scores: a popularity cap, diversity, a cold quota.

        Raises:
            DataError: for an unknown user.
            ConfigError: for a list length below 1.
        """
        title = "recommending" if users is None else ""
        wanted = [users] if isinstance(users, str | int | np.integer) else users
        rows: IntArray = np.arange(len(self.data.users)) if wanted is None else self.data.users.rows(wanted)
        seed = self.recipe.seed
        return recommend(self.scorer, self.data, rows, k, seed=seed, allowed=allowed, rules=rules, title=title)


def _scorer_of(recipe: Recipe, folder: Path, dataset: Dataset, embedded: bool) -> Scorer:
    if embedded:
        tensors, _ = read_tensors(folder / EMBEDDINGS)
        return Embeddings(tensors["user"], tensors["item"])
    return _model_of(recipe, folder, dataset).scorer()


def _model_of(recipe: Recipe, folder: Path, dataset: Dataset) -> Model:
    tensors, _ = read_tensors(folder / MODEL)
    return restored(
        MODELS[recipe.model],
        recipe.settings,
        dataset.inputs(),
        recipe.seed,
        recipe.train.precision,
        tensors,
        folder,
    )
