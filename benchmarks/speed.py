"""Cost of an epoch, of an evaluation and of set-up, and peak memory, for every model on the Baby-shaped world.

    python -m benchmarks.speed [--model lightgcn "bm3 official" …] [--epochs 5] [--threads N] [--out FILE.json]

Each model runs in a process of its own, so that its peak memory is its own. Costs are CPU seconds of all threads, also
in U, the machine's own unit; `reference` is the field's toolbox in its U. U is measured before and after each model, in
fresh processes: in one that has trained, the C library hands out memory without the page faults that are part of U.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.processes import found_by

NAMES = ("lightgcn", "bpr", "vbpr", "bm3", "bm3 official", "lgmrec", "lgmrec official", "mmgcn", "mmgcn official",
         "alignrec", "alignrec official", "freedom", "crmman")  # fmt: skip
BATCH, SEED = 2048, 0


def measure(name: str, epochs: int) -> dict[str, Any]:
    """One model, in this process."""
    import torch

    from benchmarks.machine import bandwidth, matrix_rate, median_cost
    from benchmarks.roofline import work_of
    from benchmarks.world import JOINT, baby_shaped
    from palate.core.seeds import Draws
    from palate.measure.evaluation import evaluate
    from palate.models import Recommender
    from palate.optimise.loop import Loop
    from palate.recipe import resolve
    from palate.train.batches import PairBatches
    from palate.train.fitting import TrainConfig, build, peak_memory_mb

    model_name, _, preset = name.partition(" ")
    kind, config, _ = resolve(model_name, preset or "intended")
    if model_name == "crmman":
        config = config.override({"dislikes": "none"})
    world = baby_shaped(JOINT if model_name == "alignrec" else None if kind.modal else {})
    before = peak_memory_mb()
    start = time.perf_counter(), time.process_time()
    model = build(kind, config, world.inputs, SEED, "float32")
    assert isinstance(model, Recommender)
    whole = PairBatches(world.inputs, BATCH, model.needs, SEED, before_epoch=model.start_epoch)
    set_up = time.perf_counter() - start[0], time.process_time() - start[1]
    marks: list[tuple[float, float]] = []

    class Marked:
        """The batches, with the time at the start of each epoch."""

        steps = whole.steps

        def epoch(self, number: int) -> Iterator[Any]:
            marks.append((time.perf_counter(), time.process_time()))
            yield from whole.epoch(number)

    loop = Loop(model, model.loss, Marked(), TrainConfig(epochs=epochs + 1, batch_size=BATCH), seed=SEED, quiet=True)
    loop.run()
    marks.append((time.perf_counter(), time.process_time()))
    # The first epoch warms up.
    walls, cpus = ([later[n] - earlier[n] for earlier, later in pairwise(marks[1:])] for n in range(2))
    peak = peak_memory_mb()
    # Instruments have large arrays of their own: after the peak was read.
    speed = {"bandwidth_gb_s": bandwidth() / 1e9, "matrix_gflop_s": matrix_rate() / 1e9}
    batch = next(iter(whole.epoch(1)))
    work = work_of(model, lambda: torch.stack(list(model.loss(batch, Draws(SEED)).values())).sum())
    evaluation = median_cost(lambda: evaluate(model.scorer(), world.held_out, world.inputs.seen), 3)
    wall, cpu = statistics.median(walls), statistics.median(cpus)
    return {
        "model": name,
        "epoch_wall": wall,
        "epoch_cpu": cpu,
        "evaluation_wall": evaluation.wall,
        "evaluation_cpu": evaluation.cpu,
        "set_up_wall": set_up[0],
        "set_up_cpu": set_up[1],
        "peak_mb": peak,
        "peak_before_mb": before,
        "steps": whole.steps,
        "roofline_seconds": whole.steps * work.seconds(speed["bandwidth_gb_s"] * 1e9, speed["matrix_gflop_s"] * 1e9),
        "threads": torch.get_num_threads(),
        **speed,
    }


def in_units(found: dict[str, Any], unit: float) -> dict[str, float]:
    """Costs of a model in U, which took `unit` CPU seconds."""
    return {
        "unit_cpu": unit,
        "epoch_units": found["epoch_cpu"] / unit,
        "evaluation_units": found["evaluation_cpu"] / unit,
    }


def row(found: dict[str, Any]) -> str:
    """One line of the table."""
    from benchmarks.reference import MEMORY_SHARE, OTHER_MEMORY_SHARE, REFERENCE, UNIT_CPU

    name = found["model"]
    cells = [
        name,
        f"{found['epoch_wall']:.2f}",
        f"{found['epoch_cpu']:.2f}",
        f"{found['epoch_units']:.0f}",
        f"{found['roofline_seconds']:.2f}",
        f"{found['set_up_wall']:.2f}",
        f"{found['peak_mb']:.0f}",
    ]
    if name in REFERENCE:
        units, memory, factor = REFERENCE[name]
        share = MEMORY_SHARE.get(name, OTHER_MEMORY_SHARE)
        cells += [
            f"{units:.0f}",
            f"{units / found['epoch_units']:.1f}× (bar {factor:g}×)",
            f"{units * UNIT_CPU / found['epoch_cpu']:.1f}×",
            f"{found['peak_mb'] / memory:.2f} (bar {share})",
        ]
    else:
        cells += ["", "", "", ""]
    return "| " + " | ".join(cells) + " |"


HEAD = (
    "| model | s an epoch | CPU s | U | roofline s | set-up s | peak MB | reference U | faster in U | in CPU s |"
    " memory |\n"
    "|---|---|---|---|---|---|---|---|---|---|---|"
)


def main() -> None:
    """Measure each model in a process of its own and print the table."""
    reader = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reader.add_argument("--model", nargs="+", choices=NAMES, help="default: all")
    reader.add_argument("--epochs", type=int, default=5, help="measured epochs after one to warm up")
    reader.add_argument("--threads", type=int, default=0, help="0: all cores")
    reader.add_argument("--out", type=Path, help="JSON file")
    reader.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    asked = reader.parse_args()
    if asked.here:
        print(json.dumps(measure(asked.model[0], asked.epochs)))
        return
    results: list[dict[str, Any]] = []
    print(HEAD, flush=True)
    for name in asked.model or NAMES:
        before = found_by("benchmarks.machine", threads=asked.threads)
        found = found_by(
            "benchmarks.speed", "--here", "--model", name, "--epochs", str(asked.epochs), threads=asked.threads
        )
        after = found_by("benchmarks.machine", threads=asked.threads)
        if found is None or before is None or after is None:
            print(f"{name}: failed", file=sys.stderr)
            continue
        results.append(found | in_units(found, (before["unit_cpu"] + after["unit_cpu"]) / 2))
        print(row(results[-1]), flush=True)
    from benchmarks.reference import EVALUATION, EVALUATION_FACTOR, UNIT_CPU

    for found in results[:1]:
        faster, plainly = EVALUATION / found["evaluation_units"], EVALUATION * UNIT_CPU / found["evaluation_cpu"]
        print(
            f"one evaluation of {found['model']}: {found['evaluation_wall']:.2f} s, "
            f"{found['evaluation_cpu']:.2f} CPU s, {found['evaluation_units']:.0f} U, "
            f"{faster:.1f}× in U (bar {EVALUATION_FACTOR}×), {plainly:.1f}× in CPU s"
        )
        machine = f"{found['bandwidth_gb_s']:.1f} GB/s, {found['matrix_gflop_s']:.0f} GFLOP/s"
        print(f"U = {found['unit_cpu']:.3f} CPU s; {machine}; {found['threads']} threads")
    if asked.out:
        asked.out.write_text(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
