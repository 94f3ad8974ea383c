"""Graph attention against dense formulas and PyG, set attention against the plain form; values and gradients."""

from __future__ import annotations

import warnings
from typing import Literal
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from palate.core.errors import ConfigError
from palate.graph.rows import Rows
from palate.models import sets as set_module
from palate.models.attention import GraphAttention, Neighbourhoods
from palate.models.sets import LatestSets, SetAttention

with warnings.catch_warnings():
    # Loading the oracle uses what newer versions of torch call deprecated.
    warnings.simplefilter("ignore")
    from torch_geometric.nn import GATConv

seeds = st.integers(0, 10_000)


def graph_of(generator: np.random.Generator, nodes: int, share: float, undirected: bool = True) -> Rows:
    joined = generator.random((nodes, nodes)) < share
    if undirected:
        joined |= joined.T
    np.fill_diagonal(joined, False)
    return Rows.from_pairs(*np.nonzero(joined), nodes, nodes)


def dense_attention(layer: GraphAttention, nodes: Tensor, graph: Rows) -> Tensor:
    """Equations 1–6 of the paper, all pairs of nodes written out."""
    count = len(nodes)
    joined = torch.eye(count, dtype=torch.bool)
    joined[torch.from_numpy(graph.row_of_entry()), torch.from_numpy(graph.columns).long()] = True
    heads: list[Tensor] = []
    for head, weight in enumerate(layer.weight.weight.chunk(layer.heads)):
        rows = nodes @ weight.T
        both = torch.cat([rows[:, None].expand(-1, count, -1), rows[None].expand(count, -1, -1)], dim=2) @ torch.cat(
            [layer.to_node[head], layer.to_neighbour[head]]
        )
        logits = F.leaky_relu(both, 0.2).masked_fill(~joined, -torch.inf)
        heads.append(logits.softmax(1) @ rows)
    return F.elu(torch.cat(heads, 1) if layer.combine == "concat" else torch.stack(heads).mean(0))


def pyg_attention(layer: GraphAttention, nodes: Tensor, graph: Rows) -> tuple[Tensor, list[Tensor]]:
    """PyG's layer with the same weights: what it gives, and its own parameters in the order of ours."""
    columns = len(layer.to_node[0])
    concat = layer.combine == "concat"
    oracle = GATConv(nodes.shape[1], columns, heads=layer.heads, concat=concat, negative_slope=0.2, bias=False)
    parameters = [oracle.lin.weight, oracle.att_dst, oracle.att_src]
    with torch.no_grad():
        for theirs, ours in zip(parameters, (layer.weight.weight, layer.to_node, layer.to_neighbour), strict=True):
            theirs.copy_(ours.view(theirs.shape))
    # Its edges lead from the neighbour to the node; it adds the self loops.
    edges = torch.from_numpy(np.stack([graph.columns.astype(np.int64), graph.row_of_entry()]))
    return F.elu(oracle(nodes, edges)), parameters


def weighed(value: Tensor, parameters: list[Tensor]) -> list[Tensor]:
    """Gradients of a sum of `value` in which no two entries weigh the same."""
    weights = torch.linspace(0.5, 1.5, value.numel()).view(value.shape)
    return list(torch.autograd.grad((value * weights).sum(), parameters, materialize_grads=True))


def agree(found: list[Tensor], wanted: list[Tensor]) -> None:
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other.view(one.shape))


@given(seeds, st.sampled_from([(1, 3), (2, 4), (4, 8)]), st.sampled_from(["concat", "mean"]), st.booleans())
def test_graph_attention_is_the_formula_and_agrees_with_pyg(
    seed: int, shape: tuple[int, int], combine: Literal["concat", "mean"], undirected: bool
) -> None:
    generator = np.random.default_rng(seed)
    torch.manual_seed(seed)
    # A share of 0 leaves nodes with nobody but themselves.
    graph = graph_of(generator, int(generator.integers(1, 12)), generator.choice([0.0, 0.2, 0.6]), undirected)
    nodes = torch.randn(graph.count, 5, requires_grad=True)
    heads, outputs = shape
    layer = GraphAttention(5, outputs, heads, combine)
    parameters = [nodes, layer.weight.weight, layer.to_node, layer.to_neighbour]
    assert len(list(layer.parameters())) == 3
    found = layer(nodes, Neighbourhoods(graph))
    gradients = weighed(found, parameters)
    plain = dense_attention(layer, nodes, graph)
    agree([found, *gradients], [plain, *weighed(plain, parameters)])
    theirs, their_parameters = pyg_attention(layer, nodes, graph)
    agree([found, *gradients], [theirs, *weighed(theirs, [nodes, *their_parameters])])


