"""How threads wait: short spinning where the cores are free, none beside others' work, and the user's word first."""

from pathlib import Path

import pytest

from palate.core import waiting
from palate.core.waiting import all_cores_free, choose_waiting


def loads(folder: Path, running: str) -> Path:
    path = folder / "loadavg"
    path.write_text(f"0.20 0.18 0.12 {running} 11206\n", encoding="ascii")
    return path


def test_cores_are_free_when_nobody_else_runs(tmp_path: Path) -> None:
    assert all_cores_free(loads(tmp_path, "1/80"), tmp_path)
    assert not all_cores_free(loads(tmp_path, "2/80"), tmp_path)


def test_threads_of_this_process_are_nobody_else(tmp_path: Path) -> None:
    path = loads(tmp_path, "3/80")
    for number, state in (("11", "R"), ("12", "S"), ("13", "R")):
        (tmp_path / number).mkdir()
        (tmp_path / number / "stat").write_text(f"{number} (a) R (b) {state} 1 2 3\n", encoding="ascii")
    assert not all_cores_free(path, tmp_path)
    (tmp_path / "12" / "stat").write_text("12 (python) R 1 2 3\n", encoding="ascii")
    assert all_cores_free(path, tmp_path)


def test_a_short_task_met_once_is_no_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = loads(tmp_path, "3/80")

    def sleep(_: float) -> None:
        loads(tmp_path, "1/80")

    monkeypatch.setattr(waiting.time, "sleep", sleep)
    assert all_cores_free(path, tmp_path)


@pytest.mark.parametrize("text", ["", "0.2 0.1", "0.20 0.18 0.12 many/80 1"])
def test_what_cannot_be_read_is_no_freedom(text: str, tmp_path: Path) -> None:
    assert not all_cores_free(tmp_path / "none", tmp_path)
    (tmp_path / "loadavg").write_text(text, encoding="ascii")
    assert not all_cores_free(tmp_path / "loadavg", tmp_path)


@pytest.mark.parametrize("free", [True, False])
def test_threads_spin_only_where_cores_are_free(free: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "all_cores_free", lambda: free)
    variables: dict[str, str] = {}
    choose_waiting(variables)
    expected = {"OMP_WAIT_POLICY": "PASSIVE"}
    assert variables == ({**expected, "GOMP_SPINCOUNT": str(waiting.SPIN_COUNT)} if free else expected)


@pytest.mark.parametrize("name", ["OMP_WAIT_POLICY", "GOMP_SPINCOUNT"])
def test_what_the_user_has_set_stays(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "all_cores_free", lambda: True)
    variables = {name: "7"}
    choose_waiting(variables)
    assert variables == {name: "7"}
