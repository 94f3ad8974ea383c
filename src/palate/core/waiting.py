"""How long arithmetic threads wait for each other before they sleep: chosen once, before torch is imported.

A thread that sleeps frees its core but takes long to wake (tens of microseconds, as long as many a step of a training);
one that waits by spinning is there at once, but keeps the core from others, and where cores are short it may spin for
the very thread that it keeps from working. No result depends on it. Figures: docs/experiments.md.
"""

from __future__ import annotations

import time
from collections.abc import MutableMapping
from pathlib import Path

LOAD, THREADS = Path("/proc/loadavg"), Path("/proc/self/task")
SPIN_COUNT = 1000
LOOKS, BETWEEN_LOOKS = 5, 0.002


def choose_waiting(variables: MutableMapping[str, str]) -> None:
    """Set the OpenMP variables by which threads sleep at once, but spin shortly first where every core is free.

    Args:
        variables: of the environment; what the user has set there stays.
    """
    if {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & variables.keys():
        return
    variables["OMP_WAIT_POLICY"] = "PASSIVE"
    # Before the policy for GNU's runtime, which is torch's on Linux; others do not know it.
    if all_cores_free():
        variables["GOMP_SPINCOUNT"] = str(SPIN_COUNT)


def all_cores_free(load: Path = LOAD, threads: Path = THREADS) -> bool:
    """Whether nobody else computes now; False where the system does not tell.

    Args:
        load: the system's load, with the number of all threads that run or are ready to.
        threads: a folder for each thread of this process, whose own do not count (NumPy's may still be starting).
    """
    for look in range(LOOKS):
        if look:
            time.sleep(BETWEEN_LOOKS)
        try:
            # "0.20 0.18 0.12 1/80 11206": 1 of 80 runs, the one that asks.
            running = int(load.read_text(encoding="ascii").split()[3].partition("/")[0])
            # "11206 (python) R 1 …": R is running; the name may hold anything.
            own = sum(stat.read_bytes().rpartition(b")")[2].split()[0] == b"R" for stat in threads.glob("[0-9]*/stat"))
        except (OSError, ValueError, IndexError):
            return False
        # Somebody who was at work in every look computes; a short task may be met in one of them.
        if running <= max(own, 1):
            return True
    return False
