"""Processes: what one cost and said, and what becomes of one that fails."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pytest
from benchmarks.processes import ask_models, found_by, run


def test_cost_and_last_line() -> None:
    # What this process holds is not the other's.
    held = bytearray(500_000_000)
    assert len(held) > 0
    spent = run([sys.executable, "-c", "print('first'); block = bytearray(200_000_000); print('last')"])
    assert (spent.code, spent.said) == (0, "last")
    assert 190 < spent.peak_mb < 400
    assert spent.cpu > 0
    assert spent.wall > 0


def test_a_failure_has_its_code() -> None:
    spent = run([sys.executable, "-c", "raise SystemExit(3)"])
    assert (spent.code, spent.said) == (3, "")


def test_a_module_gives_what_it_wrote_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "speaking.py").write_text(
        "import json, os, sys\nprint('working')\n"
        "print(json.dumps([sys.argv[1:], os.environ.get('OMP_NUM_THREADS')]))\nsys.exit('fail' in sys.argv)\n"
    )
    monkeypatch.chdir(tmp_path)
    assert found_by("speaking", "well", threads=3) == [["well"], "3"]
    assert found_by("speaking", "fail") is None


def test_models_are_asked_for_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    reader = argparse.ArgumentParser()
    ask_models(reader, ["bm3", "bm3 official", "lightgcn"], ["bm3"])
    assert reader.parse_args([]).model == ["bm3"]
    assert reader.parse_args(["--model", "lightgcn", "bm3 official"]).model == ["lightgcn", "bm3 official"]
    with pytest.raises(SystemExit):
        reader.parse_args(["--model", "lightgnc"])
    assert "did you mean 'lightgcn'?" in capsys.readouterr().err
