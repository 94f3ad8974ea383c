"""The driver: every input once, in the order of the items, from the cache where possible, through any interruption."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from palate.core.errors import ConfigError, DataError, Interrupted
from palate.encode import ENCODERS, build_encoder, encode
from palate.encode.store import RowCache


class Letters:
    """Counts of a, b and c, and the length; records its batches, and may do something before each."""

    modality = "text"
    identity = "letters 1"
    width = 4
    batch_size = 3

    def __init__(self, before: Callable[[int], None] = lambda batch: None) -> None:
        self.batches: list[list[str]] = []
        self.before = before

    def content(self, value: str) -> bytes:
        if value == "unreadable":
            raise DataError("the text cannot be read")
        return value.strip().encode()

    def size(self, value: str) -> int:
        return len(value)

    def encode_batch(self, values: Sequence[str]) -> NDArray[np.float32]:
        self.before(len(self.batches))
        self.batches.append(list(values))
        if any("!" in value for value in values):
            raise DataError("it shouts")
        rows = np.stack([expected(value) for value in values])
        rows[["?" in value for value in values]] = np.nan
        return rows


def expected(text: str) -> NDArray[np.float32]:
    clean = text.strip()
    return np.array([clean.count("a"), clean.count("b"), clean.count("c"), len(clean)], dtype=np.float32)


def names(count: int) -> list[str]:
    return [f"item{row}" for row in range(count)]


@given(st.lists(st.none() | st.text("abc ", max_size=6), max_size=30))
def test_every_item_gets_the_row_of_its_own_content(inputs: list[str | None]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        cache = RowCache(Path(folder), "letters 1")
        encoder = Letters()
        features, summary = encode(inputs, encoder, ids=names(len(inputs)), cache=cache, quiet=True)
        again, second = encode(inputs, Letters(), ids=names(len(inputs)), cache=cache, quiet=True)
    distinct = {text.strip() for text in inputs if text and text.strip()}
    for row, text in enumerate(inputs):
        assert features.present[row] == bool(text and text.strip())
        assert np.array_equal(features.matrix[row], expected(text or ""))
    assert sum(len(batch) for batch in encoder.batches) == len(distinct) == summary.encoded == second.cached
    assert summary.encoded + summary.cached + summary.repeated + summary.absent == summary.items == len(inputs)
    assert (summary.cached, second.encoded, second.repeated) == (0, 0, summary.repeated)
    assert again.fingerprint == features.fingerprint


class Read(Letters):
    """The same, but each text is read first, in threads; "gone" cannot be. Records how many were read at each batch."""

    def __init__(self, before: Callable[[int], None] = lambda batch: None) -> None:
        super().__init__(before)
        self.read: list[str] = []
        self.ahead: list[int] = []
        self.threads: set[int] = set()

    def prepare(self, value: str) -> str:
        self.threads.add(threading.get_ident())
        self.read.append(value)
        if "gone" in value:
            raise DataError("the file is gone")
        return f"{value} "

    def encode_ready(self, ready: Sequence[str]) -> NDArray[np.float32]:
        assert all(value.endswith(" ") for value in ready)
        self.ahead.append(len(self.read))
        return self.encode_batch(ready)


def test_inputs_that_must_be_read_are_read_ahead_but_not_far(tmp_path: Path) -> None:
    encoder = Read()
    features, summary = encode(MANY[:60], encoder, ids=names(60), cache=RowCache(tmp_path, "letters 1"), quiet=True)
    assert summary.encoded == 60
    assert features.fingerprint == encode(MANY[:60], Letters(), ids=names(60), quiet=True)[0].fingerprint
    assert sorted(encoder.read) == MANY[:60]
    assert threading.get_ident() not in encoder.threads
    # Two batches beyond the present one, of three texts each, and none before it is needed.
    assert all(count <= 3 * (batch + 3) for batch, count in enumerate(encoder.ahead))
    assert [len(batch) for batch in encoder.batches] == [3] * 20


def test_what_cannot_be_read_does_not_disturb_its_batch() -> None:
    encoder = Read()
    inputs = ["aaaa", "gone", "b!", "cc", "gone gone", "a"]
    features, summary = encode(inputs, encoder, ids=names(6), quiet=True)
    assert features.present.tolist() == [True, False, False, True, False, True]
    assert dict(summary.failed) == {
        "item1": "the file is gone",
        "item2": "it shouts",
        "item4": "the file is gone",
    }
    assert sorted(encoder.read) == sorted(inputs)


def test_control_c_while_reading_ahead_keeps_what_was_encoded(tmp_path: Path) -> None:
    def stop(batch: int) -> None:
        if batch == 3:
            raise KeyboardInterrupt

    cache = RowCache(tmp_path, "letters 1")
    with pytest.raises(Interrupted, match="9 items were encoded and are kept"):
        encode(MANY[:60], Read(stop), ids=names(60), cache=cache, quiet=True)
    _, summary = encode(MANY[:60], Read(), ids=names(60), cache=cache, quiet=True)
    assert (summary.cached, summary.encoded) == (9, 51)


def test_a_defect_while_reading_is_not_hidden() -> None:
    class Broken(Read):
        def prepare(self, value: str) -> str:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        encode(["a"], Broken(), ids=["x"], quiet=True)


def test_batches_hold_texts_of_similar_length_the_longest_first() -> None:
    encoder = Letters()
    encode(["a", "abcabc", "ab", "abcab", "abc", "abca"], encoder, ids=names(6), quiet=True)
    assert encoder.batches == [["abcabc", "abcab", "abca"], ["abc", "ab", "a"]]


def test_one_bad_input_never_stops_the_good_ones(tmp_path: Path) -> None:
    inputs = ["a", "b!", "unreadable", "cc", "a?", None, "b!", "ab"]
    cache = RowCache(tmp_path, "letters 1")
    features, summary = encode(inputs, Letters(), ids=names(8), cache=cache, quiet=True)
    assert features.present.tolist() == [True, False, False, True, False, False, False, True]
    assert dict(summary.failed) == {
        "item1": "it shouts",
        "item2": "the text cannot be read",
        "item4": "the encoder gave values that are not finite",
        "item6": "it shouts",
    }
    assert (summary.encoded, summary.absent, summary.repeated) == (3, 1, 0)
    assert "failed: item 'item1': it shouts" in str(summary)
    _, second = encode(inputs, Letters(), ids=names(8), cache=cache, quiet=True)
    assert (second.encoded, second.cached, len(second.failed)) == (0, 3, 4)


def test_what_was_encoded_before_control_c_is_kept(tmp_path: Path) -> None:
    inputs = [f"{'a' * (row % 7)}b{row}" for row in range(20)]

    def stop(batch: int) -> None:
        if batch == 3:
            raise KeyboardInterrupt

    cache = RowCache(tmp_path, "letters 1")
    with pytest.raises(Interrupted, match=r"9 items were encoded and are kept[^$]*goes on where it was"):
        encode(inputs, Letters(stop), ids=names(20), cache=cache, quiet=True)
    features, summary = encode(inputs, Letters(), ids=names(20), cache=cache, quiet=True)
    assert (summary.cached, summary.encoded) == (9, 11)
    whole, _ = encode(inputs, Letters(), ids=names(20), quiet=True)
    assert features.fingerprint == whole.fingerprint


MANY = [f"abc{row:04d}" for row in range(600)]


def encode_until_killed(folder: str) -> None:
    """Run in a process of its own: dies without a chance to tidy up once a first file of rows has been written."""

    def die(batch: int) -> None:
        if batch == 150:
            os.kill(os.getpid(), signal.SIGKILL)

    encode(MANY, Letters(die), ids=names(600), cache=RowCache(Path(folder), "letters 1"), quiet=True)


def test_a_killed_process_loses_at_most_the_last_file(tmp_path: Path) -> None:
    command = f"import runpy; runpy.run_path({__file__!r})['encode_until_killed']({str(tmp_path)!r})"
    killed = subprocess.run([sys.executable, "-c", command], check=False)
    assert killed.returncode == -signal.SIGKILL
    cache = RowCache(tmp_path, "letters 1")
    features, summary = encode(MANY, Letters(), ids=names(600), cache=cache, quiet=True)
    assert (summary.cached, summary.encoded) == (258, 342)
    assert features.fingerprint == encode(MANY, Letters(), ids=names(600), quiet=True)[0].fingerprint


def test_a_damaged_cache_file_is_noted_and_made_again(tmp_path: Path) -> None:
    cache = RowCache(tmp_path, "letters 1")
    first, _ = encode(MANY, Letters(), ids=names(600), cache=cache, quiet=True)
    victim = sorted(cache.folder.glob("rows-*"))[0]
    victim.write_bytes(victim.read_bytes()[:-7])
    again, summary = encode(MANY, Letters(), ids=names(600), cache=cache, quiet=True)
    assert (summary.encoded, summary.cached) == (258, 342)
    assert victim.name in str(summary)
    assert again.fingerprint == first.fingerprint


def test_mistakes_of_the_caller_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="2 inputs but 1 item ids"):
        encode(["a", "b"], Letters(), ids=["x"], quiet=True)
    with pytest.raises(ConfigError, match="belongs to another encoder"):
        encode(["a"], Letters(), ids=["x"], cache=RowCache(tmp_path, "letters 2"), quiet=True)
    with pytest.raises(ConfigError, match="cannot name a modality"):
        encode(["a"], Letters(), ids=["x"], name="a/b", quiet=True)


def test_an_unknown_encoder_or_setting_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"did you mean 'minilm'\?"):
        build_encoder("minlm")
    with pytest.raises(ConfigError, match=r"did you mean 'pooling'\?"):
        build_encoder("minilm", {"poling": "cls"})


def test_listing_encoders_loads_nothing_heavy() -> None:
    program = (
        "import sys; from palate.encode import ENCODERS; print([(n, ENCODERS[n].modality) for n in ENCODERS]); "
        "sys.exit(sum(name in sys.modules for name in ('torch', 'transformers', 'sentence_transformers')))"
    )
    listed = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True)
    assert listed.returncode == 0
    assert "('minilm', 'text')" in listed.stdout
    assert "minilm" in ENCODERS


class Heavy:
    """Files of fifty kilobytes, by number: what is read of them must not stay."""

    modality = "audio"
    identity = "heavy 1"
    width = 2
    batch_size = 8

    def content(self, value: int) -> bytes:
        return value.to_bytes(4) + bytes(50_000)

    def size(self, value: int) -> int:
        return 1

    def prepare(self, value: int) -> NDArray[np.float32]:
        return np.full(12_500, value, dtype=np.float32)

    def encode_ready(self, ready: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        return np.stack([array[:2] for array in ready])

    def encode_batch(self, values: Sequence[int]) -> NDArray[np.float32]:
        return self.encode_ready([self.prepare(value) for value in values])


def test_memory_does_not_grow_with_the_content_of_the_items(tmp_path: Path) -> None:
    def peak(count: int) -> int:
        cache = RowCache(tmp_path / str(count), "heavy 1")
        tracemalloc.start()
        encode(list(range(count)), Heavy(), ids=names(count), cache=cache, quiet=True)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(200)
    # A row of two numbers, an id, a digest and their places; a file's bytes would be 50,000.
    assert (peak(1200) - peak(400)) / 800 < 1000
