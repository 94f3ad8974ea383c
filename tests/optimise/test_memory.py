"""Where freed memory goes, as the system counts it."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

# A block that was freed raises the C library's threshold: the next one of its size lies on the heap, below what stays.
SCRIPT = """
import sys
from contextlib import nullcontext
import numpy as np
from palate.optimise.memory import kept_memory, returned_memory

def held():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 / 2**20

block = np.ones(7 << 19)
del block
with {"usual": nullcontext, "built": returned_memory, "trained": kept_memory}[sys.argv[1]]():
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
@pytest.mark.parametrize(("when", "goes_back"), [("usual", False), ("built", True), ("trained", False)])
def test_large_blocks_go_back_while_a_model_is_built_and_stay_while_it_is_trained(when: str, goes_back: bool) -> None:
    ran = subprocess.run([sys.executable, "-c", SCRIPT, when], capture_output=True, text=True, check=True, timeout=300)
    most, left = map(float, ran.stdout.split())
    assert most > 20
    assert left < 6 if goes_back else left > 20
