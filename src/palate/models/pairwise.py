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

from palate.core.width import inner
from palate.models.dense import times
from palate.models.layers import FeatureTable

# Pairs at once: at a width of 4096 their rows are 2 MB.
BLOCK_PAIRS = 128


class _ContentBPR(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, ahead: Tensor, likes: Tensor, items: Tensor, others: Tensor, matrices: list[Tensor], *kernels: Tensor
    ) -> Tensor:
        count = len(items)
        loss = ahead.new_zeros(())
        of_ahead, of_likes = torch.empty_like(ahead), torch.empty_like(likes)
        of_kernels = [torch.zeros_like(kernel) for kernel in kernels]
        buffers = [matrix.new_empty(2, min(BLOCK_PAIRS, count), matrix.shape[1]) for matrix in matrices]
        for start in range(0, count, BLOCK_PAIRS):
            part = slice(start, min(start + BLOCK_PAIRS, count))
            pair = items[part], others[part]
            common = len(pair[0]) == BLOCK_PAIRS
            differences = [_difference(matrix, pair, *two) for matrix, two in zip(matrices, buffers, strict=True)]
            shown = torch.stack(
                [times(kernel, rows, common).T for kernel, rows in zip(kernels, differences, strict=True)]
            ).sum(0)
            score = ahead[part] + inner(likes[part], shown)
            loss += F.softplus(-score).sum()
            slope = torch.sigmoid(-score).neg_() / count
            of_ahead[part] = slope
            of_likes[part] = slope[:, None] * shown
            of_shown = slope[:, None] * likes[part]
            for total, rows in zip(of_kernels, differences, strict=True):
                total += times(of_shown.T, rows.T, common)
        ctx.save_for_backward(of_ahead, of_likes, *of_kernels)
        return loss / count

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        of_ahead, of_likes, *of_kernels = (saved * gradients[0] for saved in ctx.saved_tensors)
        return of_ahead, of_likes, None, None, None, *of_kernels


def _difference(matrix: Tensor, pair: tuple[Tensor, Tensor], first: Tensor, second: Tensor) -> Tensor:
    rows, taken = (
        torch.index_select(matrix, 0, items, out=buffer[: len(items)])
        for items, buffer in zip(pair, (first, second), strict=True)
    )
    return rows.sub_(taken)


def content_bpr(
    ahead: Tensor,
    likes: Tensor,
    tables: Sequence[FeatureTable],
    kernels: Sequence[Tensor],
    items: Tensor,
    others: Tensor,
) -> Tensor:
    """-mean log σ(a_b + l_b · Σ_m W_m (X_m[i_b] - X_m[j_b])), differentiable once in a, l and W.

    Args:
        ahead: a, B: by how much i is ahead of j without content.
        likes: l, B × d.
        tables: X_m, I × D_m, frozen.
        kernels: W_m, d × D_m.
        items, others: i and j, int64, B; an item may come several times.

    Source: Rendle et al., UAI 2009, with the scores of He & McAuley, AAAI 2016, equation 4.
    """
    if not ahead.is_cpu:
        shown = [
            F.linear(table.rows(items) - table.rows(others), kernel)
            for table, kernel in zip(tables, kernels, strict=True)
        ]
        return F.softplus(-(ahead + inner(likes, torch.stack(shown).sum(0)))).mean()
    return _ContentBPR.apply(ahead, likes, items, others, [table.matrix for table in tables], *kernels)
