"""Ridge regression of many targets at once, its penalty chosen by generalised cross-validation in closed form.

Takes inputs and targets by row; gives one linear map with an offset. It is what leads from a history to a user's
vector, and from content to an item's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]

# Penalties that are tried, as multiples of the mean eigenvalue of the inputs' Gram matrix.
PENALTIES = 10.0 ** np.arange(-6.0, 3.5, 0.5)
# Rows that are turned into float64 at once.
BLOCK = 4096


@dataclass(frozen=True)
class Ridge:
    """y ≈ x W + b.

    Attributes:
        weight: W, D × d.
        bias: b, d.
        penalty: λ that was chosen.
        explained: share of the targets' variance that rows left out are expected to have explained (by
            cross-validation); below 0 where the mean of the targets does better.
    """

    weight: Doubles
    bias: Doubles
    penalty: float
    explained: float

    def __call__(self, x: NDArray[np.floating]) -> Doubles:
        """x W + b."""
        return x.astype(np.float64) @ self.weight + self.bias


def ridge(x: NDArray[np.floating], y: NDArray[np.floating]) -> Ridge:
    """The ridge regression of y on x with a free offset; λ minimises the generalised cross-validation error
    (Golub, Heath & Wahba, 1979).

    Works on the smaller of the two Gram matrices: n × D inputs cost min(n, D)³.

    Args:
        x: n × D, n at least 1.
        y: n × d.
    """
    mean_x, mean_y = x.mean(0, dtype=np.float64), y.mean(0, dtype=np.float64)
    targets = y.astype(np.float64) - mean_y
    count, width = x.shape
    total = float((targets**2).sum())
    if width <= count:
        gram, cross = np.zeros((width, width)), np.zeros((width, y.shape[1]))
        for start in range(0, count, BLOCK):
            rows = x[start : start + BLOCK].astype(np.float64) - mean_x
            gram += rows.T @ rows
            cross += rows.T @ targets[start : start + BLOCK]
        values, vectors = np.linalg.eigh(gram)
        values = np.maximum(values, 0.0)
        turned = vectors.T @ cross
        # ‖uᵀy‖² along each direction, u = X v / √s; nothing lies along directions without length.
        along = (turned**2).sum(1) / np.where(values > 0, values, np.inf)
    else:
        centred = x.astype(np.float64) - mean_x
        values, vectors = np.linalg.eigh(centred @ centred.T)
        values = np.maximum(values, 0.0)
        turned = vectors.T @ targets
        along = (turned**2).sum(1)
    scale = float(values.mean()) or 1.0
    errors: list[float] = []
    for penalty in PENALTIES * scale:
        kept = values / (values + penalty)
        residual = max(0.0, total - float(along @ (1 - (1 - kept) ** 2)))
        free = count - 1 - float(kept.sum())
        errors.append(residual * count / free**2 if free > 1e-6 * count else np.inf)
    best = int(np.argmin(errors))
    penalty = float(PENALTIES[best] * scale)
    weight = vectors @ (turned / (values + penalty)[:, None])
    if width > count:
        weight = (x.astype(np.float64) - mean_x).T @ weight
    explained = 1.0 - errors[best] * count / total if total > 0 and np.isfinite(errors[best]) else 0.0
    return Ridge(weight, mean_y - mean_x @ weight, penalty, explained)
