"""A user's latest items as sets, subsets of them, and the attention of a set's members over each other, as in CRMMAN.

In torch alone, with gradients that are the same bits on every repeat on a CPU. Heads mix the columns of an embedding:
they cannot be spread over processes here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from palate.core.gradients import once
from palate.core.width import ColumnLinear
from palate.graph.operator import weighted_sums
from palate.graph.rows import Rows
from palate.models.attention import check_heads

# Subsets of one set that are worked on together.
SUBSETS = 8
# Cells of attention (sets × members × members) worked on at once in each head: what fits the processor's cache.
CELLS = 1 << 18
# Members of a set up to which padding costs less than more blocks.
SMALL = 12


class LatestSets(nn.Module):
    """The latest few columns of each row, as sets padded to one length.

    Args:
        rows: columns in order of time.
        most: members of a set at most.
    """

    first: Tensor
    lengths: Tensor
    columns: Tensor
    keys: Tensor
    marks: Tensor

    def __init__(self, rows: Rows, most: int) -> None:
        super().__init__()
        self.width = rows.width
        lengths = np.minimum(rows.lengths, most)
        late = np.arange(rows.size) >= np.repeat(rows.pointer[1:] - lengths, rows.lengths)
        keys = np.sort((rows.row_of_entry() * rows.width + rows.columns)[late])
        marks = 16 * len(keys) + 1
        for name, values in (
            ("first", rows.pointer[1:] - lengths),
            ("lengths", lengths),
            ("columns", rows.columns),
            ("keys", keys),
            ("marks", np.bincount(keys % marks, minlength=marks) > 0),
        ):
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

    def contain(self, rows: Tensor, columns: Tensor) -> Tensor:
        """Which of `columns` (int64, B × k) are in the set of their row of `rows` (int64, B): bool, B × k."""
        wanted = rows.unsqueeze(1) * self.width + columns
        # Nearly all that are in no set are told by a look at one place, and are not searched for.
        found = self.marks[wanted % len(self.marks)]
        some = wanted[found]
        found[found.clone()] = self.keys[torch.searchsorted(self.keys, some).clamp_max_(len(self.keys) - 1)] == some
        return found

    def without(self, rows: Tensor, columns: Tensor) -> Subsets:
        """The sets of `rows` (int64, B), each without what its row of `columns` (int64, B × k) names."""
        sets, owner = torch.unique(rows, return_inverse=True)
        members, inside = self(sets)
        named = self.contain(rows, columns)
        # Rows of one set that leave out nothing, or the same one member, have one subset.
        number = named.sum(1)
        left = torch.where(number > 0, (columns * named).amax(1), self.width)
        own = len(sets) * (self.width + 1) + torch.arange(len(rows), device=rows.device)
        kinds, which = torch.unique(torch.where(number > 1, own, owner * (self.width + 1) + left), return_inverse=True)
        sample = torch.full_like(kinds, len(rows)).scatter_reduce_(
            0, which, torch.arange(len(rows), device=rows.device), "amin"
        )
        owner, named = owner[sample], named[sample]
        subset, place = named.nonzero(as_tuple=True)
        met = members[owner[subset]] == columns[sample[subset], place].unsqueeze(1)
        absent = torch.zeros(len(kinds), members.shape[1], dtype=torch.int32, device=rows.device)
        absent.index_add_(0, subset, met.int())
        return Subsets(members, owner, inside[owner] & (absent == 0), which)


@dataclass(frozen=True)
class Subsets:
    """Different subsets of a few sets.

    Attributes:
        members: of the sets, int64, G × n.
        owner: the set that each subset is of, int64, S.
        stays: which of the set's members are in the subset, bool, S × n.
        which: the subset of each row that asked for one, int64.
    """

    members: Tensor
    owner: Tensor
    stays: Tensor
    which: Tensor


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
        return F.linear(rows, torch.cat([self.query.weight, self.key.weight, self.value.weight]))

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
        if members.shape[1] == 0:
            return self.output(projected.new_zeros(len(owner), self.heads * self.columns))
        # A set of many subsets is worked on as several sets of a few, so that no set is padded to its number of them.
        number = _number_within(owner)
        part, row = torch.unique(owner * len(owner) + number // SUBSETS, return_inverse=True)
        members, slot = members[part // len(owner)], number % SUBSETS
        most = int(slot.max()) + 1
        variants = torch.zeros(len(part), most, members.shape[1], dtype=torch.bool, device=members.device)
        variants[row, slot] = stays
        # Sets of about one size, and as many subsets, are worked on together: there is little to pad.
        place = torch.arange(1, members.shape[1] + 1, device=members.device)
        extent = F.pad(variants.any(1) * place, (1, 0)).amax(1)
        count = torch.bincount(row, minlength=len(part))
        order = (extent * (SUBSETS + 1) + count).argsort(stable=True)
        blocks: list[_Block] = []
        begins = torch.empty_like(order)
        begin = 0
        for block in order.split(_sizes(extent[order].tolist())):
            # A set without members is worked on as one of a member that is in no subset.
            longest, most = max(1, int(extent[block].amax())), int(count[block].amax())
            begins[block] = begin + most * torch.arange(len(block), device=order.device)
            there = variants[block, :most, :longest].to(projected.dtype)
            blocks.append(_Block.make(members[block, :longest], there, len(projected), begin))
            begin = blocks[-1].rows.stop
        means = _MeanAttention.apply(projected, self.heads, blocks)
        return self.output(F.embedding(begins[row] + slot, means))


def _sizes(extents: list[int]) -> list[int]:
    """How many sets are worked on together, of sets in order of their extents: few enough, and alike enough to pad."""
    sizes = [0]
    shortest = extents[0] if extents else 0
    for extent in extents:
        if sizes[-1] and ((sizes[-1] + 1) * extent**2 > CELLS or extent > max(SMALL, 1.6 * shortest)):
            sizes.append(0)
        if not sizes[-1]:
            shortest = extent
        sizes[-1] += 1
    return sizes


def _number_within(owner: Tensor) -> Tensor:
    """The number of each entry among those of its owner: 0, 1, …"""
    counts = torch.bincount(owner)
    number = torch.arange(len(owner), device=owner.device) - (counts.cumsum(0) - counts).repeat_interleave(counts)
    return torch.empty_like(owner).index_copy_(0, owner.argsort(stable=True), number)


@dataclass(frozen=True)
class _Block:
    """Sets that are worked on together.

    Attributes:
        members: rows of the table, int64, G · n.
        distinct: these rows, each once and ascending; None: all rows of the table, if they are few.
        pointer, order: int32, the places of each of them in `members`, in CSR form.
        ones: one for each place.
        stays: G × m × n, 1 where a member is in the subset and 0 elsewhere.
        weight: `stays` over the subset's size.
        rows: of the result, those of the subsets of these sets, G · m.
    """

    members: Tensor
    distinct: Tensor | None
    pointer: Tensor
    order: Tensor
    ones: Tensor
    stays: Tensor
    weight: Tensor
    rows: slice

    @classmethod
    def make(cls, members: Tensor, stays: Tensor, size: int, first: int) -> _Block:
        """Of sets of rows of a table of that size (G × n) and their subsets (G × m × n), the first of which is row
        `first` of the result."""
        flat = members.flatten()
        ascending, order = flat.int().sort(stable=True)
        if size <= len(flat):
            distinct, counts = None, torch.bincount(flat, minlength=size)
        else:
            distinct, counts = torch.unique_consecutive(ascending, return_counts=True)
        pointer, order = F.pad(counts.cumsum(0, dtype=torch.int32), (1, 0)), order.int()
        weight = stays / stays.sum(2, keepdim=True).clamp_min_(1.0)
        rows = slice(first, first + stays.shape[0] * stays.shape[1])
        return cls(flat, distinct, pointer, order, stays.new_ones(len(flat)), stays, weight, rows)

    def gather(self, own: Tensor) -> Tensor:
        """Q, K and V of the members, G × n × 3 × d, from those of the table (N × 3 × d)."""
        return own.index_select(0, self.members).view(len(self.stays), self.stays.shape[2], *own.shape[1:])

    def scatter(self, rows: Tensor, part: Tensor) -> None:
        """Add rows for the members (G × n × d) to theirs in `part`, N × d."""
        found = weighted_sums(self.pointer, self.order, self.ones, rows.flatten(0, 1))
        if self.distinct is None:
            part += found
        else:
            part.index_add_(0, self.distinct, found)


class _MeanAttention(torch.autograd.Function):
    """The mean over the rows of each subset of a set, heads side by side, before W^O.

    A set of n members has the powers P_ij = e^(q_i·k_j / √d). With t the subset's members as a row of ones and zeros,
    its sums are σ = t Pᵀ, the shares of its rows w = t / (σ Σt), and the mean is c V with c = t ∘ w P: as the mean of
    the rows of A V is (the mean of the rows of A) V, the subsets share P, and no A of any of them is formed.

    Takes Q ‖ K ‖ V of the table (N × 3 width). Works on one head of one block at a time, most of which stays in the
    processor's cache; what autograd would do step by step moves several times as much memory.
    """

    @staticmethod
    def forward(ctx: Any, table: Tensor, heads: int, blocks: list[_Block]) -> Tensor:
        columns = table.shape[1] // (3 * heads)
        found = table.new_empty(blocks[-1].rows.stop, heads, columns)
        kept: list[Tensor] = []
        ctx.near = []
        for head in range(heads):
            own = _head(table, heads, head)
            ctx.near.append(_near(own))
            for block in blocks:
                rows = block.gather(own)
                query, key, value = rows.unbind(2)
                powers = _powers(torch.bmm(query, key.transpose(1, 2)), ctx.near[head])
                sums = torch.bmm(block.stays, powers.transpose(1, 2)).clamp_min_(_floor(table))
                column = torch.bmm(block.weight / sums, powers).mul_(block.stays)
                found[block.rows, head] = torch.bmm(column, value).flatten(0, 1)
                kept += [rows, powers, sums, column]
        ctx.save_for_backward(table, *kept)
        ctx.heads, ctx.blocks = heads, blocks
        return found.flatten(1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        once()
        table, *saved = ctx.saved_tensors
        heads: int = ctx.heads
        kept = iter(saved)
        outer = gradients[0].view(len(gradients[0]), heads, -1)
        of_table = torch.empty_like(table)
        for head in range(heads):
            of_own = table.new_zeros(3, len(table), outer.shape[2])
            for block in ctx.blocks:
                rows, powers, sums, column = (next(kept) for _ in range(4))
                query, key, value = rows.unbind(2)
                gradient = outer[block.rows, head].view(*sums.shape[:2], -1)
                share = block.weight / sums
                of_column = torch.bmm(gradient, value.transpose(1, 2)).mul_(block.stays)
                of_sums = torch.bmm(of_column, powers.transpose(1, 2)).mul_(share).div_(sums).neg_()
                of_logits = torch.bmm(share.transpose(1, 2), of_column).baddbmm_(of_sums.transpose(1, 2), block.stays)
                # Powers at the floor are constant.
                of_logits.mul_(powers if ctx.near[head] else F.threshold(powers, 1.001 * _floor(table), 0.0))
                found = (
                    torch.bmm(of_logits, key),
                    torch.bmm(of_logits.transpose(1, 2), query),
                    torch.bmm(column.transpose(1, 2), gradient),
                )
                for of_rows, part in zip(found, of_own, strict=True):
                    block.scatter(of_rows, part)
            of_own[0] *= outer.shape[2] ** -0.5
            of_table.view(len(table), 3, heads, -1)[:, :, head] = of_own.transpose(0, 1)
        return of_table, None, None


def _floor(table: Tensor) -> float:
    """The least power of a member, beside the largest of its row, in the precision of `table`."""
    return torch.finfo(table.dtype).tiny ** 0.4


def _powers(logits: Tensor, near: bool) -> Tensor:
    """e^logit, each row (of G × n × n) times a number of its own; takes over the tensor.

    A power below the floor is nothing beside its row's largest. Where that is left out and only such are left, they
    still make a sum that can be divided by, and differentiated, in this precision. Logits that are all near zero make
    no such power, and can do without the search for the largest.
    """
    if near:
        return logits.exp_()
    return logits.sub_(logits.amax(2, keepdim=True)).clamp_min_(math.log(_floor(logits))).exp_()


def _near(own: Tensor) -> bool:
    """Whether no logit of a head (N × 3 × d) can be so far from zero that some power is below the floor."""
    query, key = torch.linalg.vector_norm(own[:, :2], dim=2).amax(0).tolist()
    return query * key <= -math.log(_floor(own)) / 2


def _head(table: Tensor, heads: int, head: int) -> Tensor:
    """Q / √d ‖ K ‖ V of one head, N × 3 × d."""
    own = table.view(len(table), 3, heads, -1)[:, :, head].clone(memory_format=torch.contiguous_format)
    own[:, 0] *= own.shape[2] ** -0.5
    return own
