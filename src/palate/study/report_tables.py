"""The tables of a comparison's report: what stands in each cell.

Takes `Findings`; gives tables of plain text, which page, Markdown and LaTeX escape for themselves. A value is marked as
a winner only where the separation of its metric names one.
"""

from __future__ import annotations

from palate.study.findings import FIRST, Findings, Interval, SliceFound
from palate.study.report_words import (
    ACCURACY,
    NOTHING,
    WAYS,
    figure,
    metric_name,
    probability,
    seconds,
    short_names,
    signed,
    slice_name,
    whole,
)
from palate.study.results import COMPARED
from palate.study.tabular import Cell, Column, Table


def quality(found: Findings) -> Table:
    """The compared metrics with their intervals, a verdict for each, and the spread of the seeds."""
    rows = [
        (
            Cell(found.name(label)),
            *(_measured(found, label, metric) for metric in COMPARED),
            Cell(_deviation(model.metrics[FIRST].over_seeds), f"{model.seeds} seed{'' if model.seeds == 1 else 's'}"),
        )
        for label, model in found.models.items()
    ]
    columns = (
        Column("Model"),
        *(Column(metric_name(metric), "95 % interval") for metric in COMPARED),
        Column("Seeds' spread", f"of {metric_name(FIRST)}"),
    )
    foot = (Cell("Verdict"), *(_verdict(found, metric) for metric in COMPARED), Cell(""))
    caption = f"Quality on the test part, {found.test_users:,} users; the best {metric_name(FIRST)} first"
    return Table("quality", caption, columns, tuple(rows), foot)


def cost(found: Findings) -> Table:
    """Time, memory and parameters."""
    rows: list[tuple[Cell, ...]] = []
    for label, model in found.models.items():
        spent = model.cost
        best = "" if spent.best_epoch is None else f"best {_epochs(spent.best_epoch)}"
        rows.append(
            (
                Cell(found.name(label)),
                Cell(seconds(spent.seconds_per_epoch)),
                Cell(seconds(spent.seconds)),
                Cell(_epochs(spent.epochs), f"{best}, the limit" if model.hit_the_limit else best),
                Cell(whole(spent.process_peak_memory_mb)),
                Cell(whole(spent.parameters)),
            )
        )
    columns = (
        Column("Model"),
        Column("Seconds", "an epoch"),
        Column("Seconds", "in all"),
        Column("Epochs"),
        Column("Peak memory", "MB"),
        Column("Parameters", "trained"),
    )
    return Table("cost", "Cost of one training, means over seeds", columns, tuple(rows))


def accuracy(found: Findings) -> list[Table]:
    """Every accuracy metric at every cut, a table for each metric."""
    stored = next(iter(found.models.values())).metrics
    tables: list[Table] = []
    for name in dict.fromkeys((*ACCURACY, *(metric.partition("@")[0] for metric in stored))):
        metrics = [metric for metric in stored if metric.partition("@")[0] == name]
        rows = tuple(
            (Cell(found.name(label)), *(_measured(found, label, metric, spread=True) for metric in metrics))
            for label in found.models
        )
        columns = (Column("Model"), *(Column(metric_name(metric)) for metric in metrics))
        title = metric_name(name)
        if metrics:
            tables.append(Table(f"all-{name}", f"{title}: mean, 95 % interval, seeds' spread", columns, rows))
    return tables


def beyond(found: Findings) -> list[Table]:
    """Everything beyond accuracy, a table for each list length; that of the first compared metric comes first."""
    stored = list(dict.fromkeys(name for model in found.models.values() for name in model.beyond))
    first = FIRST.partition("@")[2]
    cuts = sorted({name.partition("@")[2] for name in stored}, key=lambda cut: (cut != first, int(cut)))
    tables: list[Table] = []
    for cut in cuts:
        names = [name for name in stored if name.partition("@")[2] == cut]
        rows = tuple(
            (Cell(found.name(label)), *(Cell(figure(model.beyond.get(name))) for name in names))
            for label, model in found.models.items()
        )
        columns = (Column("Model"), *(Column(metric_name(name)) for name in names))
        tables.append(Table(f"beyond-{cut}", f"Beyond accuracy, lists of {cut}", columns, rows))
    return tables


