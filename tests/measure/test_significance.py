"""Significance: known p values, planted differences, and error rates where nothing differs."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from palate.core.errors import DataError
from palate.measure import resampling
from palate.measure.resampling import blocks, resampled_means
from palate.measure.significance import effect_of, holm, paired_interval, paired_test, separate

Values = NDArray[np.float64]


def pair(seed: int, users: int = 60, ahead: float = 0.0) -> tuple[Values, Values]:
    """Two systems that agree on who is easy, the first `ahead` of the second."""
    generator = np.random.default_rng(seed)
    ease = generator.random(users)
    first, second = (ease + 0.1 * generator.normal(size=users) for _ in range(2))
    return first + ahead, second


@pytest.mark.parametrize(("users", "expected"), [(1, 1.0), (2, 0.5), (4, 0.125), (6, 2 / 64)])
def test_where_every_user_gains_the_same_p_is_that_of_coins_that_all_fall_alike(users: int, expected: float) -> None:
    # The signed sums are whole numbers: every tie with the sum found must count.
    p = paired_test(np.full(users, 0.3), np.full(users, 0.2), resamples=40_000)
    assert p == pytest.approx(expected, abs=4 * np.sqrt(expected * (1 - expected) / 40_000) + 1e-4)


def test_p_is_near_the_one_over_all_signings() -> None:
    first, second = pair(3, users=10, ahead=0.03)
    difference = first - second
    signs = 1 - 2 * ((np.arange(1024)[:, None] >> np.arange(10)) & 1)
    exact = (np.abs(signs @ difference) >= abs(difference.sum()) - 1e-12).mean()
    assert 0.05 < exact < 0.95
    p = paired_test(first, second, resamples=20_000)
    assert p == pytest.approx(exact, abs=4 * np.sqrt(exact * (1 - exact) / 20_000))


def test_p_is_never_zero_and_one_where_nothing_differs() -> None:
    first, second = pair(0, users=200, ahead=1.0)
    assert paired_test(first, second, resamples=999) == 1 / 1000
    assert paired_test(first, first, resamples=999) == 1.0


def test_sums_that_are_equal_but_for_rounding_are_equal() -> None:
    # The differences add up to zero, but not in floating point.
    difference = np.array([0.1, 0.2, -0.3, 0.7, 0.1, -0.8] * 5)
    assert 0 < abs(difference.sum()) < 1e-12
    assert paired_test(difference, np.zeros(30), resamples=2000) == 1.0


def test_the_same_seeds_in_another_order_are_the_same_system() -> None:
    """Their means over the seeds differ in the last bits, always by far less than anything that is measured."""
    seeds = np.random.default_rng(0).choice([0.1, 0.2, 0.3, 0.7], (3, 200))
    first, second = seeds.mean(0), (seeds[1] + seeds[2] + seeds[0]) / 3
    assert (first != second).any()
    assert paired_test(first, second, resamples=2000) == 1.0


def test_where_nothing_differs_five_in_a_hundred_tests_say_that_something_does() -> None:
    p = np.array([paired_test(*pair(seed), resamples=200) for seed in range(400)])
    assert 0.03 <= (p <= 0.05).mean() <= 0.075
    assert 0.45 <= (p <= 0.5).mean() <= 0.55


def test_ninety_five_in_a_hundred_intervals_hold_the_true_difference() -> None:
    held = [
        estimate.low <= 0.2 <= estimate.high
        for estimate in (paired_interval(*pair(seed, ahead=0.2), resamples=400, seed=seed) for seed in range(400))
    ]
    assert 0.92 <= np.mean(held) <= 0.975


def test_pairing_takes_out_what_the_systems_share() -> None:
    first, second = pair(1, users=300, ahead=0.02)
    estimate = paired_interval(first, second)
    error = 1.96 * (first - second).std() / np.sqrt(300)
    assert estimate.mean == pytest.approx((first - second).mean())
    assert estimate.low == pytest.approx(estimate.mean - error, abs=0.1 * error)
    assert estimate.high == pytest.approx(estimate.mean + error, abs=0.1 * error)
    assert error < 0.5 * 1.96 * first.std() / np.sqrt(300)


def test_resampled_means_have_the_moments_of_drawing_with_replacement() -> None:
    columns = np.random.default_rng(0).normal(size=(50, 2)) * [1, 7]
    means = resampled_means(columns, 20_000, 0)
    np.testing.assert_allclose(means.mean(0), columns.mean(0), atol=4 * columns.std(0).max() / np.sqrt(50 * 20_000))
    np.testing.assert_allclose(means.var(0), columns.var(0) / 50, rtol=0.05)
    # One draw of users serves all columns.
    np.testing.assert_allclose(resampled_means(columns * [1, 0], 30, 4)[:, 0], resampled_means(columns, 30, 4)[:, 0])


def test_weights_stay_within_bounds_and_no_resample_is_forgotten() -> None:
    for users in (1, 1000, 3_000_000):
        places = list(blocks(100, users))
        assert np.concatenate([np.arange(place.start, place.stop) for place in places]).tolist() == list(range(100))
        assert all((p.stop - p.start) * users * 8 <= resampling.BLOCK_BYTES or p.stop - p.start == 1 for p in places)


def test_holm_known_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]).tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]).tolist() == [1.0, 1.0]
    assert holm([]).tolist() == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.randoms())
def test_holm_keeps_order_and_lies_between_no_correction_and_bonferroni(p: list[float], chance: Random) -> None:
    corrected = holm(p)
    given_p = np.array(p)
    assert (corrected >= given_p).all()
    assert (corrected <= np.minimum(1, len(p) * given_p)).all()
    assert (np.diff(corrected[np.argsort(given_p)]) >= 0).all()
    shuffled = list(range(len(p)))
    chance.shuffle(shuffled)
    np.testing.assert_array_equal(holm(given_p[shuffled]), corrected[shuffled])


def test_effects_known_by_hand() -> None:
    found = effect_of(np.array([1.0, 2.0, 3.0, 0.0]), np.array([0.0, 2.0, 1.0, 1.0]))
    assert found.size == pytest.approx(0.5 / np.std([1, 0, 2, -1], ddof=1))
    assert (found.better, found.worse) == (0.5, 0.25)
    assert effect_of(np.full(5, 0.3), np.full(5, 0.1)).size is None
    equal = effect_of(np.full(3, 0.1 + 0.2), np.full(3, 0.3))
    assert (equal.size, equal.better, equal.worse) == (0.0, 0.0, 0.0)


def family(users: int = 400, **ahead: float) -> dict[str, Values]:
    generator = np.random.default_rng(5)
    ease = generator.random(users)
    return {name: ease + 0.1 * generator.normal(size=users) + by for name, by in ahead.items()}


def test_a_planted_winner_is_separated_and_equals_are_not() -> None:
    found = separate(family(third=0.0, best=0.2, second=0.1, also_second=0.1), resamples=2000)
    assert found.winner == found.order[0] == "best"
    assert set(found.order[1:3]) == {"second", "also_second"}
    assert found.level_with_best == ()
    assert {(p.first, p.second) for p in found.pairs if not p.separated} == {found.order[1:3]}
    assert found.verdict.startswith("best is ahead of")
    assert found.runner_up == found.pairs[0]


def test_where_nothing_differs_five_in_a_hundred_families_separate_any_pair() -> None:
    found = [
        separate(
            {str(n): column for n, column in enumerate(np.random.default_rng(seed).random((6, 40)))}, resamples=600
        )
        for seed in range(120)
    ]
    alone = np.mean([min(entry.p for entry in family.pairs) <= 0.05 for family in found])
    together = np.mean([any(entry.separated for entry in family.pairs) for family in found])
    assert together <= 0.1
    assert alone >= 0.2


def test_a_winner_by_chance_is_not_separated() -> None:
    found = separate(family(a=0.0, b=0.0, c=-1.0), resamples=2000)
    assert found.winner is None
    assert found.level_with_best == (found.order[1],)
    assert found.verdict.startswith("not separated: ")


def test_every_pair_is_what_its_own_test_and_interval_say() -> None:
    values = family(users=90, a=0.0, b=0.01, c=0.03)
    found = separate(values, resamples=3000, seed=8)
    assert found.resamples == 3000
    p = [pair.p for pair in found.pairs]
    np.testing.assert_allclose([pair.corrected_p for pair in found.pairs], holm(p))
    for entry in found.pairs:
        first, second = values[entry.first], values[entry.second]
        assert entry.p == paired_test(first, second, resamples=3000, seed=8)
        alone = paired_interval(first, second, resamples=3000, seed=8)
        assert (entry.difference.low, entry.difference.high) == pytest.approx((alone.low, alone.high))
        assert entry.difference.mean == pytest.approx(first.mean() - second.mean())
        assert entry.effect.size == pytest.approx(effect_of(first, second).size)
        assert entry.corrected.low <= entry.difference.low <= entry.difference.high <= entry.corrected.high
    # The most certain pair bears the whole family, the least certain itself alone.
    least = max(found.pairs, key=lambda entry: entry.p)
    assert (least.corrected.low, least.corrected.high) == (least.difference.low, least.difference.high)
    for name, own in found.systems.items():
        assert own.low < own.mean < own.high
        assert own.mean == pytest.approx(values[name].mean())


def test_the_matrix_holds_each_pair_both_ways() -> None:
    values = family(users=80, a=0.0, b=0.05, c=0.3)
    found = separate(values, resamples=500)
    difference = found.matrix("difference")
    np.testing.assert_array_equal(difference, -difference.T)
    assert np.isnan(difference.diagonal()).all()
    for row, first in enumerate(found.order):
        for column, second in enumerate(found.order):
            if row != column:
                assert difference[row, column] == pytest.approx(values[first].mean() - values[second].mean())
    for figure in ("p", "corrected_p", "separated"):
        np.testing.assert_array_equal(found.matrix(figure), found.matrix(figure).T)
    assert (np.nan_to_num(found.matrix("effect"))[np.triu_indices(3, 1)] > 0).all()


def test_seeds_are_averaged_for_each_user_before_users_are_drawn() -> None:
    generator = np.random.default_rng(0)
    runs: Mapping[str, Values] = {name: generator.random((5, 70)) for name in "ab"}
    averaged = {name: run.mean(0) for name, run in runs.items()}
    assert separate(runs, resamples=300).pairs == separate(averaged, resamples=300).pairs
    # Seeds that cancel leave nothing to be uncertain about.
    noise = generator.normal(size=70)
    steady = separate({"a": np.stack([1 + noise, 1 - noise]), "b": np.zeros((1, 70))}, resamples=300)
    assert steady.pairs[0].difference.high - steady.pairs[0].difference.low < 1e-12
    assert steady.pairs[0].effect.size is None


def test_users_without_a_value_somewhere_are_left_out_of_everything() -> None:
    values = family(users=50, a=0.0, b=0.5)
    values["a"][3] = np.nan
    values["b"][[3, 8]] = np.nan
    kept = np.setdiff1d(np.arange(50), [3, 8])
    found = separate(values, resamples=300)
    assert (found.users, found.left_out) == (48, 2)
    assert found.pairs == separate({name: column[kept] for name, column in values.items()}, resamples=300).pairs


def test_identical_systems_are_never_separated() -> None:
    column = np.random.default_rng(0).random(40)
    found = separate({"a": column, "b": column.copy()}, resamples=300)
    entry = found.pairs[0]
    assert (entry.p, entry.difference.low, entry.difference.high, entry.effect.size) == (1.0, 0.0, 0.0, 0.0)
    assert found.winner is None


def test_one_user_proves_nothing() -> None:
    assert separate({"a": np.ones(1), "b": np.zeros(1)}).winner is None


def test_resamples_grow_with_the_family_and_the_seed_decides() -> None:
    values = {f"s{n}": np.random.default_rng(n).random(20) for n in range(8)}
    first, again, other = (separate(values, resamples=50, seed=seed) for seed in (1, 1, 2))
    # 28 pairs at the strictest step need 1,120 resamples for one in each tail of the interval.
    assert first.resamples == 1120
    assert first.pairs == again.pairs
    assert first.pairs != other.pairs


def test_one_system_alone_has_nothing_to_be_separated_from() -> None:
    found = separate({"a": np.array([0.0, 1.0])}, resamples=100)
    assert (found.winner, found.runner_up, found.pairs) == (None, None, ())
    assert found.verdict == "a alone: nothing to compare"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "no system"),
        ({"a": np.zeros(3), "b": np.zeros(4)}, "different users"),
        ({"a": np.full(3, np.nan), "b": np.zeros(3)}, "no user has a value"),
        ({"a": np.zeros(0), "b": np.zeros(0)}, "no user has a value"),
    ],
)
def test_what_cannot_be_compared_is_refused(values: dict[str, Values], message: str) -> None:
    with pytest.raises(DataError, match=message):
        separate(values)
