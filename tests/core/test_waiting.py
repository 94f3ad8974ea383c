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
    assert all_cores_free(loads(tmp_path, "1/80"))
    assert not all_cores_free(loads(tmp_path, "2/80"))


def test_a_short_task_met_once_is_no_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = loads(tmp_path, "3/80")

    def sleep(_: float) -> None:
        loads(tmp_path, "1/80")

    monkeypatch.setattr(waiting.time, "sleep", sleep)
    assert all_cores_free(path)


@pytest.mark.parametrize("text", ["", "0.2 0.1", "0.20 0.18 0.12 many/80 1"])
def test_what_cannot_be_read_is_no_freedom(text: str, tmp_path: Path) -> None:
    assert not all_cores_free(tmp_path / "none")
    (tmp_path / "loadavg").write_text(text, encoding="ascii")
    assert not all_cores_free(tmp_path / "loadavg")


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
