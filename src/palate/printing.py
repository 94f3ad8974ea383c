"""How results look on the screen: metrics by list length, tables, one line on a training, and notes.

Titles and ids are other people's text: what in them would steer a terminal is shown, not obeyed.
"""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Any

from palate.core.progress import duration

if TYPE_CHECKING:
    import polars as pl

# Parts of a score are sums in single precision.
SUM_TOLERANCE = 1e-4
# Control characters, ends of lines and paragraphs, what turns the direction of writing, and halves of characters.
STEERING = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def visible(text: str, *, lines: bool = False) -> str:
    """A text of people with what steers a terminal written out: `\\x1b[31m` for the change to red.

    Args:
        lines: leave ends of lines as they are.
    """
    if lines:
        return "\n".join(map(visible, text.split("\n")))
    return STEERING.sub(lambda found: found[0].encode("unicode_escape", "surrogatepass").decode(), text)


def say_note(text: str) -> None:
    """A note, on the error stream."""
    print(f"note: {visible(text)}", file=sys.stderr)


def training_line(facts: dict[str, Any]) -> str:
    """One line on how a training went."""
    parts = [f"{duration(facts['seconds'])} of training"]
    if "epochs" in facts:
        parts.append(f"best of {facts['epochs']} epochs: {facts['best_epoch']}, ended by {facts['stopped']}")
    return ", ".join([*parts, f"{facts['parameters']:,} parameters", f"{facts['process_peak_memory_mb']:,} MB at most"])


def print_metrics(parts: dict[str, dict[str, float]]) -> None:
    """One block for each part of the data: a row for each metric, a column for each list length."""
    for part, metrics in parts.items():
        cuts = sorted({name.partition("@")[2] for name in metrics}, key=int)
        names = list(dict.fromkeys(name.partition("@")[0] for name in metrics))
        print(f"{part:<12}" + "".join(f"{'@' + cut:>9}" for cut in cuts))
        for name in names:
            print(f"{name:<12}" + "".join(f"{metrics[f'{name}@{cut}']:>9.4f}" for cut in cuts))


def print_comparison(results: dict[str, Any]) -> None:
    """The models by their first metric, with intervals and cost, and what separated."""
    import polars as pl

    rows = [
        {
            "model": label,
            "recall@20": f"{found['metrics']['recall@20']['mean']:.4f}",
            "95 %": "{low:.4f} to {high:.4f}".format(**found["metrics"]["recall@20"]),
            "ndcg@20": f"{found['metrics']['ndcg@20']['mean']:.4f}",
            "coverage@20": f"{found['beyond']['coverage@20']:.3f}",
            "s an epoch": ""
            if found["cost"]["seconds_per_epoch"] is None
            else f"{found['cost']['seconds_per_epoch']:.2f}",
            "seconds": f"{found['cost']['seconds']:.1f}",
            "MB at most": f"{found['cost']['process_peak_memory_mb']:,.0f}",
            "seeds": str(found["seeds"]),
        }
        for label, found in results["models"].items()
    ]
    print_table(pl.DataFrame(rows))
    defaults = [label for label, found in results["models"].items() if found["settings_from"] == found["model"]]
    if defaults:
        print(f"with default settings, for want of a recipe file: {', '.join(defaults)}")
    print(f"recall@20, {results['test_users']:,} test users: {results['separation']['recall@20']['verdict']}")
    for entry in results["knock_out"]:
        said = "separated" if entry["separated"] else "not separated"
        print(
            f"{entry['label']} without true {entry['modality']} ({entry['how']}): {entry['without']:.4f} instead of "
            f"{entry['with']:.4f}, {said}"
        )


def print_explanation(found: dict[str, Any]) -> None:
    """What `explain_to` found, in blocks: the score and its parts, the history, neighbours by modality."""
    who, what = visible(found["user"]), visible(f"{found['item_id']}{_title(found)}")
    print(f"user {who}, item {what}{', known already' if found['known'] else ''}")
    print(f"score {found['score']:.4f}")
    if found["parts"]:
        left = found["score"] - sum(found["parts"].values())
        sizes = abs(found["score"]) + sum(map(abs, found["parts"].values()))
        # A model from outside may name parts that are not all there is.
        print("the sum of:" if abs(left) <= SUM_TOLERANCE * sizes else "parts, which do not add up to it:")
        for name, value in found["parts"].items():
            print(f"  {name:<20}{value:>10.4f}")
    history = found["history"]
    said = {
        "weight": "what the user's items add to the score",
        "cosine": "the user's items that are nearest to it, by the model's item vectors",
    }
    if history["basis"] is not None:
        print(f"\n{said[history['basis']]} ({found['history_length']:,} in training):")
        print_table(_rows(history["items"])) if history["items"] else print("  none")
        if history["rest"] is not None and len(history["items"]) < found["history_length"]:
            print(f"all others add {history['rest']:.4f}")
    for name, items in found["neighbours"].items():
        print(f"\nnearest by {name}:")
        print_table(_rows(items)) if items else print("  none")


def _rows(items: list[dict[str, Any]]) -> pl.DataFrame:
    import polars as pl

    # Some lack a title, maybe all of the first hundred.
    return pl.DataFrame(items, infer_schema_length=None)


def _title(found: dict[str, Any]) -> str:
    return f" ({found['title']})" if "title" in found else ""


def print_table(table: pl.DataFrame) -> None:
    """A table, as wide as the terminal or as it needs to be."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=None, pad_edge=False)
    numeric = {name for name, dtype in table.schema.items() if dtype.is_numeric()}
    for name in table.columns:
        shown.add_column(Text(visible(name)), justify="right" if name in numeric else "left")
    for row in table.select(*(_shown(table[name]) for name in table.columns)).iter_rows():
        # As plain texts: brackets would be taken for styles.
        shown.add_row(*map(Text, row))
    console = Console()
    console.print(shown) if console.is_terminal else Console(width=200).print(shown)


def _shown(column: pl.Series) -> pl.Series:
    """A column as text: whole numbers plain, large ones with one decimal, the others with four."""
    if column.dtype.is_float():
        known = column.drop_nulls()
        whole = bool((known == known.round(0)).all())
        large = len(known) > 0 and bool((known.abs() >= 10).any())
        places = 0 if whole else 1 if large else 4
        text = ["" if value is None else f"{value:.{places}f}" for value in column.to_list()]
    else:
        text = ["" if value is None else visible(str(value)) for value in column.to_list()]
    return type(column)(column.name, text)
