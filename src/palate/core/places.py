"""Where things live on this machine: the cache of fetched files, and data that is kept outside the project."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """Folder of fetched and recomputable files: `PALATE_CACHE`, else `~/.cache/palate`. It need not exist yet."""
    given = os.environ.get("PALATE_CACHE")
    return Path(given).expanduser() if given else Path.home() / ".cache" / "palate"


def data_folder() -> Path | None:
    """Folder of data sets for tests and benchmarks: `PALATE_DATA`, or None where it is not set."""
    given = os.environ.get("PALATE_DATA")
    return Path(given).expanduser() if given else None
