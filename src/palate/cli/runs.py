"""Commands on single runs: train, evaluate, recommend."""

from __future__ import annotations

import json
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
from palate.core.errors import ConfigError
from palate.printing import print_metrics, print_table, say_note, training_line


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
    warm_start: Annotated[
        Path | None,
        typer.Option(
            help="Begin with the parameters of this finished run of the same model; users and items are matched by "
            "id, columns of categories by name, and what is new begins as usual."
        ),
    ] = None,
    profile: Annotated[bool, typer.Option("--profile", help="Show where the time of an epoch went.")] = False,
    quiet: QuietOption = False,
) -> None:
    """Train a model into a run folder; the same command goes on with a run that was interrupted."""
    from palate import experiment
    from palate.core.config import read_assignments
    from palate.models import MODELS
    from palate.optimise.profile import Profile
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
    clock = Profile() if profile else None
    run = experiment.fit(
        model,
        dataset,
        seed=seed,
        preset=preset,
        settings=overrides,
        out=out,
        quiet=quiet,
        profile=clock,
        warm_start=warm_start,
    )
    for note in () if quiet else run.metrics["training"].get("notes", ()):
        print(note, file=sys.stderr)
    print(f"{run.folder}: {training_line(run.metrics['training'])}")
    if run.metrics["validation"]:
        print_metrics({"validation": run.metrics["validation"]})
    if clock is not None:
        print(clock.text())


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
    new_items: Annotated[
        str | None,
        typer.Option(
            help="Also measure with items that have no positive train interaction placed by content: auto, content "
            "(the model's own way) or regression. Default: they rank by what the model happens to have for them."
        ),
    ] = None,
    data: MovedOption = None,
) -> None:
    """Measure a run on the test part."""
    from typing import Any, cast

    from palate.experiment import Run

    if mask not in ("train", "train+valid"):
        raise ConfigError(f"--mask takes train or train+valid, not '{mask}'")
    opened = Run.load(run, data=data)
    metrics = opened.evaluate(mask=mask)
    about = opened.metrics["test_about"]
    cold = int((opened.data.positives["train"].transpose().lengths == 0).sum())
    split = opened.data.settings.split
    placed: dict[str, Any] = {}
    if new_items is not None:
        placed = opened.evaluate_new_items(cast(Any, new_items), mask=cast(Any, mask))
    elif split == "cold-items":
        note = "they rank by what the model has for them without training; --new-items auto places them by content"
        counted = f"{cold:,} of {len(opened.data.items):,} items have no positive train interaction"
        print(f"note: {counted}; {note}", file=sys.stderr)
    if trec is not None:
        from palate.study.exchange import export_trec

        print(f"{', '.join(export_trec(opened, trec, mask=mask))} → {trec}", file=sys.stderr)
    if as_json:
        found = {"run": str(run), "model": opened.recipe.model, **about, "test": metrics} | (
            {"test_new_items": placed} if placed else {}
        )
        print(json.dumps(found, indent=2))
        return
    print(f"{opened.recipe.model} on {opened.recipe.data.name}, {about['users']:,} of {about['all_users']:,} users")
    if about["users"] < about["all_users"]:
        left = about["all_users"] - about["users"]
        print(f"users without a positive in the test part, who are not measured: {left:,}")
    print_metrics({"test": metrics})
    if placed:
        print(f"{placed['items']:,} items without a positive train interaction placed by content ({placed['way']});")
        print(f"among new: these items alone, and the users with a positive among them: {placed['users']:,}")
        print_metrics({"among all": placed["all"], "among new": placed["alone"]})


