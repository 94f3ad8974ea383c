"""A thread that looks for new states of what is served, now and then and whenever it is told to."""

from __future__ import annotations

import logging
import threading

from palate.serve.state import Shelf

log = logging.getLogger("palate.serve")


class Watcher:
    """Keeps a shelf fresh until it is closed. The thread ends with the process, whatever it is loading then.

    Args:
        shelf: what is served.
        seconds: between two looks; 0: only when told to.
    """

    def __init__(self, shelf: Shelf, seconds: float) -> None:
        self.shelf, self.seconds = shelf, seconds
        self._told = threading.Event()
        self._force = self._closed = False
        self._thread = threading.Thread(target=self._run, name="palate-watch", daemon=True)
        self._thread.start()

    def now(self) -> None:
        """Load everything again, also what has not changed."""
        self._force = True
        self._told.set()

    def close(self) -> None:
        """Look no more."""
        self._closed = True
        self._told.set()

    def _run(self) -> None:
        while not self._closed:
            self._told.wait(self.seconds or None)
            self._told.clear()
            if not self._closed:
                force, self._force = self._force, False
                try:
                    self.shelf.refresh(force=force)
                except Exception:  # Nobody would look any more if this thread ended.
                    log.exception("looking for new models failed; the old ones stay")
