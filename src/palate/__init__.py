"""Palate: multimodal recommendation, from raw content to recommendations.

data = palate.load("CAT", split="user-time")
run = palate.fit("bm3", data, seed=0)
run.evaluate()
run.recommend(["196"], k=10)
palate.compare(["ease", "bm3"], data, seeds=3).table()
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from palate.core.waiting import choose_waiting
from palate.version import __version__

if TYPE_CHECKING:
    from palate.experiment import Run, fit, load
    from palate.study.calls import compare, tune

# This has its effect when palate is imported before torch.
choose_waiting(os.environ)

__all__ = ["Run", "__version__", "compare", "fit", "load", "tune"]


def __getattr__(name: str) -> Any:
    # Imported on first use, so that the command line starts without torch.
    if name in ("Run", "fit", "load"):
        from palate import experiment

        return getattr(experiment, name)
    if name in ("compare", "tune"):
        from palate.study import calls

        return getattr(calls, name)
    raise AttributeError(f"module 'palate' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
