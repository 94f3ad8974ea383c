"""EASE (Steck, WWW 2019): a linear item–item model with a closed-form solution; strong and hard to beat."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from palate.core.config import Config
from palate.core.errors import ConfigError, TrainingError
from palate.core.search import Range, Space
from palate.dataset.inputs import ModelInputs
from palate.graph.rows import Rows
from palate.models.base import MODELS, Classical

MAX_ITEMS = 30_000
# Entries of the dense block of histories that the item–item counts are made from.
BLOCK_ENTRIES = 2**22


class EASEConfig(Config):
    """Settings of EASE."""

    ridge: float = Field(default=250.0, gt=0, description="λ of the squared weights; larger for sparser data")


@MODELS.register("ease")
class EASE(Classical):
    """S = R B, where B minimises ‖R - R B‖² + λ ‖B‖² with a zero diagonal (equations 3–8).

    Raises:
        ConfigError: beyond 30,000 items: solving takes 20 bytes for each pair of items, 18 GB for so many.
    """

    Config = EASEConfig
    title = "EASE"
    source = "Steck, WWW 2019"
    search: ClassVar[Space] = {"ridge": Range(10.0, 3000.0, log=True)}
    weights: Tensor

    def __init__(self, config: EASEConfig, inputs: ModelInputs) -> None:
        super().__init__(config, inputs)
        if inputs.items > MAX_ITEMS:
            raise ConfigError(
                f"EASE keeps a dense items × items matrix; {inputs.items:,} items are more than {MAX_ITEMS:,}",
                do="filter rare items (--min-item), or choose another model",
            )
        self.config = config
        self.by_user = inputs.train.by_user
        self.by_item = inputs.train.by_item
        self.register_buffer("weights", torch.zeros(inputs.items, inputs.items))

    def fit(self) -> None:
        """P = (RᵀR + λI)⁻¹ in float64, then B = -P / diag(P) by column with a zero diagonal."""
        back = sparse_rows(self.by_item, torch.float64)
        gram = torch.empty(self.items, self.items, dtype=torch.float64)
        size = max(1, BLOCK_ENTRIES // max(1, self.by_user.count))
        for start in range(0, self.items, size):
            columns = slice(start, start + size)
            some = sparse_rows(self.by_item.take(np.arange(self.items)[columns]), torch.float64).to_dense().T
            gram[:, columns] = torch.sparse.mm(back, some.contiguous())
        gram.diagonal().add_(self.config.ridge)
        try:
            torch.linalg.cholesky(gram, out=gram)
        except torch.linalg.LinAlgError:  # pyright: ignore[reportPrivateImportUsage]
            raise TrainingError(
                "EASE's matrix cannot be inverted", where=f"ridge={self.config.ridge:g}", do="raise ridge"
            ) from None
        precision = torch.cholesky_inverse(gram, out=gram)
        precision /= -precision.diagonal().clone()
        precision.fill_diagonal_(0.0)
        self.weights.copy_(precision)

    @property
    def items(self) -> int:
        """Number of items."""
        return len(self.weights)

    def score_block(self, users: Tensor) -> Tensor:
        """The sum of B over each user's train items."""
        return torch.sparse.mm(sparse_rows(self.by_user.take(users.cpu().numpy()), self.weights.dtype), self.weights)


def sparse_rows(rows: Rows, dtype: torch.dtype) -> Tensor:
    """The 0/1 matrix of `rows` as a torch CSR tensor."""
    return torch.sparse_csr_tensor(
        torch.tensor(rows.pointer, dtype=torch.int32),
        torch.tensor(rows.columns, dtype=torch.int32),
        torch.ones(rows.size, dtype=dtype),
        size=(rows.count, rows.width),
        check_invariants=False,
    )
