"""Scaling of ready-made rows, against its definition."""

from __future__ import annotations

import numpy as np
import pytest

from palate.encode import scaling
from palate.encode.features import Features
from palate.encode.scaling import remark, scaled

IDS = tuple("abcdef")


def features(matrix: np.ndarray, present: list[bool] | None = None) -> Features:
    kept = np.array(present or [True] * len(matrix))
    return Features("image", (matrix * kept[:, None]).astype(np.float32), kept, "given", IDS[: len(matrix)])


def rows(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(3.0, [1.0, 0.2, 5.0, 1.0], (6, 4))


def test_standard_centres_columns_and_gives_them_one_deviation() -> None:
    found = scaled(features(rows()), "standard").matrix
    np.testing.assert_allclose(found.mean(0), 0, atol=1e-7)
    np.testing.assert_allclose(found.std(0), 0.5, atol=1e-6)
    assert np.square(found).sum(1).mean() == pytest.approx(1.0)


def test_unit_rows_have_length_one_and_keep_their_direction() -> None:
    given = features(rows())
    found = scaled(given, "unit").matrix
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(np.cross(found[:, :3], given.matrix[:, :3]), 0, atol=1e-5)


@pytest.mark.parametrize("how", ["unit", "standard"])
def test_absent_rows_neither_count_nor_appear(how: scaling.Scaling) -> None:
    present = [True, False, True, True, False, True]
    some = scaled(features(rows(), present), how)
    alone = scaled(features(rows()[present]), how)
    assert not some.matrix[~some.present].any()
    assert np.array_equal(some.matrix[some.present], alone.matrix)


@pytest.mark.parametrize("how", ["unit", "standard"])
def test_blocks_do_not_matter(how: scaling.Scaling, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = scaled(features(rows()), how).matrix
    monkeypatch.setattr(scaling, "BLOCK", 2)
    np.testing.assert_allclose(scaled(features(rows()), how).matrix, whole, atol=1e-7)


def test_a_constant_column_and_a_zero_row_stay_finite() -> None:
    matrix = rows()
    matrix[:, 1] = 7.0
    standard = scaled(features(matrix), "standard").matrix
    assert not standard[:, 1].any()
    assert standard[:, 0].any()
    assert not scaled(features(np.zeros((3, 2))), "unit").matrix.any()
    assert not scaled(features(np.ones((3, 2))), "standard").matrix.any()


def test_the_encoder_tells_the_scale() -> None:
    given = features(rows())
    assert scaled(given, "none") is given
    assert scaled(given, "unit").encoder == "given scaled=unit"
    assert scaled(given, "unit").fingerprint != given.fingerprint


def test_awkward_scales_are_named() -> None:
    noise = np.random.default_rng(1).normal(size=(6, 4)) / 2
    assert remark(features(noise)) == ""
    assert "long" in remark(features(noise * 20))
    assert "in common" in remark(features(noise + 3))
    assert remark(scaled(features(noise * 20 + 90), "standard")) == ""
