"""The plots of a comparison's report: quality, cost, slices, learning and knock-outs, as groups of small drawings.

Takes `Findings`. No model is told by its colour alone: it is named beside its mark, or alone in its own panel.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from palate.study.drawing import BACK, BAR, INK, OTHER, QUIET, Drawing, draw
from palate.study.findings import FIRST, Epoch, Findings, Interval, KnockOut, ModelFound
from palate.study.report_tables import measured_slices, slice_size
from palate.study.report_words import figure, metric_name, short_names, shortened, slice_name
from palate.study.results import COMPARED

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.transforms import Bbox

# Inches of a line of a plot.
ROW = 0.21
# Points of a curve: of the model itself, and of each of the others behind it.
POINTS, BEHIND = 120, 40
MARKS = "A blue circle is a model that uses features, an orange square one that learns from interactions alone."
DOTS = (0, (1, 1.5))
DOTTED = " The dotted line is Popularity."


@dataclass(frozen=True)
class Plot:
    """Drawings that belong together.

    Attributes:
        name: of its file and its place in the page.
        title: what it is about.
        note: how to read it.
        drawings: its panels.
        columns: as many stand side by side where there is room.
    """

    name: str
    title: str
    note: str
    drawings: tuple[Drawing, ...]
    columns: int


@dataclass(frozen=True)
class _Row:
    """One line of a plot of intervals."""

    name: str
    interval: Interval | None
    marker: str
    colour: str
    filled: bool = True


def all_plots(found: Findings) -> dict[str, Plot]:
    """The plots that these findings have something for, by name."""
    plots = [
        quality(found),
        *costs(found),
        *(plot for kind in ("items", "users") for plot in slices(found, kind)),
        *learning(found),
        *knock_outs(found),
    ]
    return {plot.name: plot for plot in plots}


def quality(found: Findings) -> Plot:
    """Mean and interval of each model on the first two metrics."""
    drawings = [_metric(found, metric) for metric in COMPARED[:2]]
    note = f"Mean and 95 % interval over users. {MARKS}{DOTTED if found.baseline else ''}"
    note += " Intervals that overlap do not say that two models are level: the pairs below are compared user by user."
    return Plot("quality", "Quality", note, tuple(drawings), 2)


def _metric(found: Findings, metric: str) -> Drawing:
    rows = [_row(found, label, model.metrics[metric]) for label, model in found.models.items()]
    reference = found.models[found.baseline].metrics[metric].mean if found.baseline else None
    means = {name: found.models[label].metrics[metric].mean for label, name in short_names(found).items()}
    return _forest(f"quality-{metric}", metric_name(metric), rows, _range(metric_name(metric), means), 4.4, reference)


def slices(found: Findings, kind: str) -> list[Plot]:
    """A panel for each slice of the items or users that has any test user."""
    drawings: list[Drawing] = []
    for name, part in measured_slices(found, kind).items():
        rows: list[_Row] = []
        for label, model in found.models.items():
            own = model.slices.get(name)
            rows.append(_row(found, label, own.recall if own else None, quiet=part.thin))
        means = {row.name: row.interval.mean for row in rows if row.interval}
        title = f"{slice_name(name, kind)}, {slice_size(part)}"
        drawings.append(_forest(f"slice-{name}", title, rows, _range(f"Recall@20, {title}", means), 3.9))
    note = f"Recall@20 with 95 % interval; n is the number of users, and each panel has its own scale. {MARKS}"
    if any(part.thin for part in measured_slices(found, kind).values()):
        note += " Thin slices are grey and hollow: too few users to rely on."
    return [Plot(f"slices-{kind}", f"By {kind}", note, tuple(drawings), 3)] if drawings else []


def knock_outs(found: Findings) -> list[Plot]:
    """A panel for each model that was trained without a modality's true rows."""
    by_label: dict[str, list[KnockOut]] = {}
    for entry in found.knock_out:
        by_label.setdefault(entry.label, []).append(entry)
    ends = [end for entry in found.knock_out for end in (entry.difference.low, entry.difference.high, 0.0)]
    drawings: list[Drawing] = []
    for label, entries in by_label.items():
        rows = [
            _Row(
                f"{shortened(entry.modality, 12)}, {SHORT_WAYS.get(entry.how, entry.how)}",
                entry.difference,
                "o",
                BAR if entry.separated else INK,
                entry.separated,
            )
            for entry in entries
        ]
        apart = sum(entry.separated for entry in entries)
        said = f"Knock-outs of {found.name(label)}: {apart} of {len(entries)} separated"
        title = shortened(found.name(label), 40)
        drawings.append(_forest(f"knock-out-{label}", title, rows, said, 3.9, 0.0, (min(ends), max(ends))))
    metric = metric_name(found.knock_out[0].metric) if found.knock_out else ""
    note = (
        f"{metric} with the true rows less {metric} without, with 95 % interval; to the right of zero the true rows "
        "are better. Filled and blue: separated after correction for all knock-outs. Hollow: not separated."
    )
    return [Plot("knock-outs", "Knock-outs", note, tuple(drawings), 3)] if drawings else []


