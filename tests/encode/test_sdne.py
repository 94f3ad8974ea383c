"""SDNE: its loss and gradients against a plain dense form, its vectors against planted truths."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from palate.core.artefact import read_tensors, write_tensors
from palate.core.errors import DataError
from palate.core.seeds import Draws
from palate.encode.sdne import NodeBatches, Sdne, adjacency_rows, fit_sdne
from palate.encode.sdne_settings import SdneConfig
from palate.graph.rows import Rows


def graph_of(dense: np.ndarray) -> Rows:
    rows, columns = np.nonzero(dense)
    return Rows.from_pairs(rows, columns, len(dense), len(dense))


def random_graph(nodes: int, share: float, seed: int = 0) -> np.ndarray:
    upper = np.triu(np.random.default_rng(seed).random((nodes, nodes)) < share, k=1)
    return upper | upper.T


def dense_loss(model: Sdne, adjacency: Tensor) -> dict[str, Tensor]:
    """The loss of the whole graph as the paper writes it, with every matrix formed."""
    config = model.config
    act = torch.sigmoid if config.activation == "sigmoid" else torch.tanh
    values = adjacency
    for weight, bias in zip(model.encoder, model.encoder_bias, strict=True):
        values = act(values @ weight + bias)
    vectors = values
    for number, (weight, bias) in enumerate(zip(model.decoder, model.decoder_bias, strict=True), start=1):
        last = number == len(model.decoder)
        values = torch.sigmoid(values @ weight + bias) if last else act(values @ weight + bias)
    b = torch.where(adjacency > 0, config.beta, 1.0)
    distances = (vectors.unsqueeze(0) - vectors.unsqueeze(1)).square().sum(-1)
    weights = sum((weight.square().sum() for weight in [*model.encoder, *model.decoder]), torch.zeros(()))
    return {
        "second_order": ((values - adjacency) * b).square().sum(),
        "first_order": config.alpha * (adjacency * distances).sum(),
        "weights": config.nu * weights,
    }


@pytest.mark.parametrize("activation", ["sigmoid", "tanh"])
@pytest.mark.parametrize("hidden", [(), (7,), (9, 5)])
def test_batches_together_are_the_dense_loss_and_its_gradient(activation: str, hidden: tuple[int, ...]) -> None:
    config = SdneConfig.parse(
        {"hidden": hidden, "dim": 3, "alpha": 0.7, "beta": 4.0, "nu": 0.01, "activation": activation}
    )
    dense = random_graph(24, 0.2)
    graph = graph_of(dense)
    model = Sdne(24, 4.0, config).double()
    expected = dense_loss(model, torch.from_numpy(dense).double())
    gradients = torch.autograd.grad(torch.stack(list(expected.values())).sum(), list(model.parameters()))
    model.zero_grad()
    found = dict.fromkeys(expected, 0.0)
    # Sizes that do not divide the nodes: a batch's terms are means, so its share is its number of nodes.
    for batch in NodeBatches(graph, 7, seed=3).epoch(1):
        for name, term in model.loss(batch, Draws(0)).items():
            (term * batch.size).backward(retain_graph=True)
            found[name] += float(term.detach()) * batch.size
    for name, term in expected.items():
        assert found[name] == pytest.approx(float(term.detach()), rel=1e-12)
    for parameter, gradient in zip(model.parameters(), gradients, strict=True):
        assert parameter.grad is not None
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-10, atol=1e-12)


def test_the_loss_of_one_edge_by_hand() -> None:
    config = SdneConfig(hidden=(), dim=1, beta=3.0, alpha=0.5, nu=0.1)
    model = Sdne(2, 1.0, config).double()
    with torch.no_grad():
        model.encoder[0].copy_(torch.tensor([[1.0], [-1.0]]))
        model.decoder[0].zero_()
    batch = NodeBatches(graph_of(np.array([[0, 1], [1, 0]])), 2, seed=0).batch(np.array([0, 1]))
    terms = {name: float(term.detach()) for name, term in model.loss(batch, Draws(0)).items()}
    # x̂ = ½ everywhere: each row misses its edge by ½ (times 3) and its zero by ½.
    assert terms["second_order"] == pytest.approx((3 * 0.5) ** 2 + 0.5**2)
    # y_0 = σ(-1) and y_1 = σ(1); the edge counts in both directions, over two nodes.
    apart = 1 / (1 + np.exp(-1)) - 1 / (1 + np.exp(1))
    assert terms["first_order"] == pytest.approx(0.5 * apart**2)
    assert terms["weights"] == pytest.approx(0.1 * 2 / 2)


def test_an_epoch_has_each_node_once_with_all_its_edges() -> None:
    dense = random_graph(30, 0.15, seed=1)
    batches = NodeBatches(graph_of(dense), 8, seed=5)
    rebuilt = np.zeros_like(dense, dtype=np.int64)
    seen: list[int] = []
    for batch in batches.epoch(2):
        rows = batch.adjacency.dense().numpy()
        # A row says which node it is by its neighbours; places must agree with it.
        nodes = [int(np.flatnonzero((dense == row).all(axis=1))[0]) for row in rows[: batch.size]]
        seen += nodes
        np.add.at(rebuilt, (np.array(nodes)[batch.heads.numpy()], batch.columns.numpy()), 1)
        assert (rows[batch.tails.numpy()] == dense[batch.columns.numpy()]).all()
    assert len(seen) == 30
    assert batches.steps == 4
    assert (rebuilt == dense).all()


def communities(size: int = 30, inside: float = 0.4, between: float = 0.01, seed: int = 2) -> np.ndarray:
    generator = np.random.default_rng(seed)
    group = np.arange(2 * size) % 2
    share = np.where(group[:, None] == group[None, :], inside, between)
    upper = np.triu(generator.random((2 * size, 2 * size)) < share, k=1)
    return upper | upper.T


def cosines(matrix: np.ndarray) -> np.ndarray:
    centred = matrix - matrix.mean(axis=0)
    rows = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    return rows @ rows.T


SMALL = SdneConfig(hidden=(32,), dim=8, epochs=60, batch_size=16, learning_rate=5e-3)


@pytest.mark.parametrize("activation", ["sigmoid", "tanh"])
def test_two_communities_separate(activation: str) -> None:
    dense = communities()
    vectors = fit_sdne(graph_of(dense), SMALL.override({"activation": activation}), quiet=True)
    assert vectors.present.all()
    near = cosines(vectors.matrix)
    same = np.arange(60)[:, None] % 2 == np.arange(60)[None, :] % 2
    assert near[same].mean() > near[~same].mean() + 0.5
    others = ~np.eye(60, dtype=bool)
    nearest = np.where(others, near, -2).argmax(axis=1)
    assert (nearest % 2 == np.arange(60) % 2).mean() > 0.95


def test_neighbours_are_closer_than_others_and_the_first_order_term_brings_them_closer() -> None:
    dense = random_graph(50, 0.08, seed=4)

    def spread(alpha: float) -> float:
        found = fit_sdne(graph_of(dense), SMALL.override({"alpha": alpha}), quiet=True)
        here = found.matrix[found.present]
        edges = dense[np.ix_(found.present, found.present)]
        distances = np.square(here[:, None] - here[None]).sum(-1)
        return float(distances[edges].mean() / distances[~edges & ~np.eye(len(here), dtype=bool)].mean())

    without, with_term = spread(0.0), spread(2.0)
    assert with_term < 0.9
    assert with_term < without


def test_the_same_seed_gives_the_same_bits_and_another_seed_others() -> None:
    graph = graph_of(communities(10))
    first, again, other = (
        fit_sdne(graph, SMALL.override({"epochs": 3, "seed": seed}), quiet=True).matrix for seed in (0, 0, 1)
    )
    assert (first == again).all()
    assert not np.allclose(first, other)


def test_isolated_nodes_are_absent_and_change_nothing() -> None:
    dense = communities(10)
    config = SMALL.override({"epochs": 3})
    places = np.array([number for number in range(25) if number % 5])
    wider = np.zeros((25, 25), dtype=bool)
    wider[np.ix_(places, places)] = dense
    alone, among = fit_sdne(graph_of(dense), config, quiet=True), fit_sdne(graph_of(wider), config, quiet=True)
    assert np.flatnonzero(among.present).tolist() == places.tolist()
    assert (among.matrix[places] == alone.matrix).all()
    assert not among.matrix[~among.present].any()


def test_a_graph_without_edges_is_refused() -> None:
    with pytest.raises(DataError, match="no edge"):
        fit_sdne(graph_of(np.zeros((3, 3))), SMALL, quiet=True)


def test_a_run_that_was_cut_off_goes_on_with_the_same_bits(tmp_path: Path) -> None:
    graph = graph_of(communities(10))
    config = SMALL.override({"epochs": 6})
    whole = fit_sdne(graph, config, quiet=True)
    fit_sdne(graph, config.override({"epochs": 2}), folder=tmp_path, identity="x", quiet=True)
    # What two epochs left behind is what a run of six has after two, but for the note that it is finished.
    unfinish(tmp_path / "checkpoint" / "state.safetensors")
    assert (fit_sdne(graph, config, folder=tmp_path, identity="x", quiet=True).matrix == whole.matrix).all()


def unfinish(path: Path) -> None:
    tensors, metadata = read_tensors(path)
    facts = json.loads(metadata["palate"])
    assert facts["position"]["finished"] == "epochs"
    facts["position"]["finished"] = ""
    write_tensors(path, tensors, {"palate": json.dumps(facts)})


def test_the_first_layer_is_a_sparse_product() -> None:
    dense = random_graph(20, 0.2, seed=6)
    model = Sdne(20, 4.0, SdneConfig(hidden=(), dim=4)).double()
    nodes = np.array([3, 0, 7])
    found = model.encode(adjacency_rows(graph_of(dense), nodes))
    expected = torch.sigmoid(torch.from_numpy(dense[nodes]).double() @ model.encoder[0] + model.encoder_bias[0])
    torch.testing.assert_close(found, expected)
