"""Building blocks that several models share: a table of item features, and its projection to the embedding width."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from palate.core.errors import ConfigError
from palate.encode.features import Features


class FeatureTable(nn.Module):
    """The features of one modality, frozen (default) or trained.

    Args:
        features: N × D, rows of absent items are zero.
        trained: make the table a parameter.
    """

    matrix: Tensor
    present: Tensor

    def __init__(self, features: Features, trained: bool = False) -> None:
        super().__init__()
        values = torch.tensor(features.matrix, dtype=torch.get_default_dtype())
        if trained:
            self.matrix = nn.Parameter(values)
        else:
            self.register_buffer("matrix", values, persistent=False)
        self.register_buffer("present", torch.tensor(features.present), persistent=False)
        self.complete = bool(features.present.all())

    @property
    def width(self) -> int:
        """D."""
        return self.matrix.shape[1]

    def rows(self, items: Tensor) -> Tensor:
        """Feature rows of `items` (int64, B): B × D."""
        return F.embedding(items, self.matrix)

    def present_rows(self, items: Tensor) -> Tensor | None:
        """1 or 0 for each of `items`, in the table's float type; None when no item lacks this modality."""
        return None if self.complete else self.present.index_select(0, items).to(self.matrix.dtype)


class Projection(nn.Sequential):
    """x W + b, or a real MLP: `layers` linear maps with LeakyReLU between them.

    Args:
        inputs: width of the features.
        outputs: embedding width.
        layers: 1 or more.
    """

    def __init__(self, inputs: int, outputs: int, layers: int = 1) -> None:
        steps: list[nn.Module] = []
        for layer in range(layers):
            linear = nn.Linear(inputs if layer == 0 else outputs, outputs)
            nn.init.xavier_normal_(linear.weight)
            nn.init.zeros_(linear.bias)
            steps += [nn.LeakyReLU(), linear] if layer else [linear]
        super().__init__(*steps)


def key_of(modality: str) -> str:
    """The key of a modality's submodule; a bare name such as "type" may be one of the module's own attributes."""
    return f"of_{modality}"


def node_table(count: int, width: int) -> nn.Parameter:
    """A trained table of `count` × `width`, Xavier-uniform."""
    return nn.Parameter(nn.init.xavier_uniform_(torch.empty(count, width)))


def require_features(model: str, features: dict[str, Features]) -> None:
    """Refuse a catalogue without item features.

    Raises:
        ConfigError: when there is no modality.
    """
    if not features:
        raise ConfigError(
            f"{model} needs at least one modality and this data set has none",
            do="encode the catalogue first (palate encode CAT), or train lightgcn, which needs none",
        )
