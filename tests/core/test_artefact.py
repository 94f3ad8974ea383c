"""Artefacts: a crash leaves the old state, and what was changed since it was written is not trusted."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import SafetensorError
from torch import Tensor

from palate.core import artefact
from palate.core.artefact import (
    MANIFEST,
    atomic_folder,
    atomic_path,
    inside,
    read_json,
    read_manifest,
    read_tensors,
    sha256_of,
    tensor_digest,
    write_json,
    write_manifest,
    write_tensors,
    write_text,
)
from palate.core.errors import ArtefactError


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_takes_its_place_when_it_is_complete(tmp_path: Path) -> None:
    target = tmp_path / "new" / "note.txt"
    with atomic_path(target) as temporary:
        temporary.write_text("half")
        assert not target.exists()
    assert target.read_text() == "half"
    write_text(target, "größer")
    assert target.read_text("utf-8") == "größer"
    assert names(target.parent) == ["note.txt"]


def test_files_and_folders_get_the_permissions_of_ordinary_ones(tmp_path: Path) -> None:
    write_text(tmp_path / "ours", "x")
    (tmp_path / "theirs").write_text("x")
    with atomic_folder(tmp_path / "our_folder"):
        pass
    (tmp_path / "their_folder").mkdir()
    for ours, theirs in (("ours", "theirs"), ("our_folder", "their_folder")):
        assert (tmp_path / ours).stat().st_mode == (tmp_path / theirs).stat().st_mode


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_error_leaves_the_old_file_and_no_litter(tmp_path: Path, error: type[BaseException]) -> None:
    target = tmp_path / "note.txt"
    write_text(target, "old")

    def stop_half_way() -> None:
        with atomic_path(target) as temporary:
            temporary.write_text("new")
            raise error

    with pytest.raises(error):
        stop_half_way()
    assert target.read_text() == "old"
    assert names(tmp_path) == ["note.txt"]


def test_what_json_cannot_hold_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "facts.json"
    write_json(target, {"a": [1, "ü", None]})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(target, {"a": float("nan")})
    assert read_json(target) == {"a": [1, "ü", None]}
    assert names(tmp_path) == ["facts.json"]


KILLED = """
import os, signal, sys
from pathlib import Path
import torch
from palate.core import artefact

def kill(*arguments, **options):
    os.kill(os.getpid(), signal.SIGKILL)

folder, moment = Path(sys.argv[1]), sys.argv[2]
if moment == "before the file's rename":
    os.replace = kill
    artefact.write_tensors(folder / "state.safetensors", {"x": torch.ones(1000)})
elif moment == "in the middle of a file":
    with artefact.atomic_path(folder / "state.safetensors") as temporary:
        temporary.write_bytes(b"half")
        kill()
else:
    with artefact.atomic_folder(folder / "run", replace=True) as temporary:
        (temporary / "data").write_text("new")
        kill()
