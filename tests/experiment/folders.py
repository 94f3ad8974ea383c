"""A small training's settings, and the names of the files that a run folder holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

SMALL: dict[str, Any] = {"dim": 4, "epochs": 3, "batch_size": 64}
FILES = {
    "recipe.yaml",
    "environment.json",
    "history.jsonl",
    "ids.parquet",
    "model.safetensors",
    "embeddings.safetensors",
    "metrics.json",
    "manifest.json",
}


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}
