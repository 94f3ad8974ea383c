"""A room imports only from rooms above it; the order is that of the design."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import palate

ROOMS = (
    "core",
    "graph",
    "optimise",
    "ingest",
    "encode",
    "dataset",
    "models",
    "measure",
    "train",
    "recommend",
    "recipe",
    "experiment",
    "study",
    "serve",
    "demo",
    "printing",
    "cli",
)
# The package's front door and its entry point: seen by no room.
FREE = ("__init__", "__main__", "version")
# Measuring knows scorers and arrays, no data sets; models know no files and no loop.
APART = {"measure": {"dataset", "encode", "ingest", "optimise"}, "models": {"optimise", "ingest"}}
HOUSE = Path(palate.__file__).parent


def imported_rooms(path: Path) -> set[str]:
    """The rooms that a file imports, wherever in the file it does so."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {name.name.split(".")[1] for name in node.names if name.name.startswith("palate.")}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            if node.module == "palate":
                found |= {name.name for name in node.names}
            elif node.module and node.module.startswith("palate."):
                found.add(node.module.split(".")[1])
    return found - {"version"}


def room_of(path: Path) -> str:
    return path.relative_to(HOUSE).parts[0].removesuffix(".py")


FILES = sorted(path for path in HOUSE.rglob("*.py") if room_of(path) not in FREE)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(HOUSE)))
def test_a_room_imports_only_from_rooms_above(path: Path) -> None:
    room = room_of(path)
    assert room in ROOMS, f"{room} has no place in the house"
    below = {other for other in imported_rooms(path) if ROOMS.index(other) > ROOMS.index(room)}
    assert not below, f"{room} imports from below: {', '.join(sorted(below))}"
    assert not imported_rooms(path) & APART.get(room, set())


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(HOUSE)))
def test_a_file_opens_with_what_it_is_for_and_stays_readable(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    assert not source.strip() or ast.get_docstring(ast.parse(source))
    assert len(source.splitlines()) <= 400
