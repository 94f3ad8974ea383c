"""A `Description` as one self-contained HTML page with plots, light and dark; nothing of the items themselves is shown.

Needs matplotlib and Jinja2 (the extra `report`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from palate.study.describe import QUANTILE_NAMES, Activity, Description
from palate.study.drawing import BAR, DARK, INK, LIGHT, draw, require

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH, HEIGHT = 6.0, 3.2

PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{{ found.name }}: what the catalogue holds</title>
<style>
:root { color-scheme: light dark; {{ light }}; }
@media (prefers-color-scheme: dark) {
  :root { {{ dark }}; }
}
body { background: var(--back); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; max-width: 62rem;
  margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .8rem; border-bottom: 1px solid var(--line); text-align: right; }
th:first-child, td:first-child { text-align: left; } th { color: var(--quiet); font-weight: 500; }
figure { margin: 0; } figcaption { color: var(--quiet); font-size: .9rem; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(20rem, 1fr)); gap: 1.5rem; }
svg { width: 100%; height: auto; }
</style>
</head>
<body>
<h1>{{ found.name }}</h1>
<p>{{ "{:,}".format(found.users) }} users, {{ "{:,}".format(found.items) }} items
({{ "{:,}".format(found.cold_items) }} that nobody met), {{ "{:,}".format(found.interactions) }} interactions,
density {{ "{:.4%}".format(found.density) }}{% if found.days %}, {{ found.days[0] }} to {{ found.days[1] }}{% endif %}.
The busiest tenth of the items has {{ "{:.1%}".format(found.head_share) }} of the interactions; Gini
{{ "{:.3f}".format(found.gini) }}.</p>
<h2>Advice</h2>
<ul>{% for line in found.advice %}<li>{{ line }}</li>{% endfor %}</ul>
<h2>Interactions of a user and of an item</h2>
<div class="scroll"><table>
<tr><th></th>{% for name in names %}<th>{{ name }}</th>{% endfor %}<th>mean</th></tr>
{% for name, activity in activities %}<tr><td>{{ name }}</td>
{% for value in activity.quantiles %}<td>{{ "{:,}".format(value) }}</td>{% endfor %}
<td>{{ "{:.1f}".format(activity.mean) }}</td></tr>
{% endfor %}</table></div>
<h2>Content</h2>
<div class="scroll"><table>
<tr><th>modality</th><th>items with content</th><th>items with features</th></tr>
{% for part in found.coverage %}<tr><td>{{ part.modality }}</td>
<td>{{ "{:,}".format(part.any_content) if part.content else "–" }}</td>
<td>{{ "–" if part.encoded is none else "{:,}".format(part.encoded) }}</td></tr>
{% endfor %}</table></div>
{% if found.lacking_line() %}<p>{{ found.lacking_line() }}</p>{% endif %}
<h2>Plots</h2>
<div class="plots">
{% for caption, picture in plots %}<figure>{{ picture }}<figcaption>{{ caption }}</figcaption></figure>
{% endfor %}</div>
{% if found.knowledge %}<h2>Knowledge</h2>
{% for line in found.knowledge.lines() %}<p>{{ line }}</p>{% endfor %}{% endif %}
{% if found.notes %}<h2>Notes</h2>
<ul>{% for note in found.notes %}<li>{{ note }}</li>{% endfor %}</ul>{% endif %}
</body>
</html>
"""


def write_page(found: Description, target: Path) -> None:
    """Write the page, all or nothing.

    Raises:
        MissingDependency: without matplotlib or Jinja2.
    """
    from palate.core.artefact import write_text

    write_text(target, page(found))


def page(found: Description) -> str:
    """The page as HTML; the same description gives the same text.

    Raises:
        MissingDependency: without matplotlib or Jinja2.
    """
    require("matplotlib", "jinja2")
    import jinja2
    import markupsafe

    plots = [
        (caption, markupsafe.Markup(draw(str(number), caption, WIDTH, HEIGHT, paint).svg))
        for number, (caption, paint) in enumerate(_plots(found))
    ]
    template = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(PAGE)
    activities = [("user", found.user_activity), ("item", found.item_activity)]
    return template.render(
        found=found, names=QUANTILE_NAMES, activities=activities, plots=plots, light=LIGHT, dark=DARK
    )


def _plots(found: Description) -> list[tuple[str, Callable[[Axes], None]]]:
    plots: list[tuple[str, Callable[[Axes], None]]] = [
        ("Interactions of each user, the busiest first", lambda axes: _ranked(axes, found.user_activity, "user")),
        ("Interactions of each item, the busiest first", lambda axes: _ranked(axes, found.item_activity, "item")),
        ("Share of the interactions on the busiest items", lambda axes: _lorenz(axes, found.item_activity)),
    ]
    if found.ratings:
        labels = [found.rating_label(rating) for rating in found.ratings]
        plots.append(("Ratings", lambda axes: _bars(axes, labels, list(found.ratings.values()), "interactions")))
    content = [part for part in found.coverage if part.content]
    if content:
        names = [part.modality for part in content]
        shares = [part.any_content / max(found.items, 1) for part in content]
        plots.append(
            ("Share of the items that have each kind of content", lambda axes: _bars(axes, names, shares, "share"))
        )
    return plots


def _ranked(axes: Axes, activity: Activity, noun: str) -> None:
    met = activity.counts[activity.counts > 0]
    # A drawing needs no more than a few hundred points, however many users there are.
    if len(met):
        ranks = np.unique(np.geomspace(1, len(met), 300).astype(np.int64))
        axes.plot(ranks, met[ranks - 1], color=BAR, linewidth=2)
        axes.set_xscale("log")
        axes.set_yscale("log")
        # Whole numbers at the powers of ten: the usual labels are mathematics, which labels here never are.
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(lambda value, _: f"{value:,.0f}")
            axis.set_minor_formatter(lambda value, _: "")
    axes.set_xlabel(f"rank of the {noun}")
    axes.set_ylabel("interactions")


def _lorenz(axes: Axes, activity: Activity) -> None:
    counts = activity.counts
    places = np.unique(np.linspace(0, len(counts), 200).astype(np.int64))
    summed = np.concatenate([[0], np.cumsum(counts)])[places]
    axes.plot(places / max(len(counts), 1), summed / max(int(counts.sum()), 1), color=BAR, linewidth=2)
    axes.plot([0, 1], [0, 1], color=INK, linewidth=0.8, linestyle=":")
    axes.set_xlabel("share of the items")
    axes.set_ylabel("share of the interactions")


def _bars(axes: Axes, labels: Sequence[str], values: Sequence[float], noun: str) -> None:
    places = list(range(len(labels)))
    axes.bar(places, values, color=BAR)
    axes.set_xticks(places, labels, rotation=30 if max(map(len, labels)) > 6 else 0)
    axes.set_ylabel(noun)
    if noun == "share":
        axes.set_ylim(0, 1)
