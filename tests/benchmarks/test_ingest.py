"""The log that is imported: as many rows as said, flaws of every kind, and the import finds them all."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmarks.ingest import WRONG, measure, text, write_log

from palate.ingest.importing import import_tables


def test_a_log_has_the_rows_and_the_flaws_that_it_says(tmp_path: Path) -> None:
    about = write_log(tmp_path / "log.csv", 1000, 0.02)
    assert about == {"rows": 1000, "repeated": 20, "wrong": 20}
    lines = (tmp_path / "log.csv").read_bytes().splitlines(keepends=True)
    assert lines[0] == b"user_id,item_id,rating,timestamp\n"
    assert len(lines) == 1001
    assert [lines.count(kind) for kind in WRONG] == [4] * len(WRONG)
    catalogue, report = import_tables(tmp_path / "log.csv")
    assert report.rows[str(tmp_path / "log.csv")] == (1000, 960)
    counts = [problem.count for problem in report.of("dropped")]
    assert sorted(counts) == [4, 4, 4, 4, 4, 20]
    assert catalogue.interactions.height == 960


@pytest.mark.parametrize("rows", [1000, 1003])
def test_without_flaws_every_row_is_sound(tmp_path: Path, rows: int) -> None:
    assert write_log(tmp_path / "log.csv", rows, 0)["wrong"] == 0
    _, report = import_tables(tmp_path / "log.csv")
    assert report.rows[str(tmp_path / "log.csv")][0] == rows
    assert report.dropped == int(rows * 0.02)


def test_each_step_is_measured_in_a_process_of_its_own(tmp_path: Path) -> None:
    found = measure(500, 0.01, tmp_path)
    for step in ("import", "describe", "load"):
        assert found[step]["code"] == 0
        assert found[step]["cpu"] > 0
        assert found[step]["peak_mb"] > 10
    assert found["import"]["said"].startswith("485 interactions of")
    lines = text(found).splitlines()
    assert [line.split("|")[1].strip() for line in lines if line.startswith("| ")] == [
        "step",
        "import",
        "describe",
        "load",
    ]
    # Not where it was written.
    assert lines[-1].startswith("Imported: 485 interactions of")
    assert str(tmp_path) not in text(found)
