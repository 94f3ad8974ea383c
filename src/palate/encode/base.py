"""What an encoder is, the register of encoders, and the driver that runs one over a catalogue's content.

The driver takes one input per item (None where there is none) and gives `Features`: it encodes each distinct content
once, looks in the cache first, and keeps what it made when it is stopped.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from palate.core.config import Config
from palate.core.errors import ConfigError, DataError, Interrupted
from palate.core.progress import Progress, duration, progress
from palate.core.registry import Registry
from palate.encode.ahead import prepared_ahead
from palate.encode.features import Features

if TYPE_CHECKING:
    from palate.encode.store import RowCache

# How many rows may be lost when the machine dies, against how many small files the cache is made of.
SHARD_ROWS = 256

Input = TypeVar("Input")
Given = TypeVar("Given", contravariant=True)


class Encoder(Protocol[Given]):
    """Turns pieces of raw content (texts, paths of pictures or sounds, rows of a table) into rows of numbers."""

    @property
    def modality(self) -> str:
        """What it reads: "text", "image", "audio", …; the features' name unless another is given."""
        ...

    @property
    def identity(self) -> str:
        """All that the rows depend on but the input: name, version, weights, settings. Key of the cache.

        Whatever moves only the last bits (batch size, threads, device) is no part of it.
        """
        ...

    @property
    def width(self) -> int:
        """Columns of a row; known without loading weights."""
        ...

    @property
    def batch_size(self) -> int:
        """How many inputs `encode_batch` likes to see."""
        ...

    def content(self, value: Given) -> bytes:
        """What the row depends on, to be hashed: the text, the file's bytes. Empty means that there is nothing.

        Raises:
            DataError: when the input cannot be read; the item is reported and counts as absent.
        """
        ...

    def size(self, value: Given) -> int:
        """Inputs of similar size share a batch; constant where that does not matter."""
        ...

    def encode_batch(self, values: Sequence[Given]) -> NDArray[np.float32]:
        """Rows of `values`, float32, len(values) × width.

        Raises:
            DataError: when one of them cannot be encoded; the driver then tries them one by one.
        """
        ...


@runtime_checkable
class Preparing(Protocol):
    """An encoder that reads its inputs one by one, as files are: in threads of their own, ahead of the model."""

    def prepare(self, value: Any) -> Any:
        """One input as `encode_ready` takes it; safe to call from several threads.

        Raises:
            DataError: when the input cannot be read.
        """
        ...

    def encode_ready(self, ready: Sequence[Any]) -> NDArray[np.float32]:
        """Rows of prepared inputs, float32, len(ready) × width.

        Raises:
            DataError: as `Encoder.encode_batch`.
        """
        ...


@runtime_checkable
class Fitting(Protocol):
    """An encoder that must see all inputs before it can encode one, as a vocabulary is made of them."""

    def fit(self, inputs: Sequence[Any]) -> Encoder[Any]:
        """The encoder for these inputs (None where an item has none); what it learnt is part of its identity.

        Raises:
            DataError: when there is nothing to learn from.
        """
        ...


@runtime_checkable
class Naming(Protocol):
    """An encoder whose columns stand for something of their own."""

    @property
    def columns(self) -> tuple[str, ...]:
        """See `Features.columns`."""
        ...


@dataclass(frozen=True)
class EncoderEntry:
    """One registered encoder: listed without loading it, built on demand.

    Args:
        modality: what it reads.
        summary: one line for people who choose.
        config: the class of its settings.
        build: makes the encoder from its settings.
        cached: its rows are worth keeping; False where making them costs less than finding them.
    """

    modality: str
    summary: str
    config: type[Config]
    build: Callable[[Any], Encoder[Any]]
    cached: bool = True


ENCODERS: Registry[EncoderEntry] = Registry("encoder")


def build_encoder(name: str, settings: Mapping[str, Any] | None = None) -> Encoder[Any]:
    """The encoder `name` with `settings`.

    Raises:
        ConfigError: for an unknown name or setting, with the nearest valid one.
        MissingDependency: when it needs an optional package.
    """
    entry = ENCODERS[name]
    return entry.build(entry.config.parse(settings, where=f"encoder {name}"))