def test_attention_over_neighbours_sums_to_one_whatever_the_logits() -> None:
    graph = graph_of(np.random.default_rng(1), 40, 0.2)
    neighbourhoods = Neighbourhoods(graph)
    for scale in (0.0, 1.0, 1e4):
        weights = neighbourhoods.softmax(scale * torch.randn(graph.size + 40, 3))
        assert bool(weights.isfinite().all())
        torch.testing.assert_close(neighbourhoods.sums(weights), torch.ones(40, 3))


def test_the_order_of_the_heads_and_of_the_nodes_does_not_matter() -> None:
    torch.manual_seed(0)
    generator = np.random.default_rng(2)
    graph = graph_of(generator, 9, 0.3)
    layer = GraphAttention(4, 6, 3, "mean")
    nodes, order = torch.randn(9, 4), torch.from_numpy(generator.permutation(9))
    renumbered = Rows.from_pairs(order.numpy()[graph.row_of_entry()], order.numpy()[graph.columns], 9, 9)
    moved = layer(nodes[order.argsort()], Neighbourhoods(renumbered))
    torch.testing.assert_close(moved[order], layer(nodes, Neighbourhoods(graph)))
    before = layer(nodes, Neighbourhoods(graph))
    with torch.no_grad():
        layer.weight.weight.copy_(layer.weight.weight.view(3, 6, 4).flip(0).flatten(0, 1))
        layer.to_node.copy_(layer.to_node.flip(0))
        layer.to_neighbour.copy_(layer.to_neighbour.flip(0))
    torch.testing.assert_close(layer(nodes, Neighbourhoods(graph)), before)


def dense_sets(layer: SetAttention, rows: Tensor, members: Tensor, owner: Tensor, stays: Tensor) -> Tensor:
    """softmax(Q Kᵀ / √d) V of each subset by itself, the heads side by side, times W^O, averaged."""
    vectors: list[Tensor] = []
    for number, keeps in zip(owner.tolist(), stays, strict=True):
        own = rows[members[number][keeps]]
        if len(own) == 0:
            vectors.append(0 * rows[0])
            continue
        heads = zip(
            *(part.weight.chunk(layer.heads) for part in (layer.query, layer.key, layer.value)),
            strict=True,
        )
        views = [
            ((own @ query.T) @ (own @ key.T).T / query.shape[0] ** 0.5).softmax(1) @ (own @ value.T)
            for query, key, value in heads
        ]
        vectors.append((torch.cat(views, 1) @ layer.output.weight.T).mean(0))
    return torch.stack(vectors)


@given(seeds, st.sampled_from([(1, 3), (2, 4), (4, 8)]), st.integers(0, 7))
def test_set_attention_is_multi_head_attention_within_each_subset(seed: int, shape: tuple[int, int], most: int) -> None:
    torch.manual_seed(seed)
    heads, width = shape
    layer = SetAttention(width, heads)
    rows = (3 * torch.randn(9, width)).requires_grad_()
    members = torch.randint(0, 9, (4, most))
    owner = torch.randint(0, 4, (7,))
    stays = torch.rand(7, most) < 0.7
    stays[0] = False
    parameters = [rows, *layer.parameters()]
    found = layer(layer.project(rows), members, owner, stays)
    plain = dense_sets(layer, rows, members, owner, stays)
    agree([found, *weighed(found, parameters)], [plain, *weighed(plain, parameters)])
    assert not found[0].any()
    with mock.patch.object(set_module, "CELLS", 1):
        agree([layer(layer.project(rows), members, owner, stays)], [found])


