"""BPR where content has a say, in one pass over the batch's wide feature rows.

The loss needs the two items of a pair only as a difference, so one row is projected in place of two. And as every pair
has a term of its own, the gradient of a block of rows is known as soon as its scores are: it is taken while the block
lies in the processor's cache, and the rows are gathered once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from palate.core.dense import times
from palate.core.gradients import Factors, gradient_of_rows, once
from palate.core.width import inner
from palate.graph.operator import weighted_sums
from palate.models.layers import FeatureTable

# Pairs at once: at a width of 4096 their rows are 2 MB.
BLOCK_PAIRS = 128


class _ContentBPR(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        ahead: Tensor,
        likes: Tensor,
        items: Tensor,
        others: Tensor,
        weights: Tensor,
        *tables: Tensor,
    ) -> Tensor:
        matrices, kernels = _halves(tables)
        count = len(items)
        loss = ahead.new_zeros(())
        of_ahead, of_likes = torch.empty_like(ahead), torch.empty_like(likes)
        of_kernels = [torch.zeros_like(kernel) for kernel in kernels]
        # What a pair sends to the features of i, and the negative of it to those of j: this times W.
        of_shown = torch.empty_like(likes)
        # A difference is a sum of two weighted rows, formed in one pass over both.
        pairs = torch.stack([items, others], 1).int().flatten()
        pointer = torch.arange(0, 2 * BLOCK_PAIRS + 1, 2, dtype=torch.int32)
        signs = ahead.new_tensor([1.0, -1.0]).repeat(BLOCK_PAIRS)
        for start in range(0, count, BLOCK_PAIRS):
            stop = min(start + BLOCK_PAIRS, count)
            part, common = slice(start, stop), stop - start == BLOCK_PAIRS
            some = pointer[: stop - start + 1], pairs[2 * start : 2 * stop], signs[: 2 * (stop - start)]
            differences = [weighted_sums(*some, matrix) for matrix in matrices]
            shown = _total([times(kernel, rows, common) for kernel, rows in zip(kernels, differences, strict=True)]).T
            liked = likes[part]
            score = ahead[part] + inner(liked, shown)
            loss += torch.dot(F.softplus(-score), weights[part])
            slope = torch.sigmoid(-score).mul_(weights[part]).neg_()
            of_ahead[part] = slope
            slope = slope.unsqueeze(1)
            torch.mul(slope, shown, out=of_likes[part])
            torch.mul(slope, liked, out=of_shown[part])
            turned = of_shown[part].T.contiguous()
            for total, rows in zip(of_kernels, differences, strict=True):
                total += times(turned, rows.T, common)
        ctx.tables = len(tables)
        ctx.save_for_backward(items, others, of_shown, of_ahead, of_likes, *tables, *of_kernels)
        return loss

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        once()
        items, others, of_shown, of_ahead, of_likes, *rest = ctx.saved_tensors
        tables, of_kernels = rest[: ctx.tables], rest[ctx.tables :]
        matrices, kernels = _halves(tables)
        trained, _ = _halves(ctx.needs_input_grad[-ctx.tables :])
        of_matrices: list[Tensor | None] = [None] * len(matrices)
        if any(trained):
            pairs, sent = torch.cat([items, others]), torch.cat([of_shown, -of_shown]) * gradients[0]
            of_matrices = [
                gradient_of_rows(matrix, Factors(pairs, sent, kernel)) if follow else None
                for matrix, kernel, follow in zip(matrices, kernels, trained, strict=True)
            ]
        of_ahead, of_likes, *of_kernels = (saved * gradients[0] for saved in (of_ahead, of_likes, *of_kernels))
        return of_ahead, of_likes, None, None, None, *of_matrices, *of_kernels


def _halves(both: Sequence[Any]) -> tuple[Sequence[Any], Sequence[Any]]:
    """Of the matrices and of their kernels, which follow each other."""
    return both[: len(both) // 2], both[len(both) // 2 :]


def _total(parts: list[Tensor]) -> Tensor:
    total, *others = parts
    for part in others:
        total += part
    return total


def content_bpr(
    ahead: Tensor | None,
    likes: Tensor,
    tables: Sequence[FeatureTable],
    kernels: Sequence[Tensor],
    items: Tensor,
    others: Tensor,
    counted: Tensor | None = None,
) -> Tensor:
    """-mean log σ(a_b + l_b · Σ_m W_m (X_m[i_b] - X_m[j_b])), differentiable once in a, l, W and a trained X.

    0 without a pair.

    Args:
        ahead: a, B: by how much i is ahead of j without content; None: not at all.
        likes: l, B × d.
        tables: X_m, I × D_m.
        kernels: W_m, d × D_m.
        items, others: i and j, int64, B; an item may come several times.
        counted: B, 1 for pairs that count and 0 for pairs to leave out; None counts all.

    Source: Rendle et al., UAI 2009, with the scores of He & McAuley, AAAI 2016, equation 4.
    """
    ahead = likes.new_zeros(len(likes)) if ahead is None else ahead
    weights = likes.new_ones(len(likes)) if counted is None else counted.to(likes.dtype)
    weights = weights / weights.sum().clamp_min(1.0)
    if not likes.is_cpu:
        shown = [
            F.linear(table.rows(items) - table.rows(others), kernel)
            for table, kernel in zip(tables, kernels, strict=True)
        ]
        return torch.dot(F.softplus(-(ahead + inner(likes, torch.stack(shown).sum(0)))), weights)
    return _ContentBPR.apply(ahead, likes, items, others, weights, *(table.matrix for table in tables), *kernels)
