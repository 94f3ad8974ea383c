"""Lists that are ranked once: measured later they give what the evaluation in one go gives."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from measure.tables import Table, rows, rows_of
from palate.measure import ranking
from palate.measure.evaluation import Lists, accuracy_of, evaluate, ranked_lists


def test_lists_ranked_once_measure_the_same_to_the_last_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranking, "BLOCK_BYTES", 4 * 60 * 7)
    generator = np.random.default_rng(0)
    # Few distinct scores: ties matter.
    scores = torch.from_numpy(generator.integers(0, 9, (40, 60)).astype(np.float32))
    sets = [set(generator.choice(60, generator.integers(0, 6), replace=False).tolist()) for _ in range(40)]
    positives = rows_of(sets, 60)
    mask = rows_of([set(generator.choice(60, 20, replace=False).tolist()) - own for own in sets], 60)
    once = evaluate(Table(scores), positives, mask, seed=3)
    scorer = Table(scores)
    lists = ranked_lists(scorer, positives, mask, seed=3)
    later = accuracy_of(lists, positives)
    assert scorer.asked == np.flatnonzero([len(own) for own in sets]).tolist()
    np.testing.assert_array_equal(later.users, once.users)
    assert list(later.values) == list(once.values)
    for name, column in once.values.items():
        np.testing.assert_array_equal(later.values[name], column)


def test_users_of_the_lists_without_a_positive_are_not_measured() -> None:
    lists = Lists(np.array([0, 2, 3]), np.array([[1, 0], [0, 1], [1, 0]]))
    found = accuracy_of(lists, rows([(1, 0), (2, 1), (3, 1)], 4, 2), cuts=(1, 2))
    assert found.users.tolist() == [2, 3]
    assert found.values["recall@1"].tolist() == [0.0, 1.0]


def test_lists_come_in_blocks_that_leave_nobody_out() -> None:
    lists = Lists(np.arange(7), np.arange(14).reshape(7, 2))
    blocks = list(lists.blocks(3))
    assert [len(users) for users, _ in blocks] == [3, 3, 1]
    np.testing.assert_array_equal(np.concatenate([items for _, items in blocks]), lists.items)


def test_lists_shorter_than_a_cut_are_refused_unless_there_are_no_more_items() -> None:
    short = Lists(np.arange(1), np.array([[0, 1]]))
    with pytest.raises(ValueError, match="lists of 2 items cannot be measured at 3"):
        accuracy_of(short, rows([(0, 1)], 1, 5), cuts=(1, 3))
    assert accuracy_of(short, rows([(0, 1)], 1, 2), cuts=(3,)).values["recall@3"].tolist() == [1.0]


def test_nobody_to_measure_gives_empty_columns() -> None:
    lists = ranked_lists(Table(torch.zeros(3, 4)), rows([], 3, 4), rows([], 3, 4))
    assert lists.items.shape == (0, 4)
    found = accuracy_of(lists, rows([], 3, 4))
    assert set(found.means().values()) == {0.0}