SHORT_WAYS = {"absent": "left out", "noise": "noise", "shuffled": "shuffled"}


def _row(found: Findings, label: str, interval: Interval | None, *, quiet: bool = False) -> _Row:
    uses = bool(found.models[label].features)
    colour = QUIET if quiet else BAR if uses else OTHER
    return _Row(short_names(found)[label], interval, "o" if uses else "s", colour, not quiet)


def _forest(
    name: str,
    title: str,
    rows: Sequence[_Row],
    label: str,
    width: float,
    reference: float | None = None,
    limits: tuple[float, float] | None = None,
) -> Drawing:
    """Means with intervals, one below the other."""

    def paint(axes: Axes) -> None:
        if reference is not None:
            axes.axvline(reference, color=INK, linewidth=1.1, linestyle=DOTS)
        for place, row in enumerate(rows):
            if row.interval is None:
                continue
            ends = [row.interval.low, row.interval.high]
            axes.plot(
                ends, [place, place], color=row.colour, linewidth=1.6, linestyle="-" if row.filled else (0, (3, 2))
            )
            face = row.colour if row.filled else BACK
            axes.plot(row.interval.mean, place, row.marker, color=row.colour, markerfacecolor=face, markersize=5.5)
        axes.set_yticks(range(len(rows)), [row.name for row in rows])
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.tick_params(left=False)
        axes.spines["left"].set_visible(False)
        axes.grid(axis="x")
        axes.locator_params(axis="x", nbins=4)
        if limits is not None and limits[0] < limits[1]:
            spare = 0.05 * (limits[1] - limits[0])
            axes.set_xlim(limits[0] - spare, limits[1] + spare)
        elif limits is None and reference is None:
            most = max((row.interval.high for row in rows if row.interval), default=0.0)
            axes.set_xlim(-0.02 * most, 1.05 * most) if most > 0 else axes.set_xlim(-0.002, 0.1)

    return draw(name, label, width, 0.75 + ROW * len(rows), paint, title)


def costs(found: Findings) -> list[Plot]:
    """Quality against seconds, memory and parameters, where at least two models have such a figure."""
    axes_of: tuple[tuple[str, str, Callable[[ModelFound], float | None]], ...] = (
        ("seconds", "seconds of one training", lambda model: model.cost.seconds),
        ("memory", "peak memory, MB", lambda model: model.cost.process_peak_memory_mb),
        ("parameters", "trained parameters", lambda model: model.cost.parameters or None),
    )
    drawings: list[Drawing] = []
    for name, title, read in axes_of:
        known = {label: value for label, model in found.models.items() if (value := read(model)) is not None}
        if len(known) > 1:
            drawings.append(_scatter(found, f"cost-{name}", title, known))
    note = (
        f"{metric_name(FIRST)} with 95 % interval; up and to the left is better. {MARKS} Models without trained "
        "parameters are not in the last panel."
    )
    return [Plot("cost", "Accuracy against cost", note, tuple(drawings), 3)] if drawings else []


