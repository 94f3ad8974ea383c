"""The k items of largest inner product with a query, among those that are allowed: exactly, or by faiss.

Takes item vectors and query vectors as arrays or tensors; what may not be recommended is left out before the list is
cut, so a list is shorter than k only where fewer items may be in it. Exact search is the default; faiss pays above some
ten thousand items, is an extra, and is refused where it finds too few of the items that exact search finds.
"""

from __future__ import annotations

import importlib
import math
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from palate.core.errors import ConfigError, MissingDependency, TrainingError
from palate.core.seeds import derive_seed, numpy_generator
from palate.encode.checkpoints import need_package
from palate.graph.rows import IntArray, Rows, contains
from palate.graph.ties import SPARE, Priorities, by_score_and_priority
from palate.measure.ranking import NOBODY, best_of, hide, refuse_nan

Vectors = NDArray[np.floating] | Tensor
BoolArray = NDArray[np.bool_]

# Scores held at once. A few queries against a million items cost as much together as one by one; sixteen do not.
BLOCK_BYTES = 64 * 1024 * 1024
# Where at most this share of the items is allowed, their vectors are gathered and no others are looked at.
GATHERED_SHARE = 0.25
# Faiss looks at this share of its lists at most: beyond it, exact search costs little more.
PROBED_SHARE = 0.25
FIRST_PROBED_SHARE = 1 / 64
# Faiss wants about 39 vectors to learn a list's centre from; more teach it little.
VECTORS_OF_A_LIST = 39
MOST_LISTS = 2048
RECALL_AT = 20
SAMPLE = 256
ABOVE = 50_000
FLOOR = 0.9


@dataclass(frozen=True, eq=False)
class Found:
    """Lists, best first.

    Attributes:
        items: queries × min(k, items); -1 where no allowed item is left.
        scores: their inner products; -inf there.
    """

    items: IntArray
    scores: NDArray[np.float64]


class Index(Protocol):
    """Searches item vectors. One index may serve several threads."""

    @property
    def items(self) -> int:
        """Number of items."""
        ...

    @property
    def recall(self) -> float:
        """Share of the exact 20 best that it finds, measured when it was built."""
        ...

    @property
    def about(self) -> str:
        """What it is and why it was chosen, in plain words."""
        ...

    def search(
        self,
        queries: Vectors,
        k: int,
        *,
        allowed: BoolArray | None = None,
        hidden: Rows | None = None,
        owners: IntArray | None = None,
    ) -> Found:
        """The k best allowed items of each query.

        Args:
            queries: n × d, or one query of d numbers.
            k: list length, at least 1; cut to the number of items.
            allowed: which items may be in any list (I); None: all.
            hidden: n rows of items that may not be in each query's list.
            owners: the user's row number of each query, which decides ties as in `top_items`; None: as user 0.

        Raises:
            ConfigError: for a k below 1, or queries of another width.
            TrainingError: when a score is not a number.
        """
        ...


