"""Costs of the field's toolbox on the same world, in U of its own run (the project's performance notes, 2026)."""

from __future__ import annotations

# Model → cost of an epoch in U, peak memory in MB, how many times faster Palate must be.
REFERENCE: dict[str, tuple[float, float, float]] = {
    "lightgcn": (123, 667, 4),
    "vbpr": (150, 827, 4),
    "alignrec": (435, 933, 3),
    "bm3": (650, 1344, 7),
    "bm3 official": (650, 1344, 4.5),
    "freedom": (740, 1351, 6),
    "lgmrec": (1700, 1167, 4),
    "mmgcn": (3170, 2036, 6),
}
EVALUATION, EVALUATION_FACTOR = 98.0, 5.5
MEMORY_SHARE = {"bm3 official": 0.8}
OTHER_MEMORY_SHARE = 0.65
