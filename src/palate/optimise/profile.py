"""Where the time of an epoch goes: the loop says which phase it enters, a profile adds up their wall time.

Takes no part in the optimisation: the same bits come out with and without.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch

Phase = Literal["batches", "loss", "backward", "optimiser", "validation", "checkpoints", "other"]

PHASES: dict[Phase, str] = {
    "batches": "sampling, shuffling, and the model's work before an epoch",
    "loss": "forward",
    "backward": "gradients",
    "optimiser": "Adam's step",
    "validation": "scoring and ranking the validation part",
    "checkpoints": "writing the state to disk",
    "other": "checks for numbers that are not finite, history, progress",
}


@dataclass(frozen=True)
class Share:
    """One phase of an epoch.

    Attributes:
        phase: which.
        seconds: the median over the epochs in which it occurred.
        epochs: in how many it occurred.
        total: seconds in all epochs together.
        share: of the time of all epochs.
    """

    phase: Phase
    seconds: float
    epochs: int
    total: float
    share: float


class Profile:
    """Adds up the wall seconds of each phase, epoch by epoch.

    On an accelerator each change of phase waits for the work that was queued, so that a phase is charged with its own:
    the epochs are then somewhat slower than without.

    Args:
        clock: seconds, ever growing.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self.clock = clock
        self.epochs: list[dict[Phase, float]] = []
        self.phase: Phase | None = None
        self.since = 0.0
        self.spent: dict[Phase, float] = {}

    def enter(self, phase: Phase | None) -> None:
        """End the phase under way and begin another; None: none."""
        if torch.cuda.is_initialized():
            torch.cuda.synchronize()
        now = self.clock()
        if self.phase is not None:
            self.spent[self.phase] = self.spent.get(self.phase, 0.0) + now - self.since
        self.phase, self.since = phase, now

    @contextmanager
    def within(self, phase: Phase) -> Generator[None, None, None]:
        """A phase inside another, which goes on afterwards."""
        before = self.phase
        self.enter(phase)
        try:
            yield
        finally:
            self.enter(before)

    def end_epoch(self) -> None:
        """Close the epoch under way."""
        self.enter(None)
        self.epochs.append(self.spent)
        self.spent = {}

    def shares(self) -> list[Share]:
        """The phases that occurred, in the order of an epoch."""
        whole = sum(sum(epoch.values()) for epoch in self.epochs)
        found: list[Share] = []
        for phase in PHASES:
            seconds = [epoch[phase] for epoch in self.epochs if phase in epoch]
            if seconds:
                total = sum(seconds)
                share = total / whole if whole else 0.0
                found.append(Share(phase, statistics.median(seconds), len(seconds), total, share))
        return found

    def text(self) -> str:
        """A short table; what happens in some epochs only says in how many."""
        if not self.epochs:
            return "no epoch was run here, so there is nothing to say of where its time goes"
        count = len(self.epochs)
        middle = statistics.median(sum(epoch.values()) for epoch in self.epochs)
        lines = [f"{'an epoch':<12}{middle:>10.4f} s   median of {count:,}"]
        for each in self.shares():
            rare = "" if each.epochs == count else f"; in {each.epochs:,} of {count:,} epochs"
            lines.append(f"{each.phase:<12}{each.seconds:>10.4f} s {each.share:>6.1%}   {PHASES[each.phase]}{rare}")
        return "\n".join(lines)
