"""Attention of nodes over their neighbours in a sparse graph, in torch alone, with gradients that are the same bits on
every repeat.

Heads mix the columns of an embedding: they cannot be spread over processes here.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from palate.core.errors import ConfigError
from palate.core.gradients import once
from palate.core.width import ColumnLinear, inner
from palate.graph.operator import weighted_sums
from palate.graph.pairs import products_at
from palate.graph.rows import Rows, pointers

# Slope of the LeakyReLU in the attention of graphs, as in the paper.
SLOPE = 0.2


class _Shares(torch.autograd.Function):
    """a_ij (E × heads) of the logits LeakyReLU(node_i + neighbour_j), of numbers for each node (N × heads)."""

    @staticmethod
    def forward(ctx: Any, node: Tensor, neighbour: Tensor, graph: Neighbourhoods) -> Tensor:
        logits = node.index_select(0, graph.row) + neighbour.index_select(0, graph.columns)
        shares = graph.softmax(F.leaky_relu(logits, SLOPE))
        ctx.save_for_backward(shares, logits > 0)
        ctx.graph = graph
        return shares

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        once()
        shares, rising = ctx.saved_tensors
        graph: Neighbourhoods = ctx.graph
        of_logits = shares * gradients[0]
        of_logits -= shares * graph.sums(of_logits).index_select(0, graph.row)
        of_logits = torch.where(rising, of_logits, SLOPE * of_logits)
        return graph.sums(of_logits), graph.sums(of_logits, turned=True), None


class _WeightedSum(torch.autograd.Function):
    """Σ_j a_ij h_j for each head, forward and backward through sparse products (heads × E and N × heads × d')."""

    @staticmethod
    def forward(ctx: Any, weights: Tensor, rows: Tensor, graph: Neighbourhoods) -> Tensor:
        ctx.save_for_backward(weights, rows)
        ctx.graph = graph
        pairs = zip(weights, rows.unbind(1), strict=True)
        return torch.stack([weighted_sums(graph.pointer, graph.columns, values, head) for values, head in pairs], 1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        once()
        weights, rows = ctx.saved_tensors
        graph: Neighbourhoods = ctx.graph
        of_weights: list[Tensor] = []
        of_rows: list[Tensor] = []
        for values, head, gradient in zip(weights, rows.unbind(1), gradients[0].unbind(1), strict=True):
            of_weights.append(products_at(graph.pointer, graph.columns, gradient, head))
            turned = values.index_select(0, graph.turned_order)
            of_rows.append(weighted_sums(graph.turned_pointer, graph.turned_columns, turned, gradient))
        return torch.stack(of_weights), torch.stack(of_rows, 1), None


class Neighbourhoods(nn.Module):
    """N_i ∪ {i} of each node i in CSR form, for attention over them.

    Args:
        graph: the neighbours of each node, nodes × nodes, without self loops; they are added.
    """

    pointer: Tensor
    columns: Tensor
    row: Tensor
    entry: Tensor
    turned_pointer: Tensor
    turned_columns: Tensor
    turned_order: Tensor

    def __init__(self, graph: Rows) -> None:
        super().__init__()
        nodes = np.arange(graph.count)
        loops = Rows(np.arange(graph.count + 1, dtype=np.int64), nodes.astype(np.int32), graph.count)
        with_self = graph.union(loops)
        arrays = {
            "pointer": with_self.pointer.astype(np.int32),
            "columns": with_self.columns,
            "row": with_self.row_of_entry().astype(np.int32),
            "entry": np.arange(with_self.size, dtype=np.int32),
            "turned_pointer": pointers(with_self.columns, graph.count).astype(np.int32),
            "turned_columns": with_self.transpose().columns,
            "turned_order": np.argsort(with_self.columns, kind="stable").astype(np.int32),
        }
        for name, values in arrays.items():
            self.register_buffer(name, torch.from_numpy(values), persistent=False)

    def sums(self, values: Tensor, *, turned: bool = False) -> Tensor:
        """Sums of E × heads values over the pairs of each node, or over those in which it is the neighbour."""
        pointer, entry = (self.turned_pointer, self.turned_order) if turned else (self.pointer, self.entry)
        return weighted_sums(pointer, entry, values.new_ones(len(entry)), values)

    @torch.no_grad()
    def softmax(self, logits: Tensor) -> Tensor:
        """Softmax of E × heads logits over the neighbours of each node; autograd does not follow."""
        largest = torch.segment_reduce(logits, "max", offsets=self.pointer.long(), axis=0)
        weights = (logits - largest.index_select(0, self.row)).exp()
        return weights / self.sums(weights).index_select(0, self.row)


class GraphAttention(nn.Module):
    """One layer of multi-head graph attention (Veličković et al., ICLR 2018, equations 1–6).

    a_ij = softmax_j LeakyReLU(aᵀ [W p_i ‖ W p_j]) over j ∈ N_i ∪ {i}, and p'_i = ELU(Σ_j a_ij W p_j) of all heads
    concatenated; in the mean form the heads are averaged before the ELU.

    Args:
        inputs: width of p.
        outputs: width of p'.
        heads: number of heads; concatenated, each has outputs / heads columns.
        combine: how the heads become one.

    Raises:
        ConfigError: when concatenated heads cannot share the outputs evenly.
    """

    def __init__(self, inputs: int, outputs: int, heads: int, combine: Literal["concat", "mean"]) -> None:
        super().__init__()
        if combine == "concat":
            check_heads("graph attention", outputs, heads)
        self.combine = combine
        self.heads = heads
        columns = outputs // heads if combine == "concat" else outputs
        self.weight = ColumnLinear(inputs, heads * columns, bias=False)
        self.to_node = nn.Parameter(nn.init.xavier_normal_(torch.empty(heads, columns)))
        self.to_neighbour = nn.Parameter(nn.init.xavier_normal_(torch.empty(heads, columns)))

    def attention(self, rows: Tensor, graph: Neighbourhoods) -> Tensor:
        """a_ij of each stored pair and head, E × heads, from the rows W p (nodes × heads × columns)."""
        # aᵀ [W p_i ‖ W p_j] is a sum of two numbers, one of each node: nothing as wide as p is formed for an edge.
        node, neighbour = inner(rows, self.to_node), inner(rows, self.to_neighbour)
        return _Shares.apply(node, neighbour, graph)

    def forward(self, nodes: Tensor, graph: Neighbourhoods) -> Tensor:
        """p' (nodes × outputs) from p (nodes × inputs)."""
        rows = self.weight(nodes).view(len(nodes), self.heads, -1)
        summed = _WeightedSum.apply(self.attention(rows, graph).T.contiguous(), rows, graph)
        return F.elu(summed.flatten(1) if self.combine == "concat" else summed.mean(1))


def check_heads(what: str, width: int, heads: int) -> None:
    """Refuse heads that cannot share `width` columns evenly.

    Raises:
        ConfigError: when they cannot.
    """
    if width % heads:
        raise ConfigError(
            f"{heads} heads of {what} cannot share {width} columns evenly",
            do=f"choose a number of heads that divides {width}, or another width",
        )
