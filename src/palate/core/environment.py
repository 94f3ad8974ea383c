"""Versions and facts of the machine, written beside every result that may depend on them."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from palate.version import __version__


def environment() -> dict[str, Any]:
    """Versions and machine facts that a result may depend on."""
    return {
        "palate": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "polars": pl.__version__,
        "platform": platform.platform(),
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "command": command(),
    }


def command() -> list[str]:
    """What was called, and with what: `python -m palate …` as `palate …`."""
    program = Path(sys.argv[0])
    # Run with -m, a package's first argument is the path of its __main__.py.
    return [program.parent.name if program.name == "__main__.py" else program.name, *sys.argv[1:]]
