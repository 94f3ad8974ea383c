"""Where freed memory goes, as the system counts it."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

# A block that was freed raises the C library's threshold: the next one of its size lies on the heap, below what stays.
SCRIPT = """
import sys
from contextlib import ExitStack
import numpy as np
from palate.optimise.memory import kept_memory, returned_memory

def held():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 / 2**20

contexts = {"built": returned_memory, "trained": kept_memory}
block = np.ones(7 << 19)
del block
with ExitStack() as stack:
    for name in sys.argv[1:]:
        if name == "after":
            stack.close()
        elif name == "inner":
            with returned_memory(), kept_memory():
                pass
        else:
            stack.enter_context(contexts[name]())
    before = held()
    block = np.ones(3 << 20)
    pinned = [np.ones(1 << 12) for _ in range(64)]
    most = held() - before
    del block
    print(most, held() - before)
"""


@pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "mallopt"), reason="other libraries are left as they are"
)
@pytest.mark.parametrize(
    ("when", "goes_back"),
    [
        ("", False),
        ("built", True),
        ("trained", False),
        ("trained inner", False),
        ("built inner", True),
        ("built after", False),
        ("trained after", False),
    ],
)
def test_large_blocks_go_back_while_a_model_is_built_and_stay_while_it_is_trained(when: str, goes_back: bool) -> None:
    command = [sys.executable, "-c", SCRIPT, *when.split()]
    ran = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    most, left = map(float, ran.stdout.split())
    assert most > 20
    assert left < 6 if goes_back else left > 20
