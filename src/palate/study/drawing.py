"""Drawings for pages: matplotlib figures as SVG whose colours are the page's, so that one serves light and dark.

Takes functions that draw on axes with the colours below; gives the same text for the same drawing. Needs matplotlib
(the extra `report`).
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from palate.core.errors import MissingDependency

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Stand-ins that become the page's own colours.
INK, BAR, OTHER, QUIET, LINE, BACK = "#010203", "#040506", "#070809", "#0a0b0c", "#0d0e0f", "#101112"
PAGE_COLOURS = {
    INK: "currentColor",
    BAR: "var(--bar)",
    OTHER: "var(--other)",
    QUIET: "var(--quiet)",
    LINE: "var(--line)",
    BACK: "var(--back)",
}
# Blue and orange stay apart for all common kinds of colour blindness, and in grey they differ in lightness.
LIGHT = "--back: #ffffff; --ink: #1c1c1e; --quiet: #5f6368; --line: #d9dce0; --bar: #2f6db5; --other: #b8570b"
DARK = "--back: #17181a; --ink: #ececee; --quiet: #a0a4aa; --line: #3a3d42; --bar: #7fb2ef; --other: #f2a65a"
GAP = 12.0


@dataclass(frozen=True)
class Drawing:
    """One drawing.

    Attributes:
        name: unique within a page.
        label: what it shows, for those who do not see it.
        svg: an `svg` element as wide as it is let.
        width, height: in its own units.
    """

    name: str
    label: str
    svg: str
    width: float
    height: float


def draw(name: str, label: str, width: float, height: float, paint: Callable[[Axes], None], title: str = "") -> Drawing:
    """Let `paint` draw on axes of a figure of `width` × `height` inches.

    Raises:
        MissingDependency: without matplotlib.
    """
    require("matplotlib")
    import matplotlib as mpl
    from matplotlib.figure import Figure

    # Names within a drawing are hashes of this salt and what they name: the same in each run, different in each plot.
    with mpl.rc_context({**STYLE, "svg.hashsalt": f"palate {name}"}):
        figure = Figure(figsize=(width, height), layout="constrained")
        if title:
            figure.suptitle(title, x=0.01, ha="left", fontsize=10, fontweight="bold")
        paint(figure.add_subplot())
        stream = io.StringIO()
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return Drawing(name, label, _page_svg(stream.getvalue(), label), 72 * width, 72 * height)


def standalone(drawings: Sequence[Drawing], columns: int) -> str:
    """Drawings side by side as one SVG file with its own background, light or dark as its reader prefers."""
    columns = min(columns, len(drawings))
    rows = [drawings[start : start + columns] for start in range(0, len(drawings), columns)]
    width = max(sum(drawing.width + GAP for drawing in row) for row in rows) + GAP
    placed: list[str] = []
    top = GAP
    for row in rows:
        left = GAP
        for drawing in row:
            place = f'x="{left:g}" y="{top:g}" width="{drawing.width:g}" height="{drawing.height:g}"'
            placed.append(drawing.svg.replace("<svg ", f"<svg {place} ", 1))
            left += drawing.width + GAP
        top += max(drawing.height for drawing in row) + GAP
    style = (
        f"svg {{ {LIGHT}; color: var(--ink); }} .back {{ fill: var(--back); }} "
        f"@media (prefers-color-scheme: dark) {{ svg {{ {DARK}; }} }}"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'width="{width:g}" height="{top:g}" viewBox="0 0 {width:g} {top:g}">\n'
        f'<style>{style}</style>\n<rect class="back" width="100%" height="100%"/>\n' + "\n".join(placed) + "\n</svg>\n"
    )


def require(*packages: str) -> None:
    """Ask for the packages of the extra `report`.

    Raises:
        MissingDependency: when one is not installed.
    """
    from importlib import import_module

    for package in packages:
        try:
            import_module(package)
        except ImportError:
            raise MissingDependency(
                f"a page with plots needs the package {package}", do="pip install 'palate[report]'"
            ) from None


STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.size": 9,
    "text.color": INK,
    "text.parse_math": False,
    "axes.labelcolor": INK,
    "axes.edgecolor": LINE,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
}


def _page_svg(drawn: str, label: str) -> str:
    """The element alone: no size, no names that nothing refers to, no style that would leak into the page."""
    drawn = drawn[drawn.index("<svg") :].rstrip()
    drawn = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", drawn, flags=re.DOTALL)
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', drawn))
    drawn = re.sub(r' id="([^"]*)"', lambda found: found[0] if found[1] in used else "", drawn)
    drawn = re.sub(r"<[^>]*>", lambda tag: _page_tag(tag[0]), drawn)
    drawn = re.sub(r">\s+<", "><", drawn)
    head, rest = drawn.split(">", 1)
    head = re.sub(r' (?:width|height|version)="[^"]*"', "", head)
    return f'{head} role="img" aria-label="{escape(label)}" stroke-linejoin="round">{rest}'


def _page_tag(tag: str) -> str:
    # Two decimals of a seventy-second of an inch are more than enough, and half the size.
    tag = re.sub(r"\d+\.\d{3,}", _short, tag)
    tag = re.sub(r"'DejaVu Sans'[^;\"]*", "system-ui, sans-serif", tag)
    for stand_in, colour in PAGE_COLOURS.items():
        tag = tag.replace(stand_in, colour)
    return tag


def _short(number: re.Match[str]) -> str:
    return f"{float(number[0]):.2f}".rstrip("0").rstrip(".")
