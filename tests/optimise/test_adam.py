"""Our Adam is torch's fused one to the last bit, and a stored state goes on or is refused."""

from __future__ import annotations

import subprocess
import sys
from contextlib import nullcontext

import pytest
import torch
from torch import Tensor, nn

import worlds
from palate.core.gradients import Factors, row_gradients
from palate.models.layers import FeatureTable
from palate.models.projecting import project
from palate.optimise import adam
from palate.optimise.adam import Adam


def tables(dtype: torch.dtype = torch.float32) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(shape, generator=generator, dtype=dtype)) for shape in ((40, 3), (7,), (2,), ())]


def losses(parameters: list[nn.Parameter], step: int) -> Tensor:
    """The second table gets a gradient in some steps only, the third never."""
    wide, narrow, _, one = parameters
    used = [wide.sin().square().sum() * one, one.square()] + ([narrow.exp().sum()] if step % 3 == 1 else [])
    return torch.stack(used).sum()


@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_fifty_steps_have_the_bits_of_torch(decay: float, dtype: torch.dtype) -> None:
    ours, theirs = tables(dtype), tables(dtype)
    own = Adam(ours, 0.03, decay)
    other = torch.optim.Adam(theirs, lr=0.03, weight_decay=decay, fused=True)
    for step in range(50):
        for parameters, optimiser in ((ours, own), (theirs, other)):
            optimiser.zero_grad()
            losses(parameters, step).backward()
            optimiser.step()
        assert all(map(torch.equal, ours, theirs))
    assert torch.equal(ours[2], tables(dtype)[2])
    assert not torch.equal(ours[1], tables(dtype)[1])


@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("block", [1, 20, 50, 1 << 18])
@pytest.mark.parametrize("group", [1, 3, 128])
def test_a_gradient_of_some_rows_moves_all_of_them_as_one_with_zeros_does(
    decay: float, block: int, group: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adam, "BLOCK", block)
    monkeypatch.setattr(adam, "ROWS", group)
    chance = torch.Generator().manual_seed(0)
    start = torch.randn(23, 8, generator=chance, dtype=torch.float32)
    ours, theirs = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    own, other = Adam([ours], 0.03, decay), Adam([theirs], 0.03, decay)
    for step in range(50):
        theirs.grad = torch.zeros_like(start)
        own.zero_grad()
        if step % 10 == 9:
            ours.grad = torch.randn(23, 8, generator=chance, dtype=torch.float32)
            theirs.grad += ours.grad
        # Rows in order and each once, in no order, or one of them twice.
        rows = torch.randperm(23, generator=chance)[: step % 7]
        rows = rows.sort().values if step % 3 == 0 else torch.cat([rows, rows[:1]]) if step % 3 == 1 else rows
        left = torch.randn(len(rows), 3, generator=chance, dtype=torch.float32)
        right = torch.randn(3, 8, generator=chance, dtype=torch.float32)
        assert own.by_row.take(ours, Factors(rows, left, right))
        theirs.grad.index_add_(0, rows, left @ right)
        # What a step does with a weight does not reach the gradient that was taken of it.
        right.zero_()
        own.step()
        other.step()
        torch.testing.assert_close(ours.detach(), theirs.detach(), rtol=1e-5, atol=1e-6)
    for name, value in own.state[0].items():
        torch.testing.assert_close(value, other.state[0][name], rtol=1e-5, atol=1e-6)


def test_forgotten_gradients_of_rows_move_nothing() -> None:
    table = nn.Parameter(torch.ones(4, 3))
    optimiser = Adam([table], 0.1)
    assert optimiser.by_row.take(table, Factors(torch.tensor([1]), torch.ones(1, 2), torch.ones(2, 3)))
    optimiser.zero_grad()
    optimiser.step()
    assert torch.equal(table.detach(), torch.ones(4, 3))
    assert not optimiser.state


@pytest.mark.parametrize("case", ["derived", "of another", "seen through hooks", "used twice"])
def test_only_the_first_gradient_of_an_own_table_is_taken_by_row(case: str) -> None:
    """All others come as any gradient does, or the table would stand still and nobody would know."""
    table, weight = FeatureTable(worlds.features(["a", "b", "c"], width=4)).float(), torch.ones(2, 4).float()
    own = nn.Parameter(table.matrix.clone())
    table.matrix = 2 * own if case == "derived" else own
    optimiser = Adam([nn.Parameter(torch.ones(1)) if case == "of another" else own], 0.1)
    unpack = torch.autograd.graph.saved_tensors_hooks(lambda saved: saved.detach(), lambda kept: kept.clone())
    with unpack if case == "seen through hooks" else nullcontext():
        loss = project(table, torch.tensor([2, 0]), weight).sum()
        if case == "used twice":
            loss = loss + 3 * project(table, torch.tensor([1, 2]), weight).sum()
    with row_gradients(optimiser.by_row):
        loss.backward()
    factors = optimiser.by_row.of(own)
    assert (factors is not None) == (case == "used twice")
    assert own.grad is not None
    found = own.grad + (0 if factors is None else factors.written_out(3))
    each = {"derived": [4, 0, 4], "used twice": [2, 6, 8]}.get(case, [2, 0, 2])
    torch.testing.assert_close(found, torch.tensor(each).float().unsqueeze(1).expand(3, 4))


def test_a_prepared_one_takes_the_same_steps_and_knows_no_earlier_gradient() -> None:
    ours, theirs = tables(), tables()
    own, other = Adam(ours, 0.03, 0.1), Adam(theirs, 0.03, 0.1)
    for parameter in ours:
        parameter.grad = torch.ones_like(parameter)
    own.prepare()
    for step in range(5):
        for parameters, optimiser in ((ours, own), (theirs, other)):
            if step:
                optimiser.zero_grad()
            losses(parameters, step).backward()
            optimiser.step()
    assert all(map(torch.equal, ours, theirs))
    for place, state in other.state.items():
        assert all(torch.equal(state[name], own.state[place][name]) for name in state)
    # The third never has a gradient.
    assert not any(bool(value.any()) for value in own.state[2].values())


def test_it_goes_on_from_its_state() -> None:
    whole, first = tables(), tables()
    optimiser, begun = Adam(whole, 0.1), Adam(first, 0.1)
    again = Adam(first, 0.1)
    for step in range(8):
        if step == 4:
            again.load(begun.state)
        for parameters, one in ((whole, optimiser), (first, begun if step < 4 else again)):
            one.zero_grad()
            losses(parameters, step).backward()
            one.step()
    assert all(map(torch.equal, whole, first))


@pytest.mark.parametrize("damage", ["place", "shape", "name"])
def test_a_state_of_something_else_is_refused(damage: str) -> None:
    optimiser = Adam(tables(), 0.1)
    losses(optimiser.parameters, 1).backward()
    optimiser.step()
    state = {place: dict(values) for place, values in optimiser.state.items()}
    if damage == "place":
        state[9] = state.pop(0)
    elif damage == "shape":
        state[0]["exp_avg"] = state[0]["exp_avg"][:5]
    else:
        state[0]["average"] = state[0].pop("exp_avg")
    fresh = Adam(tables(), 0.1)
    with pytest.raises(ValueError, match="parameter"):
        fresh.load(state)
    assert not fresh.state


def test_training_does_not_bring_in_the_compiler() -> None:
    code = (
        "import sys, torch; from palate.optimise.adam import Adam; one = torch.nn.Parameter(torch.ones(3));"
        "adam = Adam([one], 0.1); one.sum().backward(); adam.step(); print('torch._dynamo' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
