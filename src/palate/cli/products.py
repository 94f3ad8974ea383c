"""Commands that turn a run into what is served, and keep that up to date: export, refresh, forget."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from palate.cli.application import ColumnsOption, MovedOption, NoHeaderOption, app, columns_named
from palate.printing import visible

if TYPE_CHECKING:
    from polars import DataFrame

    from palate.recommend.bundle import Bundle

# Kinds of event that a note names.
NAMED = 5
ReplaceOption = Annotated[bool, typer.Option("--replace", help="Replace the bundle that is there.")]


@app.command()
def export(
    context: typer.Context,
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Bundle folder to make.", show_default=False)],
    keep: Annotated[
        str,
        typer.Option(
            help="Keep the items' features, for neighbours by modality and new items: float16 (2 bytes a number), "
            "float32 (4), or none."
        ),
    ] = "float16",
    new_items: Annotated[
        str,
        typer.Option(
            help="How content becomes a place for a new item: content (the model's own way), regression, none; "
            "auto: a regression where there are vectors."
        ),
    ] = "auto",
    replace: ReplaceOption = False,
    data: MovedOption = None,
) -> None:
    """Make the bundle that is served of a run: scores, ids, titles, and the ways to new users and new items."""
    from typing import Any, cast

    from palate.core.lock import changing
    from palate.experiment import Run
    from palate.recommend.bundle import refuse_stranger

    refuse_stranger(out, replace=replace)
    # Who is forgotten in the run meanwhile would come back with the bundle.
    context.with_resource(changing(run, "exporting it", shared=True))
    made = Run.load(run, data=data).bundle(keep=cast(Any, keep), new_items=cast(Any, new_items))
    made.save(out, replace=replace)
    for line in summary(made):
        print(line)
    size = sum(path.stat().st_size for path in out.iterdir())
    print(f"{size / 1e6:,.1f} MB → {out}")


@app.command()
def refresh(
    context: typer.Context,
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="Bundle folder.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Bundle folder to make; may be the same.")],
    interactions: Annotated[
        Path | None, typer.Option(help="New events: who met which item, as for 'palate data import'.")
    ] = None,
    items: Annotated[
        Path | None,
        typer.Option(
            metavar="CAT", help="Catalogue folder with new items, encoded as those of the bundle were; they come first."
        ),
    ] = None,
    columns: ColumnsOption = None,
    no_header: NoHeaderOption = None,
    events: Annotated[
        str | None,
        typer.Option(
            help="Kinds of event that count, as for 'palate data import': view=1,buy=5. Default: those of the data "
            "that the bundle was made of."
        ),
    ] = None,
    replace: ReplaceOption = False,
) -> None:
    """Take new interactions and new items into a bundle without training.

    Users of the interactions, and new ones, are folded in anew; new items are placed by their content.
    """
    from palate.core.errors import ConfigError
    from palate.core.lock import changing
    from palate.ingest.parts import instead_of_folder
    from palate.recommend.bundle import Bundle, refuse_stranger
    from palate.recommend.growing import grow_from
    from palate.recommend.refresh import refresh as run_refresh

    refuse_stranger(out, replace=replace)
    if interactions is None and items is None:
        raise ConfigError("there is nothing to take in", do="name events with --interactions, a catalogue with --items")
    if interactions is not None and interactions.is_dir():
        do = instead_of_folder(interactions, header="interactions" not in (no_header or ()))
        raise ConfigError("new events are one file, and this is a folder", where=str(interactions), do=do)
    # What another refresh or a forgetting writes there meanwhile would be lost, or come back.
    context.with_resource(changing(out, "refreshing it"))
    context.with_resource(changing(bundle, "refreshing from it", shared=True))
    known = Bundle.load(bundle)
    if items is not None:
        grown = grow_from(known, items)
        known = grown.bundle
        print(visible(str(grown), lines=True))
    found = None if interactions is None else _events_of(interactions, known, columns, events, no_header or ())
    if found is not None:
        done = run_refresh(known, found)
        known = done.bundle
        print(visible(str(done), lines=True))
    elif interactions is not None:
        print("no events: users stay as they are")
        if items is None and out.resolve() == bundle.resolve():
            return
    known.save(out, replace=replace)
    print(f"→ {out}")


def _events_of(
    file: Path, bundle: Bundle, columns: list[str] | None, events: str | None, no_header: Collection[str]
) -> DataFrame | None:
    """The events of a file that count, with what is known of them; None where there is none."""
    from palate.core.config import read_assignments
    from palate.core.errors import DataError
    from palate.ingest.folders import import_data
    from palate.ingest.tables import no_rows

    names = columns_named(columns)
    chosen = None if events is None else read_assignments(events.split(","), "--events", "view=1,buy=5")
    if _is_blank(file) or no_rows(file, header="interactions" not in no_header):
        return None
    found = import_data(file, columns=names, no_header=no_header, name=file.stem)
    counts = found.catalogue.interactions["event"].drop_nulls().value_counts(sort=True).rows()
    given = sorted(kind for kind, _ in counts)
    kinds = bundle.facts.kinds
    counting = dict.fromkeys(kinds, 1) if chosen is None and kinds and given else chosen
    if counting is not None:
        try:
            found = import_data(file, columns=names, events=counting, no_header=no_header, name=file.stem)
        except DataError:
            # The file is sound as a whole: a day may have events, and none of a kind that counts. Kinds that nobody has
            # ever heard of are mistyped.
            unheard = chosen is not None and bool(kinds) and not set(chosen) & set(kinds)
            if not given or unheard or set(given) & set(counting):
                raise
            others = _some([f"{kind} ({count:,})" for kind, count in counts])
            wanted = _some(list(counting))
            print(f"note: no event is of a kind that counts ({wanted}); left out: {others}; --events chooses")
            return None
    if found.report.text():
        print(found.report.text())
    if chosen is None and given and not kinds:
        why = "was made of events of no kind" if kinds == () else "does not say what kinds it was made of"
        print(f"note: events of all kinds count ({_some(given)}), for the bundle {why}; --events chooses")
    rows = found.catalogue.interactions
    present = [name for name in ("rating", "timestamp") if rows[name].null_count() < rows.height]
    return rows.select("user_id", "item_id", *present)


def _is_blank(file: Path) -> bool:
    """Whether a text file, packed or not, has no byte in it: for want of a header it is no table, and has no event."""
    if not file.is_file() or file.suffix.lower() == ".parquet":
        return False
    with gzip.open(file) if file.suffix.lower() == ".gz" else file.open("rb") as stream:
        try:
            return not stream.read(1)
        except (OSError, EOFError, zlib.error):
            return False


def _some(names: Sequence[str]) -> str:
    return f"{', '.join(names[:NAMED])}{' and others' if len(names) > NAMED else ''}"


@app.command()
def forget(
    places: Annotated[
        list[Path],
        typer.Argument(
            metavar="CATALOGUE|RUN|BUNDLE|TABLE...",
            help="Where to forget; also tables of recommendations, and folders of ranked lists (TREC).",
        ),
    ],
    user: Annotated[list[str] | None, typer.Option("--user", "-u", help="User id. Repeatable.")] = None,
    item: Annotated[list[str] | None, typer.Option("--item", "-i", help="Item id. Repeatable.")] = None,
) -> None:
    """Delete users or items: rows, vectors, ids, histories, features and lists, in every place that is named."""
    from palate.core.errors import ConfigError
    from palate.recommend.forgetting import forget as run_forget

    if not user and not item:
        raise ConfigError("it is not said whom to forget", do="name --user ID or --item ID")
    for done in run_forget(places, user or (), item or ()):
        print(visible(str(done), lines=True))


def summary(bundle: Bundle) -> list[str]:
    """What a bundle can do, in a few lines."""
    facts = bundle.facts
    what = {
        "vectors": f"vectors of {facts.width} numbers",
        "weights": f"{facts.stored:,} weights between items",
        "item-scores": "one score for each item",
        "places": "places in the order of the source (the leak canary: not to be served)",
    }[facts.form]
    lines = [f"{facts.title} on {facts.name}: {facts.users:,} users, {facts.items:,} items, {what}"]
    lines.append(f"new users: {_new_users(bundle)}")
    if facts.content is None:
        lines.append(
            "new items: not placed; this model knows items by their interactions alone, or content was left out"
        )
        return lines
    way = "the model's own way"
    if facts.content.kind == "regression":
        explained = float(facts.content.settings.get("explained", 0.0))
        way = f"a regression that explains {max(0.0, explained):.0%} of the items' vectors (cross-validated)"
    own = (
        f"; so are {facts.placed:,} items of the catalogue that have no positive train interaction"
        if facts.placed
        else ""
    )
    lines.append(f"new items: from {', '.join(facts.content.modalities)}, by {way}{own}")
    return lines


def _new_users(bundle: Bundle) -> str:
    fold = bundle.facts.fold_in
    if fold is None:
        return "exactly as known ones, by their items" if bundle.facts.form == "weights" else "as everybody"
    if fold.quality is None:
        return "exactly as known ones, by the model's own attention over their items"
    said = "by a map from the mean of their items' vectors"
    if fold.quality.get("folded") is None:
        return f"{said}; too few users with validation positives to measure it"
    folded, trained = fold.quality["folded"], fold.quality["trained"]
    return (
        f"{said}; {fold.quality['metric']} {folded:.4f} where trained vectors have {trained:.4f} "
        f"({fold.quality['users']:,} users it had not seen, validation part)"
    )
