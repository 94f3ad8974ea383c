"""Reading ahead of a model: threads prepare the inputs of the next batches while the present one is encoded.

Takes batches of inputs and the function that prepares one; gives, batch by batch, what became of each. Only a few
batches are held at a time.
"""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from palate.core.errors import DataError

Value = TypeVar("Value")
Ready = TypeVar("Ready")

WORKERS = 2
BATCHES_AHEAD = 2


@contextmanager
def prepared_ahead(
    prepare: Callable[[Value], Ready], batches: Iterable[Sequence[Value]]
) -> Generator[Iterator[list[Ready | DataError]], None, None]:
    """Prepare `batches` in threads of their own.

    Args:
        prepare: prepares one input; must be safe to call from several threads.
        batches: the inputs; taken a few batches before they are needed, not sooner.

    Returns:
        An iterator over the batches: each input's result, or the DataError that it ended in.
    """
    pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="palate-prepare")
    # Filters belong to the process: they are set here, in the caller's thread, and not by the workers.
    with warnings.catch_warnings():
        # Pillow warns about oddities of files that it reads all the same.
        warnings.filterwarnings("ignore", module=r"PIL\.")
        try:
            yield _results(pool, prepare, batches)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _results(
    pool: ThreadPoolExecutor, prepare: Callable[[Value], Ready], batches: Iterable[Sequence[Value]]
) -> Iterator[list[Ready | DataError]]:
    def attempt(value: Value) -> Ready | DataError:
        try:
            return prepare(value)
        except DataError as error:
            return error

    waiting: deque[list[Future[Ready | DataError]]] = deque()
    for batch in batches:
        waiting.append([pool.submit(attempt, value) for value in batch])
        if len(waiting) > BATCHES_AHEAD:
            yield [future.result() for future in waiting.popleft()]
    while waiting:
        yield [future.result() for future in waiting.popleft()]
