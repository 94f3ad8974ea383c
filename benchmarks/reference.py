"""Costs of the field's toolbox on the same world, in U of its own run (the project's performance notes, 2026)."""

from __future__ import annotations

# Model → cost of an epoch in U, peak memory in MB, how many times faster Palate must be, and its share of the memory.
# The toolbox runs the models as released: presets that are other maths (`bm3`: frozen features, `mmgcn`: two narrow
# layers, …) are held against the same figures. No share is set for the released presets but BM3's.
REFERENCE: dict[str, tuple[float, float, float, float | None]] = {
    "lightgcn": (123, 667, 4, 0.65),
    "vbpr": (150, 827, 4, 0.65),
    "bm3": (650, 1344, 7, 0.65),
    "bm3 official": (650, 1344, 4.5, 0.8),
    "lgmrec": (1700, 1167, 4, 0.65),
    "lgmrec official": (1700, 1167, 4, None),
    "mmgcn": (3170, 2036, 6, 0.65),
    "mmgcn official": (3170, 2036, 6, None),
    "alignrec": (435, 933, 3, 0.65),
    "alignrec official": (435, 933, 3, None),
    "freedom": (740, 1351, 6, 0.65),
    "freedom official": (740, 1351, 6, None),
}
# Model → its plain form (`benchmarks.plain`), which is that of the released preset where there is one.
PLAIN = {name: name if name in ("lightgcn", "vbpr") else f"{name.split()[0]} official" for name in REFERENCE}
# CPU seconds of U where these were measured. Sparse and dense work do not slow down alike when a machine is shared, so
# the ratio of plain seconds on the same kind of machine is told beside the ratio in U.
UNIT_CPU = 0.092
EVALUATION, EVALUATION_FACTOR = 98.0, 5.5
