"""Building blocks that several models share: a table of item features, and its projection to the embedding width."""

from __future__ import annotations

import warnings
from typing import NoReturn

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from palate.core.errors import ConfigError
from palate.core.sources import place_of
from palate.encode.features import Features


class FeatureTable(nn.Module):
    """The features of one modality, frozen (default) or trained.

    A frozen table is the memory of `features` itself where the float types agree, memory-mapped or not: write to no
    part of it.

    Args:
        features: N × D, rows of absent items are zero.
        trained: make the table a parameter.
    """

    matrix: Tensor
    present: Tensor

    def __init__(self, features: Features, trained: bool = False) -> None:
        super().__init__()
        if trained:
            self.matrix = nn.Parameter(torch.tensor(features.matrix, dtype=torch.get_default_dtype()))
        else:
            self.register_buffer("matrix", _shared(features.matrix), persistent=False)
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


def _shared(matrix: NDArray[np.float32]) -> Tensor:
    with warnings.catch_warnings():
        # torch has no tensors that are read-only, and says so.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable", category=UserWarning)
        return torch.from_numpy(np.ascontiguousarray(matrix)).to(torch.get_default_dtype())


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


class UnaskedFeatures(dict[str, Features]):
    """What a class that says modal = False finds for features: whoever looks is told, and does not train without them.

    Args:
        kind: the class.
    """

    def __init__(self, kind: type) -> None:
        super().__init__()
        self._kind = kind

    def _refuse(self, *_: object) -> NoReturn:
        kind = self._kind
        what = f"{kind.__name__} looks at features, and its class says modal = False, so that it is given none"
        raise ConfigError(what, where=place_of(kind), do="write modal = True in the class")

    def __reduce__(self) -> tuple[type[UnaskedFeatures], tuple[type]]:
        return type(self), (self._kind,)

    __getitem__ = __contains__ = __iter__ = __reversed__ = __len__ = __eq__ = __or__ = __ror__ = _refuse  # pyright: ignore
    get = keys = values = items = copy = pop = setdefault = _refuse  # pyright: ignore
