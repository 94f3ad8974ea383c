"""Features cut to their leading directions, against the singular value decomposition."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import worlds
from palate.core.errors import ConfigError
from palate.encode import directions
from palate.encode.directions import leading
from palate.encode.features import Features
from palate.encode.store import FeatureStore
from palate.ingest.catalogue import Catalogue

IDS = tuple("abcdefgh")


def features(matrix: np.ndarray, present: list[bool] | None = None) -> Features:
    kept = np.array(present or [True] * len(matrix))
    return Features("image", (matrix * kept[:, None]).astype(np.float32), kept, "given", IDS[: len(matrix)])


def rows(seed: int = 0, width: int = 5) -> np.ndarray:
    return np.random.default_rng(seed).normal(1.0, 1.0, (8, width))


@pytest.mark.parametrize("width", [5, 20])
@pytest.mark.parametrize("count", [1, 3])
def test_rows_are_those_of_the_best_approximation(width: int, count: int) -> None:
    given = features(rows(width=width), [True, False] + 6 * [True])
    found = leading(given, count)
    left, lengths, _ = np.linalg.svd(given.matrix.astype(np.float64), full_matrices=False)
    expected = left[:, :count] * lengths[:count]
    np.testing.assert_allclose(np.abs(found.features.matrix), np.abs(expected), atol=1e-5)
    assert found.kept == pytest.approx(np.square(lengths[:count]).sum() / np.square(lengths).sum())
    assert not found.features.matrix[1].any()
    assert found.features.present.tolist() == given.present.tolist()
    assert (found.features.name, found.features.ids) == (f"image-{count}", given.ids)


def test_what_lies_in_so_many_directions_keeps_every_inner_product() -> None:
    matrix = rows(width=2) @ rows(1, width=6)[:2]
    found = leading(features(matrix), 2)
    np.testing.assert_allclose(found.features.matrix @ found.features.matrix.T, matrix @ matrix.T, rtol=1e-4, atol=1e-4)
    assert found.kept == pytest.approx(1.0)
    # Directions that no row has are columns of zeros.
    np.testing.assert_allclose(leading(features(matrix), 4).features.matrix[:, 2:], 0, atol=1e-5)


def test_signs_and_blocks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = leading(features(rows()), 3).features.matrix
    monkeypatch.setattr(directions, "BLOCK", 3)
    np.testing.assert_allclose(leading(features(rows()), 3).features.matrix, whole, atol=1e-5)
    np.testing.assert_allclose(leading(features(-rows()), 3).features.matrix, -whole, atol=1e-5)


def test_rows_of_zeros_stay() -> None:
    assert leading(features(np.zeros((3, 4))), 2).kept == 0


@pytest.mark.parametrize("count", [0, 5, 9])
def test_a_number_that_is_no_part_is_refused(count: int) -> None:
    with pytest.raises(ConfigError, match="5 columns") as caught:
        leading(features(rows()), count)
    assert "1 to 4" in caught.value.do


def test_rows_too_wide_to_be_cut_are_refused_before_anything_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directions, "MOST_COLUMNS", 4)
    with pytest.raises(ConfigError, match="for 4 at most"):
        leading(features(rows()), 2)


def test_rows_of_another_catalogue_are_made_by_another_encoder() -> None:
    """So that a bundle refuses them: their basis is another one."""
    one, other = (leading(features(rows(seed)), 2).features.encoder for seed in (0, 1))
    assert one != other
    assert one.endswith(" given")


def test_a_model_trains_on_what_was_cut(tmp_path: Path) -> None:
    folder = worlds.stored(tmp_path / "CAT", missing=("i3",))
    ended = worlds.palate("encode", folder, "--modality", "text", "--directions", 2)
    assert ended.code == 0
    store, ids = FeatureStore(folder), Catalogue.load(folder).items["item_id"].to_list()
    whole, cut = (store.load(name, ids) for name in ("text", "text-2"))
    assert f"text-2: 2 of {whole.width} columns" in ended.out
    assert f"{len(ids) - 1} of {len(ids)} items have a row" in ended.out
    assert cut.present.tolist() == whole.present.tolist()
    small = ("--set", "epochs=1", "--set", "dim=4", "--features", "text-2")
    assert worlds.palate("train", "bm3", "--data", folder, "-o", tmp_path / "run", *small).code == 0
