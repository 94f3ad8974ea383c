"""Time of a step and peak memory as the data grow, and the exponent of each.

    python -m benchmarks.growth [--interactions 1e5 1e6 1e7] [--model lightgcn bm3 freedom …] [--steps 200]
                                [--seconds 900] [--threads N] [--out FILE.json]

Synthetic graphs with 20 interactions for each user and 100 for each item, power-law frequencies, and random features
of 64 + 64 columns; batch 2048, width 64. Each (model, size) runs in a process of its own, through the loop that trains,
so that its peak memory is its own: world, model, the samples of a whole epoch and the steps. An exponent of 1 means
ten times the data cost ten times as much; it is fitted over all sizes by least squares of the logarithms.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import islice, pairwise
from typing import TYPE_CHECKING, Any

from benchmarks.interactions import pairs, sizes
from benchmarks.processes import ask_models, found_by, guarded, output, write

if TYPE_CHECKING:
    from palate.dataset.inputs import ModelInputs

NAMES = ("lightgcn", "bpr", "vbpr", "bm3", "freedom", "lgmrec", "mmgcn", "alignrec")
USUAL = ("lightgcn", "bm3", "freedom")
WIDTHS = {"image": 64, "text": 64}
BATCH, SEED = 2048, 0
# What step one pays for: buffers of the allocator, and the optimiser's moments.
WARM = 2


def world(interactions: int, widths: dict[str, int], seed: int = SEED) -> ModelInputs:
    """A train graph of that size, with random features.

    Args:
        widths: modality → columns.
    """
    import numpy as np

    from palate.dataset.inputs import ModelInputs
    from palate.encode.features import Features
    from palate.graph.bipartite import Bipartite
    from palate.graph.rows import Rows

    users, items = sizes(interactions)
    rows = Rows.from_pairs(*pairs(users, items, interactions, seed), users, items)
    generator = np.random.default_rng(seed)
    ids, present = tuple(map(str, range(items))), np.ones(items, dtype=np.bool_)
    features = {
        name: Features(name, generator.standard_normal((items, width), dtype=np.float32), present, "random", ids)
        for name, width in widths.items()
    }
    return ModelInputs(users, items, Bipartite(rows), rows, features)


def measure(name: str, interactions: int, steps: int, seconds: float) -> dict[str, Any]:
    """One model at one size, in this process.

    Args:
        steps: to run and measure, after `WARM` that are not measured.
        seconds: stop stepping after so many, with what there is.
    """
    import torch

    from palate.core.seeds import Draws
    from palate.models import Recommender
    from palate.optimise.loop import Loop
    from palate.recipe import resolve
    from palate.train.batches import PairBatches
    from palate.train.fitting import TrainConfig, build, peak_memory_mb

    kind, config, _ = resolve(name)
    before = peak_memory_mb()
    start = time.perf_counter()
    inputs = world(interactions, WIDTHS if kind.modal else {})
    made, after_world = time.perf_counter(), peak_memory_mb()
    model = build(kind, config, inputs, SEED, "float32")
    assert isinstance(model, Recommender)
    whole = PairBatches(inputs, BATCH, model.needs, SEED, before_epoch=model.start_epoch)
    built = time.perf_counter()
    marks: list[tuple[float, float]] = []
    wanted = min(steps + WARM, whole.steps)

    class First:
        """The first batches of an epoch, with the time before each."""

        steps = wanted

        def epoch(self, number: int) -> Iterator[Any]:
            for batch in islice(whole.epoch(number), self.steps):
                now = time.perf_counter(), time.process_time()
                if marks and now[0] - marks[0][0] > seconds:
                    return
                marks.append(now)
                yield batch

    def loss(batch: Any, draws: Draws) -> dict[str, torch.Tensor]:
        return model.loss(batch, draws)

    loop = Loop(model, loss, First(), TrainConfig(epochs=1, batch_size=BATCH), seed=SEED, quiet=True)
    begun = time.perf_counter()
    loop.run()
    marks.append((time.perf_counter(), time.process_time()))
    measured = marks[min(WARM, len(marks) - 2) :]
    walls, cpus = ([later[n] - earlier[n] for earlier, later in pairwise(measured)] for n in range(2))
    wall, cpu = statistics.median(walls), statistics.median(cpus)
    return {
        "model": name,
        "interactions": interactions,
        "users": inputs.users,
        "items": inputs.items,
        "steps": len(marks) - 1,
        "steps_per_epoch": whole.steps,
        "step_wall": wall,
        "step_cpu": cpu,
        "epoch_start_seconds": marks[0][0] - begun,
        "world_seconds": made - start,
        "build_seconds": built - made,
        "peak_mb": peak_memory_mb(),
        "peak_world_mb": after_world,
        "peak_before_mb": before,
        "threads": torch.get_num_threads(),
    }


def exponent(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """The slope of log cost over log size by least squares; NaN for fewer than two sizes."""
    if len(set(sizes)) < 2:
        return math.nan
    return statistics.linear_regression([math.log(size) for size in sizes], [math.log(cost) for cost in costs]).slope


def exponents(results: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """For each model, how CPU time of a step and memory (beyond that of the bare process) grow."""
    found: list[dict[str, Any]] = []
    for name in dict.fromkeys(each["model"] for each in results):
        own = [each for each in results if each["model"] == name]
        counts = [float(each["interactions"]) for each in own]
        found.append(
            {
                "model": name,
                "step": exponent(counts, [each["step_cpu"] for each in own]),
                "memory": exponent(counts, [each["peak_mb"] - each["peak_before_mb"] for each in own]),
            }
        )
    return found


def row(found: dict[str, Any]) -> str:
    """One line of the table."""
    cells = [
        found["model"],
        f"{found['interactions']:,}",
        f"{found['users'] + found['items']:,}",
        str(found["steps"]),
        f"{found['step_wall']:.3f}",
        f"{found['step_cpu']:.3f}",
        f"{found['epoch_start_seconds']:.1f}",
        f"{found['build_seconds']:.1f}",
        f"{found['peak_mb']:,.0f}",
    ]
    return "| " + " | ".join(cells) + " |"


def told(fitted: Sequence[dict[str, Any]]) -> str:
    """The fitted exponents in words."""
    each = (f"{one['model']} {one['step']:.2f} and {one['memory']:.2f}" for one in fitted)
    return f"Fitted exponents of a step's CPU time, and of memory beyond the bare process: {', '.join(each)}."


HEAD = (
    "| model | interactions | nodes | steps run | s a step | CPU s | s to start an epoch | s to build | peak MB |\n"
    "|---|---|---|---|---|---|---|---|---|"
)


def main() -> None:
    """Measure each model at each size, and print the table and the exponents."""
    reader = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reader.add_argument("--interactions", nargs="+", type=float, default=[1e5, 1e6, 1e7])
    ask_models(reader, NAMES, USUAL)
    reader.add_argument("--steps", type=int, default=200)
    reader.add_argument("--seconds", type=float, default=900, help="stop stepping after so many")
    reader.add_argument("--threads", type=int, default=0, help="0: all cores")
    reader.add_argument("--out", type=output, help="JSON file, in place of what was there")
    reader.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    asked = reader.parse_args()
    if asked.here:
        print(json.dumps(measure(asked.model[0], int(asked.interactions[0]), asked.steps, asked.seconds)))
        return
    results: list[dict[str, Any]] = []
    failed: list[str] = []
    print(HEAD, flush=True)
    for name in asked.model:
        for count in asked.interactions:
            words = ["--here", "--model", name, "--interactions", str(count)]
            words += ["--steps", str(asked.steps), "--seconds", str(asked.seconds)]
            found = found_by("benchmarks.growth", *words, threads=asked.threads)
            if found is None:
                failed.append(f"{name} at {count:,.0f} interactions")
                continue
            results.append(found)
            print(row(found), flush=True)
            if asked.out:
                write(asked.out, {"sizes": results, "exponents": exponents(results)})
    print(told(exponents(results)))
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    guarded(main)
