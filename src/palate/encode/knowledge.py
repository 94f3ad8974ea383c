"""Knowledge to rows: items that share many entities are joined, and SDNE gives each joined item a vector.

Takes the neighbour entities of each item (`item_entities` reads them from a catalogue); gives one float32 row per item
that has an edge. All rows are learnt together, and kept together in the cache under a hash of the graph and settings.
"""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from palate.core.errors import ArtefactError, ConfigError, DataError
from palate.core.places import cache_folder
from palate.encode.base import ENCODERS, EncoderEntry, EncodeSummary, encode
from palate.encode.features import Features
from palate.encode.sdne_settings import SdneConfig
from palate.graph.rows import Int32Array, Rows
from palate.graph.sharing import sharing_graph, threshold_for_degree
from palate.ingest.catalogue import Catalogue
from palate.ingest.knowledge import item_neighbours, knowledge_statistics

if TYPE_CHECKING:
    import torch

# Settings that decide where the rows are made and not what they are.
PLACE = {"device"}
VECTORS = "vectors.safetensors"


class KnowledgeConfig(SdneConfig):
    """Settings of the item graph, and of SDNE on it."""

    threshold: int | None = Field(default=None, ge=0)
    """S_m: items are joined when they share more entities than this; None: chosen for `mean_degree`."""
    mean_degree: float = Field(default=20.0, gt=0)
    """Edges that an item with knowledge should have on average, when S_m is chosen; 10 to 30 is usual."""


@dataclass(frozen=True, eq=False)
class ItemEntities:
    """What the knowledge says of one item.

    Attributes:
        item: the item's number.
        entities: numbers of its neighbour entities, each once.
    """

    item: int
    entities: Int32Array


def item_entities(catalogue: Catalogue) -> list[ItemEntities | None]:
    """The neighbour entities of each item, None where an item has none.

    Raises:
        DataError: when the catalogue has no knowledge, or no item has a part in it.
    """
    if catalogue.knowledge is None or catalogue.item_entities is None:
        raise DataError(
            "the catalogue has no knowledge about its items",
            where=str(catalogue.folder or catalogue.name),
            do="import knowledge triples, and the entity of each item",
        )
    rows = item_neighbours(catalogue.knowledge, catalogue.item_entities, catalogue.items["item_id"].to_list()).rows
    if rows.size == 0:
        raise DataError(
            "no item's entity occurs in the knowledge",
            where=str(catalogue.folder or catalogue.name),
            do="check that items and triples name entities in the same way",
        )
    return [ItemEntities(item, rows[item]) if len(rows[item]) else None for item in range(rows.count)]


