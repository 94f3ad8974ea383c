"""Time and memory of `palate data import` on a large CSV file, as a process of its own.

    python -m benchmarks.ingest [--rows 10000000] [--flaws 0.001] [--out FILE.json]

The file has user_id, item_id, rating and timestamp, ids as a large shop has them; some of its pairs come again, and
some rows are wrong in one way or another. After the import, `palate data describe` and the split that every training
begins with are timed on the catalogue that came of it.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks.interactions import pairs
from benchmarks.processes import guarded, output, run, write

ROWS_PER_USER, ROWS_PER_ITEM = 10, 50
REPEATED = 0.02
START, END = 1_000_000_000, 1_500_000_000
# An empty id, a rating that is no number, one that is not finite, a time that is none, and a field too few.
WRONG = (b"A1,,3.0,5\n", b"A1,B1,good,5\n", b"A1,B1,nan,5\n", b"A1,B1,3.0,never\n", b"A1,B1,3.0\n")
LOAD = "import sys, palate; data = palate.load(sys.argv[1]); print(len(data.users), len(data.items))"


def write_log(path: Path, rows: int, flaws: float, seed: int = 0) -> dict[str, int]:
    """A CSV file of `rows` rows.

    Args:
        flaws: share of rows that are wrong, in the ways of `WRONG` in turn.

    Returns:
        How many rows of each kind it has.
    """
    generator = np.random.default_rng(seed)
    again, wrong = int(rows * REPEATED), int(rows * flaws)
    sound = rows - again - wrong
    users, items = max(rows // ROWS_PER_USER, 20), max(rows // ROWS_PER_ITEM, 20)
    user, item = pairs(users, items, sound, seed)
    repeated = generator.integers(0, sound, again)
    user, item = np.concatenate([user, user[repeated]]), np.concatenate([item, item[repeated]])
    frame = pl.DataFrame(
        {
            "user_id": _ids("A", 13, users).gather(user),
            "item_id": _ids("B0", 8, items).gather(item),
            "rating": generator.integers(1, 6, len(user)).astype(np.float64),
            "timestamp": generator.integers(START, END, len(user)),
        }
    )
    places = np.sort(generator.integers(0, len(frame) + 1, wrong)).tolist()
    with path.open("wb") as stream:
        frame.clear().write_csv(stream)
        for number, (start, end) in enumerate(pairwise([0, *places, len(frame)])):
            frame.slice(start, end - start).write_csv(stream, include_header=False)
            if number < wrong:
                stream.write(WRONG[number % len(WRONG)])
    return {"rows": rows, "repeated": again, "wrong": wrong}


def _ids(prefix: str, digits: int, count: int) -> pl.Series:
    # Numbers far apart, so that ids share no more than those of a shop do.
    step = 16**digits // (count + 1)
    return pl.Series("id", [f"{prefix}{step * (number + 1):0{digits}X}" for number in range(count)])


def measure(rows: int, flaws: float, folder: Path) -> dict[str, Any]:
    """Write the file, import it, describe the catalogue, and load it as a data set."""
    file, catalogue = folder / "log.csv", folder / "catalogue"
    about: dict[str, Any] = write_log(file, rows, flaws)
    about["megabytes"] = file.stat().st_size / 1e6
    palate = [sys.executable, "-m", "palate"]
    steps = {
        "import": [*palate, "data", "import", "--interactions", str(file), "-o", str(catalogue)],
        "describe": [*palate, "data", "describe", str(catalogue)],
        "load": [sys.executable, "-c", LOAD, str(catalogue)],
    }
    for name, command in steps.items():
        spent = run(command)
        if spent.code:
            raise SystemExit(f"{name} failed")
        about[name] = asdict(spent) | {"said": spent.said.partition(" → ")[0]}
    about["catalogue_megabytes"] = sum(each.stat().st_size for each in catalogue.iterdir()) / 1e6
    return about


def text(found: dict[str, Any]) -> str:
    """A table of the steps."""
    lines = [
        f"{found['rows']:,} rows, {found['megabytes']:.0f} MB, {found['repeated']:,} repeated, "
        f"{found['wrong']:,} wrong; catalogue {found['catalogue_megabytes']:.0f} MB.",
        "",
        "| step | wall s | CPU s | peak MB |",
        "|---|---|---|---|",
    ]
    for name in ("import", "describe", "load"):
        spent = found[name]
        lines.append(f"| {name} | {spent['wall']:.1f} | {spent['cpu']:.1f} | {spent['peak_mb']:,.0f} |")
    return "\n".join([*lines, "", f"Imported: {found['import']['said']}."])


def main() -> None:
    """Measure and print."""
    reader = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reader.add_argument("--rows", type=float, default=1e7)
    reader.add_argument("--flaws", type=float, default=1e-3, help="share of rows that are wrong")
    reader.add_argument("--out", type=output, help="JSON file, in place of what was there")
    asked = reader.parse_args()
    with tempfile.TemporaryDirectory(prefix="palate-ingest-") as folder:
        found = measure(int(asked.rows), asked.flaws, Path(folder))
    print(text(found))
    if asked.out:
        write(asked.out, found)


if __name__ == "__main__":
    guarded(main)
