"""Loss terms that several models share."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from palate.core.dense import STEP, filled_up, times
from palate.core.width import cosine, inner, squared_norm, whole_rows
from palate.models.contrast import log_sum_exp


def bpr(user: Tensor, positive: Tensor, negative: Tensor, present: Tensor | None = None) -> Tensor:
    """-mean log σ(s(u, i) - s(u, j)), s the inner product; all B × d.

    Args:
        present: B, 1 for rows that count and 0 for rows to leave out; None counts all. No row at all gives 0.

    Source: Rendle et al., UAI 2009.
    """
    each = F.softplus(inner(user, negative) - inner(user, positive))
    if present is None:
        return each.mean()
    return (each * present).sum() / present.sum().clamp_min(1.0)


def batch_squared(*tables: Tensor) -> Tensor:
    """The mean over the batch's rows of the squared norms, summed over `tables` (each B × d)."""
    squares = squared_norm(tables[0]).mean()
    for table in tables[1:]:
        squares = squares + squared_norm(table).mean()
    return squares


def cosine_distance(left: Tensor, right: Tensor, present: Tensor | None = None) -> Tensor:
    """1 - mean cosine of matching rows (B × d).

    Args:
        present: B, 1 for rows that count and 0 for rows to leave out; None counts all. No row at all gives 0.
    """
    distance = 1.0 - cosine(left, right)
    if present is None:
        return distance.mean()
    return (distance * present).sum() / present.sum().clamp_min(1.0)


def in_batch_contrast(left: Tensor, right: Tensor, counts: Tensor, temperature: float) -> Tensor:
    """InfoNCE within a batch: Σ_r n_r / B [log Σ_s n_s exp(l_r · r_s / τ) - l_r · r_r / τ], B = Σ n_r.

    A node that a batch holds several times is one row here, with the same value as if its rows were written out.

    Args:
        left: anchors, n × d; unit rows for cosines.
        right: their matches, and each other's negatives, n × d.
        counts: how often the batch holds each of these nodes, n; without any node the term is 0.
        temperature: τ.

    Source: van den Oord et al., 2018, equation 4.
    """
    if len(counts) == 0:
        return left.new_zeros(())
    often = counts.to(left.dtype)
    weights = often / often.sum()
    scaled = left / temperature
    spread = log_sum_exp(whole_rows(scaled), whole_rows(right), weights, often)
    return spread - (weights * inner(scaled, right)).sum()


def gram_distance(left: Tensor, right: Tensor, counts: Tensor) -> Tensor:
    """‖G_l - G_r‖_F / B, G the inner products of all pairs of a batch's rows, without a matrix of pairs of rows.

    ‖E Eᵀ - F Fᵀ‖² = ‖EᵀE‖² - 2‖FᵀE‖² + ‖FᵀF‖². A difference within rounding of these terms is 0.

    Args:
        left: E, n × d, own columns where processes share them.
        right: F, n × D, a constant with all its columns.
        counts: how often the batch holds each of these nodes, n; B is their sum.
    """
    # A node that counts n times enters each sum over pairs as one row √n times as long.
    weights = counts.to(left.dtype).sqrt().unsqueeze(1)
    ours, theirs = whole_rows(left) * weights, right * weights
    squares, constant = (ours.T @ ours).square().sum(), _squared_gram(theirs)
    difference = squares - 2.0 * (theirs.T @ ours).square().sum() + constant
    rounding = 8.0 * torch.finfo(left.dtype).eps * (squares + constant).detach()
    apart = difference > rounding
    root = torch.where(apart, difference, torch.ones_like(difference)).sqrt()
    return torch.where(apart, root, torch.zeros_like(root)) / counts.sum().clamp_min(1)


@torch.no_grad()
def _squared_gram(rows: Tensor) -> Tensor:
    """‖R Rᵀ‖², from pairs of rows or of columns, whichever are fewer, each pair of blocks once."""
    rows = filled_up(rows)
    fewer = rows if rows.shape[0] < rows.shape[1] else rows.T.contiguous()
    squares = rows.new_zeros(())
    for start in range(0, len(fewer), STEP):
        block = times(fewer[start : start + STEP], fewer[start:])
        squares += 2.0 * block.square().sum() - block[:, :STEP].square().sum()
    return squares
