"""What never changes during training is computed once: what a function makes of a frozen table."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


class Remembered:
    """Results of functions of frozen tensors, computed again when the tensor is another one, or was written to.

    Writes through `.data` or through an array that shares the memory are not seen. A copy, and what is stored, starts
    with nothing remembered. Where processes share embedding columns, all of them ask alike, or none.
    """

    def __init__(self) -> None:
        self._kept: dict[Callable[[Tensor], Tensor], tuple[Tensor, int, Tensor]] = {}

    def __getstate__(self) -> dict[str, object]:
        return {"_kept": {}}

    def of(self, function: Callable[[Tensor], Tensor], frozen: Tensor) -> Tensor:
        """function(frozen), which autograd does not follow; do not write to it.

        Args:
            function: depends on its argument and on what never changes; the same object at each call.
            frozen: is not trained.
        """
        if frozen.is_inference():
            # It has no record of writes to it.
            return function(frozen)
        version = frozen._version  # pyright: ignore[reportPrivateUsage]
        kept = self._kept.get(function)
        if kept is not None and kept[0] is frozen and kept[1] == version:
            return kept[2]
        with torch.inference_mode(False), torch.no_grad():
            result = function(frozen)
        self._kept[function] = frozen, version, result
        return result
