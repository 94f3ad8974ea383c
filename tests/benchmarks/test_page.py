"""Results of benchmarks: kept, added to, and put into the page."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from benchmarks.page import MARK, PAGE, TEXTS, filled
from benchmarks.processes import added, kept, write


def test_the_page_says_what_the_results_are() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert {found[2] for found in MARK.finditer(page)} == set(TEXTS)
    assert filled(page) == page


def test_tables_are_put_between_the_marks_and_nowhere_else(tmp_path: Path) -> None:
    grown = {
        "model": "bpr", "interactions": 1000, "users": 50, "items": 10, "steps": 3, "step_wall": 0.5, "step_cpu": 0.25,
        "epoch_start_seconds": 0.1, "build_seconds": 0.2, "peak_mb": 1234.5,
    }  # fmt: skip
    exponents = [{"model": "bpr", "step": 0.5, "memory": 1.0}]
    write(tmp_path / "growth.json", {"sizes": [grown], "exponents": exponents})
    page = "before\n<!-- results of growth -->\nold\n<!-- end -->\nafter\n"
    made = filled(page, tmp_path)
    assert made.startswith("before\n<!-- results of growth -->\n| model |")
    assert "| bpr | 1,000 | 60 | 3 | 0.500 | 0.250 | 0.1 | 0.2 | 1,234 |" in made
    assert made.endswith("bpr 0.50 and 1.00.\n<!-- end -->\nafter\n")
    assert filled(made, tmp_path) == made
    with pytest.raises(ValueError, match=r"no .*search\.json"):
        filled("<!-- results of search -->\n\n<!-- end -->", tmp_path)


def test_new_results_take_the_place_of_old_ones_of_the_same_name(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    assert kept(file, add=True) == []
    write(file, [{"model": "a", "cost": 1}, {"model": "b", "cost": 2}])
    assert json.loads(file.read_text()) == kept(file, add=True)
    assert kept(file, add=False) == []
    assert kept(None, add=True) == []
    results = kept(file, add=True)
    added(results, {"model": "a", "cost": 3}, "model")
    added(results, {"model": "c", "cost": 4}, "model")
    assert [(each["model"], each["cost"]) for each in results] == [("a", 3), ("b", 2), ("c", 4)]
