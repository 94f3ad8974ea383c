"""The pages about the models, read beside the code: what they name exists, and settings have the values they print."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from palate.core.config import Config, read_assignments, read_yaml
from palate.models import MODELS, Recommender
from palate.train.fitting import TrainConfig

ROOT = Path(__file__).parents[1]
INDEX = ROOT / "docs" / "models.md"
SYSTEMS = ("alignrec", "bm3", "crmman", "lgmrec", "mmgcn")
PAGES = {name: ROOT / "docs" / "models" / f"{name}.md" for name in SYSTEMS}
SECTIONS = ("The idea", "Drawing", "Formula and code", "Switches", "Inference", "Cost", "What we found")

LINK = re.compile(r"\[([^\]]+)\]\(([^)\s]+)\)")
CODE = re.compile(r"`([^`\n]+)`")
FIGURE = re.compile(r"(?<![\w.])\.\d{2,}")

NODE = r'[a-z]\w*(\["[^"]+"\])?'
STATEMENTS = (
    re.compile(rf'{NODE}( -->(\|"[^"]+"\|)? {NODE})+'),
    re.compile(r'subgraph [a-z]\w*\["[^"]+"\]'),
    re.compile(r"end"),
)
# Words of the drawing language, which cannot name a node.
RESERVED = {"call", "class", "click", "default", "direction", "end", "flowchart", "graph", "href", "style", "subgraph"}


def prose(path: Path) -> str:
    """A page without its drawing."""
    return re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)


def section(path: Path, title: str) -> str:
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", path.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    assert found, f"{path.name} has no section '{title}'"
    return found[1]


def table(text: str) -> list[list[str]]:
    """The rows of a section's table, without its two lines of head."""
    rows = [line.strip("|").split("|") for line in text.replace(r"\|", "∣").splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows[2:]]


@cache
def definitions(path: Path) -> frozenset[str]:
    """Functions and classes of a file, and methods and class attributes as `Class.name`."""
    found: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            names = [member.name for member in node.body if isinstance(member, ast.FunctionDef)]
            fields = [member.target for member in node.body if isinstance(member, ast.AnnAssign)]
            names += [field.id for field in fields if isinstance(field, ast.Name)]
            found |= {f"{node.name}.{name}" for name in names}
    return frozenset(found)


@cache
def definitions_under(folder: str) -> frozenset[str]:
    return frozenset().union(*(definitions(path) for path in (ROOT / folder).rglob("*.py")))


def config_of(name: str) -> type[Config]:
    return MODELS[name].Config


@pytest.mark.parametrize("path", [INDEX, *PAGES.values()], ids=lambda path: path.stem)
def test_every_link_leads_to_what_it_names(path: Path) -> None:
    links = LINK.findall(prose(path))
    assert links
    for text, target in links:
        file = (path.parent / target).resolve()
        assert file.exists(), target
        named = CODE.fullmatch(text)
        if named and "/" in named[1]:
            assert file == ROOT / named[1], text
        elif named and file.suffix == ".py":
            assert named[1] in definitions(file), f"{target} has no {text}"


@pytest.mark.parametrize("path", [INDEX, *PAGES.values()], ids=lambda path: path.stem)
def test_every_name_in_the_text_exists(path: Path) -> None:
    for name in CODE.findall(prose(path)):
        if re.fullmatch(r"[\w./-]+\.py", name):
            assert (ROOT / name).is_file(), name
        elif re.fullmatch(r"[A-Z]\w*\.\w+", name):
            assert name in definitions_under("src"), name
        elif re.fullmatch(r"test_\w+", name):
            assert name in definitions_under("tests"), name


@pytest.mark.parametrize("name", SYSTEMS)
def test_loss_terms_of_a_page_are_in_the_code(name: str) -> None:
    source = (ROOT / "src" / "palate" / "models" / f"{name}.py").read_text(encoding="utf-8")
    bare = LINK.sub("", section(PAGES[name], "Formula and code"))
    terms = [term for term in CODE.findall(bare) if re.fullmatch(r"[a-z_]+", term)]
    assert terms
    for term in terms:
        # A term of each modality is written with an m in the place of its name.
        written = f'"{term}"' if not term.endswith("_m") else f'"{term.removesuffix("m")}{{'
        assert written in source, term


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_page_has_its_sections_in_order(name: str) -> None:
    titles = re.findall(r"^## (.+)$", PAGES[name].read_text(encoding="utf-8"), re.MULTILINE)
    assert [title for title in titles if title in SECTIONS] == list(SECTIONS)


