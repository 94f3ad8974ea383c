"""Settings with which a training on the small shop ends within moments."""

from __future__ import annotations

SMALL = ("--set", "dim=4", "--set", "epochs=2", "--quiet")
