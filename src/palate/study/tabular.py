"""Tables of plain text, and how they are written as Markdown and as LaTeX (booktabs), whatever their cells hold."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

# Letters of a row's name that fit without a thought.
LONG = 18
Mark = Literal["", "winner", "separated", "quiet"]


@dataclass(frozen=True)
class Cell:
    """What stands in a cell.

    Attributes:
        text: the value.
        more: smaller, below or behind it: an interval, a deviation.
        mark: winner: separated from all others on this metric; separated: from the other of a pair; quiet: from too
            few users to be relied on, or nothing.
    """

    text: str
    more: str = ""
    mark: Mark = ""


@dataclass(frozen=True)
class Column:
    """A column: its name, and smaller words below it; `words` for one that is to be read, not compared."""

    title: str
    more: str = ""
    words: bool = False


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        name: for links and labels.
        caption: what it shows.
        columns: the first is that of the rows' names.
        rows: of as many cells.
        foot: a last row that is about the columns; empty for none.
        note: how to read it; empty where that is plain.
    """

    name: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    foot: tuple[Cell, ...] = ()
    note: str = ""

    @property
    def long_names(self) -> bool:
        """Some row's name needs room."""
        return any(len(row[0].text) > LONG for row in self.rows)

    def beside(self, other: Table) -> Table:
        """This table with the columns of another one of the same rows."""
        return Table(
            self.name,
            self.caption,
            self.columns + other.columns[1:],
            tuple(row + more[1:] for row, more in zip(self.rows, other.rows, strict=True)),
            self.foot + (other.foot or tuple(Cell("") for _ in other.columns))[1:] if self.foot else (),
        )


def markdown(table: Table) -> str:
    """A GitHub table below its caption."""
    lines = [f"**{markdown_text(table.caption)}**", ""]
    heads = [f"{markdown_text(column.title)} {markdown_text(column.more)}".strip() for column in table.columns]
    sides = [":--" if place == 0 or column.words else "--:" for place, column in enumerate(table.columns)]
    lines += [_row(heads), _row(sides)]
    for row in (*table.rows, *([table.foot] if table.foot else [])):
        lines.append(_row([_markdown_cell(cell) for cell in row]))
    if table.note:
        lines += ["", markdown_text(table.note)]
    return "\n".join(lines) + "\n"


def latex(table: Table) -> str:
    """A table for booktabs, scaled to the width of the text where it is wider."""
    sides = "".join("l" if place == 0 or column.words else "r" for place, column in enumerate(table.columns))
    # Where most cells have an interval, it goes below its value, else the table would be set too small to read.
    below = 2 * sum(bool(cell.more) for cell in table.rows[0]) > len(table.columns) if table.rows else False
    heads = [latex_text(column.title) for column in table.columns]
    under = [latex_text(column.more) for column in table.columns]
    lines = [
        r"\begin{table}[tbp]",
        r"\centering",
        rf"\caption{{{latex_text(f'{table.caption}. {table.note}' if table.note else table.caption)}}}",
        rf"\label{{tab:{table.name}}}",
        r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        rf"\begin{{tabular}}{{{sides}}}",
        r"\toprule",
        " & ".join(heads) + r" \\",
        *([" & ".join(rf"\footnotesize {part}" if part else "" for part in under) + r" \\"] if any(under) else []),
        r"\midrule",
        *(" & ".join(_latex_cell(cell, below) for cell in row) + r" \\" for row in table.rows),
        *([r"\midrule", " & ".join(_latex_cell(cell, below) for cell in table.foot) + r" \\"] if table.foot else []),
        r"\bottomrule",
        r"\end{tabular}}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def markdown_text(text: str) -> str:
    """Text in one line that Markdown shows as it is."""
    flat = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|~$])", r"\\\1", flat)


def _markdown_cell(cell: Cell) -> str:
    text, more = markdown_text(cell.text), markdown_text(cell.more)
    shown = f"**{text}**" if cell.mark == "winner" else text
    return f"{shown} ({more})" if more else shown


LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "_": r"\_",
    "%": r"\%",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    "−": r"$-$",
    "–": "--",
}


def latex_text(text: str) -> str:
    """Text in one line that LaTeX sets as it is."""
    return "".join(LATEX.get(letter, letter) for letter in " ".join(text.split()))


def _latex_cell(cell: Cell, below: bool) -> str:
    text, more = latex_text(cell.text), latex_text(cell.more)
    shown = rf"\textbf{{{text}}}" if cell.mark == "winner" else text
    if below and more:
        return rf"\shortstack[r]{{{shown} \\ {{\scriptsize {more}}}}}"
    return rf"{shown} {{\scriptsize {more}}}" if more else shown
