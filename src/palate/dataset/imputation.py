"""Imputation: content that items lack, filled in from items of the train part, by name.

Takes features, the train interactions and, for `knowledge`, the entities of the items; gives features that every item
has, and a `Filling` that still knows who lacked them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from palate.core.errors import ConfigError, DataError, unknown_name
from palate.dataset.settings import Imputation
from palate.encode.features import Features, blocks
from palate.encode.knowledge import KnowledgeConfig
from palate.graph.bipartite import Bipartite
from palate.graph.operator import SparseOperator
from palate.graph.rows import Rows
from palate.graph.sharing import sharing_graph, threshold_for_degree

NAMES: tuple[str, ...] = get_args(Imputation)
# Numbers of a dense block held at once: 64 MB in double precision.
CELLS = 1 << 23


@dataclass(frozen=True, eq=False)
class Filling:
    """How the missing content of one modality was filled in.

    Attributes:
        how: the imputation's name.
        missing: bool, one per item: who lacked it.
        donors: train items that have it: all that was filled in comes from them.
        alone: items without a neighbour among the donors, which got the donors' mean instead.
        shared: S_m of the item graph, for `knowledge`.
    """

    how: Imputation
    missing: NDArray[np.bool_]
    donors: int
    alone: int = 0
    shared: int = 0

    def __str__(self) -> str:
        mean = f"the mean of the {self.donors:,} train items that have it"
        if self.how == "zero":
            return "filled with zeros"
        if self.how == "mean":
            return f"filled with {mean}"
        near = (
            "items that share train users with them, weighted by how many"
            if self.how == "neighbours"
            else f"train items that share more than {self.shared} entities with them"
        )
        filled = f"{int(self.missing.sum()) - self.alone:,} filled with the mean of the {near}"
        return f"{filled}, {self.alone:,} without such a neighbour with {mean}" if self.alone else filled


def choices(asked: str | Mapping[str, str], modalities: Iterable[str]) -> dict[str, Imputation]:
    """The imputation of each modality that is to be filled in; those that stay as they are have no entry.

    Args:
        asked: one name for all modalities, or a name for some of them.
        modalities: those there are.

    Raises:
        ConfigError: for the name of an imputation or a modality that does not exist.
    """
    names = list(modalities)
    wanted = dict.fromkeys(names, asked) if isinstance(asked, str) else dict(asked)
    for how in (asked,) if isinstance(asked, str) else wanted.values():
        if how not in NAMES:
            raise ConfigError(unknown_name("imputation", str(how), NAMES), do=f"valid imputations: {', '.join(NAMES)}")
    for name in wanted:
        if name not in names:
            raise ConfigError(
                unknown_name("modality", name, names),
                where="impute",
                do=f"modalities here: {', '.join(names) or 'none'}",
            )
    return {name: cast("Imputation", how) for name, how in sorted(wanted.items()) if how != "none"}


def impute(
    features: Mapping[str, Features],
    wanted: Mapping[str, Imputation],
    train: Bipartite,
    entities: Callable[[], Rows | None],
) -> dict[str, tuple[Features, Filling]]:
    """Fill in what items lack; `donors`, items that have the modality and a positive train interaction, give it.

    `zero`: a row of zeros. `mean`: the donors' mean. `neighbours`: the mean of the donors that share train users with
    the item, each weighted by the number of these users. `knowledge`: the mean of the donors that are its neighbours in
    the graph of items that share more than S_m entities (Hu et al., Applied Soft Computing 2023), S_m as the knowledge
    encoder chooses it. Items without such a donor get the donors' mean. Sums are in double precision.

    Args:
        features: modality → features, rows in item order.
        wanted: modality → imputation, some or all of them.
        train: the positive train interactions: what models learn from and nothing else.
        entities: gives the entities of each item, or None without knowledge; asked for `knowledge` alone.

    Returns:
        The modalities of `wanted`. Where no item lacks one, its features are those that were given.

    Raises:
        ConfigError: for `knowledge` without any.
        DataError: when no train item has the modality, or no two items share enough entities.
    """
    graph: tuple[Rows, int] | None = None
    found: dict[str, tuple[Features, Filling]] = {}
    for name, how in wanted.items():
        given = features[name]
        missing = ~given.present
        donors = given.present & (train.by_item.lengths > 0)
        filling = Filling(how, missing, int(donors.sum()))
        if not missing.any():
            found[name] = given, filling
            continue
        if how != "zero" and not donors.any():
            raise DataError(
                f"no item with a train interaction has '{name}', so nothing can be filled in from such",
                do=f"leave it as it is (impute={{'{name}': 'none'}}), or encode it first",
            )
        if how == "knowledge" and graph is None:
            graph = _item_graph(entities())
        found[name] = _filled(given, filling, donors, train, graph if how == "knowledge" else None)
    return found


def _item_graph(entities: Rows | None) -> tuple[Rows, int]:
    """Items that share more than S_m entities, and S_m."""
    if entities is None:
        raise ConfigError(
            "imputation 'knowledge' needs knowledge about the items, and this catalogue has none",
            do="import knowledge triples and the entity of each item, or choose neighbours, mean or zero",
        )
    threshold = threshold_for_degree(entities, KnowledgeConfig().mean_degree)
    graph = sharing_graph(entities, threshold)
    if graph.size == 0:
        raise DataError("no two items share any entity of the knowledge", do="choose neighbours, mean or zero")
    return graph, threshold


def _filled(
    given: Features, filling: Filling, donors: NDArray[np.bool_], train: Bipartite, graph: tuple[Rows, int] | None
) -> tuple[Features, Filling]:
    lacking = np.flatnonzero(filling.missing)
    encoder = f"{given.encoder} imputed={filling.how}"
    depends: list[Rows] = []
    rows = np.zeros((len(lacking), given.width), dtype=np.float32)
    if filling.how != "zero":
        depends.append(train.by_user)
        rows[:] = _mean(given, donors)
    if filling.how in ("neighbours", "knowledge"):
        if graph is None:
            steps = _co_occurrence(train, lacking)
        else:
            depends.append(graph[0])
            encoder += f" shared>{graph[1]}"
            steps = [_sums(graph[0].take(lacking))]
        near, known = _weighted_means(steps, given, donors)
        rows[known] = near[known]
        shared = 0 if graph is None else graph[1]
        filling = Filling(filling.how, filling.missing, filling.donors, int((~known).sum()), shared)
    matrix = np.array(given.matrix)
    matrix[lacking] = rows
    # What the rows follow from, and not their bits: those may differ in the last place between machines.
    digest = hashlib.sha256(f"{encoder}\x1f{given.fingerprint}\x1f".encode())
    for each in depends:
        digest.update(each.pointer.tobytes() + each.columns.tobytes())
    present = np.ones(len(given), dtype=np.bool_)
    return Features(given.name, matrix, present, encoder, given.ids, digest.hexdigest(), given.columns), filling


def _mean(given: Features, donors: NDArray[np.bool_]) -> NDArray[np.float64]:
    total = np.zeros(given.width)
    for start, block in blocks(given.matrix):
        total += block[donors[start : start + len(block)]].sum(axis=0, dtype=np.float64)
    return total / donors.sum()


def _co_occurrence(train: Bipartite, lacking: NDArray[np.int64]) -> list[SparseOperator]:
    """Two steps, over the users of the items in question, whose product is the number of users shared with each item.

    An item's own row counts nothing, as it lacks what is summed.
    """
    to_users = train.by_item.take(lacking)
    users = np.unique(to_users.columns)
    renumbered = Rows(to_users.pointer, np.searchsorted(users, to_users.columns).astype(np.int32), len(users))
    return [_sums(train.by_user.take(users)), _sums(renumbered)]


def _sums(structure: Rows) -> SparseOperator:
    """The sum over the columns of each row."""
    return SparseOperator(structure, np.ones(structure.size)).double()


def _weighted_means(
    steps: Sequence[SparseOperator], given: Features, donors: NDArray[np.bool_]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Means of the donors' rows by the weights of the steps' product, and which rows have a donor at all."""

    def apply(dense: NDArray[np.float64]) -> NDArray[np.float64]:
        current = torch.from_numpy(np.where(donors[:, None], dense, 0.0))
        for step in steps:
            current = step(current)
        return current.numpy()

    weight = apply(np.ones((len(donors), 1)))
    means = np.zeros((len(weight), given.width), dtype=np.float32)
    width = max(1, CELLS // max(max(step.shape) for step in steps))
    for start in range(0, given.width, width):
        columns = slice(start, start + width)
        means[:, columns] = apply(given.matrix[:, columns].astype(np.float64)) / np.maximum(weight, 1.0)
    return means, weight[:, 0] > 0
