"""Knowledge around items: inverse relations, neighbours as sets, figures."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from palate.ingest.knowledge import InversePair, inverse_relations, item_neighbours, knowledge_statistics


def triples(*rows: tuple[str, str, str]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=dict.fromkeys(("head", "relation", "tail"), pl.String), orient="row")


def links(*rows: tuple[str, str]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema={"item_id": pl.String, "entity": pl.String}, orient="row")


MADE = [(f"film{number}", "made_by", f"person{number % 7}") for number in range(20)]
MAKES = [(person, "makes", film) for film, _, person in MADE]


def test_inverse_relations_are_found_with_their_share() -> None:
    assert inverse_relations(triples(*MADE, *MAKES)) == (InversePair("made_by", "makes", 1.0),)
    assert inverse_relations(triples(*MADE, *MAKES[:19])) == (InversePair("made_by", "makes", 0.95),)
    assert inverse_relations(triples(*MADE, *MAKES[:17])) == ()
    assert inverse_relations(triples(*MADE, *MAKES[:17]), least=0.8) == (InversePair("made_by", "makes", 0.85),)


def test_a_relation_that_says_more_than_the_inverse_is_none() -> None:
    more = [(person, "knows", film) for film, _, person in MADE] + [(f"x{n}", "knows", f"y{n}") for n in range(20)]
    assert inverse_relations(triples(*MADE, *more)) == ()


def test_each_relation_has_one_inverse_the_best() -> None:
    near = [(person, "creates", film) for film, _, person in MADE[:19]]
    assert inverse_relations(triples(*MADE, *MAKES, *near)) == (InversePair("made_by", "makes", 1.0),)


def test_symmetric_relations_are_their_own_inverse_and_loops_say_nothing() -> None:
    assert inverse_relations(triples(("a", "like", "b"), ("b", "like", "a"))) == (InversePair("like", "like", 1.0),)
    assert inverse_relations(triples(("a", "is", "a"), ("b", "is", "b"))) == ()
    assert inverse_relations(triples()) == ()


def test_neighbours_are_a_set_whatever_the_direction_and_the_number_of_relations() -> None:
    found = item_neighbours(
        triples(
            *MADE, *MAKES, ("film0", "produced_by", "person0"), ("film0", "is", "film0"), ("prize", "for", "film0")
        ),
        links(("b", "film7"), ("a", "film0"), ("c", "unheard"), ("stranger", "film1")),
        ["a", "b", "c", "d"],
    )
    named = [[found.entities[column] for column in found.rows[row]] for row in range(4)]
    assert named == [["person0", "prize"], ["person0"], [], []]
    assert found.linked.tolist() == [True, True, True, False]


def test_an_item_of_several_entities_has_the_neighbours_of_all_but_not_these() -> None:
    found = item_neighbours(
        triples(("one", "sequel", "two"), ("one", "by", "x"), ("two", "by", "y")),
        links(("a", "one"), ("a", "two"), ("b", "one")),
        ["a", "b"],
    )
    assert [[found.entities[column] for column in found.rows[row]] for row in (0, 1)] == [["x", "y"], ["two", "x"]]


words = st.sampled_from("abcdefgh")


@given(st.lists(st.tuples(words, st.sampled_from("rst"), words)), st.lists(st.tuples(st.sampled_from("ABC"), words)))
def test_neighbours_against_sets(rows: list[tuple[str, str, str]], linked: list[tuple[str, str]]) -> None:
    found = item_neighbours(triples(*rows), links(*linked), ["C", "A", "B"])
    for row, item in enumerate(["C", "A", "B"]):
        own = {entity for name, entity in linked if name == item}
        near = {b for a, _, b in rows if a in own} | {a for a, _, b in rows if b in own}
        assert [found.entities[column] for column in found.rows[row]] == sorted(near - own)
        assert found.linked[row] == bool(own)


def test_statistics_of_a_small_world() -> None:
    statistics = knowledge_statistics(
        triples(*MADE, *MAKES, *MADE[:3], ("film0", "near", "film1"), ("film1", "near", "film0")),
        links(("a", "film0"), ("b", "film7"), ("c", "film1"), ("d", "unheard")),
        ["a", "b", "c", "d", "e"],
    )
    assert (statistics.triples, statistics.facts) == (42, 21)
    assert (statistics.relations, statistics.entities) == (3, 27)
    assert statistics.inverses == (InversePair("made_by", "makes", 1.0), InversePair("near", "near", 1.0))
    assert (statistics.items, statistics.linked, statistics.connected) == (5, 4, 3)
    assert statistics.neighbours == (1, 1, 2, 2, 2)
    assert statistics.mean_neighbours == pytest.approx(5 / 3)
    assert statistics.hubs[0] == ("person0", 2)
    text = statistics.text()
    assert "42 triples, 3 relations, 27 entities; 21 facts" in text
    assert "4 of 5 items have an entity, 3 of them with neighbours" in text
    assert "made_by ~ makes (100 %)" in text
    assert "symmetric relations: near" in text


def test_statistics_of_nothing() -> None:
    statistics = knowledge_statistics(triples(), links(), ["a"])
    assert (statistics.triples, statistics.connected, statistics.neighbours) == (0, 0, (0, 0, 0, 0, 0))
    assert "0 of 1 items have an entity" in statistics.text()


def test_a_share_is_never_rounded_up_to_all() -> None:
    many = [(f"f{number}", "r", f"p{number}") for number in range(3000)]
    turned = [(tail, "s", head) for head, _, tail in many[:2999]]
    assert "r ~ s (99.9 %)" in knowledge_statistics(triples(*many, *turned), links(), []).text()
