"""The models. Importing this package registers every file in it, and those outside it that were named
(`core/extensions.py`), so that a new model is one new file."""

from __future__ import annotations

import importlib
import os
import pkgutil

from palate.core.extensions import import_files
from palate.models.base import MODELS, Batch, Classical, Embeddings, Model, Needs, Recommender, Scorer

for _module in pkgutil.walk_packages(__path__, f"{__name__}."):
    importlib.import_module(_module.name)
import_files(os.environ)

__all__ = ["MODELS", "Batch", "Classical", "Embeddings", "Model", "Needs", "Recommender", "Scorer"]
