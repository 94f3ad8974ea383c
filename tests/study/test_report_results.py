"""The report of stored results: real ones, damaged ones, none, and without the packages that draw."""

from __future__ import annotations

import copy
import sys
from pathlib import Path
from typing import Any

import pytest

import worlds
from comparisons import FEW, results
from palate.core.artefact import write_json
from palate.core.errors import ArtefactError, MissingDependency
from palate.study.compare import compare
from palate.study.data_plan import DataPlan
from palate.study.report import write_docs, write_report
from palate.study.results import gather


@pytest.mark.parametrize("package", ["matplotlib", "jinja2"])
def test_without_its_packages_the_tables_are_there_and_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    write_json(tmp_path / "results.json", results(FEW))
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingDependency, match=package) as caught:
        write_report(tmp_path)
    assert "palate[report]" in str(caught.value)
    assert (tmp_path / "tables.tex").is_file()


def broken(change: str) -> Any:
    stored = copy.deepcopy(results(FEW))
    if change == "list":
        return [stored]
    if change == "no models":
        return {**stored, "models": {}}
    if change == "text":
        stored["models"]["bm3"]["metrics"]["recall@20"]["mean"] = "much"
    elif change == "metric":
        del stored["separation"]["ndcg@10"]
    elif change == "stranger":
        stored["separation"]["recall@20"]["order"][0] = "stranger"
    return stored


@pytest.mark.parametrize("change", ["list", "no models", "text", "metric", "stranger"])
def test_damaged_results_are_named(change: str, tmp_path: Path) -> None:
    write_json(tmp_path / "results.json", broken(change))
    with pytest.raises(ArtefactError) as caught:
        write_report(tmp_path)
    assert "results.json" in str(caught.value)


def test_no_results_are_named(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="no results"):
        write_docs(tmp_path, tmp_path / "docs")
    (tmp_path / "results.json").write_text("{")
    with pytest.raises(ArtefactError, match="cannot be read"):
        write_report(tmp_path)


def test_what_a_real_comparison_stores_is_what_the_report_reads(tmp_path: Path) -> None:
    worlds.stored(tmp_path / "CAT")
    plan = DataPlan(str(tmp_path / "CAT"), {"split": "random", "seed": 0}, None)
    recipe = tmp_path / "small.yaml"
    recipe.write_text("model: bm3\nsettings: {dim: 4, epochs: 2, batch_size: 64}\n")
    out = tmp_path / "out"
    compare(["popularity", str(recipe)], plan, out, seeds=1, knocked=True, quiet=True)
    stored = gather(out, plan.load(), resamples=100)
    write_report(out)
    text = (out / "report.html").read_text(encoding="utf-8")
    for label, entry in stored["models"].items():
        assert f"{entry['metrics']['recall@20']['mean']:.4f}" in text
        assert f"{entry['metrics']['hit@5']['mean']:.4f}" in text
        assert label in text.lower()
    assert "Knock-outs of small: " in text
    assert f"{stored['test_users']} test users" in text
