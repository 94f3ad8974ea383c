"""The user–item graph of the train interactions, and the propagation matrices that models build from it.

Nodes are numbered users first, then items: A = [[0, R], [Rᵀ, 0]].
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from palate.graph.operator import SparseOperator
from palate.graph.powers import mean_of_powers, mean_of_powers_at
from palate.graph.rows import Rows, pointers


class Bipartite:
    """Interactions in both CSR directions.

    Args:
        by_user: the items of each user, in order of time; each pair once.

    Attributes:
        by_user: as given.
        by_item: the users of each item.
    """

    def __init__(self, by_user: Rows) -> None:
        self.by_user = by_user
        self.by_item = by_user.transpose()

    @property
    def users(self) -> int:
        """Number of users U."""
        return self.by_user.count

    @property
    def items(self) -> int:
        """Number of items I."""
        return self.by_user.width

    def adjacency(self) -> Rows:
        """The structure of A, (U + I) × (U + I), columns ascending."""
        nodes = self.users + self.items
        by_user = self.by_item.transpose()
        pointer = np.concatenate([by_user.pointer, by_user.size + self.by_item.pointer[1:]])
        return Rows(pointer, np.concatenate([by_user.columns + np.int32(self.users), self.by_item.columns]), nodes)

    def normalised(self, degree_epsilon: float = 0.0, dtype: torch.dtype | None = None) -> SparseOperator:
        """Â = D^-1/2 A D^-1/2 with D = degrees + `degree_epsilon`; isolated nodes have zero rows.

        Args:
            degree_epsilon: 0 or more.
            dtype: of its values; None is torch's default.

        Source: LightGCN (He et al., SIGIR 2020), equation 3.
        """
        adjacency = self.adjacency()
        scale = inverse_root(adjacency.lengths + degree_epsilon)
        values = scale[adjacency.row_of_entry()] * scale[adjacency.columns]
        return SparseOperator(adjacency, values, symmetric=True, dtype=dtype)

    def user_block(self, degree_epsilon: float = 0.0) -> SparseOperator:
        """R̂ (U × I), the rows of users and columns of items of Â."""
        rows = self.by_item.transpose()
        user, item = (inverse_root(side.lengths + degree_epsilon) for side in (self.by_user, self.by_item))
        return SparseOperator(rows, user[rows.row_of_entry()] * item[rows.columns])

    def history_sum(self) -> SparseOperator:
        """R (U × I): the sum over the items of a user."""
        rows = self.by_item.transpose()
        return SparseOperator(rows, np.ones(rows.size))

    def history_mean(self) -> SparseOperator:
        """The mean over the items of a user (U × I); users without items have zero rows."""
        rows = self.by_item.transpose()
        return SparseOperator(rows, _inverse(rows.lengths)[rows.row_of_entry()])

    def subset(self, kept: NDArray[np.bool_]) -> Bipartite:
        """The graph of some of the interactions.

        Args:
            kept: one for each stored pair of `by_user`.
        """
        rows = self.by_user
        return Bipartite(Rows(pointers(rows.row_of_entry()[kept], rows.count), rows.columns[kept], rows.width))


def inverse_root(degrees: NDArray[np.floating]) -> NDArray[np.floating]:
    """1 / sqrt(degree), and 0 where the degree is 0."""
    safe = np.where(degrees > 0, degrees, 1.0)
    return np.where(degrees > 0, 1.0 / np.sqrt(safe), 0.0)


def _inverse(degrees: NDArray[np.integer]) -> NDArray[np.float64]:
    return np.where(degrees > 0, 1.0 / np.maximum(degrees, 1), 0.0)


def mean_of_layers(operator: SparseOperator, table: Tensor, layers: int) -> Tensor:
    """mean(E, ÂE, …, Â^layers E): LightGCN's propagation (equations 7 and 8 with uniform weights).

    Args:
        operator: Â, nodes × nodes.
        table: E, nodes × d.
        layers: number of hops, 0 or more.
    """
    return mean_of_powers(operator, table, layers)


def mean_of_layers_at(operator: SparseOperator, table: Tensor, layers: int, nodes: Tensor) -> tuple[Tensor, Tensor]:
    """The rows `nodes` of `mean_of_layers` and of E itself, at less cost than all rows.

    Args:
        operator, table, layers: see `mean_of_layers`.
        nodes: int64; they may repeat.

    Returns:
        Two tensors, len(nodes) × d.
    """
    return mean_of_powers_at(operator, table, layers, nodes)
