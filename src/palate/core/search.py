"""Search spaces: which values of a setting are worth trying. Declared beside each model's config, used by tuning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Choice:
    """One of a few values.

    Attributes:
        values: scalars.
    """

    values: tuple[Any, ...]

    def holds(self, value: object) -> bool:
        """Whether `value` is one of them."""
        return value in self.values


@dataclass(frozen=True)
class Range:
    """Any number from `low` to `high`, both included.

    Attributes:
        low, high: the ends.
        log: even on a logarithmic scale.
        whole: integers only.
    """

    low: float
    high: float
    log: bool = False
    whole: bool = False

    def holds(self, value: object) -> bool:
        """Whether `value` lies in it."""
        return isinstance(value, int | float) and self.low <= value <= self.high


Space = Mapping[str, Choice | Range]
LEARNING_RATE = Range(3e-4, 2e-2, log=True)
