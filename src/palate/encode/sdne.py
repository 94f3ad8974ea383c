"""SDNE (Wang, Cui, Zhu, KDD 2016): vectors of a graph's nodes by a deep autoencoder of their adjacency rows.

Takes an undirected graph as `Rows`; gives one float32 vector a node. No matrix of nodes × nodes is ever formed: rows
enter through a sparse product, and a batch rebuilds batch × nodes numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from palate.core.errors import DataError
from palate.core.seeds import Draws, numpy_generator, torch_generator
from palate.encode.sdne_settings import SdneConfig
from palate.graph.operator import SparseOperator
from palate.graph.rows import IntArray, Rows
from palate.optimise.loop import Loop, Outcome
from palate.optimise.settings import LoopConfig

# Rows that are encoded together when training is over.
ENCODED_AT_ONCE = 4096
CHECKPOINT_SECONDS = 60.0


@dataclass(frozen=True)
class GraphBatch:
    """Some nodes of a graph with all of their edges.

    Attributes:
        adjacency: the adjacency rows of the batch's nodes, then of their neighbours outside it; M × nodes.
        size: nodes of the batch, B.
        heads: int64, the place of each edge's first end among the B.
        tails: int64, the place of its other end among the M.
        columns: int64, the number of its other end in the graph.
    """

    adjacency: SparseOperator
    size: int
    heads: Tensor
    tails: Tensor
    columns: Tensor

    def to(self, device: torch.device) -> GraphBatch:
        """The batch on `device`."""
        return replace(
            self,
            adjacency=self.adjacency.to(device),
            heads=self.heads.to(device),
            tails=self.tails.to(device),
            columns=self.columns.to(device),
        )


class NodeBatches:
    """Every node once an epoch, in random order, with its edges.

    Args:
        graph: nodes × nodes, undirected.
        size: nodes in a batch; the last one of an epoch may be smaller.
        seed: of the order.
    """

    def __init__(self, graph: Rows, size: int, seed: int) -> None:
        self.graph = graph
        self.size = size
        self.seed = seed

    @property
    def steps(self) -> int:
        """Batches in an epoch."""
        return -(-self.graph.count // self.size)

    def epoch(self, number: int) -> Iterator[GraphBatch]:
        """The batches of epoch `number`."""
        order = numpy_generator(self.seed, "sdne", "order", number).permutation(self.graph.count)
        for start in range(0, len(order), self.size):
            yield self.batch(order[start : start + self.size])

    def batch(self, nodes: IntArray) -> GraphBatch:
        """The batch of the given nodes, each at most once."""
        edges = self.graph.take(nodes)
        everyone = np.concatenate([nodes, np.setdiff1d(edges.columns, nodes)])
        place = np.zeros(self.graph.count, dtype=np.int64)
        place[everyone] = np.arange(len(everyone))
        return GraphBatch(
            adjacency=adjacency_rows(self.graph, everyone),
            size=len(nodes),
            heads=torch.from_numpy(edges.row_of_entry()),
            tails=torch.from_numpy(place[edges.columns]),
            columns=torch.from_numpy(edges.columns.astype(np.int64)),
        )


def adjacency_rows(graph: Rows, nodes: IntArray) -> SparseOperator:
    """The rows of the adjacency matrix that belong to `nodes`, len(nodes) × nodes of the graph."""
    rows = graph.take(nodes)
    return SparseOperator(rows, np.ones(rows.size))


class Sdne(nn.Module):
    """The autoencoder: x → y of width `dim` → x̂, each layer σ(W x + b), the decoder a mirror of the encoder.

    L = Σ_i ‖(x̂_i - x_i) ⊙ b_i‖² + α Σ_ij s_ij ‖y_i - y_j‖² + ν Σ_W ‖W‖²

    with b = β on edges and 1 elsewhere, and s = x the adjacency. The authors pre-train the layers one by one with
    restricted Boltzmann machines; here the first weights are drawn on the scale of the few ones that a row has.

    Args:
        nodes: nodes of the graph.
        mean_degree: mean number of ones in a row.
        config: see `SdneConfig`.
    """

    def __init__(self, nodes: int, mean_degree: float, config: SdneConfig) -> None:
        super().__init__()
        self.nodes = nodes
        self.config = config
        down = [nodes, *config.hidden, config.dim]
        self.encoder = nn.ParameterList([torch.empty(inputs, outputs) for inputs, outputs in _steps(down)])
        self.encoder_bias = nn.ParameterList([torch.zeros(outputs) for outputs in down[1:]])
        up = down[::-1]
        self.decoder = nn.ParameterList([torch.empty(inputs, outputs) for inputs, outputs in _steps(up)])
        self.decoder_bias = nn.ParameterList([torch.zeros(outputs) for outputs in up[1:]])
        self.reset_parameters(mean_degree)

    def reset_parameters(self, mean_degree: float) -> None:
        """Uniform weights after Glorot and Bengio, the first layer's inputs counted as `mean_degree`; zero biases."""
        generator = torch_generator(self.config.seed, "sdne", "parameters")
        for number, weight in enumerate([*self.encoder, *self.decoder]):
            inputs = weight.shape[0] if number else mean_degree
            bound = (6.0 / (inputs + weight.shape[1])) ** 0.5
            nn.init.uniform_(weight, -bound, bound, generator=generator)
        for bias in [*self.encoder_bias, *self.decoder_bias]:
            nn.init.zeros_(bias)

    def encode(self, adjacency: SparseOperator) -> Tensor:
        """Adjacency rows (M × nodes) → vectors, M × dim."""
        first = self.encoder[0]
        values = self._activate(adjacency.to(first.dtype)(first) + self.encoder_bias[0])
        for weight, bias in zip(list(self.encoder)[1:], list(self.encoder_bias)[1:], strict=True):
            values = self._activate(torch.addmm(bias, values, weight))
        return values

    def decode(self, vectors: Tensor) -> Tensor:
        """Vectors (B × dim) → rebuilt adjacency rows, B × nodes, in (0, 1)."""
        values = vectors
        for weight, bias in zip(list(self.decoder)[:-1], list(self.decoder_bias)[:-1], strict=True):
            values = self._activate(torch.addmm(bias, values, weight))
        return torch.sigmoid(torch.addmm(self.decoder_bias[-1], values, self.decoder[-1]))

    def loss(self, batch: GraphBatch, draws: Draws) -> dict[str, Tensor]:
        """The batch's share of L, divided by its nodes; over an epoch of equal batches the mean is L / nodes."""
        beta = self.config.beta
        vectors = self.encode(batch.adjacency)
        rebuilt = self.decode(vectors[: batch.size])
        edges = rebuilt.flatten().index_select(0, batch.heads * self.nodes + batch.columns)
        # ‖(x̂ - x) ⊙ b‖² with x = 0 everywhere, put right where x = 1: neither x nor b is formed.
        second_order = rebuilt.square().sum() + ((beta * (1.0 - edges)).square() - edges.square()).sum()
        apart = F.embedding(batch.heads, vectors) - F.embedding(batch.tails, vectors)
        weights = torch.stack([weight.square().sum() for weight in [*self.encoder, *self.decoder]]).sum()
        return {
            "second_order": second_order / batch.size,
            "first_order": self.config.alpha * apart.square().sum() / batch.size,
            "weights": self.config.nu * weights / self.nodes,
        }

    def _activate(self, values: Tensor) -> Tensor:
        return torch.sigmoid(values) if self.config.activation == "sigmoid" else torch.tanh(values)


