"""How the stored names of golden vectors map to Palate's: one file with one table per model, picked up by itself."""

from __future__ import annotations

import importlib
import pkgutil

from golden.adapters.base import Adapter

ADAPTERS: dict[str, Adapter] = {}
for _module in pkgutil.iter_modules(__path__):
    if _module.name != "base":
        ADAPTERS[_module.name] = importlib.import_module(f"{__name__}.{_module.name}").ADAPTER
