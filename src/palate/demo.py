"""`palate demo`: from a catalogue's source to a table of test figures and one user's recommendations.

Takes MovieLens-100K, a made-up record shop where that cannot be had, or a catalogue that is there already.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from palate.core.errors import ConfigError, DataError, MissingDependency
from palate.core.progress import duration
from palate.dataset.dataset import Dataset
from palate.encode.catalogue import CONTENTS, encode_all
from palate.encode.store import FeatureStore
from palate.experiment import Run, fit, load
from palate.ingest.catalogue import Catalogue
from palate.ingest.sources.movielens import get_movielens_100k
from palate.ingest.sources.synthetic import SyntheticConfig, make_synthetic
from palate.models import MODELS
from palate.recommend.topk import history

Settings = Mapping[str, Mapping[str, Any]]
"""Settings by model, in the order in which the models are trained."""

# Each chosen on the validation part of user-time, seed 0, of the data that it is named for: MovieLens-100K, where
# behaviour is dense, and the made-up shop, where it is not. How is written in docs/experiments.md.
DENSE: Settings = {
    "popularity": {},
    "ease": {},
    "lightgcn": {"learning_rate": 0.005, "penalty_weight": 1e-3},
    "bm3": {"learning_rate": 0.003, "content_weight": 0.005},
}
SPARSE: Settings = {
    "popularity": {},
    "ease": {},
    "lightgcn": {"learning_rate": 0.005, "penalty_weight": 1e-2},
    "bm3": {"learning_rate": 0.003, "content_weight": 1.0, "dropout": 0.3},
}
SHOP = SyntheticConfig(
    users=1000,
    items=400,
    interactions=12,
    taste={"image": 0.4, "text": 0.4, "popularity": 0.1, "chance": 0.1},
    missing={"image": 0.05, "text": 0.05},
    words_name_pictures=False,
    media=("image",),
    seed=1,
)
ENCODED = ("text", "image")
SHOWN = ("recall@10", "ndcg@10", "recall@20", "ndcg@20", "hit@20")
SELECTS = "recall@20"
MOST_ITEMS_FOR_EASE = 10_000


@dataclass(frozen=True)
class Stage:
    """What a demonstration is played on.

    Attributes:
        folder: the catalogue.
        goods: what its items are called, in the plural.
        settings: by name; with several, each model is trained with all and the validation part chooses.
        ending: of the names of what is written, so that the data of one do not meet the runs of another.
        user: whose recommendations are shown unless somebody is named; None for the busiest.
        stand_in: it takes the place of data that somebody may have had a user of in mind.
        closing: what one should know of its figures.
    """

    folder: Path
    goods: str
    settings: Mapping[str, Settings]
    ending: str = ""
    user: str | None = None
    stand_in: bool = False
    closing: str = ""


def run_demo(
    out: Path,
    user: str | None = None,
    catalogue: Path | None = None,
    *,
    show_table: Callable[[pl.DataFrame], None],
    say: Callable[[str], None],
) -> None:
    """Get, encode, train, compare, recommend; everything lands in `out`, and what is there already is kept.

    Args:
        out: folder for the catalogue and the runs.
        user: whose recommendations to show; None for one that the data have.
        catalogue: a catalogue to take instead; features of its words and pictures are made where there are none.
        show_table, say: how to print.

    Raises:
        ArtefactError: when a catalogue, features or a run are damaged, or a folder holds something else.
        DataError: for an unknown user, or data that cannot be split and measured.
    """
    start = time.monotonic()
    stage = _fetched(out, say) if catalogue is None else _given(catalogue, say)
    say("2. Content to numbers: words through MiniLM, pictures through EfficientNet-Lite0")
    _encode(stage.folder, say)
    data = _split(stage, say)
    user = _user(stage, data, user, say)
    say("3. Models, each selected on the validation part; the test part is read once")
    runs: dict[str, Run] = {}
    rows: list[dict[str, Any]] = []
    for name, seen in _plan(stage, data, say):
        run = _train(name, stage, seen, out / f"runs{stage.ending}", say)
        used = " + ".join(run.recipe.data.features)
        runs[f"{name} on {used}" if used else name] = run
        metrics = run.evaluate()
        seconds = run.metrics["training"]["seconds"]
        shown = {key: metrics[key] for key in SHOWN}
        rows.append({"model": name, "content": used, **shown, "train seconds": round(seconds, 1)})
    table = pl.DataFrame(rows)
    show_table(table)
    table.write_csv(out / f"table{stage.ending}.csv")
    best = max(runs, key=lambda name: _validation(runs[name]))
    met = history(data, data.users.row(user))
    say(f"4. User {user}: the latest of {len(met):,} {stage.goods} met, and what {best} recommends")
    told = [name for name in ("item_id", "title", "rating") if name in met.columns and met[name].count()]
    show_table(met.select(told).head(10))
    show_table(runs[best].recommend([user], k=10))
    if stage.closing:
        say(stage.closing)
    say(f"Done in {duration(time.monotonic() - start)}. Everything is in {out}/; go on with, for example,")
    say(f"    palate recommend {runs[best].folder} --user {user} -k 20")


def _fetched(out: Path, say: Callable[[str], None]) -> Stage:
    """MovieLens-100K, or the shop where it can neither be fetched nor found in the cache."""
    folder = out / "movielens-100k"
    say("1. MovieLens-100K: films with titles and genres, and what 943 people thought of them")
    closing = "Ratings are dense here, so behaviour alone is strong; words earn their keep where it is scarce."
    films = Stage(folder, "films", {"dense": DENSE}, user="196", closing=closing)
    if _there(folder):
        return films
    try:
        get_movielens_100k(folder)
    except DataError as error:
        say(error.what)
        say(
            "   Instead: a made-up record shop, drawn and written on this machine. What its people like depends on "
            "sleeves, words,\n   popularity and chance, so its figures say how the models work and nothing about real "
            "people.\n   For MovieLens-100K connect to the network once and call this again; for your own data: "
            "--data CAT"
        )
        folder = out / "synthetic"
        if not _there(folder):
            make_synthetic(folder, SHOP)
        closing = (
            "Here taste was made to depend on sleeves and words. Popularity, EASE and LightGCN know behaviour alone;\n"
            "BM3 also reads words and sees pictures: its lines tell what these add, if anything."
        )
        return Stage(folder, "records", {"sparse": SPARSE}, "-synthetic", stand_in=True, closing=closing)
    return films


def _there(folder: Path) -> bool:
    """Whether an earlier demonstration left a catalogue here; a damaged one is an error."""
    if not (folder / "manifest.json").exists():
        return False
    Catalogue.load(folder)
    return True


def _given(folder: Path, say: Callable[[str], None]) -> Stage:
    found = Catalogue.load(folder)
    say(f"1. {found.name}: {found.items.height:,} items and {found.interactions.height:,} interactions, from {folder}")
    ending = "-" + (re.sub(r"[^\w-]+", "-", folder.resolve().name).strip("-") or "data")
    return Stage(folder, "items", {"dense": DENSE, "sparse": SPARSE}, ending)


def _encode(folder: Path, say: Callable[[str], None]) -> None:
    """Make features of words and pictures where the catalogue has them and nobody has made any yet."""
    catalogue, stored = Catalogue.load(folder), FeatureStore(folder).names()
    for name in ENCODED:
        if name in stored or not CONTENTS[name].there(catalogue):
            continue
        try:
            say(str(encode_all(folder, [name]).summaries[0]))
        except (MissingDependency, DataError) as error:
            say(f"{name}: left out: {error.what}" + (f" ({error.do})" if error.do else ""))


def _split(stage: Stage, say: Callable[[str], None]) -> Dataset:
    """The data set with all its features, and what one should know of it."""
    try:
        data = load(stage.folder)
    except ConfigError as error:
        # The scale of its ratings is unknown, and nobody is here to say what a positive is.
        say(f"{error.what}; here every interaction counts as a positive")
        data = load(stage.folder, positive="all")
    for note in data.split_notes:
        say(note)
    for name, features in data.features.items():
        present = int(features.present.sum())
        say(f"features {name}: {present:,} of {len(features):,} {stage.goods} ({features.coverage:.1%})")
    return data


def _user(stage: Stage, data: Dataset, user: str | None, say: Callable[[str], None]) -> str:
    """The user to show; one that was asked for must exist."""
    wanted = user if user is not None else stage.user
    known = data.catalogue.interactions["user_id"]
    if wanted is not None and stage.stand_in and wanted not in known:
        say(f"there is no user {wanted} in the made-up shop")
        wanted = None
    if wanted is None:
        wanted = str(known.value_counts().sort("count", "user_id", descending=[True, False])["user_id"][0])
    data.users.row(wanted)
    return wanted


def _plan(stage: Stage, data: Dataset, say: Callable[[str], None]) -> list[tuple[str, Dataset]]:
    """The models that these data allow, and what each looks at; with pictures also without, to show what they add."""
    seen = [data]
    if "image" in data.features and len(data.features) > 1:
        seen.insert(0, data.with_features([name for name in data.features if name != "image"]))
    plan: list[tuple[str, Dataset]] = []
    for name in next(iter(stage.settings.values())):
        if name == "ease" and len(data.items) > MOST_ITEMS_FOR_EASE:
            say(f"ease is left out: it solves for all pairs of {len(data.items):,} items at once")
        elif not MODELS[name].modal:
            plan.append((name, data))
        elif data.features:
            plan += [(name, each) for each in seen]
        else:
            say(f"{name} is left out: nothing was encoded that it could use")
    return plan


def _train(name: str, stage: Stage, data: Dataset, folder: Path, say: Callable[[str], None]) -> Run:
    """A model's run; of several settings the one that the validation part prefers, the first of equals."""
    choices = {label: settings[name] for label, settings in stage.settings.items()}
    first = next(iter(choices.values()))
    # Further content is another run, not other settings of the same one.
    place = "-".join([name, *data.features] if MODELS[name].modal else [name])
    if all(settings == first for settings in choices.values()):
        return fit(name, data, settings=first, out=folder / place)
    runs = {label: fit(name, data, settings=choices[label], out=folder / f"{place}-{label}") for label in choices}
    best = max(runs, key=lambda label: _validation(runs[label]))
    values = ", ".join(f"{label} {_validation(run):.4f}" for label, run in runs.items())
    say(f"{place}: settings for {best} behaviour, by {SELECTS} on the validation part ({values})")
    return runs[best]


def _validation(run: Run) -> float:
    """What selects; 0 where nothing could be validated."""
    return float(run.metrics["validation"].get(SELECTS, 0.0))
