"""Ready-made rows brought to a length of about 1: rows of other programs come in any scale, and models of content learn
badly from long ones, or from rows that differ little beside what they share. Items alone are looked at.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from palate.encode.features import BLOCK, Features

Scaling = Literal["none", "unit", "standard"]
WAYS: tuple[Scaling, ...] = ("none", "unit", "standard")
# A column that varies less than this, beside the largest deviation of all, is taken for constant.
CONSTANT = 1e-6
# Rows longer than this, or of which so much is shared, are worth a word.
LONG, SHARED = 5.0, 0.5


class _Moments(NamedTuple):
    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]
    length: float


def scaled(features: Features, how: Scaling) -> Features:
    """The same features in another scale.

    Args:
        features: any; absent rows stay zero.
        how: "none": as they are; "unit": each row divided by its length; "standard": each column less its mean and
            divided by its deviation over the items that have a row, and all by √width, so that a row's length is about
            1. A column that does not vary becomes 0.
    """
    if how == "none" or not features.present.any():
        return features
    matrix = np.zeros(features.matrix.shape, dtype=np.float32)
    having = np.flatnonzero(features.present)
    moments = _moments(features, having)
    varies = moments.deviation > CONSTANT * moments.deviation.max(initial=0.0)
    factor = np.where(varies, 1 / np.where(varies, moments.deviation, 1.0), 0.0) / np.sqrt(features.width)
    for start in range(0, len(having), BLOCK):
        items = having[start : start + BLOCK]
        rows = features.matrix[items].astype(np.float64)
        if how == "standard":
            rows = (rows - moments.mean) * factor
        else:
            rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.finfo(np.float32).tiny)
        matrix[items] = rows
    return Features(features.name, matrix, features.present, f"{features.encoder} scaled={how}", features.ids)


def remark(features: Features) -> str:
    """What is awkward about the scale of these rows, in words; empty when nothing is."""
    having = np.flatnonzero(features.present)
    if len(having) < 2:
        return ""
    moments = _moments(features, having)
    square = moments.length**2
    shared = float(moments.mean @ moments.mean) / square if square else 0.0
    found = [f"are {moments.length:.3g} long"] if moments.length > LONG else []
    found += [f"have {shared:.0%} of their squared length in common"] if shared > SHARED else []
    if not found:
        return ""
    return f"rows {' and '.join(found)}; models of content mostly learn better from --scale standard"


def _moments(features: Features, having: NDArray[np.int64]) -> _Moments:
    """Of the rows that are there: mean and deviation of the columns, root mean square of the lengths."""
    total, squares = np.zeros(features.width), np.zeros(features.width)
    for start in range(0, len(having), BLOCK):
        total += features.matrix[having[start : start + BLOCK]].sum(0, dtype=np.float64)
    mean = total / len(having)
    for start in range(0, len(having), BLOCK):
        squares += np.square(features.matrix[having[start : start + BLOCK]] - mean).sum(0)
    variance = squares / len(having)
    return _Moments(mean, np.sqrt(variance), float(np.sqrt(variance.sum() + mean @ mean)))
