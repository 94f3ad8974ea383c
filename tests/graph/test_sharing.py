"""The item graph of shared neighbours, against Python sets."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from palate.core.errors import ConfigError, DataError
from palate.graph import sharing
from palate.graph.rows import Rows
from palate.graph.sharing import shared_counts, sharing_graph, threshold_for_degree

Sets = list[set[int]]


def rows_of(sets: Sets, width: int) -> Rows:
    pairs = [(row, entity) for row, entities in enumerate(sets) for entity in sorted(entities)]
    rows, columns = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    return Rows.from_pairs(rows, columns, len(sets), width)


def edges_of(sets: Sets, threshold: int) -> Sets:
    joined: Sets = [set() for _ in sets]
    for one, other in itertools.permutations(range(len(sets)), 2):
        if len(sets[one] & sets[other]) > threshold:
            joined[one].add(other)
    return joined


# Few entities are all hubs, many are hardly any: both ways of counting are met, and their mixture.
worlds = st.integers(1, 40).flatmap(
    lambda width: st.tuples(st.lists(st.sets(st.integers(0, width - 1), max_size=12), max_size=25), st.just(width))
)


@given(worlds, st.integers(0, 5), st.sampled_from([1, 7, 60, 1 << 19]))
def test_the_graph_is_what_sets_say(world: tuple[Sets, int], threshold: int, cells: int) -> None:
    sets, width = world
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sharing, "CELLS", cells)
        graph = sharing_graph(rows_of(sets, width), threshold)
    assert (graph.count, graph.width) == (len(sets), len(sets))
    assert [graph[row].tolist() for row in range(len(sets))] == [sorted(row) for row in edges_of(sets, threshold)]


@given(worlds, st.sampled_from([1, 60, 1 << 19]), st.sampled_from([0.0, 1 / 8, 1.0]))
def test_the_histogram_counts_each_pair_once(world: tuple[Sets, int], cells: int, hubs: float) -> None:
    sets, width = world
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sharing, "CELLS", cells)
        patch.setattr(sharing, "HUB_SHARE", hubs)
        histogram = shared_counts(rows_of(sets, width))
    expected = [len(one & other) for one, other in itertools.combinations(sets, 2)]
    assert histogram[0] == 0
    assert histogram[1:].tolist() == [expected.count(shared) for shared in range(1, len(histogram))]
    assert sum(shared > 0 for shared in expected) == histogram.sum()


@given(worlds, st.floats(0.1, 30))
def test_the_chosen_threshold_is_the_nearest_of_all(world: tuple[Sets, int], target: float) -> None:
    sets, width = world
    neighbours = rows_of(sets, width)
    linked = max(sum(bool(entities) for entities in sets), 1)
    degree = {s: sum(map(len, edges_of(sets, s))) / linked for s in range(14)}
    possible = [s for s in degree if degree[s] > 0] or [0]
    nearest = min(abs(degree[s] - target) for s in possible)
    assert threshold_for_degree(neighbours, target) == max(s for s in possible if abs(degree[s] - target) == nearest)


def test_ties_go_to_the_sparser_graph_and_never_to_an_empty_one() -> None:
    # Items 0, 1, 2 share one entity, and 0, 1 another: degrees 2 at S_m = 0 and 2/3 at S_m = 1.
    neighbours = rows_of([{0, 1}, {0, 1}, {0}], 2)
    assert threshold_for_degree(neighbours, 4 / 3) == 1
    assert threshold_for_degree(neighbours, 1.4) == 0
    assert threshold_for_degree(neighbours, 0.01) == 1
    assert sharing_graph(neighbours, 1).size == 2
    assert threshold_for_degree(rows_of([{0}, {1}, set()], 2), 5.0) == 0


def test_items_without_entities_do_not_lower_the_mean_degree() -> None:
    joined: Sets = [{0, 1}, {0, 1}, {0}]
    nothing: Sets = [set()] * 50
    assert threshold_for_degree(rows_of(joined + nothing, 2), 1.4) == threshold_for_degree(rows_of(joined, 2), 1.4)


def test_impossible_wishes_are_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    neighbours = rows_of([{0}, {0}, {0}], 1)
    with pytest.raises(ConfigError, match="0 or more"):
        sharing_graph(neighbours, -1)
    with pytest.raises(ConfigError, match="above 0"):
        threshold_for_degree(neighbours, 0.0)
    monkeypatch.setattr(sharing, "MOST_EDGES", 2)
    with pytest.raises(DataError, match="more than 2 pairs of items share more than 0"):
        sharing_graph(neighbours, 0)