class KnowledgeEncoder:
    """An `Encoder` of items by what is known of them, once `fit` has seen them all.

    Args:
        config: the settings.
        quiet: show no progress.
        cache: folder of the rows that were learnt before; None for the machine's cache folder.
    """

    modality = "knowledge"
    batch_size = 4096

    def __init__(self, config: KnowledgeConfig, *, quiet: bool = False, cache: Path | None = None) -> None:
        self.config = config
        self.quiet = quiet
        self.cache = cache if cache is not None else cache_folder() / "knowledge"
        self._fitted: FittedKnowledge | None = None

    def fit(self, inputs: Sequence[ItemEntities | None]) -> KnowledgeEncoder:
        """The encoder of these items: their graph, and its vectors, learnt now or taken from the cache.

        Raises:
            DataError: when no two items share enough.
            Interrupted: on Ctrl-C; the same call goes on where it was.
            ArtefactError: when the cache cannot be written.
        """
        neighbours = _rows(inputs)
        config = self.config
        threshold = config.threshold
        if threshold is None:
            threshold = threshold_for_degree(neighbours, config.mean_degree)
        graph = sharing_graph(neighbours, threshold)
        if graph.size == 0:
            raise DataError(
                f"no two items share more than {threshold} entities, so nothing can be learnt of the knowledge",
                do="set a lower threshold" if threshold else "link more items to entities, or leave knowledge out",
            )
        known = int((neighbours.lengths > 0).sum())
        fitted = KnowledgeEncoder(config, quiet=self.quiet, cache=self.cache)
        fitted._fitted = _vectors(graph, threshold, known, config, self.cache, quiet=self.quiet)
        return fitted

    @property
    def fitted(self) -> FittedKnowledge:
        """Graph and vectors.

        Raises:
            ConfigError: before `fit`.
        """
        if self._fitted is None:
            raise ConfigError("this encoder has no item graph yet", do="fit it to the items first")
        return self._fitted

    @property
    def identity(self) -> str:
        """S_m, the settings of SDNE with its seed, and a hash of the graph."""
        return self.fitted.identity

    @property
    def width(self) -> int:
        """Numbers of a vector."""
        return self.config.dim

    def content(self, value: ItemEntities) -> bytes:
        """The item's place in the graph; nothing for an item without an edge."""
        return str(value.item).encode() if self.fitted.present[value.item] else b""

    def size(self, value: ItemEntities) -> int:
        """All rows cost the same."""
        return 1

    def encode_batch(self, values: Sequence[ItemEntities]) -> NDArray[np.float32]:
        """The items' vectors, float32, items × width."""
        return self.fitted.matrix[[value.item for value in values]]


@dataclass(frozen=True, eq=False)
class FittedKnowledge:
    """What an encoder learnt of all items.

    Attributes:
        identity: see `KnowledgeEncoder.identity`.
        threshold: S_m, as given or as chosen.
        graph: the item graph.
        matrix: float32, items × dim, zero rows for items without an edge.
        present: bool, one per item: whether it has an edge.
        known: items with at least one neighbour entity.
        from_cache: whether the vectors were learnt earlier.
        notes: what else should be known.
    """

    identity: str
    threshold: int
    graph: Rows
    matrix: NDArray[np.float32]
    present: NDArray[np.bool_]
    known: int
    from_cache: bool
    notes: tuple[str, ...] = ()

    @property
    def lines(self) -> tuple[str, ...]:
        """The graph in words."""
        degrees = self.graph.lengths[self.present]
        alone = self.known - len(degrees)
        lines = [
            f"items are joined that share more than S_m = {self.threshold} entities: {self.graph.size // 2:,} edges, "
            f"mean degree {self.graph.size / self.known:.1f} over the {self.known:,} items with knowledge",
            f"{len(degrees):,} items have an edge (median degree {int(np.median(degrees)):,}, "
            f"most {int(degrees.max()):,})" + (f"; {alone:,} share too little with any other" if alone else ""),
        ]
        return (*lines, *self.notes)


def encode_knowledge(
    catalogue: Catalogue, config: KnowledgeConfig | None = None, quiet: bool = False
) -> tuple[Features, EncodeSummary]:
    """The features `knowledge` of a catalogue's items, with the figures of knowledge and graph among the notes.

    Raises:
        DataError: when the catalogue has no knowledge, or no two items share enough of it.
        Interrupted, ArtefactError: see `KnowledgeEncoder.fit`.
    """
    start = time.monotonic()
    inputs = item_entities(catalogue)
    encoder = KnowledgeEncoder(config or KnowledgeConfig(), quiet=quiet).fit(inputs)
    ids: list[str] = catalogue.items["item_id"].to_list()
    features, summary = encode(inputs, encoder, ids=ids, quiet=True)
    assert catalogue.knowledge is not None
    assert catalogue.item_entities is not None
    statistics = knowledge_statistics(catalogue.knowledge, catalogue.item_entities, ids)
    return features, replace(
        summary,
        encoded=0 if encoder.fitted.from_cache else summary.encoded,
        cached=summary.encoded if encoder.fitted.from_cache else 0,
        notes=(*statistics.lines(), *encoder.fitted.lines),
        seconds=time.monotonic() - start,
    )


