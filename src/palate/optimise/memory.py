"""Which freed memory goes back to the system, and which is kept because getting it back may cost half of the time."""

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
# While a model is built: from here on a block is a mapping of its own.
LARGE = 1 << 24


def _library() -> ctypes.CDLL | None:
    """The C library, where it has what is set here."""
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    return library if hasattr(library, "mallopt") else None


@contextmanager
def returned_memory() -> Generator[None, None, None]:
    """Within it, what is freed of large blocks goes back at once, and leaves no gaps between small ones that stay.

    The C library of Linux raises its threshold to the largest block that was freed, up to 32 MB: what a model's graphs
    are made of then lies on the heap, and small tables lie between.
    """
    library = _library()
    if library is None:
        yield
        return
    library.mallopt(MAPPING_THRESHOLD, LARGE)
    try:
        yield
    finally:
        for option, value in AFTERWARDS.items():
            library.mallopt(option, value)


@contextmanager
def kept_memory() -> Generator[None, None, None]:
    """Within it, freed memory stays with this process, and is handed out again without a page fault.

    The C library of Linux otherwise returns every block above 32 MB when it is freed. A step that forms a gradient of
    126 MB then spends nearly half of its time on 32,000 page faults. Before, and afterwards, all that is free goes
    back; other C libraries are left as they are.
    """
    library = _library()
    if library is None:
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
