"""Progress: plain lines where there is no terminal, a bar where there is one, nothing when asked for quiet."""

from __future__ import annotations

import io
import sys

import pytest

from palate.core import progress as module
from palate.core.progress import duration, progress


class Clock:
    """Time that passes on request."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def test_plain_lines_come_now_and_then_with_rate_time_left_and_note(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with progress("training", 4000, "steps") as shown:
        for _ in range(20):
            clock.now += 1.0
            shown.advance(50, "loss 0.5")
        shown.say("kept")
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.splitlines() == [
        "training: 500/4,000 steps, 50.0/s, at most 1 min 10 s left, loss 0.5",
        "training: 1,000/4,000 steps, 50.0/s, at most 1 min 00 s left, loss 0.5",
        "kept",
    ]


def test_quiet_work_prints_nothing(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with progress("training", 10, quiet=True) as shown:
        clock.now += 100.0
        shown.advance(5, "loss")
        shown.say("nobody hears this")
    assert capsys.readouterr() == ("", "")


def test_a_terminal_gets_a_bar_and_the_lines_that_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    with progress("reading", 7, "rows") as shown:
        shown.advance(7, "all well")
        shown.say("5 rows [dropped]")
    text = terminal.getvalue()
    assert "reading" in text
    assert "7/7" in text
    assert "5 rows [dropped]" in text


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_long_work_within_work_has_a_line_of_its_own_and_short_work_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal, clock = Terminal(), Clock()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(module, "time", clock)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    with progress("training", 3, "steps") as whole:
        for title, seconds in (("short", 1.0), ("long", 3.0)):
            with progress(title, 4, "users") as part:
                clock.now += seconds
                part.advance(4)
            whole.advance()
    with progress("later", 5, "rows") as after:
        after.advance(5)
    text = terminal.getvalue()
    assert "training" in text
    assert "short" not in text
    assert "long" in text
    assert "later" in text


@pytest.mark.parametrize("terminal", [True, False])
def test_an_error_inside_passes_through(monkeypatch: pytest.MonkeyPatch, terminal: bool) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: terminal)
    monkeypatch.setattr(sys, "stderr", stream)
    with pytest.raises(KeyError), progress("reading", 7):
        raise KeyError("x")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0.0 s"),
        (3.24, "3.2 s"),
        (60, "1 min 00 s"),
        (250, "4 min 10 s"),
        (3599.7, "1 h 00 min"),
        (7500, "2 h 05 min"),
        (90000, "25 h 00 min"),
    ],
)
def test_durations_read_well(seconds: float, text: str) -> None:
    assert duration(seconds) == text
