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
# CPU seconds of U where these were measured. Sparse and dense work do not slow down alike when a machine is shared, so
# the ratio of plain seconds on the same kind of machine is told beside the ratio in U.
UNIT_CPU = 0.092
EVALUATION, EVALUATION_FACTOR = 98.0, 5.5
MEMORY_SHARE = {"bm3 official": 0.8}
OTHER_MEMORY_SHARE = 0.65
