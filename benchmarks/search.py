"""Search for the 20 best items, one query at a time and in batches: exactly and by faiss, with faiss's recall.

    python -m benchmarks.search [--items 1682 100000 1000000] [--queries 400] [--threads N] [--out FILE.json]

Item vectors are 64 wide and lie around 200 points, users' vectors between three of them: what trained vectors are
like, whose recall faiss measures on the vectors it is given. Every query leaves out 100 items that its user has seen.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.processes import guarded, output, write
from palate.core.errors import ConfigError
from palate.graph.rows import Rows
from palate.recommend.index import ExactIndex, FaissIndex, Index

WIDTH, GROUPS, K, SEEN, BATCH = 64, 200, 20, 100, 64
SPREAD, LENGTHS = 0.6, 0.3

Array = NDArray[np.float32]


def world(items: int, queries: int) -> tuple[Array, Array]:
    """Vectors of items, of lengths that differ, and of users."""
    generator = np.random.default_rng(0)

    def scattered(centres: NDArray[np.float64], spread: float) -> NDArray[np.float64]:
        return centres + spread * generator.normal(size=centres.shape) / np.sqrt(WIDTH)

    centres = generator.normal(size=(GROUPS, WIDTH))
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    vectors = scattered(centres[generator.integers(0, GROUPS, items)], SPREAD)
    vectors *= np.exp(LENGTHS * generator.normal(size=(items, 1)))
    users = scattered(centres[generator.integers(0, GROUPS, (queries, 3))].mean(1), SPREAD / 2)
    return vectors.astype(np.float32), users.astype(np.float32)


def times(work: Callable[[int], object], repeats: int) -> tuple[NDArray[np.float64], float]:
    """Milliseconds of each call by the clock, and CPU milliseconds of one on average, after some to warm up."""
    for number in range(min(10, repeats)):
        work(number)
    taken: list[float] = []
    before = time.process_time()
    for number in range(repeats):
        start = time.perf_counter()
        work(number)
        taken.append(1e3 * (time.perf_counter() - start))
    return np.array(taken), 1e3 * (time.process_time() - before) / repeats


def resident_mb() -> float:
    """Memory that this process holds now."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024


def measure(index: Index, users: Array, seen: Rows) -> dict[str, Any]:
    """Times of one index."""
    count = len(users)
    own = [seen.take(np.array([row])) for row in range(count)]
    # A tenth of the items, as a filter on a category would leave.
    some = np.random.default_rng(2).random(index.items) < 0.1
    single, cpu = times(lambda row: index.search(users[row], K, hidden=own[row]), count)
    filtered, _ = times(lambda row: index.search(users[row], K, hidden=own[row], allowed=some), count // 4)
    batches = [np.arange(start, start + BATCH) for start in range(0, count - BATCH + 1, BATCH)]
    together, _ = times(lambda row: index.search(users[batches[row]], K, hidden=seen.take(batches[row])), len(batches))
    return {
        "items": index.items,
        "recall": index.recall,
        "p50_ms": float(np.median(single)),
        "p99_ms": float(np.quantile(single, 0.99)),
        "cpu_ms": cpu,
        "queries_per_second": 1e3 * BATCH * len(batches) / float(together.sum()),
        "filtered_p50_ms": float(np.median(filtered)),
        "about": index.about,
    }


def run(items: int, queries: int) -> list[dict[str, Any]]:
    """Both indexes over so many items."""
    vectors, users = world(items, queries)
    generator = np.random.default_rng(1)
    seen = Rows.from_pairs(
        np.repeat(np.arange(queries), SEEN), generator.integers(0, items, queries * SEEN), queries, items
    )
    found: list[dict[str, Any]] = []
    makers: list[tuple[str, Callable[[], Index]]] = [
        ("exact", lambda: ExactIndex(vectors)),
        ("faiss", lambda: FaissIndex(vectors, users)),
    ]
    for name, make in makers:
        before, start, cpu = resident_mb(), time.perf_counter(), time.process_time()
        try:
            index = make()
        except ConfigError as refusal:
            print(f"{items:,} items, {name}: {refusal.what}")
            continue
        built = {
            "index": name,
            "build_seconds": time.perf_counter() - start,
            "build_cpu_seconds": time.process_time() - cpu,
            "memory_mb": resident_mb() - before,
        }
        found.append(built | measure(index, users, seen))
        print(row(found[-1]), flush=True)
    return found


HEAD = (
    "| items | index | build, CPU s | MB | p50 ms | p99 ms | CPU ms | queries/s, 64 at once "
    "| a tenth allowed, p50 ms | recall@20 |\n|---|---|---|---|---|---|---|---|---|---|"
)


def row(found: dict[str, Any]) -> str:
    """One line of the table."""
    cells = [
        f"{found['items']:,}",
        found["index"],
        f"{found['build_cpu_seconds']:.1f}",
        f"{found['memory_mb']:.0f}",
        f"{found['p50_ms']:.2f}",
        f"{found['p99_ms']:.2f}",
        f"{found['cpu_ms']:.2f}",
        f"{found['queries_per_second']:,.0f}",
        f"{found['filtered_p50_ms']:.2f}",
        f"{found['recall']:.3f}",
    ]
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    """Measure each size and print the table."""
    reader = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reader.add_argument("--items", type=int, nargs="+", default=[1_682, 100_000, 1_000_000])
    reader.add_argument("--queries", type=int, default=400)
    reader.add_argument("--threads", type=int, default=0, help="0: all cores")
    reader.add_argument("--out", type=output, help="JSON file, in place of what was there")
    asked = reader.parse_args()
    if asked.threads:
        torch.set_num_threads(asked.threads)
    print(HEAD)
    results = [found for items in asked.items for found in run(items, asked.queries)]
    if asked.out:
        write(asked.out, results)


if __name__ == "__main__":
    guarded(main)
