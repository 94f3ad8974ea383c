"""Locks, so that two processes that would spoil each other's work do not meet.

`exclusive` is for a folder that is worked in, `changing` for a place that is written anew as a whole. Both give a
context that one process at a time can be in. The system frees it when the process ends, killed or not.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from palate.core.errors import ArtefactError

LOCK = ".lock"
# Seconds that another process is waited for: writing a bundle takes fewer, encoding a catalogue many more.
PATIENCE = 10.0
# Places that are held, by thread, and whether others share them: who holds one may write it in several steps.
_held: dict[tuple[int, Path], bool] = {}
# What keeps nobody out: a disk that cannot be written or knows no locks, and a folder that is not there.
UNLOCKED = (errno.ENOENT, errno.ENOTDIR, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOLCK, errno.ENOTSUP)


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


@contextmanager
def changing(place: Path, what: str, *, shared: bool = False) -> Generator[None, None, None]:
    """Hold a folder or file that is read and written anew, or taken away, until the block ends.

    What is held is the name: the lock lies beside the place, and is gone when nobody holds it. Whoever holds a place
    may hold it again. Where nothing can be written beside it nobody is kept out.

    Args:
        place: a folder or a file, or where one is to be; a link stands for what it leads to.
        what: what is done, as in "another palate is encoding it".
        shared: others may hold it, too, who say so.

    Raises:
        ArtefactError: when others still hold it after `PATIENCE` seconds.
    """
    try:
        real = place.resolve()
    except (OSError, RuntimeError):
        # Links that lead to each other are for others to tell of.
        yield
        return
    mine, path = (threading.get_ident(), real), real.parent / f".{real.name}{LOCK}"
    if mine in _held:
        assert shared or not _held[mine], f"{place} is held together with others, and asked for alone"
        yield
        return
    stream = _taken(path, place, what, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
    if stream is None:
        yield
        return
    _held[mine] = shared
    try:
        yield
    finally:
        del _held[mine]
        with stream, contextlib.suppress(OSError):
            # The last one of those who share it takes it away.
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink(missing_ok=True)


def _stands(stream: BinaryIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(stream.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _taken(path: Path, place: Path, what: str, kind: int) -> BinaryIO | None:
    """The file of a lock, held; None where there can be none."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            stream = _opened(path)
        except OSError as error:
            if error.errno in UNLOCKED:
                return None
            raise
        try:
            fcntl.flock(stream, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            stream.seek(0)
            other = stream.read(200).decode(errors="replace")
            stream.close()
            if time.monotonic() > until:
                raise ArtefactError(
                    f"another palate is {other or 'changing it'}", where=str(place), do="wait until it is done"
                ) from None
            time.sleep(0.05)
            continue
        except OSError as error:
            stream.close()
            if error.errno in UNLOCKED:
                return None
            raise
        # A file that was taken away meanwhile keeps nobody out.
        if _stands(stream, path):
            with contextlib.suppress(OSError):
                path.write_bytes(f"{what} (process {os.getpid()})".encode())
            return stream
        stream.close()


def _opened(path: Path) -> BinaryIO:
    try:
        return open(path, "a+b")
    except PermissionError:
        # That of somebody else; a lock needs no more than to read it.
        return open(path, "rb")
