"""Commands that look at many runs: tune, compare, probe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from palate.cli.application import DataOption, SettingsOption, app
from palate.cli.splitting import (
    ColdShareOption,
    DislikeOption,
    FeaturesOption,
    PositiveOption,
    SplitOption,
    SplitSeedOption,
    ThinOption,
    plan_of,
)

JobsOption = Annotated[int, typer.Option(min=1, help="Processes; they share the CPU's cores.")]


@app.command()
def tune(
    model: Annotated[str, typer.Argument(metavar="MODEL|RECIPE", help="A model of 'palate models', or a recipe file.")],
    data: DataOption,
    trials: Annotated[int, typer.Option(min=1, help="Trials in all, those of earlier calls included.")] = 20,
    timeout: Annotated[float | None, typer.Option(min=1, help="Seconds after which no new trial starts.")] = None,
    jobs: JobsOption = 1,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Folder of the search; default: tuning/…")] = None,
    metric: Annotated[str, typer.Option(help="Validation metric to maximise.")] = "recall@20",
    seed: Annotated[int, typer.Option(min=0, help="Of training and of the search.")] = 0,
    split: SplitOption = None,
    split_seed: SplitSeedOption = None,
    positive: PositiveOption = None,
    dislike: DislikeOption = None,
    thin: ThinOption = None,
    cold_share: ColdShareOption = None,
    features: FeaturesOption = None,
    preset: Annotated[str | None, typer.Option(help="intended or official.")] = None,
    settings: SettingsOption = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """Search a model's settings on the validation part; again to go on. The result is a recipe file."""
    from palate.core.config import read_assignments
    from palate.recipe import recipe_for
    from palate.study.trials import search_for
    from palate.study.tune import RECIPE
    from palate.study.tune import tune as run_search

    chosen = recipe_for(model)
    plan = plan_of(
        data,
        chosen,
        features=features,
        split=split,
        seed=split_seed,
        positive=positive,
        dislike=dislike,
        thin=thin,
        cold_share=cold_share,
    )
    search = search_for(model, plan, preset=preset, settings=read_assignments(settings or []), metric=metric, seed=seed)
    folder = out or Path("tuning") / f"{chosen.model}-{data.resolve().name}"
    recipe = run_search(search, folder, trials=trials, timeout=timeout, jobs=jobs, quiet=quiet)
    found = recipe.ours[0]
    print(f"{found.source}: {metric} {found.metrics[metric]:.4f}")
    for name in search.space:
        if name in recipe.settings:
            print(f"  {name} = {recipe.settings[name]}")
    print(f"train it: palate train {folder / RECIPE} --data {data}")
