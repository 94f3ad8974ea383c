"""Knowledge triples as a graph around items: inverse relations, the neighbours of each item, and statistics.

Takes the knowledge and item_entities tables of a catalogue; gives the set of neighbour entities of each item, whatever
the direction of the triples, and a screen of figures about them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from palate.graph.rows import Rows

# Two relations are each other's inverse when at least this share of the larger one's triples occurs in the other,
# turned round. Exports of large graphs lose a few triples of either direction.
INVERSE_SHARE = 0.9
SHOWN_HUBS = 5


@dataclass(frozen=True)
class InversePair:
    """Two relations of which each says the other turned round; one and the same for a symmetric relation.

    Attributes:
        first, second: the relations, in the order of their names.
        share: of the larger relation's triples (h, r, t), those that occur as (t, r', h) in the other, in [0, 1].
    """

    first: str
    second: str
    share: float


@dataclass(frozen=True)
class KnowledgeStatistics:
    """What there is in a catalogue's knowledge.

    Attributes:
        triples: distinct triples.
        facts: what is left of them when a triple and its inverse count once.
        relations, entities: distinct ones.
        inverses: pairs of inverse relations, symmetric relations included.
        items: items of the catalogue.
        linked: items with an entity.
        connected: items whose entity has a neighbour.
        neighbours: least, lower quartile, median, upper quartile and largest number of neighbour entities of the
            connected items; zeros when there are none.
        mean_neighbours: their mean.
        hubs: the entities that neighbour most items, each with their number.
    """

    triples: int
    facts: int
    relations: int
    entities: int
    inverses: tuple[InversePair, ...]
    items: int
    linked: int
    connected: int
    neighbours: tuple[int, int, int, int, int]
    mean_neighbours: float
    hubs: tuple[tuple[str, int], ...]

    def lines(self) -> tuple[str, ...]:
        """The figures, a line for each kind; of inverse relations the number only."""
        least, low, median, high, most = self.neighbours
        symmetric = [pair.first for pair in self.inverses if pair.first == pair.second]
        lines = [
            f"{self.triples:,} triples, {self.relations:,} relations, {self.entities:,} entities; "
            f"{self.facts:,} facts when a triple and its inverse count once",
            f"{self.linked:,} of {self.items:,} items have an entity, {self.connected:,} of them with neighbours "
            f"(least {least:,}, quartiles {low:,}, {median:,} and {high:,}, most {most:,}, "
            f"mean {self.mean_neighbours:.1f})",
            f"pairs of inverse relations: {len(self.inverses) - len(symmetric):,}; "
            f"symmetric relations: {', '.join(symmetric) or 'none'}",
        ]
        if self.hubs:
            lines.append("most shared entities: " + ", ".join(f"{name} ({count:,} items)" for name, count in self.hubs))
        return tuple(lines)

    def text(self) -> str:
        """The figures, and the pairs of inverse relations one by one."""
        pairs = [
            f"  {pair.first} ~ {pair.second} ({_percent(pair.share)})"
            for pair in self.inverses
            if pair.first != pair.second
        ]
        return "\n".join([*self.lines(), *(["inverse relations:", *pairs] if pairs else [])])


def _percent(share: float) -> str:
    # Rounded down: 100 % is said of all and nothing less.
    return f"{int(share * 1000) / 10:g} %"


def inverse_relations(knowledge: pl.DataFrame, least: float = INVERSE_SHARE) -> tuple[InversePair, ...]:
    """The pairs of relations that are each other's inverse, by the name of the first.

    A relation is in one pair at most, that of the largest share. Triples that lead from an entity to itself say
    nothing about direction and are left out.

    Args:
        knowledge: head, relation, tail.
        least: share from which two relations count as inverse, in (0, 1].
    """
    triples = knowledge.select("head", "relation", "tail").filter(pl.col("head") != pl.col("tail")).unique()
    size = dict(triples.group_by("relation").len().iter_rows())
    turned = triples.select(pl.col("tail").alias("head"), pl.col("head").alias("tail"), other="relation")
    matched = triples.join(turned, on=["head", "tail"]).group_by("relation", "other").len()
    found = [
        InversePair(first, second, count / max(size[first], size[second]))
        for first, second, count in matched.iter_rows()
        if first <= second
    ]
    kept: list[InversePair] = []
    used: set[str] = set()
    for pair in sorted(found, key=lambda pair: (-pair.share, pair.first, pair.second)):
        if pair.share >= least and not used & {pair.first, pair.second}:
            used |= {pair.first, pair.second}
            kept.append(pair)
    return tuple(sorted(kept, key=lambda pair: pair.first))


@dataclass(frozen=True, eq=False)
class ItemNeighbours:
    """The neighbour entities of each item.

    Attributes:
        rows: items × entities, each entity once an item, ascending.
        entities: the entities' names, sorted; column c of `rows` is `entities[c]`.
        linked: bool, one per item: whether it has an entity.
    """

    rows: Rows
    entities: tuple[str, ...]
    linked: NDArray[np.bool_]


def item_neighbours(knowledge: pl.DataFrame, item_entities: pl.DataFrame, item_ids: Sequence[str]) -> ItemNeighbours:
    """The entities that share a triple with an item's entity, as heads or as tails, each once.

    Whether a fact is stored once, with its inverse, or with several relations makes no difference. An item of several
    entities has the neighbours of all of them, apart from these entities themselves.

    Args:
        knowledge: head, relation, tail.
        item_entities: item_id, entity; rows of items that are not in `item_ids` are left out.
        item_ids: the items, in the order that is wanted.
    """
    ends = knowledge.select("head", "tail").filter(pl.col("head") != pl.col("tail")).unique()
    both = pl.concat([ends, ends.select(pl.col("tail").alias("head"), pl.col("head").alias("tail"))]).unique()
    entities = both["head"].unique().sort()
    number = pl.DataFrame({"tail": entities, "column": pl.int_range(len(entities), dtype=pl.Int32, eager=True)})
    place = pl.DataFrame(
        {
            "item_id": pl.Series(item_ids, dtype=pl.String),
            "row": pl.int_range(len(item_ids), dtype=pl.Int64, eager=True),
        }
    )
    owned = item_entities.select("item_id", "entity").unique().join(place, on="item_id").select("row", "entity")
    found = (
        owned.join(both, left_on="entity", right_on="head")
        .select("row", "tail")
        .unique()
        .join(owned, left_on=["row", "tail"], right_on=["row", "entity"], how="anti")
        .join(number, on="tail")
        .sort("row", "column")
    )
    rows = Rows.from_pairs(found["row"].to_numpy(), found["column"].to_numpy(), len(item_ids), max(len(entities), 1))
    linked = np.zeros(len(item_ids), dtype=np.bool_)
    linked[owned["row"].to_numpy()] = True
    return ItemNeighbours(rows, tuple(entities.to_list()), linked)


def knowledge_statistics(
    knowledge: pl.DataFrame, item_entities: pl.DataFrame, item_ids: Sequence[str]
) -> KnowledgeStatistics:
    """Figures about the knowledge of a catalogue's items; arguments as in `item_neighbours`."""
    triples = knowledge.select("head", "relation", "tail").unique()
    inverses = inverse_relations(triples)
    neighbours = item_neighbours(knowledge, item_entities, item_ids)
    counts = neighbours.rows.lengths[neighbours.rows.lengths > 0]
    quartiles = np.quantile(counts, [0, 0.25, 0.5, 0.75, 1], method="lower") if len(counts) else np.zeros(5)
    least, low, median, high, most = (int(value) for value in quartiles)
    shared = np.bincount(neighbours.rows.columns, minlength=neighbours.rows.width)
    busiest = [column for column in np.argsort(-shared, kind="stable")[:SHOWN_HUBS].tolist() if shared[column]]
    return KnowledgeStatistics(
        triples=triples.height,
        facts=_facts(triples, inverses),
        relations=triples["relation"].n_unique(),
        entities=pl.concat([triples["head"], triples["tail"]]).n_unique(),
        inverses=inverses,
        items=len(item_ids),
        linked=int(neighbours.linked.sum()),
        connected=len(counts),
        neighbours=(least, low, median, high, most),
        mean_neighbours=float(counts.mean()) if len(counts) else 0.0,
        hubs=tuple((neighbours.entities[column], int(shared[column])) for column in busiest),
    )


def _facts(triples: pl.DataFrame, inverses: Sequence[InversePair]) -> int:
    """Distinct triples when those of each pair's second relation are turned round and given the first's name."""
    first = {pair.second: pair.first for pair in inverses if pair.first != pair.second}
    symmetric = [pair.first for pair in inverses if pair.first == pair.second]
    turn = pl.col("relation").is_in(list(first)) | (
        pl.col("relation").is_in(symmetric) & (pl.col("head") > pl.col("tail"))
    )
    return triples.select(
        pl.when(turn).then("tail").otherwise("head").alias("head"),
        pl.col("relation").replace(first) if first else pl.col("relation"),
        pl.when(turn).then("head").otherwise("tail").alias("tail"),
    ).n_unique()
