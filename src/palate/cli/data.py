"""Commands on catalogues: get, import, describe, check."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from palate.cli.application import ColumnsOption, JsonOption, NoHeaderOption, app, columns_named
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

data_app = typer.Typer(no_args_is_help=True, help="Get, import, describe and check catalogues.")
app.add_typer(data_app, name="data")


@data_app.command("get")
def data_get(
    source: Annotated[str, typer.Argument(help="movielens-100k, or synthetic: a made world with pictures and sounds.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Catalogue folder to make.", show_default=False)],
    replace: Annotated[bool, typer.Option("--replace", help="Replace the catalogue that is there.")] = False,
) -> None:
    """Fetch a public data set into a catalogue, or make a world."""
    from palate.ingest.sources import SOURCES

    catalogue = SOURCES[source](out, replace=replace)
    print(f"{source}: {len(catalogue.interactions):,} interactions, {len(catalogue.items):,} items → {out}")


@data_app.command("import")
def data_import(
    interactions: Annotated[
        Path,
        typer.Option(
            help="Who met which item: csv, tsv, json, parquet (or a folder of its parts), .inter; "
            "or a folder made for RecBole or MMRec.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="Catalogue folder to make.", show_default=False)],
    items: Annotated[Path | None, typer.Option(help="What is known of the items, in any of these formats.")] = None,
    knowledge: Annotated[Path | None, typer.Option(help="Triples head, relation, tail, likewise.")] = None,
    valid: Annotated[Path | None, typer.Option(help="Interactions for validation, in a file of their own.")] = None,
    test: Annotated[Path | None, typer.Option(help="Interactions for the test, in a file of their own.")] = None,
    events: Annotated[
        str | None,
        typer.Option(
            help="Kinds of event to keep, as view=1,buy=5. The numbers pick which event of a user and item is kept "
            "(the largest), with the latest time of its chosen events; they weigh nothing in training."
        ),
    ] = None,
    columns: ColumnsOption = None,
    no_header: NoHeaderOption = None,
    strict: Annotated[bool, typer.Option("--strict", help="Refuse the files when any row would be dropped.")] = False,
    min_user: Annotated[int, typer.Option(min=0, help="k-core: interactions that each user has at least.")] = 0,
    min_item: Annotated[int, typer.Option(min=0, help="k-core: interactions that each item has at least.")] = 0,
    name: Annotated[str | None, typer.Option(help="The catalogue's name; default: the folder's.")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace the catalogue that is there.")] = False,
) -> None:
    """Read your files into a catalogue; all problems come in one report."""
    from palate.core.config import read_assignments
    from palate.core.lock import changing
    from palate.encode.catalogue import take_file
    from palate.ingest.folders import import_data

    names = columns_named(columns)
    found = import_data(
        interactions,
        items,
        knowledge,
        names,
        valid=valid,
        test=test,
        events=None if events is None else read_assignments(events.split(","), "--events", "view=1,buy=5"),
        no_header=no_header or (),
        strict=strict,
        min_user=min_user,
        min_item=min_item,
        name=name or out.name,
    )
    with changing(out, "importing into it"):
        found.save(out, take_file, replace=replace)
    print(found.report.text())
    people = found.catalogue.interactions["user_id"].n_unique()
    rows, items_kept = len(found.catalogue.interactions), len(found.catalogue.items)
    print(f"{rows:,} interactions of {people:,} users with {items_kept:,} items → {out}")


@data_app.command("describe")
def data_describe(
    folder: Annotated[Path, typer.Argument(metavar="CAT", help="Catalogue folder.")],
    html: Annotated[Path | None, typer.Option("--html", help="Write a page with plots too.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Sizes, coverage, ratings and the long tail of a catalogue on one screen, and what they advise."""
    from palate.study.describe import describe

    found = describe(folder)
    print(json.dumps(found.as_dict(), indent=2) if as_json else found.text())
    if html is not None:
        from palate.study.describe_page import write_page

        write_page(found, html)
        print(f"page → {html}", file=sys.stderr)


@data_app.command("check")
def data_check(
    folder: Annotated[Path, typer.Argument(metavar="CAT", help="Catalogue folder.")],
    as_json: JsonOption = False,
) -> None:
    """Verify a catalogue and its features, and look for leaks through the order of its items."""
    from palate.study.check import check

    result = check(folder)
    print(json.dumps(result.as_dict(), indent=2) if as_json else result.text())


@data_app.command("export")
def data_export(
    folder: Annotated[Path, typer.Argument(metavar="CAT", help="Catalogue folder.")],
    form: Annotated[str, typer.Option("--format", help="mmrec or recbole.", show_default=False)],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder to make.", show_default=False)],
    split: SplitOption = None,
    split_seed: SplitSeedOption = None,
    positive: PositiveOption = None,
    dislike: DislikeOption = None,
    thin: ThinOption = None,
    cold_share: ColdShareOption = None,
    features: FeaturesOption = None,
    impute: ImputeOption = None,
) -> None:
    """Write a split and its features as other toolkits read them, so that they can check the figures."""
    from palate.recipe import RecipeFile
    from palate.study.exchange import export_data

    given: dict[str, Any] = {"split": split, "seed": split_seed, "thin": thin, "cold_share": cold_share}
    given |= {"dislike": dislike, "positive": positive, "features": features, "impute": impute}
    dataset = plan_of(folder, RecipeFile(model="popularity"), **given).load()
    say_notes(dataset, quiet=False)
    print(f"{', '.join(export_data(dataset, form, out))} → {out}")
    others = len(dataset.catalogue.interactions) - sum(rows.size for rows in dataset.positives.values())
    if others:
        print(
            f"note: {others:,} interactions that are no positives stay out; Palate never recommends those of the train "
            "part, other toolkits cannot know them: figures there differ a little (--positive all writes every row)",
            file=sys.stderr,
        )
