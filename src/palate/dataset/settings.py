"""Settings of a Dataset: how interactions are split, what is a positive, and how missing content is filled in."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from palate.core.config import Config

Split = Literal["random", "user-time", "time", "latest", "cold-items", "given"]
Imputation = Literal["none", "zero", "mean", "neighbours", "knowledge"]


class SplitConfig(Config):
    """How a Catalogue becomes a Dataset; part of the data set's fingerprint."""

    split: Split | None = Field(
        default=None,
        description="random, user-time, time, latest, cold-items or given; "
        "unset: given with a split column, else user-time with timestamps, else random",
    )
    seed: int = Field(default=0, ge=0, description="of the id permutation, the split and its ties")
    positive: float | Literal["all"] | None = Field(
        default=None,
        description="least rating of a positive; all: every interaction; "
        "unset: 4 on a scale up to 5 without a doubtful 0, all without ratings, an error on other scales",
    )
    dislike: float | None = Field(
        default=None,
        description="greatest rating of a dislike; unset: 2 on a scale up to 5 without a doubtful 0 "
        "where positives lie above it, else none",
    )
    thin: float = Field(default=1.0, gt=0, le=1, description="share of the train rows to keep (sparsity studies)")
    cold_share: float = Field(
        default=0.2, gt=0, lt=1, description="cold-items: share of items without any train interaction"
    )