@dataclass(frozen=True)
class EncodeSummary:
    """What a call of `encode` did. The five counts add up to the items.

    Args:
        encoded: items whose row was made now.
        cached: items whose row came from the cache.
        repeated: items that share the content, and so the row, of an earlier item.
        absent: items without content.
        failed: items whose content could not be encoded, with the reason; they count as absent in the features.
        notes: what else should be known, such as damaged cache files.
        seconds: wall-clock time.
        listed: the file that names all that failed, where there is one.
    """

    name: str
    items: int
    encoded: int
    cached: int
    repeated: int
    absent: int
    failed: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    seconds: float
    listed: str = ""

    def __str__(self) -> str:
        present = self.items - self.absent - len(self.failed)
        lines = [
            f"{self.name}: {present:,} of {self.items:,} items in {duration(self.seconds)} "
            f"({self.encoded:,} encoded now, {self.cached:,} from the cache, {self.repeated:,} repeated; "
            f"{self.absent:,} have none, {len(self.failed):,} failed)"
        ]
        lines += [f"  note: {note}" for note in self.notes]
        lines += [f"  failed: item '{item}': {reason}" for item, reason in self.failed[:5]]
        if len(self.failed) > 5:
            more = f"; all {len(self.failed):,} are named in {self.listed}" if self.listed else ""
            lines.append(f"  failed: {len(self.failed) - 5:,} more{more}")
        return "\n".join(lines)


def cache_key(encoder: Encoder[Any]) -> str:
    """Under what an encoder's rows are cached: its identity, and what it `refuses` where it says so.

    An encoder that comes to refuse some content makes the same rows as before of all other, so its identity stays; the
    rows of what it now refuses must not be found in the cache.
    """
    refuses = getattr(encoder, "refuses", "")
    return f"{encoder.identity} refuses={refuses}" if refuses else encoder.identity


def encode(
    inputs: Sequence[Input | None],
    encoder: Encoder[Input],
    *,
    ids: Sequence[str],
    cache: RowCache | None = None,
    name: str | None = None,
    quiet: bool = False,
) -> tuple[Features, EncodeSummary]:
    """Encode one input per item.

    Args:
        inputs: the items' content in the catalogue's order; None where an item has none.
        encoder: what to encode with.
        ids: the items' ids, in the same order.
        cache: where rows are looked up and kept, made with `cache_key(encoder)`; None encodes all afresh.
        name: the features' name; the encoder's modality when None.
        quiet: show no progress.

    Raises:
        Interrupted: on Ctrl-C; what was encoded until then stays in the cache.
        ConfigError: for a name that cannot name a modality, or a cache of another encoder.
        DataError: when inputs and ids differ in number, or an id occurs twice.
    """
    if cache is not None and cache.key != (key := cache_key(encoder)):
        raise ConfigError("this cache belongs to another encoder", where=f"{cache.key!r}, not {key!r}")
    if len(inputs) != len(ids):
        raise DataError(f"{len(inputs):,} inputs but {len(ids):,} item ids", where=f"encoding {encoder.modality}")
    start = time.monotonic()
    work = _Work(inputs, encoder, cache)
    try:
        work.read()
        work.look_up()
        with progress(f"encode {encoder.modality}", len(work.todo), quiet=quiet or not work.todo) as shown:
            work.run(shown)
    except KeyboardInterrupt:
        work.flush()
        raise Interrupted(
            f"stopped on request; {work.fresh:,} items were encoded"
            + (" and are kept" if cache is not None else ", nothing is kept without a cache"),
            do="run the same command again, it goes on where it was",
        ) from None
    matrix, present = work.finish()
    modality = name if name is not None else encoder.modality
    columns = encoder.columns if isinstance(encoder, Naming) else ()
    features = Features(modality, matrix, present, encoder.identity, tuple(ids), columns=columns)
    failed = tuple((ids[row], reason) for row, reason in sorted(work.failed.items()))
    summary = EncodeSummary(
        name=modality,
        items=len(ids),
        encoded=work.fresh,
        cached=work.cached,
        repeated=int(present.sum()) - work.fresh - work.cached,
        absent=len(ids) - int(present.sum()) - len(failed),
        failed=failed,
        notes=tuple(cache.notes) if cache is not None else (),
        seconds=time.monotonic() - start,
    )
    return features, summary