def test_set_attention_agrees_with_torch() -> None:
    torch.manual_seed(3)
    layer, oracle = SetAttention(8, 2), torch.nn.MultiheadAttention(8, 2, bias=False, batch_first=True)
    with torch.no_grad():
        oracle.in_proj_weight.copy_(torch.cat([layer.query.weight, layer.key.weight, layer.value.weight]))
        oracle.out_proj.weight.copy_(layer.output.weight)
    rows, members = torch.randn(20, 8), torch.randint(0, 20, (6, 5))
    everyone = torch.ones(6, 5, dtype=torch.bool)
    found = layer(layer.project(rows), members, torch.arange(6), everyone)
    torch.testing.assert_close(found, oracle(*[rows[members]] * 3, need_weights=False)[0].mean(1))


def test_a_view_starts_as_the_mean_of_its_set_when_all_attract_alike() -> None:
    layer = SetAttention(8, 4)
    with torch.no_grad():
        layer.query.weight.zero_()
    rows, members, stays = torch.randn(9, 8), torch.randint(0, 9, (3, 5)), torch.tensor([[1, 1, 1, 1, 0]]).bool()
    found = layer(layer.project(rows), members, torch.arange(3), stays.expand(3, 5))
    torch.testing.assert_close(found, rows[members[:, :4]].mean(1))


def test_who_is_left_out_has_no_influence_and_gets_no_gradient() -> None:
    torch.manual_seed(4)
    layer = SetAttention(8, 2)
    rows = torch.randn(6, 8, requires_grad=True)
    members = torch.tensor([[0, 1, 2, 5], [3, 5, 4, 0]])
    owner = torch.tensor([0, 0, 1, 1])
    stays = torch.tensor([[1, 1, 1, 0], [1, 1, 0, 0], [1, 0, 1, 1], [0, 0, 0, 0]]).bool()
    before = layer(layer.project(rows), members, owner, stays)
    gradient = torch.autograd.grad(before.square().sum(), rows)[0]
    assert not gradient[5].any()
    assert bool(gradient[:5].any(1).all())
    changed = rows.detach().clone()
    changed[5] = -3 * changed[5] + 1
    torch.testing.assert_close(layer(layer.project(changed), members, owner, stays), before)
    # Within, it matters.
    stays[0, 3] = True
    assert not torch.allclose(layer(layer.project(changed), members, owner, stays), before)


def test_leaving_out_who_draws_all_attention_leaves_numbers_that_can_be_learnt_from() -> None:
    torch.manual_seed(5)
    layer = SetAttention(4, 1).float()
    rows = torch.randn(5, 4, dtype=torch.float32)
    rows[4] *= 1e4
    rows.requires_grad_()
    members, owner = torch.arange(5).view(1, 5), torch.zeros(2, dtype=torch.long)
    stays = torch.tensor([[1, 1, 1, 1, 0], [1, 1, 1, 1, 1]]).bool()
    found = layer(layer.project(rows), members, owner, stays)
    gradients = weighed(found[:1].float(), [rows, *layer.parameters()])
    assert all(bool(value.isfinite().all()) for value in (found, *gradients))
    assert bool(found[0].any())


def test_one_who_draws_all_attention_of_some_is_attended_to_as_by_the_formula() -> None:
    """Logits of one set lie further apart than the powers of this precision can show side by side."""
    torch.manual_seed(7)
    layer = SetAttention(4, 2)
    rows = torch.randn(6, 4) * torch.tensor([1.0, 40.0, 1.0, 40.0, 1.0, 1.0]).unsqueeze(1)
    rows.requires_grad_()
    members, owner = torch.tensor([[0, 1, 2, 3], [4, 5, 2, 0]]), torch.tensor([0, 1])
    stays = torch.ones(2, 4, dtype=torch.bool)
    own = rows.detach()[members[0]]
    logits = own @ layer.query.weight.detach().T @ layer.key.weight.detach() @ own.T
    assert float(logits.max() - logits.min()) > 1000
    parameters = [rows, *layer.parameters()]
    found, plain = layer(layer.project(rows), members, owner, stays), dense_sets(layer, rows, members, owner, stays)
    agree([found, *weighed(found, parameters)], [plain, *weighed(plain, parameters)])


