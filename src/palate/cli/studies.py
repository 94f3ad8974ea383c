"""Commands that look at many runs: tune, compare, probe."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from palate.cli.application import DataOption, JsonOption, MovedOption, QuietOption, SettingsOption, app
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
from palate.core.errors import ConfigError, MissingDependency
from palate.printing import print_comparison

JobsOption = Annotated[int, typer.Option(min=1, help="Processes; they share the CPU's cores.")]


@app.command()
def tune(
    model: Annotated[str, typer.Argument(metavar="MODEL|RECIPE", help="A model of 'palate models', or a recipe file.")],
    data: DataOption,
    trials: Annotated[int, typer.Option(min=1, help="Trials in all, those of earlier calls included.")] = 20,
    timeout: Annotated[float | None, typer.Option(min=1, help="Seconds after which no new trial starts.")] = None,
    jobs: JobsOption = 1,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Folder of the search; default: tuning/…")] = None,
    metric: Annotated[
        str | None, typer.Option(help="Validation metric to maximise; default: the recipe's, or recall@20.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Of training and of the search; default: the recipe's, or 0.")
    ] = None,
    split: SplitOption = None,
    split_seed: SplitSeedOption = None,
    positive: PositiveOption = None,
    dislike: DislikeOption = None,
    thin: ThinOption = None,
    cold_share: ColdShareOption = None,
    features: FeaturesOption = None,
    impute: ImputeOption = None,
    preset: Annotated[str | None, typer.Option(help="intended or official.")] = None,
    settings: SettingsOption = None,
    quiet: QuietOption = False,
) -> None:
    """Search a model's settings on the validation part; again to go on. The result is a recipe file."""
    from palate.core.config import read_assignments
    from palate.core.extensions import option_of
    from palate.models import MODELS
    from palate.recipe import recipe_for
    from palate.study.trials import search_for
    from palate.study.tune import RECIPE
    from palate.study.tune import tune as run_search

    chosen = recipe_for(model)
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
    search = search_for(
        model,
        plan,
        preset=preset,
        settings=read_assignments(settings or []),
        metric=metric,
        seed=chosen.seed if seed is None else seed,
    )
    for name, value in () if quiet else search.kept.items():
        print(f"note: {name} stays {value}, which lies outside what is searched", file=sys.stderr)
    folder = out or Path("tuning") / f"{chosen.model}-{data.resolve().name}"
    recipe = run_search(search, folder, trials=trials, timeout=timeout, jobs=jobs, quiet=quiet)
    found = recipe.ours[0]
    print(f"{found.source}: {search.metric} {found.metrics[search.metric]:.4f}")
    for name in search.space:
        if name in recipe.settings:
            print(f"  {name} = {recipe.settings[name]}")
    own = option_of(MODELS[recipe.model], os.environ)
    print(f"train it: palate {own}train {folder / RECIPE} --data {data}")


@app.command()
def compare(
    data: DataOption,
    models: Annotated[
        list[str] | None, typer.Argument(metavar="[MODEL|RECIPE]...", help="What to compare; none: every model.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each model, with seeds 0, 1, ….")] = 5,
    trials: Annotated[
        int, typer.Option("--tune", min=0, help="Validation trials for each model first; 0: settings as they are.")
    ] = 0,
    knock_out: Annotated[
        bool, typer.Option("--knock-out", help="Train again with each modality absent, as noise, and shuffled.")
    ] = False,
    jobs: JobsOption = 1,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Folder; default: comparisons/DATA-SPLIT.")] = None,
    recipes: Annotated[
        Path | None, typer.Option(help="Folder of recipe files MODEL/DATA.yaml; default: recipes, where there is one.")
    ] = None,
    split: SplitOption = None,
    split_seed: SplitSeedOption = None,
    positive: PositiveOption = None,
    dislike: DislikeOption = None,
    thin: ThinOption = None,
    cold_share: ColdShareOption = None,
    features: FeaturesOption = None,
    impute: ImputeOption = None,
    quiet: QuietOption = False,
) -> None:
    """Compare models on the same split, seeds and budget, and write a report; the same command goes on after a stop."""
    from palate.core.places import file_name
    from palate.models import MODELS
    from palate.recipe import RecipeFile
    from palate.study.compare import RECIPES
    from palate.study.compare import compare as run_comparison
    from palate.study.report import write_report
    from palate.study.results import gather

    if recipes is not None and not recipes.is_dir():
        raise ConfigError("there is no such folder of recipes", where=str(recipes), do="check --recipes")
    for problem in () if models else MODELS.problems.values():
        print(f"note: {problem.what}", file=sys.stderr)
    given = {"split": split, "seed": split_seed, "dislike": dislike, "thin": thin, "cold_share": cold_share}
    plan = plan_of(data, RecipeFile(model="popularity"), features=features, positive=positive, impute=impute, **given)
    dataset = plan.load()
    say_notes(dataset, quiet=quiet)
    folder = out or Path("comparisons") / f"{file_name(dataset.catalogue.name)}-{dataset.settings.split}"
    failed = run_comparison(
        models or list(MODELS),
        plan,
        folder,
        seeds=seeds,
        trials=trials,
        knocked=knock_out,
        jobs=jobs,
        quiet=quiet,
        recipes=recipes or RECIPES,
    )
    # First of all: when nothing was finished, there are no results to put them under.
    for name, problem in failed.items():
        print(f"failed: {name}: {problem}", file=sys.stderr)
    results = gather(folder, dataset)
    print_comparison(results)
    if knock_out and not results["knock_out"]:
        print("note: nothing was knocked out: no model here reads features", file=sys.stderr)
    for note in dict.fromkeys(entry["note"] for entry in results["knock_out"] if "note" in entry):
        print(f"note: {note}")
    for name, reason in results["incomplete"].items():
        if name not in failed:
            print(f"in no table: {name}: {reason}", file=sys.stderr)
    try:
        write_report(folder)
    except MissingDependency as missing:
        print(f"note: no report.html: {missing}", file=sys.stderr)
    print(f"everything → {folder}")
    if failed:
        raise typer.Exit(1)


@app.command()
def verify(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder.")],
    as_json: JsonOption = False,
    data: MovedOption = None,
) -> None:
    """Try on a run what may not change it: repeats, file order, modality order, other row numbers."""

    from palate.study.verify import verify_folder

    found = verify_folder(run, data)
    print(json.dumps(found.as_dict(), indent=2) if as_json else found.text())
    if not found.sound:
        raise typer.Exit(1)


@app.command()
def report(
    comparison: Annotated[Path, typer.Argument(help="Folder of a comparison.")],
    docs: Annotated[Path | None, typer.Option(help="Also write README, tables and SVG files into this folder.")] = None,
) -> None:
    """Write the report of a comparison again, from its stored results."""
    from palate.study.report import write_docs, write_report

    for path in [*write_report(comparison), *(write_docs(comparison, docs) if docs else [])]:
        print(path)
