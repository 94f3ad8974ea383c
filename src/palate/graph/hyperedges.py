"""Hypergraph algebra: how strongly nodes depend on hyperedges, and the node rows that hyperedges sum up.

A node's row of a dependency H (nodes × A, not negative) says how much it hears of each of A hyperedges. What comes out
of message passing over hyperedges is H L with one latent table L (A × d) for all nodes: rank A, best left as factors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from palate.core.width import gram, norm, onto_columns, squared_norm

# Rows shorter than this are divided by it instead of their norm, as in `normalize`.
FLOOR = 1e-12
# A sum shorter than this share of what its parts have together is formed to be measured: they nearly cancel.
CANCELLED = 0.05


def soften(logits: Tensor, temperature: float, noise: Tensor | None = None) -> Tensor:
    """softmax((h + g) / τ) by row: how a node divides itself among the hyperedges.

    Args:
        logits: h, nodes × A.
        temperature: τ.
        noise: g, nodes × A; None: no noise.
    """
    return torch.softmax((logits if noise is None else logits + noise) / temperature, dim=1)


def collect(dependency: Tensor, rows: Tensor) -> Tensor:
    """Hᵀ E: what the hyperedges are told by their nodes, A × d.

    Args:
        dependency: H, nodes × A.
        rows: E, nodes × d.
    """
    return onto_columns(dependency).T @ rows


@dataclass(frozen=True)
class HyperedgeRows:
    """Node rows H L.

    Attributes:
        dependency: H, nodes × A; a zero row is a node that hears nothing.
        latent: L, A × d.
    """

    dependency: Tensor
    latent: Tensor

    def table(self) -> Tensor:
        """H L itself, nodes × d."""
        return onto_columns(self.dependency) @ self.latent

    def take(self, nodes: Tensor) -> HyperedgeRows:
        """The rows of `nodes` (int64)."""
        return HyperedgeRows(F.embedding(nodes, self.dependency), self.latent)

    def part(self, start: int, stop: int) -> HyperedgeRows:
        """The rows from `start` up to `stop`."""
        return HyperedgeRows(self.dependency[start:stop], self.latent)

    def directions(self) -> Tensor:
        """D H (nodes × A) with D = 1 / max(‖H L‖, 1e-12) by row, so that D H L has unit rows.

        The squared norms are the diagonal of H (L Lᵀ) Hᵀ. Where the parts of a row nearly cancel little of that is
        left, so that these rows are formed; what is left of them after rounding has no direction, and is not taken for
        shorter than rounding makes it.
        """
        squares = ((self.dependency @ gram(self.latent, self.latent)) * self.dependency).sum(1)
        together = self.dependency.detach() @ norm(self.latent.detach())
        faint = (squares.detach() < (CANCELLED * together).square()).nonzero().squeeze(1)
        if len(faint):
            formed = squared_norm(onto_columns(self.dependency.index_select(0, faint)) @ self.latent)
            squares = squares.index_copy(0, faint, formed)
        least = (torch.finfo(together.dtype).eps * together).clamp_min(FLOOR)
        return self.dependency / torch.maximum(squares, least.square()).sqrt().unsqueeze(1)


def cosine_factors(left: HyperedgeRows, right: HyperedgeRows) -> tuple[Tensor, Tensor]:
    """Two tables of A columns whose inner products are the cosines of all pairs of rows of `left` and `right`.

    norm(H₁ L₁) norm(H₂ L₂)ᵀ = D₁ H₁ (L₁ L₂ᵀ) · (D₂ H₂)ᵀ: the inner size is A instead of d, and no row is formed.

    Returns:
        D₁ H₁ (L₁ L₂ᵀ) and D₂ H₂.
    """
    return left.directions() @ gram(left.latent, right.latent), right.directions()


class Merged(NamedTuple):
    """Rows of which none need have the direction of another.

    Attributes:
        rows: their directions are those of the nodes they stand for, their lengths are not.
        weights: how many nodes each stands for.
        place: int64, the row that stands for each node.
    """

    rows: HyperedgeRows
    weights: Tensor
    place: Tensor


def merge(nodes: HyperedgeRows, weights: Tensor) -> Merged:
    """One row for all nodes that hear the same single hyperedge, one for all that hear nothing.

    Such nodes point the same way, however loud they hear it (unless too faint for the floor of a norm), so what depends
    on directions alone sees no difference. With few hyperedges and dropout they are many: of A = 4 at rate ½ a third.
    Entries of H that are 0 are taken for constants, as those that were dropped are.

    Args:
        nodes: the nodes.
        weights: how often each counts; 0 leaves it out, and its `place` then says nothing.
    """
    heard, latent = nodes.dependency.detach(), nodes.latent.detach()
    hyperedges = heard.shape[1]
    number = (heard > 0).sum(1)
    # Nor may the hyperedge itself be too faint: its own row stands for them.
    loud = (heard.clamp_max(1) * norm(latent) >= FLOOR).any(1)
    alone = ((number > 1) | ((number == 1) & ~loud)) & (weights > 0)
    kept = alone.nonzero().squeeze(1)
    # Group k is of those that hear hyperedge k alone, group A of those that hear nothing.
    group = torch.where(number == 1, heard.argmax(1), hyperedges)
    together = weights.new_zeros(hyperedges + 1).index_add_(0, group, weights.masked_fill(alone, 0))
    met = together.nonzero().squeeze(1)
    units = F.pad(torch.eye(hyperedges, dtype=heard.dtype, device=heard.device), (0, 0, 0, 1))
    rows = torch.cat([F.embedding(kept, nodes.dependency), units.index_select(0, met)])
    numbers = group.new_zeros(hyperedges + 1)
    numbers[met] = torch.arange(len(kept), len(rows), device=group.device)
    place = torch.where(alone, alone.cumsum(0) - 1, numbers.index_select(0, group))
    merged = torch.cat([weights.index_select(0, kept), together.index_select(0, met)])
    return Merged(HyperedgeRows(rows, nodes.latent), merged, place)
