"""Public data sets by name: each entry fetches one and stores it as a catalogue in the folder it is given."""

from __future__ import annotations

from collections.abc import Callable

from palate.core.registry import Registry
from palate.ingest.catalogue import Catalogue
from palate.ingest.sources.movielens import get_movielens_100k
from palate.ingest.sources.synthetic import make_synthetic

SOURCES: Registry[Callable[..., Catalogue]] = Registry("data set")
SOURCES.register("movielens-100k")(get_movielens_100k)
SOURCES.register("synthetic")(make_synthetic)