"""


@pytest.mark.parametrize("moment", ["before the file's rename", "in the middle of a file", "in the middle of a folder"])
def test_a_killed_process_leaves_the_old_state(tmp_path: Path, moment: str) -> None:
    old = {"x": torch.zeros(3)}
    write_tensors(tmp_path / "state.safetensors", old)
    with atomic_folder(tmp_path / "run") as folder:
        (folder / "data").write_text("old")
        write_manifest(folder, "run", 1)
    ended = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), moment], check=False, timeout=60)
    assert ended.returncode == -signal.SIGKILL
    assert torch.equal(read_tensors(tmp_path / "state.safetensors")[0]["x"], old["x"])
    read_manifest(tmp_path / "run", "run", 1)
    assert (tmp_path / "run" / "data").read_text() == "old"
    assert [name for name in names(tmp_path) if not name.startswith(".")] == ["run", "state.safetensors"]


def test_a_folder_is_made_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "catalogue"

    def stop_half_way() -> None:
        with atomic_folder(target) as folder:
            (folder / "a").write_text("a")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        stop_half_way()
    assert names(tmp_path) == []
    with atomic_folder(target) as folder:
        (folder / "a").write_text("a")
        assert not target.exists()
    assert names(target) == ["a"]


def test_a_folder_that_is_there_is_replaced_only_when_asked(tmp_path: Path) -> None:
    target = tmp_path / "catalogue"
    with atomic_folder(target) as folder:
        (folder / "old").write_text("old")
    with pytest.raises(ArtefactError, match="exists already"), atomic_folder(target):
        pass
    with pytest.raises(RuntimeError), atomic_folder(target, replace=True):
        raise RuntimeError
    assert names(target) == ["old"]
    with atomic_folder(target, replace=True) as folder:
        (folder / "new").write_text("new")
    assert names(target) == ["new"]
    assert names(tmp_path) == ["catalogue"]


def test_a_replacement_that_fails_half_way_puts_the_old_folder_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "catalogue"
    with atomic_folder(target) as folder:
        (folder / "old").write_text("old")
    rename = os.rename

    def failing(source: Path, destination: Path) -> None:
        if source.suffix == ".partial":
            raise OSError("no space")
        rename(source, destination)

    monkeypatch.setattr(artefact.os, "rename", failing)
    with pytest.raises(OSError, match="no space"), atomic_folder(target, replace=True) as folder:
        (folder / "new").write_text("new")
    assert names(target) == ["old"]
    assert names(tmp_path) == ["catalogue"]


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    folder = tmp_path / "thing"
    (folder / "part").mkdir(parents=True)
    (folder / "data.bin").write_bytes(bytes(range(100)))
    (folder / "part" / MANIFEST).write_text("a part's own manifest")
    (folder / ".cache").write_text("no part of it")
    write_manifest(folder, "thing", 2, {"model": "bm3"})
    return folder


def test_a_manifest_holds_the_facts_and_every_file(stored: Path) -> None:
    facts = read_manifest(stored, "thing", 2)
    assert facts["model"] == "bm3"
    assert sorted(facts["files"]) == ["data.bin", f"part/{MANIFEST}"]
    assert facts["files"]["data.bin"] == {"bytes": 100, "sha256": sha256_of(stored / "data.bin")}
    (stored / ".cache").write_text("changed")
    read_manifest(stored, "thing", 2)


def test_a_changed_file_is_noticed(stored: Path) -> None:
    data = bytearray((stored / "data.bin").read_bytes())
    data[50] ^= 1
    (stored / "data.bin").write_bytes(data)
    read_manifest(stored, "thing", 2, verify=False)
    with pytest.raises(ArtefactError, match="not the one that was written") as caught:
        read_manifest(stored, "thing", 2)
    assert caught.value.where.endswith("data.bin")


def test_a_file_cut_short_is_noticed_even_without_reading_it(stored: Path) -> None:
    (stored / "data.bin").write_bytes(bytes(range(99)))
    with pytest.raises(ArtefactError, match="not the one that was written"):
        read_manifest(stored, "thing", 2, verify=False)


def test_a_missing_file_is_named(stored: Path) -> None:
    (stored / "data.bin").unlink()
    with pytest.raises(ArtefactError, match="is missing") as caught:
        read_manifest(stored, "thing", 2)
    assert caught.value.where.endswith("data.bin")


@pytest.mark.parametrize(
    ("kind", "version", "message"),
    [("catalogue", 2, "is a thing, not a catalogue"), ("thing", 3, "schema version 2; this palate reads version 3")],
)
def test_another_kind_or_version_is_refused(stored: Path, kind: str, version: int, message: str) -> None:
    with pytest.raises(ArtefactError, match=message):
        read_manifest(stored, kind, version)


def test_folders_without_a_manifest_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="there is no run folder"):
        read_manifest(tmp_path / "nowhere", "run", 1)
    with pytest.raises(ArtefactError, match="not a run"):
        read_manifest(tmp_path, "run", 1)


@pytest.mark.parametrize("name", ["../secret", "/etc/hostname", "part/../../secret", "a\0b"])
def test_a_manifest_that_points_outside_its_folder_is_refused(stored: Path, name: str) -> None:
    (stored.parent / "secret").write_text("x")
    entry = {"bytes": 1, "sha256": sha256_of(stored.parent / "secret")}
    write_json(stored / MANIFEST, {"kind": "thing", "version": 2, "files": {name: entry}})
    with pytest.raises(ArtefactError, match="leaves its folder"):
        read_manifest(stored, "thing", 2)


def test_a_link_that_leads_outside_is_refused(stored: Path) -> None:
    (stored.parent / "secret").write_text("x")
    (stored / "link").symlink_to(stored.parent / "secret")
    with pytest.raises(ArtefactError, match="leaves its folder"):
        inside(stored, "link")
    assert inside(stored, "part/x") == (stored / "part" / "x").resolve()


def refusal_of(folder: Path) -> ArtefactError | None:
    try:
        read_manifest(folder, "thing", 2)
    except ArtefactError as error:
        return error
    return None


LEAVES = st.none() | st.integers(-2, 2) | st.text(max_size=3)
DAMAGED = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner))


@given(st.fixed_dictionaries({"kind": st.just("thing"), "version": st.just(2), "files": DAMAGED}) | DAMAGED)
def test_a_damaged_manifest_is_never_a_traceback(tmp_path_factory: pytest.TempPathFactory, value: Any) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    write_json(folder / MANIFEST, value)
    error = refusal_of(folder)
    if error is None:
        assert value["files"] == {}
    else:
        assert str(folder) in error.where


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 100_000])
def test_what_is_not_json_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "facts.json"
    path.write_bytes(content)
    with pytest.raises(ArtefactError, match="cannot be read"):
        read_json(path)


def test_missing_and_oversized_json_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ArtefactError, match="is missing"):
        read_json(tmp_path / "facts.json")
    write_json(tmp_path / "facts.json", "x" * 100)
    monkeypatch.setattr(artefact, "MAX_JSON_BYTES", 50)
    with pytest.raises(ArtefactError, match="too large"):
        read_json(tmp_path / "facts.json")


def several() -> dict[str, Tensor]:
    return {
        "half": torch.tensor([1.5, -0.0, float("inf")], dtype=torch.bfloat16),
        "double": torch.arange(12, dtype=torch.float64).sqrt().view(3, 4).T,
        "whole": torch.tensor(2**62),
        "flags": torch.tensor([True, False]),
        "empty": torch.zeros(0, 5),
    }


def test_tensors_come_back_to_the_last_bit_with_their_metadata(tmp_path: Path) -> None:
    path, tensors = tmp_path / "t.safetensors", several()
    write_tensors(path, tensors, {"palate": json.dumps({"a": "ü"})})
    found, metadata = read_tensors(path)
    assert tensor_digest(found) == tensor_digest(tensors)
    assert metadata == {"palate": json.dumps({"a": "ü"})}
    write_tensors(path, {"x": torch.zeros(1)})
    assert read_tensors(path)[1] == {}


def test_no_tensors_are_stored_too_and_a_full_disk_is_an_os_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tensors(tmp_path / "none.safetensors", {})
    assert read_tensors(tmp_path / "none.safetensors") == ({}, {})

    def full(*given: object) -> None:
        raise SafetensorError("No space left on device (os error 28)")

    monkeypatch.setattr(artefact, "save_file", full)
    with pytest.raises(OSError, match=r"none\.safetensors cannot be written: No space left"):
        write_tensors(tmp_path / "none.safetensors", {})
    assert read_tensors(tmp_path / "none.safetensors") == ({}, {})


def test_tensors_that_share_memory_are_stored_each(tmp_path: Path) -> None:
    table = torch.arange(6.0)
    write_tensors(tmp_path / "t.safetensors", {"a": table, "tied": table, "part": table[2:4]})
    found, _ = read_tensors(tmp_path / "t.safetensors")
    assert {name: value.tolist() for name, value in found.items()} == {
        "a": [0, 1, 2, 3, 4, 5],
        "tied": [0, 1, 2, 3, 4, 5],
        "part": [2, 3],
    }


@pytest.mark.parametrize("keep", [0, 4, 40, -1])
def test_tensors_cut_short_are_refused(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "t.safetensors"
    write_tensors(path, several())
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ArtefactError) as caught:
        read_tensors(path)
    assert caught.value.where == str(path)


class Trap:
    """Does something when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return Path.write_text, (self.mark, "run")


