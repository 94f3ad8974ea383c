"""The largest scores of each row, against torch's own selection."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from palate.core.seeds import torch_generator
from palate.graph.largest import GROUP, largest


def check(scores: Tensor, count: int) -> None:
    values, columns = largest(scores, count)
    torch.testing.assert_close(values, torch.topk(scores, count, dim=1).values, rtol=0, atol=0, equal_nan=True)
    torch.testing.assert_close(values, scores.gather(1, columns), rtol=0, atol=0, equal_nan=True)
    assert all(len(row.unique()) == count for row in columns)


@given(
    st.integers(0, 1000),
    st.integers(1, 4),
    st.integers(1, 5 * GROUP**2),
    st.integers(0, 20),
    st.sampled_from([1, 3, 50, 10_000]),
    st.sampled_from([torch.float32, torch.float64, torch.bfloat16]),
)
def test_they_are_those_of_a_sort(
    seed: int, rows: int, columns: int, count: int, levels: int, dtype: torch.dtype
) -> None:
    """Few levels make many ties, which may stand for each other but may not come twice."""
    scores = torch.randint(0, levels, (rows, columns), generator=torch_generator(seed, "scores")).to(dtype)
    check(scores, min(count, columns))


@pytest.mark.parametrize("columns", [40, 50 * GROUP, 50 * GROUP + 7])
def test_hidden_columns_come_last_and_nan_first(columns: int) -> None:
    scores = torch.randn(3, columns)
    scores[0, 5:] = -torch.inf
    scores[1, -1] = torch.nan
    scores[2, 17] = torch.inf
    check(scores, 8)
    assert bool(largest(scores, 8)[0][1, 0].isnan())


def test_rows_that_lie_apart_in_memory_and_no_rows_at_all() -> None:
    check(torch.randn(400, 6).T, 5)
    check(torch.randn(5, 50 * GROUP)[2:], 5)
    values, columns = largest(torch.zeros(0, 900), 5)
    assert values.shape == columns.shape == (0, 5)
