"""Attention in the two forms that CRMMAN uses: of nodes over their neighbours in a sparse graph, and of the items of a
set over each other. Both in torch alone, with gradients that are the same bits on every repeat.

Heads mix the columns of an embedding throughout: they cannot be spread over processes here.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from palate.core.errors import ConfigError
from palate.core.width import ColumnLinear, inner
from palate.graph.rows import Rows, pointers

# Slope of the LeakyReLU in the attention of graphs, as in the paper.
SLOPE = 0.2
# Subsets of one set that are worked on together.
SUBSETS = 8
# Cells of attention (sets × members × members) worked on at once in each head: what fits the processor's cache.
CELLS = 1 << 18


class _WeightedSum(torch.autograd.Function):
    """Σ_j a_ij h_j for each head, forward and backward through CSR products (heads × E and N × heads × d')."""

    @staticmethod
    def forward(ctx: Any, weights: Tensor, rows: Tensor, graph: Neighbourhoods) -> Tensor:
        ctx.save_for_backward(weights, rows)
        ctx.graph = graph
        pairs = zip(weights, rows.unbind(1), strict=True)
        return torch.stack([torch.sparse.mm(graph.matrix(values), head.contiguous()) for values, head in pairs], 1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        weights, rows = ctx.saved_tensors
        graph: Neighbourhoods = ctx.graph
        of_weights: list[Tensor] = []
        of_rows: list[Tensor] = []
        for values, head, gradient in zip(weights, rows.unbind(1), gradients[0].unbind(1), strict=True):
            outer = gradient.contiguous()
            empty = graph.matrix(torch.zeros_like(values))
            of_weights.append(torch.sparse.sampled_addmm(empty, outer, head.T, beta=0.0).values())
            of_rows.append(torch.sparse.mm(graph.matrix(values, turned=True), outer))
        return torch.stack(of_weights), torch.stack(of_rows, 1), None


class Neighbourhoods(nn.Module):
    """N_i ∪ {i} of each node i in CSR form, for attention over them.

    Args:
        graph: the neighbours of each node, nodes × nodes, without self loops; they are added.
    """

    pointer: Tensor
    columns: Tensor
    row: Tensor
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
            "turned_pointer": pointers(with_self.columns, graph.count).astype(np.int32),
            "turned_columns": with_self.transpose().columns,
            "turned_order": np.argsort(with_self.columns, kind="stable").astype(np.int32),
        }
        for name, values in arrays.items():
            self.register_buffer(name, torch.from_numpy(values), persistent=False)

    def matrix(self, values: Tensor, *, turned: bool = False) -> Tensor:
        """The CSR matrix of the graph with `values` (E), or its transpose."""
        nodes = len(self.pointer) - 1
        if turned:
            place, columns, values = self.turned_pointer, self.turned_columns, values[self.turned_order]
        else:
            place, columns = self.pointer, self.columns
        return torch.sparse_csr_tensor(place, columns, values, size=(nodes, nodes), check_invariants=False)

    def softmax(self, logits: Tensor) -> Tensor:
        """Softmax of E × heads logits over the neighbours of each node."""
        place = self.pointer.long()
        largest = torch.segment_reduce(logits.detach(), "max", offsets=place, axis=0)
        weights = (logits - F.embedding(self.row, largest)).exp()
        return weights / F.embedding(self.row, torch.segment_reduce(weights, "sum", offsets=place, axis=0))


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
        logits = F.embedding(graph.row, node) + F.embedding(graph.columns, neighbour)
        return graph.softmax(F.leaky_relu(logits, SLOPE))

    def forward(self, nodes: Tensor, graph: Neighbourhoods) -> Tensor:
        """p' (nodes × outputs) from p (nodes × inputs)."""
        rows = self.weight(nodes).view(len(nodes), self.heads, -1)
        summed = _WeightedSum.apply(self.attention(rows, graph).T.contiguous(), rows, graph)
        return F.elu(summed.flatten(1) if self.combine == "concat" else summed.mean(1))


class LatestSets(nn.Module):
    """The latest few columns of each row, as sets padded to one length.

    Args:
        rows: columns in order of time.
        most: members of a set at most.
    """

    first: Tensor
    lengths: Tensor
    columns: Tensor

    def __init__(self, rows: Rows, most: int) -> None:
        super().__init__()
        lengths = np.minimum(rows.lengths, most)
        for name, values in (("first", rows.pointer[1:] - lengths), ("lengths", lengths), ("columns", rows.columns)):
            self.register_buffer(name, torch.from_numpy(values.copy()), persistent=False)

    def forward(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """The sets of `rows` (int64, B), the latest member last.

        Returns:
            Members, int64, B × n with n the largest set's size; and which of them are there (bool, B × n): the others
            are 0.
        """
        lengths = self.lengths[rows].unsqueeze(1)
        place = torch.arange(int(lengths.max()) if len(rows) else 0, device=rows.device)
        inside = place < lengths
        entry = (self.first[rows].unsqueeze(1) + place) * inside
        return self.columns[entry].long() * inside, inside


class SetAttention(nn.Module):
    """Multi-head self-attention over the members of a set, and the mean of its rows (Vaswani et al., 2017).

    With X the rows of the set, head h is softmax(Q_h K_hᵀ / √d_h) V_h of Q, K, V = X W^Q, X W^K, X W^V; the heads are
    concatenated, times W^O, and the rows averaged. No position: the order within a set does not matter.

    W^V starts orthogonal and W^O as its transpose, so that the result starts as about the mean of the set's rows.

    Args:
        width: of the rows, and of the result.
        heads: number of heads; each has width / heads columns.

    Raises:
        ConfigError: when the heads cannot share the width evenly.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        check_heads("self-attention", width, heads)
        self.heads = heads
        self.columns = width // heads
        self.query, self.key, self.value, self.output = (ColumnLinear(width, width, bias=False) for _ in range(4))
        nn.init.orthogonal_(self.value.weight)
        with torch.no_grad():
            self.output.weight.copy_(self.value.weight.T)

    def project(self, rows: Tensor) -> Tensor:
        """X W^Q, X W^K and X W^V of a table of rows (N × width): N × 3 width, once however many sets hold a row."""
        return torch.cat([self.query(rows), self.key(rows), self.value(rows)], dim=1)

    def forward(self, projected: Tensor, members: Tensor, owner: Tensor, stays: Tensor) -> Tensor:
        """One vector for each of B subsets of G sets, B × width; zero for one that is empty.

        The subsets of a set share its logits, so that leaving one member out in many ways costs little more than once.

        Args:
            projected: of the table that the members are rows of (`project`).
            members: int64, G × n.
            owner: int64, B, the set that each subset is of.
            stays: bool, B × n, which of the set's members are in the subset; the others have no influence on it,
                neither as rows nor as neighbours.
        """
        # A set of many subsets is worked on as several sets of a few, so that no set is padded to its number of them.
        number = _number_within(owner)
        part, row = torch.unique(owner * len(owner) + number // SUBSETS, return_inverse=True)
        members, slot = members[part // len(owner)], number % SUBSETS
        variants = torch.zeros(
            len(part), int(slot.max()) + 1, members.shape[1], dtype=torch.bool, device=members.device
        )
        variants[row, slot] = stays
        # Sets of about one size are worked on together: short ones are not padded to the longest of all.
        place = torch.arange(1, members.shape[1] + 1, device=members.device)
        extent = F.pad(variants.any(1) * place, (1, 0)).amax(1)
        order = extent.argsort(stable=True)
        means: list[Tensor] = []
        for block in order.split(max(1, CELLS // max(1, members.shape[1]) ** 2)):
            longest = int(extent[block].amax())
            if longest:
                means.append(self._mean(projected, members[block, :longest], variants[block, :, :longest]))
            else:
                means.append(projected.new_zeros(len(block), variants.shape[1], self.heads * self.columns))
        where = order.argsort()[row] * variants.shape[1] + slot
        return self.output(F.embedding(where, torch.cat(means).flatten(0, 1)))

    def _mean(self, projected: Tensor, members: Tensor, variants: Tensor) -> Tensor:
        """The mean over the rows of each variant (G × m × n) of a set, heads concatenated, before W^O: G × m × width.

        The variants of a set share its powers e^(q·k), and each sums them over its own members alone. As the mean of
        the rows of A V is (the mean of the rows of A) V, no A of any variant is formed.
        """
        rows = F.embedding(members, projected).view(*members.shape, 3, self.heads, self.columns)
        query, key, value = rows.permute(2, 0, 3, 1, 4)
        logits = query @ key.transpose(-1, -2) / self.columns**0.5
        # A power below `least` is nothing beside its row's largest. Where that is left out and only such are left, they
        # still make a sum that can be divided by, and differentiated, in this precision.
        least = math.log(torch.finfo(logits.dtype).tiny) / 2.5
        powers = (logits - logits.detach().amax(-1, keepdim=True)).clamp_min(least).exp()
        there = variants.transpose(1, 2).unsqueeze(1).to(powers)
        sums = (powers @ there).clamp_min(math.exp(least))
        shares = there / (sums * there.sum(2, keepdim=True).clamp_min(1.0))
        attention = (powers.transpose(-1, -2) @ shares) * there
        return (attention.transpose(-1, -2) @ value).transpose(1, 2).flatten(2)


def _number_within(owner: Tensor) -> Tensor:
    """The number of each entry among those of its owner: 0, 1, …"""
    counts = torch.bincount(owner)
    number = torch.arange(len(owner), device=owner.device) - (counts.cumsum(0) - counts).repeat_interleave(counts)
    return torch.empty_like(owner).index_copy_(0, owner.argsort(stable=True), number)


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
