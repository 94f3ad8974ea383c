"""Progress of long work: a live bar on a terminal, a plain line now and then elsewhere, with rate and time left."""

from __future__ import annotations

import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Protocol

PLAIN_INTERVAL = 10.0


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


@contextmanager
def progress(
    title: str, total: int, unit: str = "items", *, done: int = 0, quiet: bool = False
) -> Generator[Progress, None, None]:
    """Show progress on stderr while the block runs.

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


@contextmanager
def _live(title: str, total: int, unit: str, done: int) -> Generator[Progress, None, None]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

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

    class Live:
        def advance(self, amount: int = 1, note: str = "") -> None:
            speed = bar.tasks[0].speed
            shown = note or str(bar.tasks[0].fields["note"])
            bar.update(task, advance=amount, rate=f"{speed:,.1f} {unit}/s" if speed else "", note=shown)

        def say(self, text: str) -> None:
            bar.console.print(text, highlight=False, markup=False)

    with bar:
        task = bar.add_task(title, total=total, completed=done, note="", rate="")
        yield Live()


def duration(seconds: float) -> str:
    """`3.2 s`, `4 min 10 s` or `2 h 05 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"
