"""`palate demo`: MovieLens-100K from its source to a table of test figures and one user's recommendations."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl

from palate.core.progress import duration
from palate.encode.catalogue import encode_text
from palate.experiment import Run, fit, load
from palate.ingest.catalogue import Catalogue
from palate.ingest.sources.movielens import get_movielens_100k
from palate.recommend.topk import history

# Chosen on the validation part of user-time, seed 0; how is written in docs/experiments.md.
MODELS: dict[str, dict[str, Any]] = {
    "popularity": {},
    "ease": {},
    "lightgcn": {"learning_rate": 0.005, "penalty_weight": 1e-3},
    "bm3": {"learning_rate": 0.003, "content_weight": 0.005},
}
SHOWN = ("recall@10", "ndcg@10", "recall@20", "ndcg@20", "hit@20")


def run_demo(out: Path, user: str, *, show_table: Callable[[pl.DataFrame], None], say: Callable[[str], None]) -> None:
    """Get, encode, train, compare, recommend; everything lands in `out`, and what is there already is kept.

    Args:
        out: folder for the catalogue and the runs.
        user: whose recommendations to show.
        show_table, say: how to print.

    Raises:
        DataError: when the data can neither be fetched nor found in the cache; it says how to use own files.
    """
    start = time.monotonic()
    catalogue = out / "movielens-100k"
    say("1. MovieLens-100K: films with titles and genres, and what 943 people thought of them")
    if (catalogue / "manifest.json").exists():
        Catalogue.load(catalogue)
    else:
        get_movielens_100k(catalogue)
    say("2. Words to numbers: titles and genres through MiniLM")
    say(str(encode_text(catalogue)))
    data = load(catalogue, split="user-time")
    row = data.users.row(user)
    for note in data.notes:
        say(note)
    say("3. Four models, each selected on the validation part; the test part is read once")
    runs: dict[str, Run] = {}
    rows: list[dict[str, Any]] = []
    for name, settings in MODELS.items():
        folder = out / "runs" / name
        run = runs[name] = fit(name, data, settings=settings, out=folder)
        metrics = run.evaluate()
        seconds = run.metrics["training"]["seconds"]
        rows.append({"model": name, **{key: metrics[key] for key in SHOWN}, "train seconds": round(seconds, 1)})
    table = pl.DataFrame(rows)
    show_table(table)
    write = out / "table.csv"
    table.write_csv(write)
    best = max(runs, key=lambda name: runs[name].metrics["validation"]["recall@20"])
    seen = history(data, row)
    say(f"4. User {user}: the latest of {len(seen):,} films rated, and what {best} recommends")
    show_table(seen.select("item_id", "title", "rating").head(10))
    show_table(runs[best].recommend([user], k=10))
    say("Ratings are dense here, so behaviour alone is strong; words earn their keep where it is scarce.")
    say(f"Done in {duration(time.monotonic() - start)}. Everything is in {out}/; go on with, for example,")
    say(f"    palate recommend {runs[best].folder} --user {user} -k 20")
