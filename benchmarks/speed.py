"""Cost of an epoch, of an evaluation and of set-up, and peak memory, for every model on the Baby-shaped world.

    python -m benchmarks.speed [--model lightgcn "bm3 official" …] [--epochs 5] [--threads N] [--no-plain]
                               [--out FILE.json [--add]]

Each model runs in a process of its own, so that its peak memory is its own. Costs are CPU seconds of all threads, also
in U, the machine's own unit. They are compared with the field's toolbox (`benchmarks.reference`: in its U, and in its
CPU seconds), and with the plain form of the same model in the same run (`benchmarks.plain`). U is the median of what
is measured before and after each model, in fresh processes: in one that has trained, the C library hands out memory
without the page faults that are part of U. The file is written anew after each model; a model that fails is told in
the end.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

from benchmarks.processes import added, ask_models, found_by, guarded, kept, output, positive, write
from benchmarks.reference import EVALUATION, EVALUATION_FACTOR, PLAIN, REFERENCE, UNIT_CPU

NAMES = ("lightgcn", "bpr", "vbpr", "bm3", "bm3 official", "lgmrec", "lgmrec official", "mmgcn", "mmgcn official",
         "alignrec", "alignrec official", "freedom", "freedom official", "crmman")  # fmt: skip
BATCH, SEED = 2048, 0


def measure(name: str, epochs: int) -> dict[str, Any]:
    """One model, in this process."""
    import torch

    from benchmarks.machine import bandwidth, matrix_rate, median_cost, processor
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
        "evaluated_users": int((world.held_out.lengths > 0).sum()),
        "evaluation_wall": evaluation.wall,
        "evaluation_cpu": evaluation.cpu,
        "set_up_wall": set_up[0],
        "set_up_cpu": set_up[1],
        "peak_mb": peak,
        "peak_before_mb": before,
        "steps": whole.steps,
        "epochs": epochs,
        "roofline_seconds": whole.steps * work.seconds(speed["bandwidth_gb_s"] * 1e9, speed["matrix_gflop_s"] * 1e9),
        "threads": torch.get_num_threads(),
        "cpu": processor(),
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
    """One line of the table of costs."""
    cells = [
        found["model"],
        f"{found['epoch_wall']:.2f}",
        f"{found['epoch_cpu']:.2f}",
        f"{found['unit_cpu']:.3f}",
        f"{found['epoch_units']:.0f}",
        f"{found['roofline_seconds']:.2f}",
        f"{found['set_up_wall']:.2f}",
        f"{found['peak_mb']:,.0f}",
    ]
    return "| " + " | ".join(cells) + " |"


def ratios(found: dict[str, Any]) -> dict[str, float]:
    """How many times faster than the plain form, than the toolbox in CPU seconds, and than it in U; those there are."""
    told = {} if "plain_epoch_cpu" not in found else {"plain": found["plain_epoch_cpu"] / found["epoch_cpu"]}
    if found["model"] in REFERENCE:
        units = REFERENCE[found["model"]][0]
        told |= {"cpu": units * UNIT_CPU / found["epoch_cpu"], "units": units / found["epoch_units"]}
    return told


def comparison(found: dict[str, Any]) -> str:
    """One line of the table of comparisons."""
    name, faster = found["model"], ratios(found)
    same = PLAIN.get(name) == name
    cells = [name, f"{REFERENCE[name][2]:g}×" if name in REFERENCE else ""]
    if "plain" in faster:
        mark = "" if same else " †"
        ratio = f"{faster['plain']:.1f}×"
        cells += [f"{found['plain_epoch_cpu']:.1f}{mark}", f"**{ratio}**" if same else ratio + mark]
    else:
        cells += ["", ""]
    if name in REFERENCE:
        units, memory, _, share = REFERENCE[name]
        part = f"{found['peak_mb'] / memory:.2f}" + ("" if share is None else f" (bar {share:g})")
        cells += [f"{units:,.0f} U, {memory:,.0f} MB", f"{faster['cpu']:.1f}×", f"{faster['units']:.1f}×", part]
    else:
        cells += ["", "", "", ""]
    return "| " + " | ".join(cells) + " |"


def missed(results: Sequence[dict[str, Any]], evaluated: dict[str, Any]) -> str:
    """Which bars are missed, by which measure, of the models that have one."""
    words = {"plain": "against the plain form", "cpu": "against the toolbox in CPU seconds", "units": "against it in U"}
    told: list[str] = []
    for kind, name in words.items():
        judged = [(each["model"], ratios(each).get(kind), REFERENCE[each["model"]][2]) for each in results]
        below = [f"{model} ({ratio:.1f}× of {bar:g}×)" for model, ratio, bar in judged if ratio and ratio < bar]
        if kind == "units" and EVALUATION / evaluated["evaluation_units"] < EVALUATION_FACTOR:
            below.append("the evaluation")
        if any(ratio for _, ratio, _ in judged):
            told.append(f"{name}: {', '.join(below) or 'none'}")
    heavy = [
        each["model"]
        for each in results
        if each["peak_mb"] / REFERENCE[each["model"]][1] > (REFERENCE[each["model"]][3] or 1.0)
    ]
    return f"Below the bar {'; '.join(told)}. Above the bar of memory: {', '.join(heavy) or 'none'}."


def kinds(results: Sequence[dict[str, Any]]) -> str:
    """A warning where rows were measured in different ways."""
    ways = {(each["threads"], each["cpu"], each.get("epochs")) for each in results}
    return "" if len(ways) == 1 else "**These rows were not measured alike** (threads, processor or epochs differ)."


HEAD = (
    "| model | s an epoch | CPU s | U in CPU s | cost in U | roofline s | set-up s | peak MB |\n"
    "|---|---|---|---|---|---|---|---|"
)
COMPARED = (
    "| model | bar | plain form, CPU s | faster than it | toolbox | faster than it, CPU s | in U | of its memory |\n"
    "|---|---|---|---|---|---|---|---|"
)


def evaluation(found: dict[str, Any]) -> str:
    """What one full evaluation costs, with the vectors of a model."""
    seconds = found["evaluation_cpu"]
    plain = found.get("plain_evaluation_cpu")
    compared = [] if plain is None else [f"{plain / seconds:.1f}× faster than the plain form ({plain:.1f} CPU s)"]
    compared += [
        f"{EVALUATION * UNIT_CPU / seconds:.1f}× faster than the toolbox in CPU s",
        f"{EVALUATION / found['evaluation_units']:.1f}× in U (bar {EVALUATION_FACTOR:g}×)",
    ]
    return (
        f"One full evaluation of {found['evaluated_users']:,} users ({found['model']}'s vectors): {seconds:.2f} CPU s, "
        f"{found['evaluation_units']:.0f} U; {', '.join(compared)}."
    )


def machine(found: dict[str, Any]) -> str:
    """What the machine can do, as measured beside a model."""
    rates = f"{found['bandwidth_gb_s']:.0f} GB/s, {found['matrix_gflop_s']:.0f} GFLOP/s"
    return f"{found['cpu']}; {found['threads']} thread{'s' * (found['threads'] > 1)}: {rates}."


def page(results: list[dict[str, Any]]) -> str:
    """Everything as Markdown."""
    first = next((each for each in results if each["model"] == "lightgcn"), results[0])
    known = [each for each in results if each["model"] in REFERENCE]
    parts = [machine(first), kinds(results), "\n".join([HEAD, *map(row, results)])]
    if any(map(ratios, results)):
        parts.append("\n".join([COMPARED, *(comparison(each) for each in results if ratios(each))]))
    if any("plain_epoch_cpu" in each and PLAIN.get(each["model"]) != each["model"] for each in results):
        parts.append("† The plain form is that of the released preset, which is other maths than this row.")
    parts += [missed(known, first) if known else "", evaluation(first)]
    return "\n\n".join(part for part in parts if part)


def measured(name: str, epochs: int, threads: int) -> dict[str, Any] | None:
    """One model in a process of its own, with U before and after it; None when any of them failed."""
    before = found_by("benchmarks.machine", threads=threads)
    found = found_by("benchmarks.speed", "--here", "--model", name, "--epochs", str(epochs), threads=threads)
    after = found_by("benchmarks.machine", threads=threads)
    if found is None or before is None or after is None:
        return None
    return found | {"units_cpu": [before["unit_cpu"], after["unit_cpu"]]}


def in_one_unit(run: Sequence[dict[str, Any]]) -> None:
    """Tell the costs of a run's models in U, the median of all that it measured: one alone may be a quarter off."""
    unit = statistics.median(each for found in run for each in found["units_cpu"])
    for found in run:
        found.update(in_units(found, unit))


