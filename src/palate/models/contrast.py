"""A contrast whose denominator runs over all nodes, in memory that does not grow with batch × nodes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from palate.graph.hyperedges import HyperedgeRows, cosine_factors, merge

# Scores held at once: they go through exp and three products, and are quickest while they stay in the cache.
CELLS = 1 << 18
# Tables of at most this many columns multiply faster when their columns lie in memory one after the other.
NARROW = 16


class _LogSumExp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, anchors: Tensor, candidates: Tensor, weights: Tensor, counts: Tensor, cells: int) -> Tensor:
        # A row's weight is known here, so its gradient is formed while its scores are at hand; computing them a second
        # time in the backward pass would cost as much again.
        narrow = candidates.shape[1] <= NARROW
        across = candidates.T.contiguous() if narrow else candidates.T
        wanted = any(ctx.needs_input_grad)
        total = weights.new_zeros(())
        of_anchors, of_candidates, counted = torch.empty_like(anchors), torch.zeros_like(across), across * counts
        step = max(cells // max(1, len(candidates)), 1 if narrow else candidates.shape[1])
        for start in range(0, len(anchors), step):
            rows, weight = anchors[start : start + step], weights[start : start + step]
            scores = rows @ across
            largest = scores.amax(1, keepdim=True)
            scores.sub_(largest).exp_()
            sums = scores @ counts
            total += (weight * (sums.log() + largest.squeeze(1))).sum()
            if wanted:
                share = (weight / sums).unsqueeze(1)
                of_anchors[start : start + step] = (scores @ counted.T) * share
                of_candidates.addmm_((rows * share).T, scores)
        if wanted:
            ctx.save_for_backward(of_anchors, of_candidates.mul_(counts).T)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        of_anchors, of_candidates = ctx.saved_tensors
        return gradients[0] * of_anchors, gradients[0] * of_candidates, None, None, None


def log_sum_exp(anchors: Tensor, candidates: Tensor, weights: Tensor, counts: Tensor, *, cells: int = CELLS) -> Tensor:
    """Σ_r w_r log Σ_j n_j exp(a_r · c_j), without ever holding all scores.

    Args:
        anchors: a, B × k.
        candidates: c, n × k, n ≥ 1.
        weights: w, B; constants.
        counts: how often each candidate stands in the denominator, n; constants above 0.
        cells: scores to hold at once.
    """
    return _LogSumExp.apply(anchors, candidates, weights, counts, cells)


def hyperedge_contrast(
    anchors: HyperedgeRows,
    candidates: HyperedgeRows,
    own: Tensor,
    weights: Tensor,
    among: Tensor,
    temperature: float,
) -> Tensor:
    """InfoNCE over cosines, Σ_r w_r [log Σ_j exp(cos(a_r, c_j) / τ) - cos(a_r, c_own(r)) / τ].

    Args:
        anchors: a, B rows.
        candidates: c, n rows.
        own: int64, B, the candidate that each anchor is to be nearest to.
        weights: w, B, how often an anchor counts; 0 where it, or its own candidate, does not take part.
        among: n, 1 for the candidates of the denominator and 0 for the others.
        temperature: τ.

    Source: van den Oord et al., 2018, equation 4; LGMRec (Guo et al., AAAI 2024), its contrast of hypergraphs.
    """
    ours, theirs = merge(anchors, weights), merge(candidates, among)
    left, right = cosine_factors(ours.rows, theirs.rows)
    if len(left) == 0 or len(right) == 0:
        return weights.new_zeros(())
    left = left / temperature
    matches = F.embedding(ours.place, left) * F.embedding(theirs.place.index_select(0, own), right)
    spread = log_sum_exp(left, right, ours.weights, theirs.weights)
    return spread - (weights * matches.sum(1)).sum()