@given(seeds, st.integers(1, 6), st.integers(1, 4))
def test_sets_without_the_columns_of_a_row_are_each_there_once(seed: int, most: int, named: int) -> None:
    generator = np.random.default_rng(seed)
    size = int(generator.integers(0, 30))
    sets = LatestSets(Rows.from_pairs(generator.integers(0, 6, size), generator.integers(0, 9, size), 6, 9), most)
    asked = torch.from_numpy(generator.integers(0, 6, int(generator.integers(1, 20))))
    columns = torch.from_numpy(generator.integers(0, 9, (len(asked), named)))
    subsets, (members, inside) = sets.without(asked, columns), sets(asked)
    contained = sets.contain(asked, columns)
    assert contained.tolist() == [
        [column in members[row][inside[row]] for column in columns[row].tolist()] for row in range(len(asked))
    ]
    held = [subsets.members[owner][keeps] for owner, keeps in zip(subsets.owner, subsets.stays, strict=True)]
    for row, subset in enumerate(subsets.which.tolist()):
        wanted = [item for item in members[row][inside[row]].tolist() if item not in columns[row].tolist()]
        assert held[subset].tolist() == wanted
    # Whoever leaves out nothing shares the whole set.
    whole = ~contained.any(1)
    assert len(set(subsets.which[whole].tolist())) == len(set(asked[whole].tolist()))


@given(seeds, st.integers(1, 6))
def test_latest_sets_are_the_last_columns_of_each_row(seed: int, most: int) -> None:
    generator = np.random.default_rng(seed)
    size = int(generator.integers(0, 20))
    rows = Rows.from_pairs(generator.integers(0, 6, size), generator.integers(0, 9, size), 6, 9)
    asked = torch.from_numpy(generator.integers(0, 6, int(generator.integers(1, 8))))
    members, inside = LatestSets(rows, most)(asked)
    assert members.shape == inside.shape
    assert inside.shape[1] == min(most, int(rows.lengths[asked].max()))
    for row, found, there in zip(asked.tolist(), members, inside, strict=True):
        assert found[there].tolist() == rows[row][-most:].tolist()
        assert not found[~there].any()


def test_gradients_repeat_bit_by_bit_on_two_threads() -> None:
    generator = np.random.default_rng(6)
    graph = Neighbourhoods(graph_of(generator, 500, 0.04))
    torch.manual_seed(6)
    first, second = GraphAttention(32, 32, 4, "concat"), GraphAttention(32, 32, 4, "mean")
    sets = SetAttention(32, 4)
    nodes = torch.randn(500, 32, requires_grad=True)
    members, owner = torch.randint(0, 500, (300, 20)), torch.randint(0, 300, (1000,))
    stays = torch.rand(1000, 20) < 0.8
    parameters = [nodes, *first.parameters(), *second.parameters(), *sets.parameters()]

    def step() -> list[Tensor]:
        rows = second(first(nodes, graph), graph)
        found = sets(sets.project(rows), members, owner, stays)
        return [found, *weighed(found, parameters)]

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        once, *again = (step() for _ in range(4))
    finally:
        torch.set_num_threads(before)
    for values in again:
        assert all(torch.equal(one, other) for one, other in zip(once, values, strict=True))


def test_heads_that_cannot_share_the_columns_are_refused() -> None:
    with pytest.raises(ConfigError, match="4 heads of graph attention cannot share 6 columns") as caught:
        GraphAttention(5, 6, 4, "concat")
    assert "divides 6" in caught.value.do
    with pytest.raises(ConfigError, match="3 heads of self-attention cannot share 8 columns"):
        SetAttention(8, 3)
    assert GraphAttention(5, 6, 4, "mean")(
        torch.ones(2, 5), Neighbourhoods(graph_of(np.random.default_rng(0), 2, 0))
    ).shape == (2, 6)
