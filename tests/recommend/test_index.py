"""Search among item vectors: exact against brute force, faiss against exact, and what filters do to either."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from palate.core.errors import ConfigError, MissingDependency, TrainingError
from palate.graph.rows import Rows
from palate.measure.ranking import top_items
from palate.models import Embeddings
from palate.recommend import index as index_module
from palate.recommend.index import ExactIndex, FaissIndex, Index, choose_index

ITEMS, WIDTH = 900, 8


def grouped(items: int = ITEMS, groups: int = 12, seed: int = 0) -> NDArray[np.float32]:
    """Vectors that lie around a few points, as lists of faiss want them."""
    generator = np.random.default_rng(seed)
    centres = generator.normal(size=(groups, WIDTH))
    return (centres[generator.integers(0, groups, items)] + 0.2 * generator.normal(size=(items, WIDTH))).astype(
        np.float32
    )


VECTORS, QUERIES = grouped(), grouped(40, seed=1)
EXACT = ExactIndex(VECTORS)
FAISS = FaissIndex(VECTORS, QUERIES)
both = pytest.mark.parametrize("index", [EXACT, FAISS], ids=["exact", "faiss"])


def rows_of(lists: list[list[int]], width: int = ITEMS) -> Rows:
    pairs = [(row, item) for row, items in enumerate(lists) for item in items]
    row, column = (np.array(side, dtype=np.int64) for side in (zip(*pairs, strict=True) if pairs else ([], [])))
    return Rows.from_pairs(row, column, len(lists), width)


def brute(query: NDArray[np.float32], k: int, admissible: NDArray[np.bool_]) -> list[int]:
    scores = np.where(admissible, VECTORS.astype(np.float64) @ query.astype(np.float64), -np.inf)
    return np.argsort(-scores, kind="stable")[: min(k, int(admissible.sum()))].tolist()


@both
def test_the_best_items_come_first_with_their_inner_products(index: Index) -> None:
    found = index.search(QUERIES, 7)
    everything = np.ones(ITEMS, np.bool_)
    wanted = [brute(query, 7, everything) for query in QUERIES]
    overlap = np.mean([np.isin(own, best).mean() for own, best in zip(found.items, wanted, strict=True)])
    assert overlap == 1.0 if index is EXACT else overlap >= 0.9
    np.testing.assert_allclose(found.scores, np.einsum("nkd,nd->nk", VECTORS[found.items], QUERIES), rtol=1e-5)
    assert bool((np.diff(found.scores, axis=1) <= 0).all())


def test_exact_search_gives_the_lists_of_top_items_ties_included() -> None:
    vectors = torch.tensor(np.random.default_rng(0).integers(-2, 3, (200, 3)), dtype=torch.float32)
    users = torch.tensor(np.random.default_rng(1).integers(-2, 3, (9, 3)), dtype=torch.float32)
    people = np.array([4, 0, 8, 3])
    hidden = rows_of([[user, user + 50] for user in range(9)], 200)
    wanted, scores = top_items(Embeddings(users, vectors), people, 12, mask=hidden, seed=3)
    queries = users[torch.from_numpy(people)]
    index = ExactIndex(vectors, seed=3)
    found = index.search(queries, 12, hidden=hidden.take(people), owners=people)
    np.testing.assert_array_equal(found.items, wanted)
    np.testing.assert_array_equal(found.scores, scores)
    # A filter that leaves few items takes another way and settles ties as before.
    allowed = np.zeros(200, np.bool_)
    allowed[::7] = True
    rest = rows_of([np.flatnonzero(~allowed).tolist()] * 9, 200).union(hidden)
    wanted, _ = top_items(Embeddings(users, vectors), people, 12, mask=rest, seed=3)
    found = index.search(queries, 12, allowed=allowed, hidden=hidden.take(people), owners=people)
    np.testing.assert_array_equal(found.items, wanted)


def test_blocks_of_queries_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = EXACT.search(QUERIES, 5)
    monkeypatch.setattr(index_module, "BLOCK_BYTES", 3 * 4 * ITEMS)
    np.testing.assert_array_equal(EXACT.search(QUERIES, 5).items, whole.items)


@both
@given(data=st.data())
def test_lists_are_admissible_and_as_long_as_they_can_be(index: Index, data: st.DataObject) -> None:
    generator = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    k = data.draw(st.sampled_from([1, 3, 20, 100, ITEMS, 2 * ITEMS]))
    share = data.draw(st.sampled_from([None, 0.0, 0.003, 0.1, 0.3, 0.9, 1.0]))
    allowed = None if share is None else generator.random(ITEMS) < share
    count = data.draw(st.integers(1, 4))
    queries = QUERIES[generator.integers(0, len(QUERIES), count)]
    likeliest = np.argsort(-(queries @ VECTORS.T), axis=1)
    # What people have seen is what they would be shown.
    seen = [own[: generator.integers(0, 60)].tolist() for own in likeliest]
    hidden = rows_of(seen) if data.draw(st.booleans()) else None
    found = index.search(queries, k, allowed=allowed, hidden=hidden)
    for query, items, scores, own in zip(queries, found.items, found.scores, seen, strict=True):
        admissible = np.ones(ITEMS, np.bool_) if allowed is None else allowed.copy()
        admissible[own if hidden is not None else []] = False
        wanted = brute(query, k, admissible)
        listed = items[items >= 0]
        assert len(items) == min(k, ITEMS)
        assert len(listed) == len(wanted) == len(set(listed.tolist()))
        assert bool(admissible[listed].all())
        assert bool(np.isneginf(scores[len(listed) :]).all())
        assert bool((items[len(listed) :] == -1).all())
        if index is EXACT:
            np.testing.assert_allclose(scores[: len(listed)], VECTORS[wanted] @ query, rtol=1e-4, atol=1e-5)


def test_one_query_may_come_without_its_row() -> None:
    for query in (QUERIES[0], torch.from_numpy(QUERIES[0])):
        np.testing.assert_array_equal(EXACT.search(query, 4).items, EXACT.search(QUERIES[:1], 4).items)


@both
def test_queries_that_do_not_fit_are_refused(index: Index) -> None:
    with pytest.raises(ConfigError, match="n × 8"):
        index.search(QUERIES[:, :5], 3)
    with pytest.raises(ConfigError, match="at least 1"):
        index.search(QUERIES, 0)


@both
def test_scores_that_are_no_numbers_are_refused(index: Index) -> None:
    query = QUERIES[0].copy()
    query[3] = np.nan
    with pytest.raises(TrainingError, match="not numbers"):
        index.search(query, 3)


def test_faiss_measures_its_recall_and_looks_at_as_much_as_it_needs() -> None:
    wanted, found = EXACT.search(QUERIES, 20).items, FAISS.search(QUERIES, 20).items
    measured = np.mean([np.isin(best, own).mean() for best, own in zip(wanted, found, strict=True)])
    # It was measured on these very queries, without the spare proposals of a search.
    assert FAISS.recall >= 0.9
    assert measured >= FAISS.recall - 1e-9
    assert 1 < FAISS.probes <= FAISS.lists / 4
    assert f"{FAISS.recall:.3f}" in FAISS.about
    again = FaissIndex(VECTORS, QUERIES)
    np.testing.assert_array_equal(again.search(QUERIES, 20).items, found)
    assert (again.recall, again.probes) == (FAISS.recall, FAISS.probes)


def test_faiss_filters_by_itself_where_much_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    allowed = np.random.default_rng(5).random(ITEMS) < 0.9
    hidden = rows_of([np.argsort(-(VECTORS @ query))[:10].tolist() for query in QUERIES])
    wanted = EXACT.search(QUERIES, 15, allowed=allowed, hidden=hidden)

    def fail(*words: object, **settings: object) -> None:
        raise AssertionError("exact search was called")

    monkeypatch.setattr(FAISS.exact, "search", fail)
    found = FAISS.search(QUERIES, 15, allowed=allowed, hidden=hidden)
    overlap = [np.isin(best, own).mean() for best, own in zip(wanted.items, found.items, strict=True)]
    assert np.mean(overlap) >= 0.9


def test_faiss_is_refused_where_it_finds_too_little() -> None:
    scattered = np.random.default_rng(0).normal(size=(800, WIDTH)).astype(np.float32)
    with pytest.raises(ConfigError, match=r"less than 0\.999"):
        FaissIndex(scattered, QUERIES, floor=0.999)
    chosen = choose_index(scattered, QUERIES, above=100, floor=0.999)
    assert isinstance(chosen, ExactIndex)
    assert "less than 0.999" in chosen.about
    assert chosen.recall == 1.0


def test_without_queries_there_is_nothing_to_measure() -> None:
    with pytest.raises(ConfigError, match="no queries"):
        FaissIndex(VECTORS, QUERIES[:0])


def test_vectors_that_are_not_finite_are_refused() -> None:
    broken = VECTORS.copy()
    broken[5, 2] = np.inf
    with pytest.raises(TrainingError, match="not finite"):
        FaissIndex(broken, QUERIES)


def test_the_size_decides_and_faiss_is_missed_without_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(choose_index(VECTORS, QUERIES), ExactIndex)
    assert isinstance(choose_index(VECTORS, QUERIES, above=ITEMS), ExactIndex)
    assert isinstance(choose_index(VECTORS, QUERIES, above=ITEMS - 1), FaissIndex)

    def gone(package: str, work: str, extra: str) -> None:
        raise MissingDependency(f"{work} needs the package {package}")

    monkeypatch.delitem(sys.modules, "faiss", raising=False)
    monkeypatch.setattr(index_module, "need_package", gone)
    chosen = choose_index(VECTORS, QUERIES, above=ITEMS - 1)
    assert isinstance(chosen, ExactIndex)
    assert "needs the package faiss" in chosen.about
