"""Places that one process at a time writes anew."""

from __future__ import annotations

import errno
import fcntl
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import BinaryIO

import pytest

from palate.core import lock
from palate.core.artefact import atomic_folder
from palate.core.errors import ArtefactError
from palate.core.lock import changing

# Holds the place that it is given until its input ends, and says when it has it.
HOLDER = """
import sys
from pathlib import Path
from palate.core.lock import changing
with changing(Path(sys.argv[1]), "testing", shared=len(sys.argv) > 2):
    print("held", flush=True)
    sys.stdin.read()
"""


def holder(place: Path, *words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", HOLDER, str(place), *words]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def end(process: subprocess.Popen[str]) -> None:
    process.communicate("")
    assert process.returncode == 0


def test_another_process_is_waited_for_and_then_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "PATIENCE", 0.2)
    process = holder(tmp_path / "place")
    expected = rf"another palate is testing \(process {process.pid}\)"
    with pytest.raises(ArtefactError, match=expected), changing(tmp_path / "place", "writing"):
        pass
    with pytest.raises(ArtefactError, match="another palate"), atomic_folder(tmp_path / "place"):
        pass
    with changing(tmp_path / "other", "writing"):
        pass
    monkeypatch.setattr(lock, "PATIENCE", 60.0)
    threading.Timer(0.3, lambda: process.communicate("")).start()
    with changing(tmp_path / "place", "writing"):
        assert process.wait(timeout=10) == 0
    assert list(tmp_path.iterdir()) == []


def test_those_who_share_a_place_keep_out_who_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "PATIENCE", 0.2)
    process = holder(tmp_path / "place", "shared")
    with changing(tmp_path / "place", "reading", shared=True):
        pass
    with pytest.raises(ArtefactError, match="another palate is"), changing(tmp_path / "place", "writing"):
        pass
    end(process)
    with changing(tmp_path / "place", "writing"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_lock_ends_with_its_process_even_when_that_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "PATIENCE", 5.0)
    process = holder(tmp_path / "place")
    process.kill()
    process.communicate()
    with changing(tmp_path / "place", "writing"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_link_is_the_place_that_it_leads_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "PATIENCE", 0.0)
    (tmp_path / "place").mkdir()
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "elsewhere" / "link"
    link.symlink_to(tmp_path / "place")
    process = holder(tmp_path / "place")
    with pytest.raises(ArtefactError, match="another palate is testing"), changing(link, "writing"):
        pass
    end(process)


def test_who_holds_a_place_may_hold_it_again_and_other_threads_wait(tmp_path: Path) -> None:
    order: list[str] = []

    def other() -> None:
        with changing(tmp_path / "place", "writing"):
            order.append("other")

    thread = threading.Thread(target=other)
    with changing(tmp_path / "place", "forgetting"):
        with changing(tmp_path / "place", "writing"):
            thread.start()
        time.sleep(0.2)
        order.append("first")
    thread.join(timeout=10)
    assert order == ["first", "other"]
    assert list(tmp_path.iterdir()) == []


def test_where_nothing_can_be_written_nobody_is_kept_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    with changing(tmp_path / "nowhere" / "place", "writing"):
        pass
    monkeypatch.setattr(fcntl, "flock", refuse)
    with changing(tmp_path / "place", "encoding", shared=True):
        done = True
    assert done


def test_a_lock_file_of_somebody_else_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who may not write it is kept out all the same."""
    monkeypatch.setattr(lock, "PATIENCE", 0.2)
    process, find = holder(tmp_path / "place"), open

    def theirs(path: Path, mode: str) -> BinaryIO:
        if mode == "a+b":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return find(path, "rb")

    monkeypatch.setattr(lock, "open", theirs, raising=False)
    with pytest.raises(ArtefactError, match="another palate is testing"), changing(tmp_path / "place", "writing"):
        pass
    end(process)


def test_a_full_disk_keeps_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with changing(tmp_path / "place", "writing"):
        assert list(tmp_path.iterdir()) == [tmp_path / ".place.lock"]
    assert list(tmp_path.iterdir()) == []


def test_many_who_want_the_same_come_one_after_the_other(tmp_path: Path) -> None:
    """A lock file that is taken away while others wait for it must not let two of them in."""
    inside = 0
    most = 0

    def count() -> None:
        nonlocal inside, most
        for _ in range(10):
            with changing(tmp_path / "place", "counting"):
                inside += 1
                most = max(most, inside)
                time.sleep(0.001)
                inside -= 1

    threads = [threading.Thread(target=count) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert (inside, most) == (0, 1)
    assert list(tmp_path.iterdir()) == []