def _steps(widths: list[int]) -> list[tuple[int, int]]:
    return list(pairwise(widths))


@dataclass(frozen=True, eq=False)
class NodeVectors:
    """What `fit_sdne` gives.

    Attributes:
        matrix: float32, nodes × dim; zero rows for nodes without an edge.
        present: bool, one per node: whether it has an edge.
        outcome: how the optimisation ended.
    """

    matrix: NDArray[np.float32]
    present: NDArray[np.bool_]
    outcome: Outcome


def fit_sdne(
    graph: Rows, config: SdneConfig, *, identity: str = "", folder: Path | None = None, quiet: bool = False
) -> NodeVectors:
    """Train SDNE on a graph and encode its nodes. The same graph, settings and number of threads give the same bits.

    Args:
        graph: nodes × nodes, undirected, no self loops; nodes without an edge take no part.
        config: see `SdneConfig`.
        identity: of graph and settings, guards the checkpoint.
        folder: where the checkpoint goes, so that a stopped run can go on; None keeps nothing.
        quiet: show no progress.

    Raises:
        DataError: when the graph has no edge.
        Interrupted, TrainingError, ArtefactError, ConfigError: see `Loop`.
    """
    present = graph.lengths > 0
    kept = np.flatnonzero(present)
    if len(kept) == 0:
        raise DataError("the graph has no edge, so there is nothing to learn from")
    number = np.cumsum(present, dtype=np.int32) - np.int32(1)
    inner = graph.take(kept)
    inner = Rows(inner.pointer, number[inner.columns], len(kept))
    model = Sdne(len(kept), inner.size / len(kept), config)
    loop = Loop(
        model,
        model.loss,
        NodeBatches(inner, config.batch_size, config.seed),
        LoopConfig(
            epochs=config.epochs,
            learning_rate=config.learning_rate,
            device=config.device,
            checkpoint_seconds=CHECKPOINT_SECONDS,
        ),
        seed=config.seed,
        identity=identity,
        folder=folder,
        quiet=quiet,
    )
    outcome = loop.run()
    matrix = np.zeros((graph.count, config.dim), dtype=np.float32)
    with torch.inference_mode():
        for start in range(0, len(kept), ENCODED_AT_ONCE):
            nodes = np.arange(start, min(start + ENCODED_AT_ONCE, len(kept)))
            rows = adjacency_rows(inner, nodes).to(loop.device)
            matrix[kept[nodes]] = model.encode(rows).float().cpu().numpy()
    return NodeVectors(matrix, present, outcome)
