"""Several modalities as one: the L2-normalised concatenation of their rows, for models and probes that want one vector.

Takes features by modality; gives features named `concat`. It is no joint encoder: nothing is learnt from pairs.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from palate.encode.features import Features

CONCAT = "concat"


def concatenated(features: Mapping[str, Features]) -> Features:
    """Each modality's rows scaled to length 1, side by side in the order of their names, and the result scaled again.

    An item's absent modalities are zeros, so its others count for more; an item without any is absent.

    Args:
        features: modality → features of the same items in the same order; at least one.
    """
    parts = [features[name] for name in sorted(features)]
    joined = np.concatenate([unit_rows(part.matrix) for part in parts], axis=1)
    present = np.logical_or.reduce([part.present for part in parts])
    encoder = "concat 1: " + "; ".join(f"{part.name}={part.encoder}" for part in parts)
    return Features(CONCAT, unit_rows(joined), present, encoder, parts[0].ids)


def unit_rows(matrix: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows scaled to length 1, float32; zero rows stay."""
    lengths = np.linalg.norm(matrix, axis=1, keepdims=True)
    return (matrix / np.maximum(lengths, np.finfo(np.float32).tiny)).astype(np.float32)