def main() -> None:
    """Measure each model in a process of its own and print the tables."""
    reader = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask_models(reader, NAMES)
    reader.add_argument("--epochs", type=positive, default=5, help="measured epochs after one to warm up")
    reader.add_argument("--threads", type=int, default=0, help="0: all cores; the page has 1")
    reader.add_argument("--no-plain", action="store_true", help="leave the plain forms out")
    reader.add_argument("--out", type=output, help="JSON file, in place of what was there")
    reader.add_argument("--add", action="store_true", help="keep what the file has of other models")
    reader.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    asked = reader.parse_args()
    if asked.here:
        print(json.dumps(measure(asked.model[0], asked.epochs)))
        return
    results = kept(asked.out, asked.add)
    failed: list[str] = []
    run: list[dict[str, Any]] = []
    plain: dict[str, dict[str, Any] | None] = {}
    for name in asked.model:
        found, form = measured(name, asked.epochs, asked.threads), PLAIN.get(name)
        if found is None:
            failed.append(name)
            continue
        if form is not None and not asked.no_plain:
            if form not in plain:
                plain[form] = found_by("benchmarks.plain", "--here", "--model", form, threads=asked.threads)
            told = plain[form]
            if told is None:
                failed.append(f"the plain form of {name}")
            else:
                found |= {
                    f"plain_{key}": told[key] for key in ("epoch_cpu", "evaluation_cpu", "peak_mb") if key in told
                }
        run.append(found)
        in_one_unit(run)
        added(results, found, "model")
        print(f"{name}: {found['epoch_cpu']:.2f} CPU s an epoch", file=sys.stderr, flush=True)
        if asked.out:
            write(asked.out, results)
    if results:
        print(page(results))
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    guarded(main)
