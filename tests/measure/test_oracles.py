"""Metrics against ir-measures (trec_eval and its kin), where the definitions agree or differ by a known factor."""

from __future__ import annotations

import ir_measures
import numpy as np
import pytest
import torch
from ir_measures import AP, RR, Accuracy, P, Qrel, R, ScoredDoc, Success, nDCG
from scipy.stats import mannwhitneyu, permutation_test

from measure.tables import Table, rows_of
from palate.graph.rows import Joined, Rows
from palate.measure.clicks import click_candidates, click_metrics
from palate.measure.evaluation import Lists, accuracy_of
from palate.measure.metrics import CUTS
from palate.measure.significance import paired_test

USERS, ITEMS, DEPTH = 120, 90, 50
MEASURES = {"recall": R, "ndcg": nDCG, "precision": P, "mrr": RR, "hit": Success, "map": AP}


def world() -> tuple[Lists, Rows]:
    """Lists of which some end early, and positives: one or many, found or not."""
    generator = np.random.default_rng(0)
    items = np.stack([generator.permutation(ITEMS)[:DEPTH] for _ in range(USERS)])
    for user in range(0, USERS, 5):
        items[user, generator.integers(1, DEPTH) :] = -1
    sets = [
        set(generator.choice(ITEMS, generator.integers(1, 4 if user % 2 else 80), replace=False).tolist())
        for user in range(USERS)
    ]
    return Lists(np.arange(USERS), items), rows_of(sets, ITEMS)


def qrels_of(positives: Rows) -> list[Qrel]:
    entries = zip(positives.row_of_entry().tolist(), positives.columns.tolist(), strict=True)
    return [Qrel(str(user), str(item), 1) for user, item in entries]


@pytest.mark.parametrize("name", MEASURES)
def test_metrics_agree_for_every_user(name: str) -> None:
    lists, positives = world()
    run = [
        ScoredDoc(str(user), str(item), float(-rank))
        for user, row in enumerate(lists.items.tolist())
        for rank, item in enumerate(row)
        if item >= 0
    ]
    found = accuracy_of(lists, positives).values
    expected = np.full((USERS, max(CUTS) + 1), np.nan)
    for metric in ir_measures.iter_calc([MEASURES[name] @ k for k in CUTS], qrels_of(positives), run):
        expected[int(metric.query_id), metric.measure.params["cutoff"]] = metric.value
    for k in CUTS:
        ours = found[f"{name}@{k}"]
        if name == "map":
            # trec_eval divides by all positives, this field by those that fit into the list.
            few = positives.lengths <= k
            assert few.any()
            np.testing.assert_allclose(ours[few], expected[few, k], rtol=1e-9, atol=1e-12)
            ours = ours * np.minimum(positives.lengths, k) / positives.lengths
        np.testing.assert_allclose(ours, expected[:, k], rtol=1e-9, atol=1e-12)
        assert 0 < ours.mean() < 1


def test_auc_agrees_without_ties_and_with_them() -> None:
    generator = np.random.default_rng(1)
    test = rows_of([set(generator.choice(ITEMS, 12, replace=False).tolist()) for _ in range(USERS)], ITEMS)
    positives = rows_of([set(test[user][generator.random(12) < 0.4].tolist()) for user in range(USERS)], ITEMS)
    candidates = click_candidates(test, positives, Joined((test,)), negatives=2)
    smooth, coarse = generator.normal(size=(USERS, ITEMS)), generator.integers(0, 4, (USERS, ITEMS)).astype(np.float64)
    of_smooth, of_coarse = (
        click_metrics(Table(torch.from_numpy(scores)), candidates).values["auc"] for scores in (smooth, coarse)
    )
    qrels: list[Qrel] = []
    run: list[ScoredDoc] = []
    for row, user in enumerate(candidates.users.tolist()):
        place = slice(*candidates.items.pointer[row : row + 2])
        own, label = candidates.items.columns[place], candidates.positive[place]
        for item, yes in zip(own.tolist(), label.tolist(), strict=True):
            qrels.append(Qrel(str(row), str(item), int(yes)))
            run.append(ScoredDoc(str(row), str(item), float(smooth[user, item])))
        pairs = int(label.sum()) * int((~label).sum())
        above = mannwhitneyu(coarse[user, own[label]], coarse[user, own[~label]], method="asymptotic").statistic
        assert of_coarse[row] == pytest.approx(above / pairs)
    expected = {metric.query_id: metric.value for metric in ir_measures.iter_calc([Accuracy], qrels, run)}
    assert len(expected) == len(candidates.users)
    assert of_smooth.tolist() == pytest.approx([expected[str(row)] for row in range(len(candidates.users))])


def test_the_randomisation_test_agrees_with_all_signings() -> None:
    generator = np.random.default_rng(2)
    first, second = generator.random(11) + 0.15, generator.random(11)
    exact = permutation_test(
        (first, second), lambda a, b: np.mean(a - b), permutation_type="samples", n_resamples=np.inf
    ).pvalue
    assert paired_test(first, second, resamples=20_000) == pytest.approx(
        exact, abs=4 * np.sqrt(exact * (1 - exact) / 20_000)
    )
