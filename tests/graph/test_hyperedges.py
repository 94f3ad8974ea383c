"""Hypergraph algebra: factored cosines and merged rows say what the plain rows H L say."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from palate.core.seeds import torch_generator
from palate.graph.hyperedges import FLOOR, HyperedgeRows, collect, cosine_factors, merge, soften

worlds = given(st.integers(0, 1000), st.integers(1, 6), st.integers(1, 5), st.integers(0, 25))


def random_rows(seed: int, hyperedges: int, width: int, count: int, rate: float = 0.5) -> HyperedgeRows:
    """Softmax rows of which a share `rate` of the entries was dropped."""
    generator = torch_generator(seed, "rows", count)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    kept = torch.rand(count, hyperedges, generator=generator) >= rate
    return HyperedgeRows(torch.softmax(3 * normal(count, hyperedges), 1) * kept, normal(hyperedges, width))


def test_soften_is_a_softmax_of_noisy_logits() -> None:
    logits, noise = torch.tensor([[0.3, 0.1]]), torch.tensor([[-0.1, 0.1]])
    torch.testing.assert_close(soften(logits, 0.1), torch.tensor([[0.2, 0.0]]).mul(10).softmax(1))
    torch.testing.assert_close(soften(logits, 0.2, noise), torch.tensor([[0.5, 0.5]]))


def test_hyperedges_are_told_what_their_nodes_say_and_tell_it_on() -> None:
    dependency = torch.tensor([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]])
    told = collect(dependency, torch.tensor([[2.0], [4.0], [8.0]]))
    assert told.tolist() == [[4.0], [10.0]]
    rows = HyperedgeRows(dependency, told)
    assert rows.table().tolist() == [[4.0], [7.0], [10.0]]
    assert rows.take(torch.tensor([2, 0, 2])).table().tolist() == [[10.0], [4.0], [10.0]]
    assert rows.part(1, 3).table().tolist() == [[7.0], [10.0]]


@worlds
def test_factored_cosines_are_the_cosines(seed: int, hyperedges: int, width: int, count: int) -> None:
    left, right = random_rows(seed, hyperedges, width, count), random_rows(seed, hyperedges, width, count + 3)
    factors = cosine_factors(left, right)
    assert [table.shape for table in factors] == [(count, hyperedges), (count + 3, hyperedges)]
    expected = F.normalize(left.table()) @ F.normalize(right.table()).T
    torch.testing.assert_close(factors[0] @ factors[1].T, expected, rtol=1e-6, atol=1e-9)


def test_a_row_that_hears_nothing_has_no_direction_and_finite_gradients() -> None:
    dependency = torch.tensor([[0.0, 0.0], [0.2, 0.4]], requires_grad=True)
    latent = torch.ones(2, 3, requires_grad=True)
    directions = HyperedgeRows(dependency, latent).directions()
    assert directions[0].tolist() == [0.0, 0.0]
    directions[1].sum().backward()
    for value in (dependency, latent):
        assert value.grad is not None
        assert bool(value.grad.isfinite().all())


@worlds
def test_merged_rows_point_where_their_nodes_do(seed: int, hyperedges: int, width: int, count: int) -> None:
    nodes = random_rows(seed, hyperedges, width, count)
    weights = torch.randint(0, 3, (count,), generator=torch_generator(seed, "weights")).double()
    rows, counts, place = merge(nodes, weights)
    assert len(rows.dependency) == len(counts)
    assert bool((counts > 0).all())
    counted = weights > 0
    torch.testing.assert_close(
        F.normalize(rows.table())[place[counted]], F.normalize(nodes.table())[counted], rtol=1e-6, atol=1e-9
    )
    assert torch.equal(torch.zeros_like(counts).index_add(0, place[counted], weights[counted]), counts)
    several = int(((nodes.dependency > 0).sum(1) > 1)[counted].sum())
    assert several <= len(counts) <= several + hyperedges + 1


def test_nodes_that_hear_one_hyperedge_are_one_and_those_that_hear_nothing_another() -> None:
    dependency = torch.tensor([[0.9, 0.0], [0.0, 0.0], [0.1, 0.0], [0.2, 0.8], [0.0, 0.0], [0.3, 0.0]])
    rows, counts, place = merge(HyperedgeRows(dependency, torch.eye(2)), torch.tensor([1.0, 1.0, 4.0, 1.0, 2.0, 0.0]))
    assert counts.tolist() == [1.0, 5.0, 3.0]
    assert place.tolist()[:5] == [1, 2, 1, 0, 2]
    assert rows.table().tolist() == [pytest.approx([0.2, 0.8]), [1.0, 0.0], [0.0, 0.0]]


def test_a_node_too_faint_for_the_floor_of_a_norm_stays_itself() -> None:
    faint = HyperedgeRows(torch.tensor([[FLOOR / 4, 0.0], [1.0, 0.0]]).double(), torch.eye(2).double())
    rows, counts, place = merge(faint, torch.ones(2).double())
    assert counts.tolist() == [1.0, 1.0]
    torch.testing.assert_close(rows.directions()[place], torch.tensor([[0.25, 0.0], [1.0, 0.0]]).double())


def test_a_hyperedge_too_faint_for_the_floor_of_a_norm_does_not_stand_for_who_hears_it_loudly() -> None:
    """Dropout makes a node hear more than all of a hyperedge."""
    nodes = HyperedgeRows(torch.tensor([[4.0, 0.0], [0.5, 0.5]]).double(), torch.tensor([[0.5 * FLOOR, 0], [0, 1]]))
    nodes = HyperedgeRows(nodes.dependency, nodes.latent.double())
    rows, _, place = merge(nodes, torch.ones(2).double())
    found = rows.directions()[place] @ nodes.latent
    torch.testing.assert_close(found, F.normalize(nodes.table()), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("left_over", [1e-2, 1e-3, 1e-4, 1e-5])
def test_rows_whose_parts_nearly_cancel_have_cosines_and_gradients_of_the_plain_form(left_over: float) -> None:
    generator = torch_generator(3, "cancel")
    part, rest, other = (torch.randn(1, 16, generator=generator) for _ in range(3))
    latent = torch.cat([part, left_over * rest - part]).requires_grad_()
    cancelled = torch.full((1, 2), 0.5, requires_grad=True)
    candidate = HyperedgeRows(torch.ones(1, 1), other)
    results: list[list[torch.Tensor]] = []
    for plain in (False, True):
        rows = HyperedgeRows(cancelled, latent)
        left, right = cosine_factors(rows, candidate)
        cosine = F.normalize(rows.table()) @ F.normalize(other).T if plain else left @ right.T
        results.append([cosine, *torch.autograd.grad(cosine.sum(), (cancelled, latent))])
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5 / left_over, atol=1e-5 / left_over)


def test_what_cancels_altogether_has_bounded_cosines() -> None:
    part = torch.randn(3, 64, generator=torch_generator(4, "cancel"))
    latent = torch.cat([part, -part])
    uneven = torch.tensor([[0.1, 0.2, 0.3, 0.1, 0.2, 0.3], [1 / 6] * 6])
    left, right = cosine_factors(HyperedgeRows(uneven, latent), HyperedgeRows(torch.eye(6), latent))
    assert float((left @ right.T).abs().max()) < 10
