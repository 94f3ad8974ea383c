"""Which freed memory goes back to the system, and which is kept because getting it back may cost half of the time."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager

# Options of glibc's mallopt: how much that is free at the top of the heap stays there, from which size on a block is a
# mapping of its own, and how many mappings there may be.
TRIM_THRESHOLD, MAPPING_THRESHOLD, MOST_MAPPINGS = -1, -3, -4
# What it would have reached by itself once blocks of 32 MB had come and gone. After an option was set it does not
# adjust them any more, and with those of its start an evaluation after training took three quarters longer.
AFTERWARDS = {TRIM_THRESHOLD: 1 << 26, MAPPING_THRESHOLD: 1 << 25, MOST_MAPPINGS: 65536}
BUILDING = AFTERWARDS | {MAPPING_THRESHOLD: 1 << 24}
# No mappings for large blocks, and a heap that does not shrink.
TRAINING = AFTERWARDS | {TRIM_THRESHOLD: -1, MOST_MAPPINGS: 0}

_entered: list[Mapping[int, int]] = []


@contextmanager
def returned_memory() -> Generator[None, None, None]:
    """Within it, what is freed of large blocks goes back at once, and leaves no gaps between small ones that stay.

    The C library of Linux raises its threshold to the largest block that was freed, up to 32 MB: what a model's graphs
    are made of then lies on the heap, and small tables lie between.
    """
    with _set(BUILDING):
        yield


@contextmanager
def kept_memory() -> Generator[None, None, None]:
    """Within it, freed memory stays with this process, and is handed out again without a page fault.

    The C library of Linux otherwise returns every block above 32 MB when it is freed. A step that forms a gradient of
    126 MB then spends nearly half of its time on 32,000 page faults. Before, and afterwards, all that is free goes
    back.
    """
    with _set(TRAINING) as library:
        # What set-up has freed lies in pieces too small for large tables, which would come on top of it.
        _trim(library)
        try:
            yield
        finally:
            _trim(library)


@contextmanager
def _set(options: Mapping[int, int]) -> Generator[ctypes.CDLL | None, None, None]:
    """Within it `options` hold, for the whole process; then those of what was entered before it, or `AFTERWARDS`.

    Other C libraries are left as they are: None.
    """
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    if library is None or not hasattr(library, "mallopt"):
        yield None
        return
    _entered.append(options)
    _tell(library, options)
    try:
        yield library
    finally:
        _entered.remove(options)
        _tell(library, _entered[-1] if _entered else AFTERWARDS)


def _tell(library: ctypes.CDLL, options: Mapping[int, int]) -> None:
    for option, value in options.items():
        library.mallopt(option, value)


def _trim(library: ctypes.CDLL | None) -> None:
    if library is not None:
        library.malloc_trim(0)
