"""The user–item graph against the formulas written with dense matrices."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from palate.graph.bipartite import Bipartite, inverse_root, mean_of_layers
from palate.graph.rows import Rows

USERS, ITEMS = 5, 6
EDGES = st.sets(st.tuples(st.integers(0, USERS - 1), st.integers(0, ITEMS - 1)), max_size=20).map(sorted)


def graph_of(edges: list[tuple[int, int]], users: int = USERS, items: int = ITEMS) -> Bipartite:
    table = np.array(edges, dtype=np.int64).reshape(-1, 2)
    # The order within a user is time, not number.
    shuffled = np.random.default_rng(0).permutation(table)
    return Bipartite(Rows.from_pairs(shuffled[:, 0], shuffled[:, 1], users, items))


def dense_of(edges: list[tuple[int, int]], users: int = USERS, items: int = ITEMS) -> np.ndarray:
    interactions = np.zeros((users, items))
    for user, item in edges:
        interactions[user, item] = 1
    return np.block([[np.zeros((users, users)), interactions], [interactions.T, np.zeros((items, items))]])


def in_double(graph: Bipartite, epsilon: float = 0.0) -> Tensor:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        return graph.normalised(epsilon).dense()
    finally:
        torch.set_default_dtype(before)


@given(EDGES)
def test_both_directions_and_the_adjacency_hold_the_same_edges(edges: list[tuple[int, int]]) -> None:
    graph = graph_of(edges)
    assert (graph.users, graph.items) == (USERS, ITEMS)
    for item in range(ITEMS):
        assert graph.by_item[item].tolist() == [user for user, other in edges if other == item]
    adjacency, dense = graph.adjacency(), dense_of(edges)
    assert (adjacency.count, adjacency.width) == (USERS + ITEMS, USERS + ITEMS)
    for node in range(USERS + ITEMS):
        assert adjacency[node].tolist() == np.flatnonzero(dense[node]).tolist()


@given(EDGES, st.sampled_from([0.0, 1e-7, 0.5]))
def test_the_normalised_adjacency_is_that_of_the_formula(edges: list[tuple[int, int]], epsilon: float) -> None:
    dense = dense_of(edges)
    degrees = dense.sum(1) + epsilon
    with np.errstate(divide="ignore"):
        scale = np.where(degrees > 0, 1 / np.sqrt(degrees), 0)
    found = in_double(graph_of(edges), epsilon).numpy()
    np.testing.assert_allclose(found, scale[:, None] * dense * scale, rtol=1e-14)
    assert np.array_equal(found, found.T)
    isolated = dense.sum(1) == 0
    assert not found[isolated].any()
    assert not found[:, isolated].any()
    assert np.isfinite(found).all()


def test_isolated_nodes_keep_their_own_rows_and_never_become_nan() -> None:
    operator = graph_of([(0, 0), (0, 1), (3, 1)]).normalised(1e-7)
    table = torch.randn(USERS + ITEMS, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
    mean = mean_of_layers(operator, table, 3)
    mean.sum().backward()
    assert table.grad is not None
    lonely = [1, 2, 4, USERS + 2, USERS + 5]
    torch.testing.assert_close(mean[lonely], table[lonely] / 4)
    torch.testing.assert_close(table.grad[lonely], torch.full((5, 3), 0.25))
    assert torch.isfinite(mean).all()
    assert torch.isfinite(table.grad).all()


def test_one_edge_swaps_its_two_ends() -> None:
    found = in_double(graph_of([(0, 0)], 1, 1))
    assert found.tolist() == [[0.0, 1.0], [1.0, 0.0]]


@given(EDGES, st.integers(0, 4))
def test_the_mean_of_layers_is_that_of_dense_powers(edges: list[tuple[int, int]], layers: int) -> None:
    graph = graph_of(edges)
    operator = graph.normalised().double()
    matrix = operator.dense()
    table = torch.randn(USERS + ITEMS, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    powers = [torch.linalg.matrix_power(matrix, hop) for hop in range(layers + 1)]
    expected = torch.stack(powers).mean(0) @ table
    torch.testing.assert_close(mean_of_layers(operator, table, layers), expected, rtol=1e-12, atol=1e-12)


@given(EDGES, st.permutations(range(USERS)), st.permutations(range(ITEMS)))
def test_renumbering_users_and_items_renumbers_the_result(
    edges: list[tuple[int, int]], users: list[int], items: list[int]
) -> None:
    table = torch.randn(USERS + ITEMS, 2, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    new_place = torch.tensor([*users, *(USERS + item for item in items)])
    moved = torch.empty_like(table)
    moved[new_place] = table
    plain = mean_of_layers(graph_of(edges).normalised().double(), table, 2)
    renumbered = graph_of([(users[user], items[item]) for user, item in edges]).normalised().double()
    torch.testing.assert_close(mean_of_layers(renumbered, moved, 2)[new_place], plain, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("degree", [0.0, 0.25, 1.0, 4.0])
def test_inverse_root(degree: float) -> None:
    assert inverse_root(np.array([degree])).tolist() == [degree**-0.5 if degree else 0.0]


@given(EDGES)
def test_means_sums_and_the_user_block_are_those_of_the_formulas(edges: list[tuple[int, int]]) -> None:
    graph, dense = graph_of(edges), dense_of(edges)
    interactions = dense[:USERS, USERS:]
    degrees = dense.sum(1)
    inverse = np.where(degrees > 0, 1 / np.maximum(degrees, 1), 0)
    np.testing.assert_array_equal(graph.history_sum().dense().numpy(), interactions)
    np.testing.assert_allclose(graph.history_mean().dense().numpy(), inverse[:USERS, None] * interactions, rtol=1e-6)
    root = np.sqrt(inverse)
    expected = root[:USERS, None] * interactions * root[USERS:]
    np.testing.assert_allclose(graph.user_block().dense().numpy(), expected, rtol=1e-6)


@given(EDGES, st.integers(0, 99))
def test_a_subset_is_the_graph_of_the_edges_that_stay(edges: list[tuple[int, int]], seed: int) -> None:
    graph = graph_of(edges)
    kept = np.random.default_rng(seed).random(len(edges)) < 0.5
    pairs = zip(graph.by_user.row_of_entry(), graph.by_user.columns, strict=True)
    left = sorted((int(user), int(item)) for (user, item), stays in zip(pairs, kept, strict=True) if stays)
    np.testing.assert_array_equal(graph.subset(kept).history_sum().dense().numpy(), dense_of(left)[:USERS, USERS:])