def clicks(found: Findings) -> Table:
    """The click protocol."""
    stored = {name for model in found.models.values() for name in model.clicks}
    names = sorted(stored, key=lambda name: (name.partition("@")[0], int(name.partition("@")[2] or 0)))
    rows = tuple(
        (Cell(found.name(label)), *(Cell(figure(model.clicks.get(name))) for name in names))
        for label, model in found.models.items()
    )
    columns = (Column("Model"), *(Column(metric_name(name)) for name in names))
    return Table("clicks", "Click protocol, means over users and seeds", columns, rows)


def selection(found: Findings) -> Table:
    """What was chosen on validation, beside what it is worth on test."""
    rows: list[tuple[Cell, ...]] = []
    for label, model in found.models.items():
        tested = model.metrics.get(model.selection)
        row = (metric_name(model.selection), figure(model.validation.get(model.selection)))
        rows.append((Cell(found.name(label)), *map(Cell, row), Cell(figure(tested.mean if tested else None))))
    columns = (Column("Model"), Column("Chosen by", words=True), Column("Validation"), Column("Test"))
    return Table(
        "selection", "Validation, on which epochs were chosen, and test; means over seeds", columns, tuple(rows)
    )


def slices(found: Findings) -> list[Table]:
    """Recall by slice of the items and of the users, a table for each kind; slices that nobody is in are left out."""
    tables: list[Table] = []
    for kind in ("items", "users"):
        parts = measured_slices(found, kind)
        if not parts:
            continue
        columns = (Column("Model"), *(Column(slice_name(name, kind), slice_size(part)) for name, part in parts.items()))
        rows = tuple(
            (Cell(found.name(label)), *(_sliced(model.slices.get(name)) for name in parts))
            for label, model in found.models.items()
        )
        tables.append(Table(f"slices-{kind}", f"Recall@20 by {kind}: mean and 95 % interval", columns, rows))
    return tables


def measured_slices(found: Findings, kind: str) -> dict[str, SliceFound]:
    """The slices of a kind in which some test user was counted; their sizes are the same for all models."""
    stored = next(iter(found.models.values())).slices
    return {name: part for name, part in stored.items() if part.kind == kind and part.users}


def empty_slices(found: Findings) -> list[str]:
    """What the slices are called in which no test user was counted."""
    stored = next(iter(found.models.values())).slices
    return [slice_name(name, part.kind) for name, part in stored.items() if not part.users]


def slice_size(part: SliceFound) -> str:
    """How many users a slice is about, and whether they are too few."""
    return f"n = {part.users:,} users{', thin' if part.thin else ''}"


def knock_outs(found: Findings) -> Table | None:
    """What each modality brought to each model; None where none was knocked out."""
    if not found.knock_out:
        return None
    rows = tuple(
        (
            Cell(found.name(entry.label)),
            Cell(f"{entry.modality}, {WAYS.get(entry.how, entry.how)}"),
            Cell(figure(entry.true)),
            Cell(figure(entry.without)),
            Cell(signed(entry.difference.mean), _ends(entry.corrected), "separated" if entry.separated else ""),
            Cell(probability(entry.corrected_p)),
            Cell("separated" if entry.separated else "not separated", "", "separated" if entry.separated else ""),
        )
        for entry in found.knock_out
    )
    columns = (
        Column("Model"),
        Column("Modality", words=True),
        Column("True rows"),
        Column("Without"),
        Column("Difference", "corrected interval"),
        Column("p", "corrected"),
        Column("Verdict", words=True),
    )
    caption = f"Knock-outs: {metric_name(FIRST)} with a modality's true rows and without"
    notes = dict.fromkeys(entry.note for entry in found.knock_out if entry.note)
    return Table("knock-outs", caption, columns, rows, note=" ".join(f"{note}." for note in notes))


