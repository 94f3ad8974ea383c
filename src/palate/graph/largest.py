"""The largest scores of each row: what an evaluation spends most of its time on."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

# Columns whose maximum is looked at first.
GROUP = 16


def largest(scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The `count` largest of each row, largest first, NaN before all: as `torch.topk`, on a CPU in about half the time.

    Where there are many for each that is wanted, columns are taken in groups of 16. Each of the `count` largest lies in
    one of as many groups of the largest maxima, for no other group's maximum is above it; so one pass over all scores,
    for the maxima, is enough.

    Args:
        scores: B × n.
        count: at most n.

    Returns:
        The scores, B × count, and their columns (int64); of equal ones any.
    """
    rows, columns = scores.shape
    plain = scores.device.type == "cpu" and scores.dtype in (torch.float32, torch.float64) and scores.is_contiguous()
    if not plain or scores.requires_grad or rows == 0 or not 0 < count <= columns:
        return torch.topk(scores, count, dim=1)
    wide = columns // GROUP
    if wide < 2 * count:
        return _in_order(scores, _places(scores, count))
    # Group g has the columns g, g + wide, g + 2 wide, …: maxima of neighbours are taken side by side.
    groups = scores.as_strided((rows, GROUP, wide), (columns, wide, 1), scores.storage_offset())
    met = _places(groups.amax(1), count)
    candidates = groups.gather(2, met.unsqueeze(1).expand(-1, GROUP, -1)).flatten(1)
    rest = scores[:, GROUP * wide :]
    found = _places(torch.cat([candidates, rest], 1) if rest.shape[1] else candidates, count)
    in_group = torch.div(found, count, rounding_mode="floor") * wide + met.gather(1, found % count)
    return _in_order(scores, torch.where(found < GROUP * count, in_group, found + GROUP * (wide - count)))


def _in_order(scores: Tensor, found: Tensor) -> tuple[Tensor, Tensor]:
    values, order = scores.gather(1, found).sort(dim=1, descending=True)
    return values, found.gather(1, order)


def _places(values: Tensor, count: int) -> Tensor:
    """Columns of the `count` largest of each row, in no order. NumPy takes NaN for the largest, as torch does."""
    return torch.from_numpy(np.argpartition(values.numpy(), -count, axis=1)[:, -count:])
