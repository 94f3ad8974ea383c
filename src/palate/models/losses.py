"""Loss terms that several models share."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from palate.core.width import cosine, inner, squared_norm


def bpr(user: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
    """-mean log σ(s(u, i) - s(u, j)), s the inner product; all B × d.

    Source: Rendle et al., UAI 2009.
    """
    return F.softplus(inner(user, negative) - inner(user, positive)).mean()


def batch_squared(*tables: Tensor) -> Tensor:
    """The mean over the batch's rows of the squared norms, summed over `tables` (each B × d)."""
    total = squared_norm(tables[0]).mean()
    for table in tables[1:]:
        total = total + squared_norm(table).mean()
    return total


def cosine_distance(left: Tensor, right: Tensor, present: Tensor | None = None) -> Tensor:
    """1 - mean cosine of matching rows (B × d).

    Args:
        present: B, 1 for rows that count and 0 for rows to leave out; None counts all. No row at all gives 0.
    """
    distance = 1.0 - cosine(left, right)
    if present is None:
        return distance.mean()
    return (distance * present).sum() / present.sum().clamp_min(1.0)
