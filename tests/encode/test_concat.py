"""Modalities put together: lengths, order, and items that lack some of them."""

from __future__ import annotations

import numpy as np
import pytest

import worlds
from palate.encode.concat import concatenated

IDS = [f"i{item}" for item in range(8)]
TEXT = worlds.features(IDS, "text", 6, missing=["i1", "i2"])
IMAGE = worlds.features(IDS, "image", 3, missing=["i2", "i3"])


def test_every_modality_of_an_item_counts_the_same_and_rows_have_length_one() -> None:
    joined = concatenated({"text": TEXT, "image": IMAGE})
    assert (joined.name, joined.width, joined.ids) == ("concat", 9, tuple(IDS))
    assert joined.present.tolist() == [item != "i2" for item in IDS]
    assert np.linalg.norm(joined.matrix, axis=1) == pytest.approx(joined.present.astype(float))
    image, text = joined.matrix[:, :3], joined.matrix[:, 3:]
    half = 0.5**0.5
    assert np.linalg.norm(image, axis=1) == pytest.approx([half, 1, 0, 0, half, half, half, half])
    np.testing.assert_allclose(text[0] / half, TEXT.matrix[0] / np.linalg.norm(TEXT.matrix[0]), rtol=1e-6)


def test_cosines_are_the_mean_of_those_of_the_modalities_where_both_items_have_all() -> None:
    joined = concatenated({"text": TEXT, "image": IMAGE}).matrix
    means = [
        float(part.matrix[0] @ part.matrix[4] / np.linalg.norm(part.matrix[0]) / np.linalg.norm(part.matrix[4]))
        for part in (TEXT, IMAGE)
    ]
    assert float(joined[0] @ joined[4]) == pytest.approx(np.mean(means), abs=1e-6)


def test_it_tells_what_it_is_made_of_whatever_the_order() -> None:
    joined, turned = concatenated({"text": TEXT, "image": IMAGE}), concatenated({"image": IMAGE, "text": TEXT})
    assert joined.fingerprint == turned.fingerprint != concatenated({"text": TEXT}).fingerprint
    assert "text=random" in joined.encoder
    assert "image=random" in joined.encoder
