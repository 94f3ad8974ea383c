"""What this machine can do, measured in the same run as everything else: the unit U, bandwidth and matrix products."""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from palate.core.dense import times
from palate.graph.bipartite import Bipartite

REPEATS = 9


@dataclass(frozen=True)
class Cost:
    """Seconds of one thing.

    Attributes:
        wall: by the clock.
        cpu: of all threads, user and system.
    """

    wall: float
    cpu: float


def median_cost(work: Callable[[], object], repeats: int = REPEATS) -> Cost:
    """The median of several calls, after one to warm up."""
    work()
    walls: list[float] = []
    cpus: list[float] = []
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return Cost(statistics.median(walls), statistics.median(cpus))


def unit(train: Bipartite) -> Cost:
    """U: one forward and backward of torch's sparse product with an uncoalesced COO matrix of the graph, width 64.

    The entries come in random order, as in a matrix that nobody sorted: so the product costs what the notes say of it
    (24 to 37 ms forward where CSR takes 6 to 8). Sorted by row it cost less than half on an AMD Zen 4, and the
    same on a Zen 5.
    """
    adjacency = train.adjacency()
    order = np.random.default_rng(0).permutation(adjacency.size)
    index = torch.from_numpy(np.stack([adjacency.row_of_entry(), adjacency.columns.astype(np.int64)])[:, order])
    nodes = adjacency.count
    matrix = torch.sparse_coo_tensor(
        index, torch.ones(adjacency.size), (nodes, nodes), is_coalesced=False, check_invariants=False
    )
    table = torch.randn(nodes, 64, requires_grad=True)

    def work() -> None:
        table.grad = None
        torch.sparse.mm(matrix, table).sum().backward()

    return median_cost(work)


def bandwidth() -> float:
    """Bytes a second of a = b + s·c on arrays far larger than the caches."""
    size = 30_000_000
    first, second, result = torch.ones(size), torch.ones(size), torch.empty(size)
    cost = median_cost(lambda: torch.add(first, second, alpha=3.0, out=result), 5)
    return 3 * 4 * size / cost.wall


def matrix_rate() -> float:
    """Floating-point operations a second of a large single-precision matrix product, by the faster of two kernels."""
    size = 2048
    first, second = torch.randn(size, size), torch.randn(size, size)
    costs = median_cost(lambda: first @ second, 5), median_cost(lambda: times(first, second), 5)
    return 2 * size**3 / min(cost.wall for cost in costs)


def processor() -> str:
    """The processor's name, and how many cores there are."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor() or platform.machine()
    return f"{os.cpu_count()} cores of {name} ({torch.backends.cpu.get_cpu_capability()})"


if __name__ == "__main__":
    from benchmarks.world import baby_shaped

    own = unit(baby_shaped({}).inputs.train)
    print(json.dumps({"unit_cpu": own.cpu, "unit_wall": own.wall}))
