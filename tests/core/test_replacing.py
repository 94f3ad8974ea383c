"""Folders that are replaced, through links too, while others read them or are killed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from palate.core.artefact import (
    MANIFEST,
    atomic_folder,
    left_beside,
    read_json,
    unchanged,
    write_json,
    write_manifest,
)
from palate.core.errors import ArtefactError


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    folder = tmp_path / "thing"
    folder.mkdir()
    (folder / "data.bin").write_bytes(bytes(range(100)))
    write_manifest(folder, "thing", 2, {"model": "bm3"})
    return folder


def test_a_link_stays_and_what_it_leads_to_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "links").mkdir()
    link = tmp_path / "links" / "current"
    link.symlink_to("../first")
    with atomic_folder(link) as folder:
        (folder / "a").write_text("a")
    with pytest.raises(ArtefactError, match="exists already"), atomic_folder(link):
        pass
    with atomic_folder(link, replace=True) as folder:
        (folder / "b").write_text("b")
    assert os.readlink(link) == "../first"
    assert names(tmp_path) == ["first", "links"]
    assert names(tmp_path / "first") == ["b"]
    assert names(tmp_path / "links") == ["current"]
    link.unlink()
    link.symlink_to("current")
    with pytest.raises(ArtefactError, match="leads nowhere"), atomic_folder(link, replace=True):
        pass


def test_a_replacement_clears_what_killed_ones_left_and_nothing_else(tmp_path: Path) -> None:
    stays = [".b.c.abc.old", ".c.abc.old", ".b.abc.partial", ".b", "b.abc.old"]
    for name in (".b.abc.old", ".b.x_1.old", *stays):
        (tmp_path / name / "was").mkdir(parents=True)
    assert [path.name for path in left_beside(tmp_path / "b", "old")] == [".b.abc.old", ".b.x_1.old"]
    with atomic_folder(tmp_path / "b"):
        pass
    assert names(tmp_path) == sorted(["b", *stays])


def test_what_is_read_is_of_one_state(stored: Path) -> None:
    other, link = stored.parent / "other", stored.parent / "link"
    shutil.copytree(stored, other)
    link.symlink_to("thing")

    def reading(folder: Path, change: Callable[[], object], fault: Exception | None = None, but: str = "") -> Path:
        with unchanged(folder, but=but) as found:
            change()
            if fault is not None:
                raise fault
        return found

    def replaced() -> None:
        stored.rename(stored.parent / "old")
        other.rename(stored)

    def noted() -> None:
        write_json(stored / MANIFEST, {**read_json(stored / MANIFEST), "model": "other"})

    assert reading(stored, lambda: None) == stored
    assert reading(link, lambda: None) == stored
    with pytest.raises(ArtefactError, match="a fault of its own"):
        reading(stored, lambda: None, ArtefactError("a fault of its own"))
    for change in (replaced, noted):
        with pytest.raises(ArtefactError, match="changed while it was read"):
            reading(stored, change)
    # A file that is not there any more says less than what happened to the folder.
    with pytest.raises(ArtefactError, match="changed while it was read"):
        reading(link, link.unlink, FileNotFoundError("gone"))
    write_manifest(stored, "thing", 2)
    manifest = read_json(stored / MANIFEST)
    entry = {"bytes": 1, "sha256": "of what was written meanwhile"}
    now = {**manifest, "files": {**manifest["files"], "data.bin": entry}}
    assert reading(stored, lambda: write_json(stored / MANIFEST, now), but="data.bin") == stored


def test_what_is_no_number_of_json_is_refused(tmp_path: Path) -> None:
    for word in ("NaN", "Infinity", "-Infinity"):
        (tmp_path / "a.json").write_text(f"[{word}]")
        with pytest.raises(ArtefactError, match=word):
            read_json(tmp_path / "a.json")
