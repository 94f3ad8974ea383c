"""The report of a comparison, from its `results.json`: one page that stands alone, tables as Markdown and LaTeX, and a
folder of Markdown and drawings for a repository.

The same results give the same bytes. The page needs matplotlib and Jinja2 (the extra `report`), the tables nothing.
"""

from __future__ import annotations

import shlex
from importlib.resources import files
from pathlib import Path
from typing import Any

from palate.core.artefact import write_text
from palate.study.drawing import DARK, LIGHT, require, standalone
from palate.study.findings import FIRST, Findings, ModelFound, read_findings
from palate.study.report_plots import Plot, all_plots
from palate.study.report_reading import reading
from palate.study.report_tables import (
    accuracy,
    beyond,
    clicks,
    cost,
    empty_slices,
    every_pair,
    knock_outs,
    pairs,
    quality,
    selection,
    slices,
)
from palate.study.report_words import DEFINITIONS, data_card, metric_name, plain, slice_name
from palate.study.results import COMPARED
from palate.study.tabular import Table, latex, latex_text, markdown, markdown_text

PAGE, MARKDOWN, LATEX, TEMPLATE = "report.html", "tables.md", "tables.tex", "report.html.jinja"
# Every plot there can be, so that one that is no longer drawn does not stay behind.
DRAWN = ("quality", "cost", "slices-items", "slices-users", "learning-epochs", "learning-seconds", "knock-outs")


def write_report(out: Path) -> list[Path]:
    """Write `tables.md`, `tables.tex` and `report.html` into the folder of a comparison, from its stored results.

    Raises:
        ArtefactError: when the folder holds no results, or they cannot be read.
        MissingDependency: without matplotlib or Jinja2, after the tables are written.
    """
    found = read_findings(out)
    write_text(out / MARKDOWN, tables_markdown(found))
    write_text(out / LATEX, tables_latex(found))
    write_text(out / PAGE, page(found))
    return [out / PAGE, out / MARKDOWN, out / LATEX]


def write_docs(out: Path, folder: Path) -> list[Path]:
    """Write what a repository can show of a comparison: `README.md`, `tables.md` and the drawings as SVG files.

    Raises:
        ArtefactError: when `out` holds no results, or they cannot be read.
        MissingDependency: without matplotlib.
    """
    found = read_findings(out)
    plots = all_plots(found)
    for name in DRAWN:
        if name not in plots:
            (folder / f"{name}.svg").unlink(missing_ok=True)
    for name, plot in plots.items():
        write_text(folder / f"{name}.svg", standalone(plot.drawings, plot.columns))
    write_text(folder / MARKDOWN, tables_markdown(found))
    write_text(folder / "README.md", _readme(found, plots))
    return [folder / "README.md", folder / MARKDOWN, *(folder / f"{name}.svg" for name in plots)]


def page(found: Findings) -> str:
    """The page as HTML.

    Raises:
        MissingDependency: without matplotlib or Jinja2.
    """
    require("matplotlib", "jinja2")
    import jinja2

    source = files("palate.study").joinpath(TEMPLATE).read_text(encoding="utf-8")
    # Everything is escaped but the drawings, which are made here.
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(source).render(_context(found)) + "\n"


def tables_markdown(found: Findings) -> str:
    """All tables, in Markdown."""
    parts = [f"# {markdown_text(_title(found))}", markdown_text(_subtitle(found)), BOLD]
    return "\n\n".join([*parts, *(markdown(table).rstrip() for table in _all_tables(found))]) + "\n"


def tables_latex(found: Findings) -> str:
    """All tables, in LaTeX."""
    head = f"% {latex_text(_title(found))}\n% needs: \\usepackage{{booktabs,graphicx}}\n"
    return "\n".join([head, *(latex(table) for table in _all_tables(found))])


BOLD = "Bold: ahead of the runner-up on that metric, and separated from it; no bold figure, no winner."


def _all_tables(found: Findings) -> list[Table]:
    knocked = knock_outs(found)
    compared = COMPARED if len(found.models) > 1 else ()
    return [
        quality(found),
        cost(found),
        *(pairs(found, metric) for metric in compared),
        *([every_pair(found)] if compared else []),
        *([knocked] if knocked else []),
        *slices(found),
        selection(found),
        *accuracy(found),
        *beyond(found),
        clicks(found),
    ]


def _title(found: Findings) -> str:
    count = len(found.models)
    return (
        f"{found.data.name}: {f'{count} models compared' if count > 1 else f'{found.name(next(iter(found.models)))}'}"
    )


def _subtitle(found: Findings) -> str:
    seeds = found.plan.seeds
    trials = f", {found.plan.trials} trials of tuning each" if found.plan.trials else ""
    return (
        f"Split {found.data.settings.get('split')}, {found.test_users:,} test users, {seeds} "
        f"seed{'' if seeds == 1 else 's'}{trials}, all items as candidates."
    )