class _Work(Generic[Input]):
    """The state of one call: `first[k]` is the first item with distinct content k, `owner[i]` the content of item i."""

    def __init__(self, inputs: Sequence[Input | None], encoder: Encoder[Input], cache: RowCache | None) -> None:
        self.inputs, self.encoder, self.cache = inputs, encoder, cache
        self.matrix = np.zeros((len(inputs), encoder.width), dtype=np.float32)
        self.owner = np.full(len(inputs), -1, dtype=np.int64)
        self.first: list[int] = []
        self.digests: list[bytes] = []
        self.failed: dict[int, str] = {}
        self.todo: list[int] = []
        self.pending: list[int] = []
        self.fresh = self.cached = 0

    def read(self) -> None:
        """Hash every input and find the distinct contents."""
        known: dict[bytes, int] = {}
        for row, value in enumerate(self.inputs):
            if value is None:
                continue
            try:
                content = self.encoder.content(value)
            except DataError as error:
                self.failed[row] = error.what
                continue
            if not content:
                continue
            digest = hashlib.sha256(content).digest()
            if digest not in known:
                known[digest] = len(self.first)
                self.first.append(row)
                self.digests.append(digest)
            self.owner[row] = known[digest]

    def look_up(self) -> None:
        """Take from the cache what it has; the rest is to do, the largest first, so that the time left only shrinks."""
        found = np.zeros(len(self.first), dtype=np.bool_)
        if self.cache is not None:
            found = self.cache.fetch(self.digests, np.array(self.first, dtype=np.int64), self.matrix)
        self.cached = int(found.sum())
        self.todo = [content for content in range(len(self.first)) if not found[content]]
        self.todo.sort(key=lambda content: -self.encoder.size(self._value(content)))

    def run(self, shown: Progress) -> None:
        """Encode what is to do, batch by batch."""
        size = self.encoder.batch_size
        batches = [self.todo[start : start + size] for start in range(0, len(self.todo), size)]
        inputs = ([self._value(content) for content in batch] for batch in batches)
        if isinstance(self.encoder, Preparing):
            with prepared_ahead(self.encoder.prepare, inputs) as outcomes:
                for batch, ready in zip(batches, outcomes, strict=True):
                    self._encode(*self._sound(batch, ready), self.encoder.encode_ready)
                    self._report(shown, len(batch))
        else:
            for batch, values in zip(batches, inputs, strict=True):
                self._encode(batch, values, self.encoder.encode_batch)
                self._report(shown, len(batch))
        self.flush()

    def flush(self) -> None:
        """Hand the rows made since the last time to the cache."""
        if self.cache is not None and self.pending:
            rows = self.matrix[[self.first[content] for content in self.pending]]
            self.cache.append([self.digests[content] for content in self.pending], rows)
        # Cleared last: a Ctrl-C in the middle of writing must not lose these rows.
        self.pending = []

    def finish(self) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Give repeated contents their row; the matrix and the presence mask."""
        for row in np.flatnonzero(self.owner >= 0).tolist():
            first = self.first[self.owner[row]]
            if first == row:
                continue
            if first in self.failed:
                self.failed[row] = self.failed[first]
            else:
                self.matrix[row] = self.matrix[first]
        present = self.owner >= 0
        present[list(self.failed)] = False
        return self.matrix, present

    def _report(self, shown: Progress, done: int) -> None:
        shown.advance(done)
        if len(self.pending) >= SHARD_ROWS:
            self.flush()

    def _sound(self, batch: list[int], ready: Sequence[Any]) -> tuple[list[int], list[Any]]:
        """What could be prepared; the rest failed."""
        kept: list[tuple[int, Any]] = []
        for content, outcome in zip(batch, ready, strict=True):
            if isinstance(outcome, DataError):
                self.failed[self.first[content]] = outcome.what
            else:
                kept.append((content, outcome))
        return [content for content, _ in kept], [outcome for _, outcome in kept]

    def _encode(
        self, batch: list[int], values: list[Any], function: Callable[[Sequence[Any]], NDArray[np.float32]]
    ) -> None:
        if not batch:
            return
        try:
            rows = function(values)
        except DataError as error:
            if len(batch) == 1:
                self.failed[self.first[batch[0]]] = error.what
                return
            for content, value in zip(batch, values, strict=True):
                self._encode([content], [value], function)
            return
        if rows.shape != (len(batch), self.encoder.width) or rows.dtype != np.float32:
            raise TypeError(
                f"{self.encoder.identity} gave {rows.dtype} of shape {rows.shape}, "
                f"not float32 of shape {(len(batch), self.encoder.width)}"
            )
        for content, row in zip(batch, rows, strict=True):
            if not np.isfinite(row).all():
                self.failed[self.first[content]] = "the encoder gave values that are not finite"
                continue
            self.matrix[self.first[content]] = row
            self.pending.append(content)
            self.fresh += 1

    def _value(self, content: int) -> Input:
        value = self.inputs[self.first[content]]
        assert value is not None
        return value
