"""Lists that exports wrote as text: what their parts are, and what is no list after all."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from palate.encode.categories import item_categories
from palate.ingest.importing import import_tables
from palate.ingest.lists import with_lists
from palate.ingest.report import Report
from palate.ingest.tables import ROW, Table


def read(*cells: str | None, name: str = "genres") -> tuple[list[str | None], list[str]]:
    """The cells as they are read, and what is said of them."""
    report = Report()
    table = Table("items.csv", pl.DataFrame({name: pl.Series(cells, dtype=pl.String)}).with_row_index(ROW))
    made = with_lists(table, ("title",), report)
    return made.frame[name].to_list(), [problem.what for problem in report.of("note")]


@pytest.mark.parametrize(
    ("cell", "parts"),
    [
        ("['Action', 'Sci-Fi']", "Action|Sci-Fi"),
        ('["Action", "Children\'s"]', "Action|Children's"),
        ("[\"Children's\", 'Drama']", "Children's|Drama"),
        ("[{'id': 16, 'name': 'Animation'}, {'id': 35, 'name': 'Comedy'}]", "Animation|Comedy"),
        ('[{"id": 16, "name": "Animation"}]', "Animation"),
        ("['Action' 'Sci-Fi'\n 'War']", "Action|Sci-Fi|War"),
        (" [3, 17] ", "3|17"),
        ("['Drama', None, ' ']", "Drama"),
        ('["Drama", null]', "Drama"),
        ("[]", None),
        (r"['AC\DC']", r"AC\DC"),
    ],
)
def test_a_list_is_read_as_its_parts(cell: str, parts: str | None) -> None:
    made, said = read(cell)
    assert made == [parts]
    assert len(said) == 1
    assert "lists written as text are read as their parts" in said[0]


@pytest.mark.parametrize(
    "cell",
    [
        "[Action, Sci-Fi]",
        "[0.25, 0.5]",
        "[True]",
        "[[1, 2]]",
        "[{'id': 16}]",
        "['Action'",
        "[REC]",
        "['a'] or ['b']",
        "__import__('os')",
        "[__import__('os').getcwd()]",
        "[" * 5000 + "]" * 5000,
        "['" + "a" * 30_000 + "']",
    ],
)
def test_what_cannot_be_read_stays_as_it_is_without_a_word(cell: str) -> None:
    assert read(cell) == ([cell], [])


def test_cells_that_cannot_be_read_among_lists_are_counted() -> None:
    made, said = read("[]", "['A', 'B']", "['C']", "['D", "[E]", None)
    assert made == [None, "A|B", "C", "['D", "[E]", None]
    assert "'['A', 'B']' as A|B; 1 that cannot be read stay as they are" in said[0]


def test_a_column_with_a_list_among_words_is_a_column_of_words() -> None:
    assert read("['A']", "Blade Runner", "Heat") == (["['A']", "Blade Runner", "Heat"], [])
    assert read("['A']", name="title") == (["['A']"], [])


def test_no_genres_are_no_genre() -> None:
    made, said = read("Drama|War", "(no genres listed)")
    assert made == ["Drama|War", None]
    assert said == ["'(no genres listed)' is read as an empty cell"]


def test_categories_and_entities_of_a_catalogue_are_the_parts(tmp_path: Path) -> None:
    frame = pl.DataFrame(
        {
            "item_id": ["x", "y"],
            "genres": ["['Action', 'War']", '[{"id": 1, "name": "War"}]'],
            "entity": ["['Q1', 'Q2']", "['Q2']"],
            "image": ["['x.jpg', 'y.jpg']", "[]"],
        }
    )
    frame.write_csv(tmp_path / "items.csv")
    (tmp_path / "log.csv").write_text("user_id,item_id\na,x\nb,y\n")
    (tmp_path / "facts.csv").write_text("head,relation,tail\nQ1,by,Q3\nQ2,by,Q3\n")
    catalogue, report = import_tables(tmp_path / "log.csv", tmp_path / "items.csv", tmp_path / "facts.csv")
    assert item_categories(catalogue.items) == [(("genres", "Action"), ("genres", "War")), (("genres", "War"),)]
    assert catalogue.item_entities is not None
    assert catalogue.item_entities.rows() == [("x", "Q1"), ("x", "Q2"), ("y", "Q2")]
    assert catalogue.items["image"].to_list() == ["x.jpg", None]
    assert {problem.column for problem in report.of("note")} >= {"genres", "entity", "image"}
    lines = tmp_path / "items.jsonl"
    lines.write_text("".join(json.dumps(row) + "\n" for row in ({"item_id": "x", "entity": ["Q1", "Q2"]},)))
    listed, _ = import_tables(tmp_path / "log.csv", lines, tmp_path / "facts.csv")
    assert listed.item_entities is not None
    assert listed.item_entities.rows() == [("x", "Q1"), ("x", "Q2")]
