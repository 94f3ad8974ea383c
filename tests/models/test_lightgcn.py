"""LightGCN's propagation and loss against dense matrices."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

import worlds
from palate.core.seeds import Draws
from palate.models.base import Batch
from palate.models.lightgcn import LightGCN, LightGCNConfig


def dense_adjacency(matrix: np.ndarray, epsilon: float) -> Tensor:
    """Â from its definition."""
    train = torch.tensor(matrix, dtype=torch.float64)
    users, items = train.shape
    full = torch.cat(
        [torch.cat([torch.zeros(users, users), train], 1), torch.cat([train.T, torch.zeros(items, items)], 1)]
    )
    degrees = full.sum(1) + epsilon
    scale = torch.where(degrees > 0, degrees.clamp_min(1e-300).rsqrt(), torch.zeros_like(degrees))
    return scale[:, None] * full * scale


def propagated(adjacency: Tensor, table: Tensor, layers: int) -> Tensor:
    """mean(E, ÂE, …, Â^L E) by matrix powers."""
    return sum((torch.linalg.matrix_power(adjacency, hop) @ table for hop in range(layers + 1)), torch.zeros(1)) / (
        layers + 1
    )


@given(st.integers(0, 1000), st.integers(0, 4), st.sampled_from([0.0, 1e-3]))
def test_forward_and_loss_equal_the_dense_formulas(seed: int, layers: int, epsilon: float) -> None:
    generator = np.random.default_rng(seed)
    matrix = (generator.random((7, 9)) < 0.3).astype(np.int64)
    config = LightGCNConfig(dim=5, layers=layers, degree_epsilon=epsilon, penalty_weight=0.3)
    torch.manual_seed(seed)
    model = LightGCN(config, worlds.inputs(matrix))
    own = torch.cat([model.user_id, model.item_id])
    nodes = propagated(dense_adjacency(matrix, epsilon), own, layers)
    embeddings = model.embed()
    torch.testing.assert_close(embeddings.user, nodes[:7])
    torch.testing.assert_close(embeddings.item, nodes[7:])
    torch.testing.assert_close(embeddings.score_block(torch.tensor([4, 4, 1])), nodes[[4, 4, 1]] @ nodes[7:].T)

    user, positive, negative = (torch.from_numpy(generator.integers(0, count, 6)) for count in (7, 9, 9))
    terms = model.loss(Batch(user, positive, negative), Draws(0))
    scores = nodes[:7] @ nodes[7:].T
    expected = -F.logsigmoid(scores[user, positive] - scores[user, negative]).mean()
    squares = own.square().sum(1)
    penalty = (squares[user] + squares[7 + positive] + squares[7 + negative]).mean()
    torch.testing.assert_close(terms["bpr"], expected)
    torch.testing.assert_close(terms["penalty"], 0.3 * penalty)
    gradient = torch.autograd.grad(terms["bpr"], (model.user_id, model.item_id), retain_graph=True)
    wanted = torch.autograd.grad(expected, (model.user_id, model.item_id))
    for found, oracle in zip(gradient, wanted, strict=True):
        torch.testing.assert_close(found, oracle)


def test_nodes_without_neighbours_keep_a_share_of_their_own_embedding() -> None:
    matrix = np.zeros((3, 4), np.int64)
    matrix[0, 0] = matrix[1, 0] = 1
    model = LightGCN(LightGCNConfig(dim=4, layers=2), worlds.inputs(matrix))
    embeddings = model.embed()
    torch.testing.assert_close(embeddings.user[2], model.user_id[2] / 3)
    torch.testing.assert_close(embeddings.item[3], model.item_id[3] / 3)


def test_fifty_steps_of_adam_are_those_of_the_plain_form() -> None:
    """The plain form: every layer of every node by dense products, gradients by autograd."""
    generator = np.random.default_rng(3)
    matrix = (generator.random((30, 20)) < 0.2).astype(np.int64)
    config = LightGCNConfig(dim=8, layers=2, penalty_weight=0.05)
    torch.manual_seed(3)
    model = LightGCN(config, worlds.inputs(matrix))
    user_id, item_id = (table.detach().clone().requires_grad_() for table in (model.user_id, model.item_id))
    adjacency = dense_adjacency(matrix, 0.0)
    optimisers = [torch.optim.Adam(tables, lr=0.05) for tables in (model.parameters(), (user_id, item_id))]
    for step in range(50):
        user, positive, negative = (torch.from_numpy(generator.integers(0, count, 64)) for count in (30, 20, 20))
        nodes = propagated(adjacency, torch.cat([user_id, item_id]), config.layers)
        users, items = nodes[:30], nodes[30:]
        gaps = (users[user] * (items[positive] - items[negative])).sum(1)
        squares = (user_id[user].square() + item_id[positive].square() + item_id[negative].square()).sum(1)
        plain = -F.logsigmoid(gaps).mean() + config.penalty_weight * squares.mean()
        found = torch.stack(list(model.loss(Batch(user, positive, negative), Draws(0, step)).values())).sum()
        torch.testing.assert_close(found, plain, rtol=1e-8, atol=1e-8)
        for optimiser, loss in zip(optimisers, (found, plain), strict=True):
            optimiser.zero_grad()
            loss.backward()
        torch.testing.assert_close(model.user_id.grad, user_id.grad, rtol=1e-8, atol=1e-8)
        torch.testing.assert_close(model.item_id.grad, item_id.grad, rtol=1e-8, atol=1e-8)
        for optimiser in optimisers:
            optimiser.step()
    torch.testing.assert_close(model.user_id.detach(), user_id.detach(), rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(model.item_id.detach(), item_id.detach(), rtol=1e-8, atol=1e-8)