def _context(found: Findings) -> dict[str, Any]:
    plots = all_plots(found)
    sliced = [(table.name.removeprefix("slices-"), table) for table in slices(found)]
    knocked = knock_outs(found)
    contents = [
        ("data", "The data", True),
        ("reading", "What it says", True),
        ("models", "The models", True),
        ("pairs", "Separation", len(found.models) > 1),
        ("price", "Cost", "cost" in plots),
        ("slices", "Items and users", bool(sliced)),
        ("features", "Modalities", knocked is not None),
        ("learning", "Learning", True),
        ("metrics", "All metrics", True),
        ("settings", "Settings", True),
        ("repeat", "How to repeat it", True),
        ("terms", "Words", True),
    ]
    return {
        "found": found,
        "title": _title(found),
        "subtitle": _subtitle(found),
        "contents": [(anchor, name) for anchor, name, there in contents if there],
        "light": LIGHT,
        "dark": DARK,
        "card": data_card(found.data, found.test_users),
        "passages": reading(found),
        "main": quality(found).beside(cost(found)),
        "plots": plots,
        "pairs": [_pairs(found, metric) for metric in COMPARED],
        "all_pairs": every_pair(found),
        "slices": sliced,
        "slice_facts": _slice_facts(found),
        "knock_outs": knocked,
        "selection": selection(found),
        "accuracy": accuracy(found),
        "beyond": beyond(found),
        "clicks": clicks(found),
        "settings": [_settings(found, label, model) for label, model in found.models.items()],
        "command": _command(found),
        "environment": [(name, plain(value)) for name, value in found.environment.items() if name != "command"],
        "definitions": DEFINITIONS,
    }


def _pairs(found: Findings, metric: str) -> dict[str, Any]:
    all_pairs = found.separation[metric].pairs
    said = f"{sum(pair.separated for pair in all_pairs)} of {len(all_pairs)} pairs separated"
    return {"title": metric_name(metric), "said": said, "table": pairs(found, metric)}


def _slice_facts(found: Findings) -> list[tuple[str, str]]:
    parts = next(iter(found.models.values())).slices
    facts = [
        (
            slice_name(name, part.kind),
            f"{part.meaning}; {part.members:,} {part.kind}, {part.positives:,} test positives of {part.users:,} users",
        )
        for name, part in parts.items()
        if part.users
    ]
    empty = empty_slices(found)
    return [*facts, ("not shown", f"{', '.join(empty)}: no test positive there")] if empty else facts


def _settings(found: Findings, label: str, model: ModelFound) -> dict[str, Any]:
    facts = [("label", label), ("model", f"{model.title} ({model.model})"), ("settings from", model.settings_from)]
    facts += [("seeds", str(model.seeds)), ("features", plain(model.features))]
    facts += [(name, plain(value)) for name, value in model.settings.items()]
    training = [(name, plain(value)) for name, value in model.training.items()] if model.trained else []
    return {"name": found.name(label), "source": model.source, "facts": facts, "training": training}


def _command(found: Findings) -> str:
    given = found.environment.get("command")
    return shlex.join(str(word) for word in given) if isinstance(given, list) else ""


def _readme(found: Findings, plots: dict[str, Plot]) -> str:
    knocked = knock_outs(found)
    parts = [f"# {markdown_text(_title(found))}", markdown_text(_subtitle(found))]
    parts.append("\n".join(f"- {markdown_text(term)}: {markdown_text(text)}" for term, text in _card(found)))
    for passage in reading(found):
        lines = "\n".join(f"- {markdown_text(line)}" for line in passage.lines)
        parts += [f"## {markdown_text(passage.title)}", lines]
    if found.failed:
        lines = "\n".join(f"- {markdown_text(run)}: {markdown_text(said)}" for run, said in found.failed.items())
        parts += ["## Failed runs", lines]
    parts += ["## Tables", BOLD, markdown(quality(found)).rstrip(), markdown(cost(found)).rstrip()]
    parts += [markdown(pairs(found, FIRST)).rstrip()] if len(found.models) > 1 else []
    parts += [markdown(knocked).rstrip()] if knocked else []
    parts.append(f"All metrics, slices and the other pairs: [{MARKDOWN}]({MARKDOWN}).")
    for name, plot in plots.items():
        parts += [f"## {plot.title}", f"![{markdown_text(plot.title)}]({name}.svg)", markdown_text(plot.note)]
    if command := _command(found):
        parts += ["## How to repeat it", f"    {' '.join(command.split())}"]
    parts += ["## What the words mean"]
    parts.append("\n".join(f"- **{markdown_text(term)}**: {markdown_text(text)}" for term, text in DEFINITIONS))
    return "\n\n".join(parts) + "\n"


def _card(found: Findings) -> list[tuple[str, str]]:
    return [*data_card(found.data, found.test_users), *(("Note", note) for note in found.data.notes)]
