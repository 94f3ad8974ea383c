"""How results look on the screen: metrics by list length, tables, and one line on a training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from palate.core.progress import duration

if TYPE_CHECKING:
    import polars as pl


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


def print_table(table: pl.DataFrame) -> None:
    """A table, as wide as the terminal or as it needs to be."""
    from rich.console import Console
    from rich.table import Table

    shown = Table(box=None, pad_edge=False)
    numeric = {name for name, dtype in table.schema.items() if dtype.is_numeric()}
    for name in table.columns:
        shown.add_column(name, justify="right" if name in numeric else "left")
    for row in table.select(*(_shown(table[name]) for name in table.columns)).iter_rows():
        shown.add_row(*row)
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
        text = ["" if value is None else str(value) for value in column.to_list()]
    return type(column)(column.name, text)
