"""Keeps the memory that a step frees for the next one: getting it back from the system may cost half of the time."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Generator
from contextlib import contextmanager

# Options of glibc's mallopt, and what they are set to afterwards: its own number of mappings, and the thresholds that
# it would have reached by itself once blocks of 32 MB had come and gone. After an option was set it does not adjust
# them any more, and with those of its start an evaluation after training took three quarters longer.
TRIM_THRESHOLD, MAPPING_THRESHOLD, MOST_MAPPINGS = -1, -3, -4
AFTERWARDS = {TRIM_THRESHOLD: 1 << 26, MAPPING_THRESHOLD: 1 << 25, MOST_MAPPINGS: 65536}


@contextmanager
def kept_memory() -> Generator[None, None, None]:
    """Within it, freed memory stays with this process, and is handed out again without a page fault.

    The C library of Linux otherwise returns every block above 32 MB when it is freed. A step that forms a gradient of
    126 MB then spends nearly half of its time on 32,000 page faults. Before, and afterwards, all that is free goes
    back; other C libraries are left as they are.
    """
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    if library is None or not hasattr(library, "mallopt"):
        yield
        return
    # What set-up has freed lies in pieces too small for large tables, which would come on top of it.
    library.malloc_trim(0)
    # No mappings for large blocks, and a heap that does not shrink.
    library.mallopt(MOST_MAPPINGS, 0)
    library.mallopt(TRIM_THRESHOLD, -1)
    try:
        yield
    finally:
        for option, value in AFTERWARDS.items():
            library.mallopt(option, value)
        library.malloc_trim(0)
