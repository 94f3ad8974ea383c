"""Settings of the optimisation loop."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from palate.core.config import Config


class LoopConfig(Config):
    """How long and how to optimise."""

    epochs: int = Field(default=300, ge=1, description="at most this many passes over the data")
    learning_rate: float = Field(default=1e-3, gt=0, description="Adam's step size")
    weight_decay: float = Field(default=0.0, ge=0, description="Adam's L2 term on every parameter")
    evaluate_every: int = Field(default=1, ge=1, description="epochs between two validations")
    patience: int = Field(default=20, ge=1, description="validations without a new best before stopping")
    checkpoint_seconds: float = Field(default=30.0, ge=0, description="seconds between two checkpoints; 0: each epoch")
    device: Literal["auto", "cpu", "cuda"] = Field(default="auto", description="auto: cuda, else cpu")
    precision: Literal["float32", "float64"] = Field(default="float32", description="of parameters and arithmetic")