@app.command()
def recommend(
    run: Annotated[Path, typer.Argument(metavar="RUN|BUNDLE", help="Run or bundle folder.")],
    user: Annotated[list[str] | None, typer.Option("--user", "-u", help="User id. Repeatable.")] = None,
    everyone: Annotated[bool, typer.Option("--all", help="Every user.")] = False,
    liked: Annotated[
        list[str] | None,
        typer.Option("--liked", help="Somebody new, who liked this item. Repeatable, in order of time."),
    ] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="Items for each user.")] = 10,
    where: Annotated[
        list[str] | None,
        typer.Option(
            help="Only items like this: 'genre=Comedy', 'genre=Comedy|Drama' (either), 'genre!=Horror', 'year>=1990', "
            "'added<2024-06-01' (dates are UTC); '\\|' is a bar within a value. Repeatable; all must hold."
        ),
    ] = None,
    allow: Annotated[
        Path | None, typer.Option(help="Only the items in this file, one id a line; unknown ones are left out.")
    ] = None,
    deny: Annotated[
        Path | None, typer.Option(help="Never the items in this file, one id a line; unknown ones are left out.")
    ] = None,
    diversify: Annotated[
        str | None,
        typer.Option(
            metavar="MODALITY:λ",
            help="Items unlike each other: image:0.7 weighs the score by 0.7, likeness of pictures by 0.3; "
            "model:0.7 goes by the model's own item vectors.",
        ),
    ] = None,
    popularity_cap: Annotated[
        str | None, typer.Option(metavar="N|N%", help="At most so many of the most popular items in a list.")
    ] = None,
    cold_quota: Annotated[
        int, typer.Option(metavar="N", min=0, help="At least so many items in a list that nobody took in training.")
    ] = 0,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Parquet (or .csv) file to write.")] = None,
    data: MovedOption = None,
) -> None:
    """Recommend items that a user does not know yet, to the screen or into a file.

    Filters (--where, --allow, --deny) come first. Then the popularity cap takes hits away, diversity orders what is
    left, and the cold quota is kept. Where the model gives all items that are left the same score, the most popular
    come first, and a note says so.
    """
    from palate.cli.offers import ids_of, offer_of
    from palate.recommend.filters import require_items
    from palate.recommend.topk import check_table, write_table

    if [bool(user), everyone, bool(liked)].count(True) != 1:
        given = [name for name, said in (("--user", user), ("--all", everyone), ("--liked", liked)) if said]
        found = f"{' and '.join(given)} are both given" if given else "it is not said for whom"
        raise ConfigError(found, do="name users with --user ID, take --all, or describe somebody new with --liked ITEM")
    if everyone and out is None:
        raise ConfigError("--all needs a file", do="add -o recommendations.parquet")
    if out is not None:
        check_table(out)
    offer = offer_of(run, data, liked, content=diversify is not None)
    allowed = offer.filters.mask(
        where or (),
        allow=ids_of(allow, offer, needed=True) if allow else None,
        deny=ids_of(deny, offer, needed=False) if deny else (),
    )
    require_items(allowed, [*(where or ()), *(str(each) for each in (allow, deny) if each)])
    rules = offer.rules(cap=popularity_cap, diversity=diversify, cold=cold_quota)
    lists = offer.lists(user or None, k, allowed=allowed, rules=rules, title="recommending" if everyone else "")
    for note in lists.notes:
        say_note(note)
    if out is not None:
        write_table(lists.table, out)
        print(f"{len(lists.table):,} recommendations for {lists.table['user_id'].n_unique():,} users → {out}")
    else:
        print_table(lists.table)


@app.command()
def explain(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder.")],
    user: Annotated[str, typer.Option("--user", "-u", help="User id.", show_default=False)],
    item: Annotated[str, typer.Option("--item", "-i", help="Item id.", show_default=False)],
    k: Annotated[int, typer.Option("-k", min=1, help="Items of the history, and neighbours in each modality.")] = 5,
    as_json: JsonOption = False,
    data: MovedOption = None,
) -> None:
    """Why this item for this user: the parts of its score, what of the user's history is behind it, what it is like."""
    from palate.core.artefact import kind_of
    from palate.experiment import Run
    from palate.models import Recommender
    from palate.printing import print_explanation
    from palate.recommend.bundle import KIND
    from palate.recommend.explain import explain_to

    if kind_of(run) == KIND:
        raise ConfigError(
            "this is a bundle, which keeps no parts of scores",
            where=str(run),
            do='name the run that it was exported from, or ask the service for it with "explain": true',
        )
    opened = Run.load(run, data=data)
    model = opened.model()
    parts = model.score_parts() if isinstance(model, Recommender) else {}
    found = explain_to(opened.data, opened.scorer, user, item, parts=parts, modalities=opened.content(), k=k)
    if as_json:
        print(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        print_explanation(found)
