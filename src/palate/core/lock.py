"""A lock on a folder, so that two processes that would spoil each other's work there do not meet.

Takes a folder; gives a context that one process at a time can be in. The system frees it when the process ends, killed
or not.
"""

from __future__ import annotations

import fcntl
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from palate.core.errors import ArtefactError

LOCK = ".lock"


@contextmanager
def exclusive(folder: Path, what: str) -> Generator[None, None, None]:
    """Hold `folder`, which is made when missing, until the block ends.

    Args:
        what: what is done in it, as in "another palate is tuning in this folder".

    Raises:
        ArtefactError: when another process, or another block of this one, holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # The file stays: one that was removed could be locked by two, under its old and its new self.
    with open(folder / LOCK, "ab") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ArtefactError(
                f"another palate is {what} in this folder",
                where=str(folder),
                do="wait until it is done, or choose another folder (-o)",
            ) from None
        yield