def test_a_pickle_in_disguise_is_refused_and_not_run(tmp_path: Path) -> None:
    mark, path = tmp_path / "mark", tmp_path / "model.safetensors"
    path.write_bytes(pickle.dumps(Trap(mark)))
    with pytest.raises(ArtefactError):
        read_tensors(path)
    torch.save({"weight": torch.zeros(2)}, path)
    with pytest.raises(ArtefactError):
        read_tensors(path)
    assert not mark.exists()
    with pytest.raises(ArtefactError):
        read_tensors(tmp_path / "nowhere.safetensors")


def test_a_digest_knows_names_types_shapes_and_every_bit() -> None:
    base = tensor_digest({"a": torch.zeros(2, 3), "b": torch.ones(1)})
    assert base == tensor_digest({"b": torch.ones(1), "a": torch.zeros(2, 3)})
    nudged = torch.zeros(2, 3)
    nudged.view(torch.int32)[1, 2] ^= 1
    different = [
        {"a": nudged, "b": torch.ones(1)},
        {"a": -torch.zeros(2, 3), "b": torch.ones(1)},
        {"a": torch.zeros(3, 2), "b": torch.ones(1)},
        {"a": torch.zeros(2, 3, dtype=torch.int32), "b": torch.ones(1)},
        {"a": torch.zeros(2, 3), "c": torch.ones(1)},
        {"a": torch.zeros(2, 3)},
    ]
    assert len({base, *map(tensor_digest, different)}) == 7
    column_major = torch.arange(6).reshape(3, 2).T
    assert tensor_digest({"a": column_major}) == tensor_digest({"a": column_major.contiguous()})
