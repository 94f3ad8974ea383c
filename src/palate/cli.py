"""The command line: arguments and printing, nothing else. Heavy imports wait until a command needs them."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from palate.core.errors import ConfigError, Interrupted, PalateError
from palate.printing import print_metrics, print_table, training_line
from palate.version import __version__

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Multimodal recommendation: raw content → features → training → honest comparison → recommendations.",
)
data_app = typer.Typer(no_args_is_help=True, help="Get, import, describe and check catalogues.")
app.add_typer(data_app, name="data")
pretrain_app = typer.Typer(no_args_is_help=True, help="Train encoders on a catalogue's own content.")
app.add_typer(pretrain_app, name="pretrain")

DataOption = Annotated[Path, typer.Option("--data", help="Catalogue folder.", show_default=False)]
MovedOption = Annotated[Path | None, typer.Option("--data", help="Catalogue folder, where it has moved.")]


def main() -> None:
    """Run the command line; a person's mistake ends in a message, not in a traceback."""
    try:
        app()
    except Interrupted as stop:
        _fail(str(stop), 130)
    except PalateError as error:
        _fail(f"error: {error}", 1)
    except KeyboardInterrupt:
        _fail("stopped on request", 130)
    except BrokenPipeError:
        # The reader (head, less) has gone; leave quietly.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except OSError as error:
        _fail(f"error: {error}\n  do:    check the path, its permissions and the space on the disk", 1)
    except (MemoryError, RuntimeError) as error:
        # torch reports a lack of memory as a RuntimeError; any other one is a defect that must stay visible.
        if not isinstance(error, MemoryError) and "memory" not in str(error):
            raise
        _fail(f"error: not enough memory: {error}\n  do:    use smaller settings (dim, batch_size) or less data", 1)


def _fail(text: str, code: int) -> None:
    print(text, file=sys.stderr)
    sys.exit(code)


def _version(asked: bool) -> None:
    if asked:
        print(f"palate {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
    threads: Annotated[int, typer.Option(min=0, help="CPU threads of the arithmetic; 0: all cores.")] = 0,
) -> None:
    if threads:
        import torch

        torch.set_num_threads(threads)


