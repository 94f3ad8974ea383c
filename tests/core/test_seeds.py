"""Seeds and draws: independent named streams, and dropout masks that belong to the rows of a table."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from palate.core.seeds import Draws, derive_seed, numpy_generator, torch_generator

NAMES = st.lists(st.text(alphabet="ab1", max_size=3), max_size=3)


def test_seeds_are_the_same_on_every_machine_and_in_every_version() -> None:
    assert derive_seed(0) == 3456079177858693020
    assert derive_seed(0, "parameters") == 2393968803980083663
    assert derive_seed(7, "order", 3) == 7391995676944021016


@given(st.integers(0, 3), NAMES, st.integers(0, 3), NAMES)
def test_two_streams_share_a_seed_only_when_they_are_the_same(
    seed: int, names: list[str], other_seed: int, other_names: list[str]
) -> None:
    same = (seed, names) == (other_seed, other_names)
    assert (derive_seed(seed, *names) == derive_seed(other_seed, *other_names)) == same


def test_streams_are_uncorrelated_and_repeatable() -> None:
    size = 20_000
    streams = [numpy_generator(0, "order", number).standard_normal(size) for number in range(5)]
    streams.append(numpy_generator(1, "order", 0).standard_normal(size))
    off_diagonal = np.corrcoef(streams) - np.eye(len(streams))
    assert abs(off_diagonal).max() < 5 / np.sqrt(size)
    assert np.array_equal(streams[2], numpy_generator(0, "order", 2).standard_normal(size))
    first = torch.rand(5, generator=torch_generator(0, "x"))
    assert torch.equal(first, torch.rand(5, generator=torch_generator(0, "x")))
    assert not torch.equal(first, torch.rand(5, generator=torch_generator(0, "y")))


def mask_of(seed: int, step: int, name: str, rows: torch.Tensor | None = None, count: int = 40) -> torch.Tensor:
    return Draws(seed, step).dropout(name, torch.ones(count if rows is None else len(rows), 8), 0.5, rows)


@pytest.mark.parametrize("rows", [None, torch.arange(40)])
def test_a_mask_is_fixed_by_seed_step_and_name(rows: torch.Tensor | None) -> None:
    mask = mask_of(0, 3, "user", rows)
    assert torch.equal(mask, mask_of(0, 3, "user", rows))
    for other in (mask_of(1, 3, "user", rows), mask_of(0, 4, "user", rows), mask_of(0, 3, "item", rows)):
        agree = float((mask == other).float().mean())
        assert 0.3 < agree < 0.7


def test_the_order_of_the_calls_does_not_matter() -> None:
    one, two = Draws(0, 1), Draws(0, 1)
    table = torch.ones(30, 4)
    first = [one.dropout(name, table, 0.5) for name in ("a", "b")]
    second = [two.dropout(name, table, 0.5) for name in ("b", "a")]
    assert torch.equal(first[0], second[1])
    assert torch.equal(first[1], second[0])


@given(st.lists(st.integers(0, 9), min_size=1, max_size=30))
def test_a_row_that_occurs_twice_meets_the_same_mask_wherever_it_stands(rows: list[int]) -> None:
    index = torch.tensor(rows)
    mask = mask_of(0, 0, "item", index)
    by_row = {row: mask[place] for place, row in enumerate(rows)}
    for place, row in enumerate(rows):
        assert torch.equal(mask[place], by_row[row])
    backwards = mask_of(0, 0, "item", index.flip(0))
    assert torch.equal(backwards.flip(0), mask)


def test_given_masks_make_the_shortcut_by_rows_equal_to_the_plain_form() -> None:
    generator = torch_generator(0, "test")
    table = torch.rand(12, 5, generator=generator, dtype=torch.float64)
    mask = (torch.rand(12, 5, generator=generator) < 0.7).double()
    rows = torch.tensor([3, 3, 0, 11, 7, 3])
    draws = Draws(0, 0, {"item": mask})
    plain = F.embedding(rows, draws.dropout("item", table, 0.25))
    shortcut = draws.dropout("item", F.embedding(rows, table), 0.25, rows)
    assert torch.equal(plain, shortcut)
    torch.testing.assert_close(plain, table[rows] * mask[rows] / 0.75, rtol=1e-15, atol=0)


def test_a_row_has_one_mask_whatever_company_it_is_asked_for_in() -> None:
    draws = Draws(5, 2)
    table = torch.ones(40, 16)
    whole = draws.dropout("item", table, 0.4)
    for rows in (torch.tensor([7]), torch.tensor([39, 7, 0, 7]), torch.arange(40).flip(0)):
        assert torch.equal(draws.dropout("item", table[rows], 0.4, rows), whole[rows])


def test_uniform_numbers_are_even_and_unrelated_between_rows_columns_steps_and_names() -> None:
    rows = torch.arange(4000)
    drawn = Draws(0, 0).uniform("a", rows, 64).double()
    counts = torch.histc(drawn, 64, 0, 1)
    expected = drawn.numel() / 64
    assert float(((counts - expected) ** 2 / expected).sum()) < 120  # χ² with 63 degrees of freedom: p < 1e-5 beyond
    other_step, other_name = Draws(0, 1).uniform("a", rows, 64), Draws(0, 0).uniform("b", rows, 64)
    for other in (other_step, other_name, drawn.roll(1, 0), drawn.roll(1, 1)):
        together = torch.stack([drawn.flatten(), other.double().flatten()])
        assert abs(float(torch.corrcoef(together)[0, 1])) < 0.01


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.8])
@pytest.mark.parametrize("by_rows", [True, False])
def test_what_is_kept_is_scaled_so_that_the_mean_stays(rate: float, by_rows: bool) -> None:
    count, width = 2000, 16
    values = torch.full((count, width), 3.0, dtype=torch.float64)
    dropped = Draws(0, 0).dropout("x", values, rate, torch.arange(count) if by_rows else None)
    kept = dropped != 0
    torch.testing.assert_close(dropped[kept], torch.full_like(dropped[kept], 3.0 / (1 - rate)))
    deviation = np.sqrt(rate * (1 - rate) / (count * width))
    assert abs(float(kept.double().mean()) - (1 - rate)) < 5 * deviation
    assert abs(float(dropped.mean()) / 3.0 - 1) < 5 * deviation / (1 - rate)


def gumbel_distribution(value: torch.Tensor) -> torch.Tensor:
    return torch.exp(-torch.exp(-value))


NOISE = {
    # The distribution function, mean and variance of each kind.
    "logistic": (torch.sigmoid, 0.0, math.pi**2 / 3),
    "gumbel": (gumbel_distribution, 0.5772156649, math.pi**2 / 6),
}


def noise_of(kind: str, draws: Draws, rows: torch.Tensor, columns: int) -> torch.Tensor:
    return draws.logistic("x", rows, columns) if kind == "logistic" else draws.gumbel("x", rows, columns)


@pytest.mark.parametrize("kind", NOISE)
def test_noise_has_the_distribution_that_its_name_says(kind: str) -> None:
    distribution, mean, variance = NOISE[kind]
    rows, columns = torch.arange(4000), 16
    drawn = noise_of(kind, Draws(0, 3), rows, columns).double()
    assert drawn.shape == (4000, 16)
    assert abs(float(drawn.mean()) - mean) < 5 * math.sqrt(variance / drawn.numel())
    assert float(drawn.var()) == pytest.approx(variance, rel=0.03)
    # Of the same stream of uniform numbers, so that only the shape differs between kinds.
    torch.testing.assert_close(
        distribution(drawn), Draws(0, 3).uniform("x", rows, columns).double(), rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize("kind", NOISE)
def test_noise_is_never_infinite(kind: str) -> None:
    class Extreme(Draws):
        def uniform(self, name: str, rows: torch.Tensor, columns: int, *, spread: bool = True) -> torch.Tensor:
            return torch.tensor([[0.0, 2.0**-24, 1 - 2.0**-24]]).expand(len(rows), 3).clone()

    drawn = noise_of(kind, Extreme(0), torch.arange(2), 3)
    assert bool(drawn.isfinite().all())
    assert bool((drawn.diff() > 0).all()), "half a step stands in for 0"


@pytest.mark.parametrize("kind", NOISE)
def test_noise_belongs_to_rows_and_can_be_given(kind: str) -> None:
    some = torch.tensor([7, 0, 7])
    whole = noise_of(kind, Draws(2, 1), torch.arange(9), 5)
    assert torch.equal(noise_of(kind, Draws(2, 1), some, 5), whole[some])
    assert not torch.equal(noise_of(kind, Draws(2, 2), some, 5), whole[some])
    table = torch.rand(9, 5, dtype=torch.float64)
    assert torch.equal(noise_of(kind, Draws(2, 1, {"x": table}), some, 5), table[some])


def test_columns_that_every_process_holds_are_drawn_alike_by_all(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, values = torch.arange(6), torch.ones(6, 4)

    def drawn(spread: bool) -> list[torch.Tensor]:
        draws = Draws(1, 1)
        return [
            draws.uniform("x", rows, 4, spread=spread),
            draws.dropout("x", values, 0.5, rows, spread=spread),
            draws.logistic("x", rows, 4),
        ]

    def fourth(own: int) -> int:
        return 3 * own

    alone = drawn(spread=True)
    monkeypatch.setattr("palate.core.seeds.first_column", fourth)
    assert all(torch.equal(*pair) for pair in zip(alone, drawn(spread=False), strict=True))
    second = drawn(spread=True)
    assert not torch.equal(second[0], alone[0])
    assert not torch.equal(second[1], alone[1])
    assert torch.equal(second[2], alone[2])


def test_rate_zero_changes_nothing() -> None:
    values = torch.rand(3, 2)
    assert torch.equal(Draws(0).dropout("x", values, 0.0), values)
    assert torch.equal(Draws(0).dropout("x", values, 0.0, torch.arange(3)), values)


def test_the_gradient_is_the_scaled_mask() -> None:
    values = torch.rand(6, 4, dtype=torch.float64, requires_grad=True)
    rows = torch.tensor([0, 1, 1, 2, 5, 0])
    dropped = Draws(0).dropout("x", values, 0.5, rows)
    dropped.sum().backward()
    assert values.grad is not None
    assert torch.equal(values.grad, dropped.detach() / values.detach())