def _scatter(found: Findings, name: str, title: str, known: dict[str, float]) -> Drawing:
    names = short_names(found)

    def paint(axes: Axes) -> None:
        points: list[tuple[str, float, Interval]] = []
        for label, value in known.items():
            measure, model = found.models[label].metrics[FIRST], found.models[label]
            across = max(value, 1e-3)
            colour, marker = (BAR, "o") if model.features else (OTHER, "s")
            axes.plot([across, across], [measure.low, measure.high], color=colour, linewidth=1, alpha=0.45)
            axes.plot(across, measure.mean, marker, color=colour, markersize=5.5)
            points.append((names[label], across, measure))
        _scaled(axes)
        axes.margins(x=0.18, y=0.08)
        axes.grid()
        axes.set_xlabel(title)
        axes.set_ylabel(metric_name(FIRST))
        _name_points(axes, points)

    label = f"{metric_name(FIRST)} against {title}, {len(known)} models; both are in the first table"
    return draw(name, label, 4.2, 3.3, paint)


def _scaled(axes: Axes) -> None:
    """A logarithmic axis for values that are worlds apart, in plain numbers."""
    from matplotlib.ticker import LogLocator, NullLocator

    low, high = axes.dataLim.intervalx
    if high > 20 * low:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0,) if high > 300 * low else (1.0, 2.0, 5.0)))
        axes.xaxis.set_minor_locator(NullLocator())
    else:
        axes.locator_params(axis="x", nbins=5)
    axes.xaxis.set_major_formatter(lambda value, _: _compact(value))


def _compact(value: float) -> str:
    """A number on an axis, from ten thousand on in thousands, from a million on in millions."""
    for unit, least, size in ((" M", 1e6, 1e6), (" k", 1e4, 1e3)):
        if value >= least:
            return f"{value / size:g}{unit}"
    return f"{value:,.0f}" if value == round(value) else f"{value:g}"


def _name_points(axes: Axes, points: Sequence[tuple[str, float, Interval]]) -> None:
    """Write each name where it covers least of the other names, points and intervals."""
    from matplotlib.transforms import Bbox

    whole = axes.get_figure(root=True)
    assert whole is not None
    whole.draw_without_rendering()
    dots = [axes.transData.transform((across, value.mean)).tolist() for _, across, value in points]
    bars = [axes.transData.transform([(across, value.low), (across, value.high)]) for _, across, value in points]
    scale = whole.dpi / 72
    taken: list[Bbox] = []
    for (name, across, value), (x, y) in zip(points, dots, strict=True):
        written = axes.annotate(name, (across, value.mean), (0, 0), textcoords="offset points", fontsize=8)
        size = written.get_window_extent()
        best: tuple[float, tuple[float, float], Bbox] | None = None
        for far in (6, 12, 20):
            for side, height in ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1)):
                left = far * side * scale + (0.0, 0.0, -size.width)[side] - (size.width / 2 if side == 0 else 0)
                low = far * height * scale + (0.0, 0.0, -size.height)[height] - (size.height / 2 if height == 0 else 0)
                box = Bbox.from_bounds(x + left, y + low, size.width, size.height)
                cost = 0.1 * far + 1e3 * _outside(box, axes.bbox) + sum(_overlap(box, other) for other in taken)
                cost += sum(60.0 for dot in dots if box.contains(*dot))
                cost += sum(15.0 for low_end, high_end in bars if _crosses(box, low_end, high_end))
                if best is None or cost < best[0]:
                    best = (cost, (left / scale, low / scale), box)
        assert best is not None
        written.set_position(best[1])
        taken.append(best[2])


def _crosses(box: Bbox, low: Sequence[float], high: Sequence[float]) -> bool:
    return box.x0 < low[0] < box.x1 and low[1] < box.y1 and high[1] > box.y0


