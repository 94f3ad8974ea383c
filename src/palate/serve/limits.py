"""How much one request may ask for, and the threads that requests are worked on in.

Arithmetic runs in threads of its own, so that the service answers for its health whatever it is busy with; what cannot
be begun soon is refused instead of piling up.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch
from pydantic import Field

from palate.core.config import Config
from palate.serve.refusals import Refusal, stopping

R = TypeVar("R")


class Limits(Config):
    """What one request, and all together, may ask for."""

    body_bytes: int = Field(default=12 * 1024 * 1024, ge=1)
    """Of a request's body; looked at while it arrives."""
    picture_bytes: int = Field(default=8 * 1024 * 1024, ge=1)
    """Of a picture, given or stored."""
    picture_pixels: int = Field(default=25_000_000, ge=1)
    """Width times height of a given picture; looked at before it is decoded."""
    seconds: float = Field(default=30.0, gt=0)
    """For the body to arrive, and again for the answer, waiting included."""
    workers: int = Field(default=0, ge=0)
    """Requests that are worked on at once; 0: as many as there are cores."""
    waiting: int = Field(default=128, ge=0)
    """Requests that wait for a worker; further ones are refused."""
    connections: int = Field(default=1024, ge=1)
    """Open connections; further ones are refused."""


class Workers:
    """Threads for the arithmetic of requests.

    Args:
        limits: how many, and how many requests may wait.
    """

    def __init__(self, limits: Limits) -> None:
        count = limits.workers or os.cpu_count() or 1
        # One thread of arithmetic each: several requests at once then share the cores without fighting for them.
        self._pool = ThreadPoolExecutor(count, "palate-request", torch.set_num_threads, (1,))
        self._most = count + limits.waiting
        self._seconds = limits.seconds
        self.busy = 0

    async def run(self, work: Callable[[], R]) -> R:
        """The result of `work`, done in a thread.

        Raises:
            Refusal: 503 when too many wait already, or when it takes too long; a thread cannot be stopped, so its place
                stays taken until it ends.
        """
        if self.busy >= self._most:
            raise Refusal(503, "the service is busy", do="try again in a moment, with fewer requests")
        self.busy += 1
        loop = asyncio.get_running_loop()
        try:
            task = self._pool.submit(work)
        except RuntimeError:  # the pool was closed: the service is about to end
            self.busy -= 1
            raise stopping() from None
        task.add_done_callback(lambda _: _later(loop, self._freed))
        try:
            return await asyncio.wait_for(asyncio.wrap_future(task), self._seconds)
        except TimeoutError:
            if task.done() and not task.cancelled():
                raise  # the work's own
            raise Refusal(
                503, f"no answer within {self._seconds:g} s", do="ask for less, or try again when it is less busy"
            ) from None

    def _freed(self) -> None:
        self.busy -= 1

    def close(self) -> None:
        """End when the present work is done; what waits is given up."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def _later(loop: asyncio.AbstractEventLoop, work: Callable[[], None]) -> None:
    # A thread may end after the loop did.
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(work)
