"""Commands on single runs: train, evaluate, recommend."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from palate.cli.application import DataOption, JsonOption, MovedOption, SettingsOption, app
from palate.cli.splitting import (
    ColdShareOption,
    DislikeOption,
    FeaturesOption,
    ImputeOption,
    PositiveOption,
    SplitOption,
    SplitSeedOption,
    ThinOption,
    plan_of,
    say_notes,
)
from palate.core.errors import ConfigError
from palate.printing import print_metrics, print_table, training_line


@app.command()
def train(
    model: Annotated[str, typer.Argument(metavar="MODEL|RECIPE", help="A model of 'palate models', or a recipe file.")],
    data: DataOption,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Run folder; default: runs/…")] = None,
    split: SplitOption = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of training; default: the recipe's, or 0.")] = None,
    split_seed: SplitSeedOption = None,
    positive: PositiveOption = None,
    dislike: DislikeOption = None,
    thin: ThinOption = None,
    cold_share: ColdShareOption = None,
    features: FeaturesOption = None,
    impute: ImputeOption = None,
    preset: Annotated[
        str | None, typer.Option(help="intended (paper's formulas; the default) or official (as released).")
    ] = None,
    settings: SettingsOption = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """Train a model into a run folder; the same command goes on with a run that was interrupted."""
    from palate import experiment
    from palate.core.config import read_assignments
    from palate.models import MODELS
    from palate.recipe import recipe_for, resolve

    chosen = recipe_for(model)
    overrides = read_assignments(settings or [])
    resolve(chosen.model, preset or chosen.preset, {**chosen.settings, **overrides})
    plan = plan_of(
        data,
        chosen,
        features=features,
        impute=impute,
        split=split,
        seed=split_seed,
        positive=positive,
        dislike=dislike,
        thin=thin,
        cold_share=cold_share,
    )
    dataset = plan.load()
    kind = MODELS[chosen.model]
    dataset = dataset.seen_by(features=kind.modal, knowledge=kind.knowledge)
    say_notes(dataset, quiet=quiet)
    run = experiment.fit(model, dataset, seed=seed, preset=preset, settings=overrides, out=out, quiet=quiet)
    for note in () if quiet else run.metrics["training"].get("notes", ()):
        print(note, file=sys.stderr)
    print(f"{run.folder}: {training_line(run.metrics['training'])}")
    if run.metrics["validation"]:
        print_metrics({"validation": run.metrics["validation"]})


@app.command()
def evaluate(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder.")],
    as_json: JsonOption = False,
    mask: Annotated[
        str, typer.Option(help="No candidates: train+valid, or train for parity with published tables.")
    ] = "train+valid",
    trec: Annotated[
        Path | None, typer.Option(help="Write ranked lists and positives for TREC's tools into this new folder.")
    ] = None,
    data: MovedOption = None,
) -> None:
    """Measure a run on the test part."""
    from palate.experiment import Run

    if mask not in ("train", "train+valid"):
        raise ConfigError(f"--mask takes train or train+valid, not '{mask}'")
    opened = Run.load(run, data=data)
    metrics = opened.evaluate(mask=mask)
    about = opened.metrics["test_about"]
    if trec is not None:
        from palate.study.exchange import export_trec

        print(f"{', '.join(export_trec(opened, trec, mask=mask))} → {trec}", file=sys.stderr)
    if as_json:
        print(json.dumps({"run": str(run), "model": opened.recipe.model, **about, "test": metrics}, indent=2))
        return
    print(f"{opened.recipe.model} on {opened.recipe.data.name}, {about['users']:,} of {about['all_users']:,} users")
    if about["users"] < about["all_users"]:
        print(f"{about['all_users'] - about['users']:,} users have no positive in the test part and are not measured")
    print_metrics({"test": metrics})


@app.command()
def recommend(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder.")],
    user: Annotated[list[str] | None, typer.Option("--user", "-u", help="User id. Repeatable.")] = None,
    everyone: Annotated[bool, typer.Option("--all", help="Every user.")] = False,
    k: Annotated[int, typer.Option("-k", min=1, help="Items for each user.")] = 10,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Parquet (or .csv) file to write.")] = None,
    data: MovedOption = None,
) -> None:
    """Recommend items that a user does not know yet, to the screen or into a file."""
    from palate.experiment import Run
    from palate.recommend.topk import write_table

    if bool(user) == everyone:
        given = "--user and --all are both given" if everyone else "it is not said for whom"
        raise ConfigError(given, do="name users with --user ID, or take --all")
    if everyone and out is None:
        raise ConfigError("--all needs a file", do="add -o recommendations.parquet")
    table = Run.load(run, data=data).recommend(None if everyone else user, k)
    if out is not None:
        write_table(table, out)
        print(f"{len(table):,} recommendations for {table['user_id'].n_unique():,} users → {out}")
    else:
        print_table(table)
