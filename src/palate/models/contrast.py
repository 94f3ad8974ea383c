"""A contrast whose denominator runs over all nodes, in memory that does not grow with batch × nodes."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from palate.core.dense import STEP, filled_up, linear, plain_linear, times
from palate.core.gradients import once
from palate.graph.hyperedges import HyperedgeRows, cosine_factors, merge

# Scores held at once, and the least number of anchors that are worked on at once.
CELLS, LEAST = 1 << 20, 16
# Tables of at most this many columns are narrow.
NARROW = 16
LOG2_E = math.log2(math.e)
# Scores of at most this size can go through exp, and be summed with candidates of at most this length, as they are.
SAFE = {torch.float32: (30.0, 1e12), torch.float64: (300.0, 1e100)}


class _LogSumExp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, anchors: Tensor, candidates: Tensor, weights: Tensor, counts: Tensor, cells: int) -> Tensor:
        # A row's weight is known here, so its gradient is formed while its scores are at hand; computing them a second
        # time in the backward pass would cost as much again.
        logs, wanted = counts.log2(), any(ctx.needs_input_grad)
        powers = _Powers(candidates, logs, cells)
        near = _near(anchors, candidates, logs)
        total = weights.new_zeros(())
        of_anchors = torch.empty_like(anchors)
        for start in range(0, len(anchors), powers.step):
            rows, weight = anchors[start : start + powers.step], weights[start : start + powers.step]
            # In powers of 2, which torch computes four times as fast as those of e.
            scores = powers.scores(rows * LOG2_E)
            largest = None if near else scores.amax(1)
            if largest is not None:
                scores.sub_(largest.unsqueeze(1))
            sums, means = powers.sums(scores.exp2_())
            logarithm = sums.log() if largest is None else sums.log() + largest / LOG2_E
            total += torch.dot(weight, logarithm)
            if wanted:
                share = (weight / sums).unsqueeze(1)
                torch.mul(means, share, out=of_anchors[start : start + powers.step])
                powers.collect(rows * share, scores)
        if wanted:
            ctx.save_for_backward(of_anchors, powers.collected())
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        once()
        of_anchors, of_candidates = ctx.saved_tensors
        return gradients[0] * of_anchors, gradients[0] * of_candidates, None, None, None


def _near(anchors: Tensor, candidates: Tensor, logs: Tensor) -> bool:
    """Whether no score a · c + log n can be so far from zero that its exponential, or a sum of these, overflows or is
    lost."""
    if len(anchors) == 0 or anchors.dtype not in SAFE:
        return False
    score, length = SAFE[anchors.dtype]
    longest = [torch.linalg.vector_norm(rows, dim=1).max() for rows in (anchors, candidates)]
    return bool(longest[0] * longest[1] + logs.abs().max() < score) and bool(max(longest) < length)


class _Powers:
    """Powers of the scores of some anchors with all candidates, and what is summed up from them.

    As the number of candidates differs from batch to batch, some of no weight fill it up to one that comes again.
    """

    def __init__(self, candidates: Tensor, logs: Tensor, cells: int) -> None:
        self.count, width = candidates.shape
        filled = filled_up(candidates)
        self.logs = F.pad(logs, (0, len(filled) - self.count), value=-torch.inf)
        self.across = filled.T.contiguous()
        self.narrow = width <= NARROW
        # Beside few columns, one of ones costs less than another pass over the powers.
        self.summing = F.pad(self.across, (0, 0, 0, 1), value=1.0) if self.narrow else self.across
        self.of_candidates = torch.zeros_like(self.across)
        self.step = min(STEP, max(cells // max(1, len(filled)), LEAST))

    def scores(self, rows: Tensor) -> Tensor:
        """a · c + log2 n."""
        return (linear if len(rows) == self.step else plain_linear)(rows, self.across.T, self.logs)

    def sums(self, powers: Tensor) -> tuple[Tensor, Tensor]:
        """Σ_j p_j of each row, and Σ_j p_j c_j."""
        found = times(powers, self.summing, len(powers) == self.step)
        return (found[:, -1], found[:, :-1]) if self.narrow else (powers.sum(1), found)

    def collect(self, rows: Tensor, powers: Tensor) -> None:
        """Add Σ_r p_rj a_r to what candidate j has."""
        self.of_candidates += times(rows.T, powers.T, len(rows) == self.step)

    def collected(self) -> Tensor:
        """Of all candidates, n × k."""
        return self.of_candidates[:, : self.count].T


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
