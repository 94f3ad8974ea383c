"""Where things live on this machine: the cache of fetched files, data that is kept outside the project, and what files
may be called.
"""

from __future__ import annotations

import os
import re
from pathlib import Path


def cache_folder() -> Path:
    """Folder of fetched and recomputable files: `PALATE_CACHE`, else `~/.cache/palate`. It need not exist yet."""
    given = os.environ.get("PALATE_CACHE")
    return Path(given).expanduser() if given else Path.home() / ".cache" / "palate"


def data_folder() -> Path | None:
    """Folder of data sets for tests and benchmarks: `PALATE_DATA`, or None where it is not set."""
    given = os.environ.get("PALATE_DATA")
    return Path(given).expanduser() if given else None


def file_name(text: str) -> str:
    """`text` as part of a file's name: letters, digits, `_` and `-`, at most 60 of them; "data" where none is left."""
    return re.sub(r"[^\w-]+", "-", text)[:60].strip("-") or "data"
