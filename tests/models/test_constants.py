"""What is made of frozen tables: made once, and again when they change."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from palate.models.constants import Remembered


class Doubled:
    """A function that counts its calls."""

    calls = 0

    def __call__(self, rows: Tensor) -> Tensor:
        self.calls += 1
        return 2 * rows


def test_it_is_made_once_for_each_function_and_state_of_the_table() -> None:
    remembered, double, other = Remembered(), Doubled(), Doubled()
    table = torch.randn(4, 2)
    first = remembered.of(double, table)
    assert remembered.of(double, table) is first
    assert torch.equal(first, 2 * table)
    remembered.of(other, table)
    assert (double.calls, other.calls) == (1, 1)
    table[0] = 7.0
    assert torch.equal(remembered.of(double, table), 2 * table)
    moved = table.float()
    assert remembered.of(double, moved).dtype == torch.float32
    assert double.calls == 3


def test_what_was_first_made_for_scoring_can_be_trained_with() -> None:
    remembered, table = Remembered(), torch.randn(4, 2)
    with torch.inference_mode():
        made = remembered.of(torch.relu, table)
        born_here = table.clone()
        assert torch.equal(remembered.of(torch.relu, born_here), made)
    weight = torch.randn(2, requires_grad=True)
    (remembered.of(torch.relu, table) * weight).sum().backward()
    assert weight.grad is not None
    assert not made.requires_grad


def test_a_copy_remembers_nothing() -> None:
    """Its tables count their writes from the start again, so an old result would pass for a new one."""
    remembered, table = Remembered(), torch.randn(4, 2)
    table.add_(1.0)
    remembered.of(torch.relu, table)
    other, its_table = copy.deepcopy((remembered, table))
    its_table.add_(1.0)
    assert torch.equal(other.of(torch.relu, its_table), torch.relu(its_table))
    assert torch.equal(remembered.of(torch.relu, table), torch.relu(table))