def _overlap(one: Bbox, other: Bbox) -> float:
    wide = min(one.x1, other.x1) - max(one.x0, other.x0)
    high = min(one.y1, other.y1) - max(one.y0, other.y0)
    return wide * high if wide > 0 and high > 0 else 0.0


def _outside(box: Bbox, within: Bbox) -> int:
    return int(box.x0 < within.x0 or box.x1 > within.x1 or box.y0 < within.y0 or box.y1 > within.y1)


def learning(found: Findings) -> list[Plot]:
    """The validation metric of each trained model by epoch and by seconds, the others pale behind it."""
    curves = {
        label: points
        for label, model in found.models.items()
        if len(points := [point for point in model.history if point.validation is not None]) > 1
    }
    if not curves:
        return []
    by: tuple[tuple[str, str, Callable[[Epoch], float]], ...] = (
        ("epochs", "epoch", lambda point: point.epoch),
        ("seconds", "seconds", lambda point: max(point.seconds, 1e-3)),
    )
    plots: list[Plot] = []
    for name, axis, read in by:
        drawings = [_curve(found, label, curves, axis, read) for label in curves]
        note = (
            "The validation metric that chose the epoch, first seed; the mark is the best epoch, the pale lines "
            f"are the other models.{DOTTED if found.baseline else ''}"
        )
        plots.append(Plot(f"learning-{name}", f"Learning by {name}", note, tuple(drawings), 4))
    return plots


def _curve(
    found: Findings, label: str, curves: dict[str, list[Epoch]], axis: str, read: Callable[[Epoch], float]
) -> Drawing:
    metric = found.models[label].selection
    alike = [other for other in curves if found.models[other].selection == metric]
    values = [value for other in alike for point in curves[other] if (value := point.validation) is not None]
    ends = [read(points[place]) for points in (curves[other] for other in alike) for place in (0, -1)]
    best = max(curves[label], key=lambda point: point.validation or 0.0)
    floor = found.models[found.baseline].validation.get(metric) if found.baseline else None

    def paint(axes: Axes) -> None:
        for other in alike:
            own = other == label
            points = _thinned(curves[other], POINTS if own else BEHIND, best if own else None)
            line = [read(point) for point in points], [point.validation or 0.0 for point in points]
            drawn = axes.plot(*line, color=BAR if own else QUIET, linewidth=1.8 if own else 0.8, zorder=3 if own else 1)
            drawn[0].set_alpha(1.0 if own else 0.5)
        axes.plot(read(best), best.validation or 0.0, "o", color=BAR, markersize=4.5, zorder=4)
        if floor is not None:
            axes.axhline(floor, color=INK, linewidth=1.1, linestyle=DOTS)
        if axis == "seconds":
            _scaled(axes)
        low, high = min([*values, floor or values[0]]), max([*values, floor or 0.0])
        axes.set_ylim(low - 0.06 * (high - low) - 1e-6, high + 0.06 * (high - low) + 1e-6)
        if min(ends) < max(ends):
            spare = 1.15 if axes.get_xscale() == "log" else 1.03
            axes.set_xlim(min(ends), max(ends) * spare)
        axes.locator_params(axis="y", nbins=4)
        axes.set_xlabel(axis)

    name = found.name(label)
    said = f"{metric_name(metric)} on validation of {name}: best {figure(best.validation)} at epoch {best.epoch}"
    return draw(f"learning-{axis}-{label}", said, 3.1, 2.0, paint, shortened(name, 32))


def _thinned(points: list[Epoch], most: int, kept: Epoch | None) -> list[Epoch]:
    if len(points) <= most:
        return points
    places = {round(place * (len(points) - 1) / (most - 1)) for place in range(most)}
    return [point for place, point in enumerate(points) if place in places or point is kept]


def _range(what: str, means: dict[str, float]) -> str:
    if not means:
        return f"{what}: no figures"
    best, least = max(means, key=means.__getitem__), min(means, key=means.__getitem__)
    return f"{what}: from {figure(means[least])} ({least}) to {figure(means[best])} ({best})"
