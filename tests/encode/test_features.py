"""Features: what is refused, what a permutation does, what the fingerprint sees."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from palate.core.errors import ConfigError, DataError
from palate.encode.features import Features, check_modality_name, content_fingerprint


def features(rows: list[list[float]], present: list[bool] | None = None, name: str = "text") -> Features:
    matrix = np.array(rows, dtype=np.float32)
    mask = np.ones(len(rows), dtype=np.bool_) if present is None else np.array(present)
    return Features(name, matrix, mask, "tester 1", tuple(f"i{row}" for row in range(len(rows))))


def test_coverage_is_the_share_of_present_items() -> None:
    found = features([[1, 2], [0, 0], [3, 4], [5, 6]], [True, False, True, True])
    assert found.coverage == 0.75
    assert (len(found), found.width) == (4, 2)


@given(st.permutations(range(6)))
def test_take_moves_row_presence_and_id_together(order: list[int]) -> None:
    base = features([[row, row + 0.5] if row != 2 else [0, 0] for row in range(6)], [row != 2 for row in range(6)])
    taken = base.take(np.array(order))
    for new, old in enumerate(order):
        assert taken.ids[new] == f"i{old}"
        assert taken.present[new] == base.present[old]
        assert np.array_equal(taken.matrix[new], base.matrix[old])
    back = taken.take(np.argsort(order))
    assert back.fingerprint == base.fingerprint
    assert (taken.fingerprint == base.fingerprint) == (order == sorted(order))


def test_take_of_rows_outside_or_twice_is_refused() -> None:
    base = features([[1], [2], [3]])
    with pytest.raises(IndexError, match="found -1 to 1"):
        base.take(np.array([1, -1]))
    with pytest.raises(IndexError):
        base.take(np.array([3]))
    with pytest.raises(DataError, match="'i1' occurs in more than one row"):
        base.take(np.array([1, 1]))


def test_fingerprint_sees_content_and_encoder_and_not_the_name() -> None:
    base = features([[1, 2], [3, 4]])
    assert base.fingerprint == features([[1, 2], [3, 4]], name="other").fingerprint
    changed = [
        features([[1, 2], [3, 5]]),
        features([[1, 2, 3, 4]]),
        Features("text", base.matrix, base.present, "tester 2", base.ids),
    ]
    assert len({base.fingerprint, *(other.fingerprint for other in changed)}) == 4
    absent = features([[1, 2], [0, 0]], [True, False])
    assert absent.fingerprint != features([[1, 2], [0, 0]]).fingerprint


def test_fingerprint_does_not_depend_on_memory_layout() -> None:
    matrix = np.arange(12, dtype=np.float32).reshape(4, 3)
    present = np.ones(4, dtype=np.bool_)
    assert content_fingerprint("e", np.asfortranarray(matrix), present) == content_fingerprint("e", matrix, present)


def test_matrix_is_read_only_and_the_callers_own_is_left_alone() -> None:
    matrix = np.ones((2, 2), dtype=np.float32)
    found = Features("text", matrix, np.ones(2, dtype=np.bool_), "tester", ("a", "b"))
    with pytest.raises(ValueError, match="read-only"):
        found.matrix[0, 0] = 5
    matrix[0, 0] = 5


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_names_its_items(bad: float) -> None:
    with pytest.raises(DataError, match=r"2 rows hold NaN or infinity: item 'i1', 'i3'"):
        features([[1.0, 1.0], [bad, 1.0], [2.0, 2.0], [1.0, bad]])


def test_an_absent_row_must_be_zero() -> None:
    with pytest.raises(DataError, match="1 items are marked absent but have a row that is not zero: item 'i1'"):
        features([[1.0], [1.0]], [True, False])
    with pytest.raises(DataError, match="'i1'"):
        features([[1.0], [np.nan]], [True, False])


def test_wrong_shapes_types_and_ids_are_refused() -> None:
    good, mask = np.ones((2, 3), dtype=np.float32), np.ones(2, dtype=np.bool_)
    with pytest.raises(DataError, match="float64"):
        Features("text", np.ones((2, 3)), mask, "tester", ("a", "b"))  # pyright: ignore[reportArgumentType]
    with pytest.raises(DataError, match="items × width"):
        Features("text", np.ones(2, dtype=np.float32), mask, "tester", ("a", "b"))
    with pytest.raises(DataError, match="presence mask"):
        Features("text", good, np.ones(3, dtype=np.bool_), "tester", ("a", "b"))
    with pytest.raises(DataError, match="2 rows but 1 item ids"):
        Features("text", good, mask, "tester", ("a",))
    with pytest.raises(DataError, match="'a' occurs in more than one row"):
        Features("text", good, mask, "tester", ("a", "a"))


@pytest.mark.parametrize("name", ["../up", "a/b", "", ".", "Text", "text\n", "-x", "ünder", "a" * 65])
def test_a_name_that_could_be_a_path_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="cannot name a modality"):
        check_modality_name(name)
