"""The contrast over all nodes in blocks, against the plain form with all scores at once."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from palate.core.seeds import torch_generator
from palate.graph.hyperedges import HyperedgeRows
from palate.models.contrast import NARROW, hyperedge_contrast, log_sum_exp


def close(found: list[Tensor], expected: list[Tensor]) -> None:
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-10)


@given(st.integers(0, 1000), st.sampled_from([1, 3, NARROW, NARROW + 1]), st.integers(1, 40), st.integers(1, 2000))
def test_blocks_of_any_size_give_value_and_gradients_of_the_plain_form(
    seed: int, columns: int, count: int, cells: int
) -> None:
    generator = torch_generator(seed, "scores")
    anchors = (3 * torch.randn(17, columns, generator=generator)).requires_grad_()
    candidates = torch.randn(count, columns, generator=generator).requires_grad_()
    weights = torch.randint(0, 4, (17,), generator=generator).double()
    counts = torch.randint(1, 4, (count,), generator=generator).double()
    found = log_sum_exp(anchors, candidates, weights, counts, cells=cells)
    plain = weights @ torch.logsumexp(anchors @ candidates.T + counts.log(), 1)
    torch.testing.assert_close(found, plain)
    close(
        list(torch.autograd.grad(0.7 * found, [anchors, candidates])),
        list(torch.autograd.grad(0.7 * plain, [anchors, candidates])),
    )


def test_scores_too_large_for_exp_are_no_matter() -> None:
    anchors = torch.tensor([[1e4], [-1e4]], requires_grad=True)
    candidates = torch.tensor([[1.0], [0.5]])
    found = log_sum_exp(anchors, candidates, torch.ones(2), torch.tensor([2.0, 1.0]))
    torch.testing.assert_close(found.detach(), 1e4 + torch.tensor(2.0).log() - 5e3)
    found.backward()
    assert anchors.grad is not None
    assert anchors.grad.tolist() == [[1.0], [0.5]]


def test_without_gradient_the_value_is_the_same() -> None:
    anchors, candidates = torch.randn(5, 3, requires_grad=True), torch.randn(7, 3)
    with torch.no_grad():
        silent = log_sum_exp(anchors, candidates, torch.ones(5), torch.ones(7))
    assert torch.equal(silent, log_sum_exp(anchors, candidates, torch.ones(5), torch.ones(7)).detach())


@given(st.integers(0, 1000), st.integers(1, 7), st.sampled_from([0.0, 0.5, 0.9]), st.booleans())
def test_the_contrast_of_factored_rows_is_that_of_the_rows(
    seed: int, hyperedges: int, rate: float, some_absent: bool
) -> None:
    generator = torch_generator(seed, "contrast")
    count, width, temperature = 30, 4, 0.2
    masks = [(torch.rand(count, hyperedges, generator=generator) >= rate).double() for _ in range(2)]
    logits = [torch.randn(count, hyperedges, generator=generator).requires_grad_() for _ in range(2)]
    latents = [torch.randn(hyperedges, width, generator=generator).requires_grad_() for _ in range(2)]
    one, other = (
        HyperedgeRows(torch.softmax(3 * logit, 1) * mask, latent)
        for logit, mask, latent in zip(logits, masks, latents, strict=True)
    )
    own = torch.randperm(count, generator=generator)[:12]
    among = (torch.rand(count, generator=generator) < (0.6 if some_absent else 2)).double()
    weights = torch.randint(0, 3, (12,), generator=generator) * among[own]
    found = hyperedge_contrast(one.take(own), other, own, weights, among, temperature)
    scores = F.normalize(one.table())[own] @ F.normalize(other.table()).T / temperature
    each = torch.logsumexp(scores.masked_fill(among == 0, -1e9), 1) - scores.gather(1, own.unsqueeze(1)).squeeze(1)
    plain = (weights * each).sum()
    torch.testing.assert_close(found, plain, rtol=1e-8, atol=1e-10)
    if weights.any():
        gradients = [torch.autograd.grad(value, [*logits, *latents], retain_graph=True) for value in (found, plain)]
        close(list(gradients[0]), list(gradients[1]))


@pytest.mark.parametrize("candidates", [0.0, 1.0])
def test_without_any_anchor_it_is_nothing(candidates: float) -> None:
    rows = HyperedgeRows(torch.rand(3, 2), torch.rand(2, 4))
    among = torch.full((3,), candidates)
    assert hyperedge_contrast(rows, rows, torch.arange(3), torch.zeros(3), among, 0.2).item() == 0