@data_app.command("get")
def data_get(
    source: Annotated[str, typer.Argument(help="movielens-100k")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Catalogue folder to make.", show_default=False)],
) -> None:
    """Fetch a public data set into a catalogue."""
    from palate.ingest.sources import SOURCES

    catalogue = SOURCES[source](out)
    print(f"{source}: {len(catalogue.interactions):,} interactions, {len(catalogue.items):,} items → {out}")


@data_app.command("import")
def data_import(
    interactions: Annotated[
        Path,
        typer.Option(
            help="Who met which item: csv, tsv, jsonl, parquet, .inter; or a folder made for RecBole or MMRec.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="Catalogue folder to make.", show_default=False)],
    items: Annotated[Path | None, typer.Option(help="What is known of the items, in any of these formats.")] = None,
    knowledge: Annotated[Path | None, typer.Option(help="Triples head, relation, tail, likewise.")] = None,
    valid: Annotated[Path | None, typer.Option(help="Interactions for validation, in a file of their own.")] = None,
    test: Annotated[Path | None, typer.Option(help="Interactions for the test, in a file of their own.")] = None,
    events: Annotated[
        str | None, typer.Option(help="Events to keep, the strongest of a pair by weight: view=1,buy=5.")
    ] = None,
    columns: Annotated[
        list[str] | None,
        typer.Option("--columns", help="Your columns' names: user_id=uid,item_id=iid. Repeatable."),
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Refuse the files when any row would be dropped.")] = False,
    min_user: Annotated[int, typer.Option(min=0, help="k-core: interactions that each user has at least.")] = 0,
    min_item: Annotated[int, typer.Option(min=0, help="k-core: interactions that each item has at least.")] = 0,
    name: Annotated[str | None, typer.Option(help="The catalogue's name; default: the folder's.")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace the catalogue that is there.")] = False,
) -> None:
    """Read your files into a catalogue; all problems come in one report."""
    from palate.core.config import read_assignments
    from palate.encode.catalogue import take_file
    from palate.ingest.columns import ColumnNames
    from palate.ingest.folders import import_data

    words = [word for given in columns or [] for word in given.split(",")]
    names = ColumnNames.parse(read_assignments(words), where="--columns")
    found = import_data(
        interactions,
        items,
        knowledge,
        names,
        valid=valid,
        test=test,
        events=None if events is None else read_assignments(events.split(",")),
        strict=strict,
        min_user=min_user,
        min_item=min_item,
        name=name or out.name,
    )
    found.save(out, take_file, replace=replace)
    print(found.report.text())
    people = found.catalogue.interactions["user_id"].n_unique()
    rows, items_kept = len(found.catalogue.interactions), len(found.catalogue.items)
    print(f"{rows:,} interactions of {people:,} users with {items_kept:,} items → {out}")


@data_app.command("describe")
def data_describe(
    folder: Annotated[Path, typer.Argument(metavar="CAT", help="Catalogue folder.")],
    html: Annotated[Path | None, typer.Option("--html", help="Write a page with plots too.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
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
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Verify a catalogue and its features, and look for leaks through the order of its items."""
    from palate.study.check import check

    result = check(folder)
    print(json.dumps(result.as_dict(), indent=2) if as_json else result.text())


@app.command()
def encode(
    folder: Annotated[Path, typer.Argument(metavar="CAT", help="Catalogue folder.")],
    modality: Annotated[
        list[str] | None,
        typer.Option(help="What to encode, and the features' name. Repeatable; default: all there is."),
    ] = None,
    encoder: Annotated[
        str | None, typer.Option(help="Encoder of one modality, or a folder made by 'palate pretrain joint'.")
    ] = None,
    columns: Annotated[
        str | None, typer.Option(help="Item columns to read, as title,genres; default: the usual ones.")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Encoder setting, as pooling=cls. Repeatable.")
    ] = None,
    matrix: Annotated[Path | None, typer.Option("--from", help="Take ready-made rows from a .npy file.")] = None,
    ids: Annotated[
        str | None,
        typer.Option(help="With --from: file of the rows' item ids, or item-order when row i is the i-th item."),
    ] = None,
) -> None:
    """Turn content into features, cached by content; or take ready-made ones."""
    from palate.core.config import read_assignments
    from palate.encode.catalogue import encode_all, take_precomputed

    if matrix is not None:
        if modality is None or len(modality) != 1:
            raise ConfigError("ready-made rows need a name", do="add one --modality, for example --modality image")
        print(take_precomputed(folder, modality[0], matrix, ids))
        return
    if ids is not None:
        raise ConfigError("--ids goes with --from", do="name the .npy file with --from")
    if encoder is not None and Path(encoder).is_dir():
        from palate.encode.joint.encoder import encode_joint

        if modality or columns or settings:
            raise ConfigError("a joint encoder reads words and pictures as it was trained to", do="name it alone")
        print(encode_joint(folder, Path(encoder)))
        return
    wanted = None if columns is None else [part.strip() for part in columns.split(",") if part.strip()]
    print(encode_all(folder, modality, encoder, wanted, read_assignments(settings or [])))


@pretrain_app.command("joint")
def pretrain(
    folder: Annotated[Path, typer.Argument(metavar="CAT", help="Catalogue folder.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder of the encoder to make.", show_default=False)],
    seed: Annotated[int, typer.Option(min=0, help="Of weights, masks, order and held-out pairs.")] = 0,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Setting of the encoder, as epochs=20. Repeatable.")
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace the encoder that is there.")] = False,
) -> None:
    """Train AlignRec's joint encoder on the items' words and pictures; again to go on after a stop."""
    from palate.core.config import read_assignments
    from palate.encode.joint.pretraining import pretrain_joint
    from palate.encode.joint.settings import JointConfig

    wanted = JointConfig.parse(read_assignments(settings or []), where="--set")
    print(pretrain_joint(folder, out, wanted, seed, replace=replace))


@app.command()
def train(
    model: Annotated[str, typer.Argument(help="Model; see 'palate models'.")],
    data: DataOption,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Run folder; default: runs/…")] = None,
    split: Annotated[
        str | None, typer.Option(help="random, user-time, time, latest, cold-items or given; default: as data allow.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of training.")] = 0,
    split_seed: Annotated[int, typer.Option(min=0, help="Of the split and the id permutation.")] = 0,
    positive: Annotated[str | None, typer.Option(help="Least rating of a positive, or all.")] = None,
    dislike: Annotated[float | None, typer.Option(help="Greatest rating of a dislike.")] = None,
    thin: Annotated[float, typer.Option(help="Share of the train rows to keep.")] = 1.0,
    cold_share: Annotated[float, typer.Option(help="cold-items: share of items held out.")] = 0.2,
    features: Annotated[str | None, typer.Option(help="Modalities, as image,text; default: all encoded.")] = None,
    preset: Annotated[str, typer.Option(help="intended (paper's formulas) or official (as released).")] = "intended",
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Model or training setting, as dim=64. Repeatable.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """Train a model into a run folder; the same command goes on with a run that was interrupted."""
    from palate import experiment
    from palate.core.config import read_assignments
    from palate.models import MODELS

    overrides = read_assignments(settings or [])
    experiment.resolve(model, preset, overrides)
    dataset = experiment.load(
        data,
        features=None if features is None else [part.strip() for part in features.split(",") if part.strip()],
        split_seed=split_seed,
        split=split,
        positive=_threshold(positive),
        dislike=dislike,
        thin=thin,
        cold_share=cold_share,
    )
    kind = MODELS[model]
    dataset = dataset.seen_by(features=kind.modal, knowledge=kind.knowledge)
    for note in () if quiet else dataset.notes:
        print(note, file=sys.stderr)
    run = experiment.fit(model, dataset, seed=seed, preset=preset, settings=overrides, out=out, quiet=quiet)
    print(f"{run.folder}: {training_line(run.metrics['training'])}")
    if run.metrics["validation"]:
        print_metrics({"validation": run.metrics["validation"]})


def _threshold(text: str | None) -> float | str | None:
    if text is None or text == "all":
        return text
    try:
        return float(text)
    except ValueError:
        raise ConfigError(f"--positive takes a rating or 'all', not '{text}'") from None


@app.command()
def evaluate(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder.")],
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    mask: Annotated[
        str, typer.Option(help="No candidates: train+valid, or train for parity with published tables.")
    ] = "train+valid",
    data: MovedOption = None,
) -> None:
    """Measure a run on the test part."""
    from palate.experiment import Run

    if mask not in ("train", "train+valid"):
        raise ConfigError(f"--mask takes train or train+valid, not '{mask}'")
    opened = Run.load(run, data=data)
    metrics = opened.evaluate(mask=mask)
    about = opened.metrics["test_about"]
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


@app.command()
def models(name: Annotated[str | None, typer.Argument(help="Show this model's settings.")] = None) -> None:
    """List the models, or one model's settings with its presets."""
    from palate.models import MODELS, Recommender
    from palate.train.fitting import TrainConfig

    if name is None:
        for key in MODELS:
            kind = MODELS[key]
            trained = issubclass(kind, Recommender)
            uses = "trained, uses features" if kind.modal else "trained" if trained else "closed form"
            presets = "intended, official" if hasattr(kind.Config, "official") else "one preset"
            print(f"{key:<14}{uses:<26}{presets:<22}{kind.source}")
        return
    kind = MODELS[name]
    official: Any = getattr(kind.Config, "official", lambda: None)()
    if not kind.Config.model_fields:
        print(f"{name} has no settings")
    for key, field in kind.Config.model_fields.items():
        released = (
            f", official {getattr(official, key)}" if official and getattr(official, key) != field.default else ""
        )
        print(f"{key} = {field.default}{released}\n    {field.description}")
    if issubclass(kind, Recommender):
        print("\nTraining:")
        for key, field in TrainConfig.model_fields.items():
            print(f"{key} = {field.default}\n    {field.description}")


@app.command()
def demo(
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder of the demonstration.")] = Path("demo"),
    user: Annotated[str, typer.Option(help="Whose recommendations to show.")] = "196",
) -> None:
    """MovieLens-100K from its source to a table of test figures and one user's recommendations."""
    from palate.demo import run_demo

    run_demo(out, user, show_table=print_table, say=print)