@pytest.mark.parametrize("name", SYSTEMS)
def test_the_switches_are_those_of_the_config_with_its_values(name: str) -> None:
    rows = table(section(PAGES[name], "Switches"))
    config = config_of(name)
    presets = [config()]
    if official := getattr(config, "official", None):
        presets.append(official())
    fields = [row[0].strip("`") for row in rows]
    assert fields == list(config.model_fields)
    for field, row in zip(fields, rows, strict=True):
        assert len(row) == len(presets) + 2
        assert row[-1]
        values = [getattr(preset, field) for preset in presets]
        if len(values) == 2:
            assert (row[2] == "same") == (values[0] == values[1]), field
        for cell, value in zip(row[1:-1], values, strict=True):
            if cell != "same":
                found = CODE.fullmatch(cell)
                assert found, f"{field}: {cell}"
                typed = config.parse({field: read_yaml(found[1], where=field)})
                assert getattr(typed, field) == value, f"{field} is {value!r}"


@pytest.mark.parametrize("name", SYSTEMS)
def test_settings_in_the_text_can_be_set(name: str) -> None:
    for word in CODE.findall(prose(PAGES[name])):
        if re.fullmatch(r"\w+=\S+", word):
            values = read_assignments([word])
            owner = TrainConfig if set(values) <= set(TrainConfig.model_fields) else config_of(name)
            owner.parse(values, where=word)


@pytest.mark.parametrize("name", SYSTEMS)
def test_figures_of_findings_stand_in_the_log(name: str) -> None:
    log = [ROOT / "docs" / "experiments.md", *(ROOT / "docs" / "decisions").glob("*.md")]
    known = {figure for path in log for figure in FIGURE.findall(path.read_text(encoding="utf-8"))}
    found = set(FIGURE.findall(section(PAGES[name], "What we found")))
    assert found <= known, f"not in docs/experiments.md: {', '.join(sorted(found - known))}"


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_drawing_keeps_to_the_plain_part_of_its_language(name: str) -> None:
    blocks = re.findall(r"^```mermaid\n(.*?)^```$", PAGES[name].read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert len(blocks) == 1
    head, *lines = [line.strip() for line in blocks[0].splitlines()]
    assert head in ("flowchart LR", "flowchart TB")
    for line in lines:
        assert any(statement.fullmatch(line) for statement in STATEMENTS), line
    bare = re.sub(r'\|?"[^"]+"\|?', "", blocks[0])
    used = set(re.findall(r"[a-z]\w*", re.sub(r"^flowchart \w+|^\s*(subgraph|end\b)", "", bare, flags=re.MULTILINE)))
    labelled = re.findall(r'([a-z]\w*)\["', blocks[0])
    assert len(labelled) == len(set(labelled)), "a node is labelled once"
    assert used == set(labelled), "every node has a label"
    assert not used & RESERVED
    assert lines.count("end") == sum(line.startswith("subgraph") for line in lines)


def test_the_index_lists_every_model() -> None:
    rows = {LINK.sub(r"\1", row[0]).strip("`"): row[1:] for row in table(prose(INDEX).split("\n## ")[0])}
    assert set(rows) == set(MODELS)
    for name, (kind, uses, idea, source) in rows.items():
        model = MODELS[name]
        assert kind == ("trained" if issubclass(model, Recommender) else "closed form"), name
        wanted = [word for word, used in (("features", model.modal), ("knowledge", model.knowledge)) if used]
        assert uses == (", ".join(wanted) or "–"), name
        assert source == model.source, name
        assert idea
    linked = {(INDEX.parent / target).resolve() for _, target in LINK.findall(prose(INDEX))}
    assert linked >= set(PAGES.values())