def _rows(inputs: Sequence[ItemEntities | None]) -> Rows:
    lists = [value.entities if value is not None else np.zeros(0, np.int32) for value in inputs]
    columns = np.concatenate([np.zeros(0, np.int32), *lists])
    pointer = np.concatenate([[0], np.cumsum([len(entities) for entities in lists], dtype=np.int64)]).astype(np.int64)
    return Rows(pointer, columns, int(columns.max(initial=0)) + 1)


def _vectors(
    graph: Rows, threshold: int, known: int, config: KnowledgeConfig, cache: Path, *, quiet: bool
) -> FittedKnowledge:
    identity = _identity(graph, threshold, config)
    present = graph.lengths > 0
    folder = cache / hashlib.sha256(identity.encode()).hexdigest()[:32]
    stored, notes = _stored(folder / VECTORS, identity, (graph.count, config.dim))
    if stored is None:
        matrix = _learn(graph, config, identity, folder, quiet=quiet)
    else:
        matrix = stored
    return FittedKnowledge(identity, threshold, graph, matrix, present, known, stored is not None, notes)


def _identity(graph: Rows, threshold: int, config: KnowledgeConfig) -> str:
    settings = SdneConfig.model_validate(config.model_dump(include=set(SdneConfig.model_fields)))
    words = " ".join(f"{name}={_word(value)}" for name, value in settings.model_dump(exclude=PLACE).items())
    digest = hashlib.sha256(f"{graph.count}|".encode())
    for array in (graph.pointer, graph.columns):
        digest.update(np.ascontiguousarray(array).tobytes())
    return f"knowledge 1 sdne shared>{threshold} {words} graph={digest.hexdigest()[:32]}"


def _word(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _learn(graph: Rows, config: KnowledgeConfig, identity: str, folder: Path, *, quiet: bool) -> NDArray[np.float32]:
    """Train, and keep the vectors in place of the checkpoint."""
    import torch
    from safetensors import SafetensorError

    from palate.core.artefact import tensor_digest, write_tensors
    from palate.encode.sdne import fit_sdne

    try:
        vectors = fit_sdne(graph, config, identity=identity, folder=folder / "training", quiet=quiet)
        tensors = {"vectors": torch.from_numpy(vectors.matrix)}
        write_tensors(folder / VECTORS, tensors, {"identity": identity, "digest": tensor_digest(tensors)})
    except (OSError, SafetensorError) as error:
        raise ArtefactError(
            f"the cache of learnt vectors cannot be written: {error}",
            where=str(folder),
            do="make room, or set PALATE_CACHE to a folder that can be written",
        ) from None
    shutil.rmtree(folder / "training", ignore_errors=True)
    return vectors.matrix


def _stored(path: Path, identity: str, shape: tuple[int, int]) -> tuple[NDArray[np.float32] | None, tuple[str, ...]]:
    """The vectors that were learnt before, or None; a damaged file is removed with a note."""
    if not path.is_file():
        return None, ()
    from palate.core.artefact import read_tensors, tensor_digest

    tensors: dict[str, torch.Tensor] = {}
    try:
        tensors, metadata = read_tensors(path)
        whole = metadata == {"identity": identity, "digest": tensor_digest(tensors)} and set(tensors) == {"vectors"}
        problem = "" if whole and tuple(tensors["vectors"].shape) == shape else "its checksum or its shape differs"
    except ArtefactError as error:
        problem = error.what
    if problem:
        path.unlink(missing_ok=True)
        return None, (f"a damaged cache file was removed, its vectors are learnt again: {path.name} ({problem})",)
    return tensors["vectors"].numpy(), ()


ENCODERS.register("sdne")(
    EncoderEntry(
        modality="knowledge",
        summary="items by SDNE on the graph of items that share entities of the knowledge (64 numbers)",
        config=KnowledgeConfig,
        build=KnowledgeEncoder,
        cached=False,
    )
)
