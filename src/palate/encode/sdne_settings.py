"""Settings of SDNE, apart from the model so that reading them loads no torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from palate.core.config import Config


class SdneConfig(Config):
    """Settings of SDNE and of its training."""

    dim: int = Field(default=64, ge=1)
    """Numbers of a vector."""
    hidden: tuple[int, ...] = Field(default=(256,))
    """Widths of the layers between a row of the adjacency matrix and its vector; the decoder has them in reverse."""
    beta: float = Field(default=10.0, gt=1)
    """b on edges: an edge that is not rebuilt costs β² times what a missing edge costs that is."""
    alpha: float = Field(default=0.1, ge=0)
    """Weight of the first-order term, which draws neighbours together."""
    nu: float = Field(default=1e-4, ge=0)
    """Weight of the squared weights."""
    activation: Literal["sigmoid", "tanh"] = "sigmoid"
    """After every layer but the last; sigmoid in the paper. The last is a sigmoid in any case."""
    epochs: int = Field(default=150, ge=1)
    """Passes over the rows."""
    learning_rate: float = Field(default=3e-3, gt=0)
    """Adam's step size."""
    batch_size: int = Field(default=128, ge=1)
    """Rows in a batch; a batch rebuilds batch_size × nodes numbers."""
    seed: int = Field(default=0, ge=0)
    """Seed of the first weights and of the order of the rows."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto: cuda where there is one, else the processor."""
