"""Progress of long work: a live bar on a terminal, a plain line now and then elsewhere, with rate and time left."""

from __future__ import annotations

import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

PLAIN_INTERVAL = 10.0
# Work within work that is done sooner than this has no line of its own on a terminal.
WITHIN_SECONDS = 2.0


class Progress(Protocol):
    """What long work reports to."""

    def advance(self, amount: int = 1, note: str = "") -> None:
        """`amount` more units are done; `note` is a short state such as a loss."""
        ...

    def say(self, text: str) -> None:
        """A line that stays."""
        ...


class Silent:
    """Progress that nobody watches."""

    def advance(self, amount: int = 1, note: str = "") -> None: ...

    def say(self, text: str) -> None: ...


class _Plain:
    def __init__(self, title: str, total: int, unit: str, done: int) -> None:
        self.title, self.total, self.unit = title, total, unit
        self.before, self.done, self.start, self.last, self.note = done, done, time.monotonic(), time.monotonic(), ""

    def advance(self, amount: int = 1, note: str = "") -> None:
        self.done += amount
        self.note = note or self.note
        now = time.monotonic()
        if now - self.last >= PLAIN_INTERVAL:
            self.last = now
            rate = (self.done - self.before) / (now - self.start)
            left = (self.total - self.done) / rate if rate else 0.0
            self.say(
                f"{self.title}: {self.done:,}/{self.total:,} {self.unit}, {rate:,.1f}/s, "
                f"at most {duration(left)} left{', ' + self.note if self.note else ''}"
            )

    def say(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)


def tell(text: str) -> None:
    """A note for the person at work, on stderr."""
    print(f"note: {text}", file=sys.stderr, flush=True)


@contextmanager
def progress(
    title: str, total: int, unit: str = "items", *, done: int = 0, quiet: bool = False
) -> Generator[Progress, None, None]:
    """Show progress on stderr while the block runs; within other such work it has a line of its own.

    Args:
        title: what is being done.
        total: units of the whole work.
        unit: their name in the plural.
        done: units that were done in an earlier sitting; they do not count towards the rate.
        quiet: report nothing.
    """
    if quiet:
        yield Silent()
    elif not sys.stderr.isatty():
        yield _Plain(title, total, unit, done)
    else:
        with _live(title, total, unit, done) as shown:
            yield shown


class _Live:
    """A line of a bar on the terminal.

    Args:
        wait: seconds after which the line appears; short work within other work shows none.
    """

    def __init__(self, bar: Bar, title: str, total: int, unit: str, done: int, wait: float) -> None:
        self.bar, self.title, self.total, self.unit, self.done = bar, title, total, unit, done
        self.task: TaskID | None = None
        self.appears = time.monotonic() + wait
        if not wait:
            self._appear()

    def _appear(self) -> None:
        self.task = self.bar.add_task(self.title, total=self.total, completed=self.done, note="", rate="")

    def advance(self, amount: int = 1, note: str = "") -> None:
        if self.task is None:
            self.done += amount
            if time.monotonic() >= self.appears:
                self._appear()
            return
        line = next(line for line in self.bar.tasks if line.id == self.task)
        rate = f"{line.speed:,.1f} {self.unit}/s" if line.speed else ""
        self.bar.update(self.task, advance=amount, rate=rate, note=note or str(line.fields["note"]))

    def say(self, text: str) -> None:
        self.bar.console.print(text, highlight=False, markup=False)

    def end(self) -> None:
        if self.task is not None:
            self.bar.remove_task(self.task)


# What the terminal shows now: of work within work, both have a line.
_showing: list[Bar] = []


@contextmanager
def _live(title: str, total: int, unit: str, done: int) -> Generator[Progress, None, None]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    if _showing:
        line = _Live(_showing[0], title, total, unit, done, wait=WITHIN_SECONDS)
        try:
            yield line
        finally:
            line.end()
        return
    bar = Bar(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=Console(stderr=True),
        transient=True,
    )
    with bar:
        _showing.append(bar)
        try:
            yield _Live(bar, title, total, unit, done, wait=0)
        finally:
            _showing.pop()


def duration(seconds: float) -> str:
    """`3.2 s`, `4 min 10 s` or `2 h 05 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"