class ExactIndex:
    """Looks at every allowed item. The same lists, ties included, as `top_items` gives for these vectors.

    Args:
        vectors: I × d; a contiguous float32 tensor is used as it is, anything else copied to one.
        seed: of the tie-breaking.
        about: why it was chosen.
    """

    recall = 1.0

    def __init__(self, vectors: Vectors, *, seed: int = 0, about: str = "exact search") -> None:
        self.vectors = _tensor(vectors).contiguous()
        self.about = about
        self.priorities = Priorities(len(self.vectors), seed)

    @property
    def items(self) -> int:
        """Number of items."""
        return len(self.vectors)

    def search(
        self,
        queries: Vectors,
        k: int,
        *,
        allowed: BoolArray | None = None,
        hidden: Rows | None = None,
        owners: IntArray | None = None,
    ) -> Found:
        """See `Index.search`; one matrix product for as many queries as fit into a block of 64 MB of scores."""
        asked, owners = _asked(queries, self.vectors.shape[1], k, owners)
        width = min(k, self.items)
        place, some = None, np.flatnonzero(allowed) if allowed is not None else None
        vectors, priorities = self.vectors, self.priorities
        if some is not None and len(some) <= GATHERED_SHARE * self.items:
            place = torch.from_numpy(some)
            vectors, priorities = vectors.index_select(0, place), priorities.among(place)
        items = torch.full((len(asked), width), NOBODY, dtype=torch.int64)
        scores = torch.full((len(asked), width), -torch.inf, dtype=torch.float64)
        size, cut = max(1, BLOCK_BYTES // (4 * max(1, len(vectors)))), min(width, len(vectors))
        for start in range(0, len(asked) if cut else 0, size):
            block = slice(start, start + size)
            with torch.inference_mode():
                found = asked[block] @ vectors.T
                if allowed is not None and place is None:
                    found.masked_fill_(torch.from_numpy(~allowed), -torch.inf)
                if hidden is not None:
                    own = hidden.take(np.arange(len(asked))[block])
                    found = hide(found, own if place is None or some is None else _renumbered(own, some))
                columns, values = best_of(found, cut, priorities, owners[block])
                items[block, :cut] = columns if place is None else _numbered(columns, place)
                scores[block, :cut] = values.double()
        return Found(items.numpy(), scores.numpy())


class FaissIndex:
    """Inverted lists of faiss (IVF over the inner product): only the lists nearest to a query are looked at.

    There are about 4 √I lists. As many are looked at as it takes to find `floor` of what exact search finds for a
    sample of queries, from a 64th of them, doubled up to a quarter. What faiss proposes is scored again exactly, so
    that scores and ties are those of `ExactIndex`. Where lists come out too short, or a filter leaves so few items that
    exact search is no slower, exact search answers.

    Args:
        vectors: I × d.
        queries: vectors like those that will be searched for (the users'); recall is measured on 256 of them at most.
        floor: the recall that it must reach.
        seed: of the clustering, the sample and the tie-breaking.

    Attributes:
        recall: share of the exact 20 best that it finds, on the sample, without filters.
        lists: their number.
        probes: lists looked at for a query.

    Raises:
        MissingDependency: without faiss.
        ConfigError: when recall stays below `floor`, or there are no queries to measure it on.
    """

    def __init__(self, vectors: Vectors, queries: Vectors, *, floor: float = FLOOR, seed: int = 0) -> None:
        self._faiss = require_faiss()
        self.exact = ExactIndex(vectors, seed=seed)
        rows = self.exact.vectors.numpy()
        count, width = rows.shape
        if not np.isfinite(rows).all():
            raise TrainingError("item vectors hold numbers that are not finite", do="train the model again")
        self.lists = max(1, min(int(4 * math.sqrt(count)), count // VECTORS_OF_A_LIST, MOST_LISTS))
        # The centres are kept by the index as long as it keeps their holder.
        self._centres = self._faiss.IndexFlatIP(width)
        self._lists = self._faiss.IndexIVFFlat(self._centres, width, self.lists, self._faiss.METRIC_INNER_PRODUCT)
        self._lists.cp.seed = derive_seed(seed, "faiss") % 2**31
        self._lists.cp.max_points_per_centroid = VECTORS_OF_A_LIST
        self._lists.cp.min_points_per_centroid = 1
        self._lists.train(rows)
        self._lists.add(rows)
        self.probes = max(1, int(self.lists * FIRST_PROBED_SHARE))
        self.recall = self._measured(_tensor(queries), floor, seed)
        self.about = (
            f"faiss, {self.probes:,} of {self.lists:,} lists for a query, "
            f"recall@{RECALL_AT} {self.recall:.3f} of exact search"
        )
        if self.recall < floor:
            raise ConfigError(
                f"faiss finds {self.recall:.3f} of the {RECALL_AT} best items, less than {floor:g}, "
                f"though it looks at {self.probes:,} of {self.lists:,} lists",
                do="search exactly: these vectors do not lie in groups",
            )

    def _measured(self, queries: Tensor, floor: float, seed: int) -> float:
        """Recall on a sample of the queries; raises `probes` until it reaches `floor` or is at its limit."""
        if not len(queries):
            raise ConfigError("there are no queries to measure faiss's recall on", do="search exactly")
        chosen = numpy_generator(seed, "recall").permutation(len(queries))[:SAMPLE]
        sample = queries[torch.from_numpy(chosen)]
        wanted = self.exact.search(sample, RECALL_AT).items
        while True:
            found = self._proposed(sample, RECALL_AT, self.probes, None)
            recall = float(np.mean([np.isin(best, own).mean() for best, own in zip(wanted, found, strict=True)]))
            if recall >= floor or 2 * self.probes > self.lists * PROBED_SHARE:
                return recall
            self.probes *= 2

    @property
    def items(self) -> int:
        """Number of items."""
        return self.exact.items

    def search(
        self,
        queries: Vectors,
        k: int,
        *,
        allowed: BoolArray | None = None,
        hidden: Rows | None = None,
        owners: IntArray | None = None,
    ) -> Found:
        """See `Index.search`. A filter multiplies the lists that are looked at by what it leaves out."""
        asked, owners = _asked(queries, self.exact.vectors.shape[1], k, owners)
        k = min(k, self.items)
        # Enough for the list when all that a query hides is among the best.
        wanted = k + SPARE + (int(hidden.lengths.max(initial=0)) if hidden is not None else 0)
        share = 1.0 if allowed is None else float(allowed.mean())
        probes = math.ceil(self.probes / share) if share else self.lists + 1
        if probes > max(self.probes, self.lists * PROBED_SHARE) or wanted > self.items * PROBED_SHARE:
            return self.exact.search(asked, k, allowed=allowed, hidden=hidden, owners=owners)
        found = self._ranked(asked, self._proposed(asked, wanted, probes, allowed), k, hidden, owners)
        short = np.flatnonzero((found.items == NOBODY).any(1))
        if len(short):
            own = None if hidden is None else hidden.take(short)
            again = self.exact.search(
                asked[torch.from_numpy(short)], k, allowed=allowed, hidden=own, owners=owners[short]
            )
            found.items[short], found.scores[short] = again.items, again.scores
        return found

    def _proposed(self, queries: Tensor, count: int, probes: int, allowed: BoolArray | None) -> IntArray:
        """`count` items for each query, -1 where the lists hold no more."""
        # Settings go with the call: another thread may search with others.
        settings = self._faiss.SearchParametersIVF(nprobe=probes)
        if allowed is not None:
            bits = np.packbits(allowed, bitorder="little")
            chosen = self._faiss.IDSelectorBitmap(len(allowed), self._faiss.swig_ptr(bits))
            settings = self._faiss.SearchParametersIVF(nprobe=probes, sel=chosen)
        _, items = self._lists.search(queries.numpy(), count, params=settings)
        return items

    def _ranked(self, queries: Tensor, items: IntArray, k: int, hidden: Rows | None, owners: IntArray) -> Found:
        """The k best of `items` (n × m, -1: none) that are not hidden, by exact score and priority."""
        gone = items == NOBODY
        if hidden is not None:
            gone |= contains(hidden.keys(), np.arange(len(items))[:, None] * hidden.width + items)
        real = torch.from_numpy(items).clamp_min(0)
        with torch.inference_mode():
            scores = torch.bmm(self.exact.vectors[real], queries.unsqueeze(2)).squeeze(2)
            refuse_nan(scores, owners)
            scores.masked_fill_(torch.from_numpy(gone), -torch.inf)
            columns = torch.arange(items.shape[1]).expand_as(real)
            priority = self.exact.priorities.of(owners, real)
            order = by_score_and_priority(scores, columns.contiguous(), priority)[:, :k]
            values = scores.gather(1, order)
            best = real.gather(1, order).masked_fill(values == -torch.inf, NOBODY)
        return Found(best.numpy(), values.double().numpy())


def choose_index(
    vectors: Vectors, queries: Vectors, *, above: int = ABOVE, floor: float = FLOOR, seed: int = 0
) -> Index:
    """Exact search up to a number of items, faiss above it where it is installed and finds enough.

    It never fails for want of faiss: exact search, whose `about` then says why, is slower and always right.

    Args:
        vectors: I × d.
        queries: vectors like those that will be searched for (the users').
        above: number of items up to which exact search is taken.
        floor: recall below which faiss is refused.
    """
    if len(vectors) <= above:
        return ExactIndex(vectors, seed=seed)
    try:
        return FaissIndex(vectors, queries, floor=floor, seed=seed)
    except (MissingDependency, ConfigError) as reason:
        return ExactIndex(vectors, seed=seed, about=f"exact search: {reason.what}")


def require_faiss() -> Any:
    """The faiss module.

    Raises:
        MissingDependency: where it is not installed.
    """
    need_package("faiss", "approximate search", "faiss")
    return importlib.import_module("faiss")


def _tensor(vectors: Vectors) -> Tensor:
    made = torch.from_numpy(np.asarray(vectors)) if not isinstance(vectors, Tensor) else vectors.detach().cpu()
    return made.to(torch.float32)


def _asked(queries: Vectors, width: int, k: int, owners: IntArray | None) -> tuple[Tensor, IntArray]:
    """Queries as n × d, and whose they are."""
    if k < 1:
        raise ConfigError(f"k must be at least 1, not {k}")
    asked = _tensor(queries)
    asked = asked.unsqueeze(0) if asked.ndim == 1 else asked
    if asked.ndim != 2 or asked.shape[1] != width:
        raise ConfigError(f"queries must be n × {width}, as the items' vectors are; they are {tuple(asked.shape)}")
    return asked.contiguous(), np.zeros(len(asked), dtype=np.int64) if owners is None else owners


def _renumbered(rows: Rows, some: IntArray) -> Rows:
    """`rows` with only the columns `some` (ascending), which become 0, 1, …"""
    place = np.searchsorted(some, rows.columns)
    place[place == len(some)] = 0
    kept = some[place] == rows.columns
    return Rows.from_pairs(rows.row_of_entry()[kept], place[kept], rows.count, len(some))


def _numbered(columns: Tensor, place: Tensor) -> Tensor:
    """Items of columns; -1 stays."""
    return torch.where(columns == NOBODY, NOBODY, place[columns.clamp_min(0)])