def pairs(found: Findings, metric: str) -> Table:
    """Every model against every other: differences above the diagonal, corrected p below it; separated ones marked."""
    separation = found.separation[metric]
    order, names = separation.order, short_names(found)
    rows: list[tuple[Cell, ...]] = []
    for row, label in enumerate(order):
        cells = [Cell(f"{row + 1} {names[label]}")]
        for column, other in enumerate(order):
            pair = separation.pair(label, other)
            if pair is None:
                cells.append(Cell("", "", "quiet"))
                continue
            text = figure(pair.difference.mean) if column > row else probability(pair.corrected_p)
            # A zero less in each cell, so that many columns fit.
            text = text.removeprefix("0") if text.startswith("0.") else text
            cells.append(Cell(f"{text}*", "", "separated") if pair.separated else Cell(text, "", "quiet"))
        rows.append(tuple(cells))
    caption = f"{metric_name(metric)}: difference and corrected p of each pair"
    note = (
        "Row against column: above the diagonal by how much the row's model is higher, below it the corrected p. "
        "* marks separated pairs."
    )
    columns = (Column("Model"), *(Column(str(place + 1)) for place in range(len(order))))
    return Table(f"pairs-{metric.replace('@', '-')}", caption, columns, tuple(rows), note=note)


def every_pair(found: Findings) -> Table:
    """Every pair on the first metric, a row for each, with effect and who is served better."""
    names = short_names(found)
    rows = tuple(
        (
            Cell(names[pair.first]),
            Cell(names[pair.second]),
            Cell(signed(pair.difference.mean), _ends(pair.corrected), "separated" if pair.separated else ""),
            Cell(probability(pair.corrected_p)),
            Cell(NOTHING if pair.effect is None else f"{pair.effect:.2f}".replace("-", "−")),
            Cell(f"{pair.better:.0%}"),
            Cell(f"{pair.worse:.0%}"),
            Cell("separated" if pair.separated else "not separated", "", "separated" if pair.separated else ""),
        )
        for pair in found.separation[FIRST].pairs
    )
    columns = (
        Column("Model"),
        Column("Against", words=True),
        Column("Difference", "corrected interval"),
        Column("p", "corrected"),
        Column("Effect", "d_z"),
        Column("Users better", "with the first"),
        Column("Users better", "with the second"),
        Column("Verdict", words=True),
    )
    return Table("every-pair", f"{metric_name(FIRST)}, user by user", columns, rows)


def _measured(found: Findings, label: str, metric: str, *, spread: bool = False) -> Cell:
    measure = found.models[label].metrics[metric]
    separation = found.separation.get(metric)
    more = _interval(measure)
    if spread and measure.over_seeds is not None:
        more = f"{more} {_deviation(measure.over_seeds)}"
    return Cell(figure(measure.mean), more, "winner" if separation and separation.winner == label else "")


def _verdict(found: Findings, metric: str) -> Cell:
    separation = found.separation[metric]
    if len(separation.order) < 2:
        return Cell("one model")
    if separation.winner is not None:
        return Cell(f"{found.name(separation.winner)} is ahead")
    return Cell("not separated", f"{len(separation.level_with_best) + 1} share the first place")


def _sliced(part: SliceFound | None) -> Cell:
    if part is None or part.recall is None:
        return Cell(NOTHING, "", "quiet")
    return Cell(figure(part.recall.mean), _interval(part.recall), "quiet" if part.thin else "")


def _interval(found: Interval) -> str:
    return f"{figure(found.low)} to {figure(found.high)}"


def _ends(difference: Interval) -> str:
    return f"{signed(difference.low)} to {signed(difference.high)}"


def _deviation(value: float | None) -> str:
    return NOTHING if value is None else f"±{figure(value)}"


def _epochs(value: float | None) -> str:
    return NOTHING if value is None else f"{value:,.0f}" if value == round(value) else f"{value:,.1f}"
