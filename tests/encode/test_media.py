"""Cells of media columns: only plain files inside the media folder are read, and every other cell says why not."""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path

import polars as pl
import pytest

from palate.core.errors import ConfigError, DataError
from palate.encode.media import MediaFile, media_files


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A media folder with a picture, beside a file that is none of its business."""
    (tmp_path / "media" / "posters").mkdir(parents=True)
    (tmp_path / "media" / "posters" / "1.jpg").write_bytes(b"picture")
    (tmp_path / "secret.txt").write_bytes(b"secret")
    return tmp_path / "media"


def read(root: Path | None, cell: str, *, anywhere: bool = False, most: int = 100) -> bytes:
    return MediaFile(cell, root).read(most=most, anywhere=anywhere)


def test_a_relative_path_is_read_from_the_media_folder(root: Path) -> None:
    assert read(root, "posters/1.jpg") == b"picture"
    assert read(root, "posters/../posters/1.jpg") == b"picture"
    assert MediaFile("posters/1.jpg", root).size() == 7
    assert MediaFile("posters/2.jpg", root).size() == 0


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        ("posters/2.jpg", "'posters/2.jpg' is missing"),
        ("posters", "no plain file"),
        ("../secret.txt", "leaves the media folder; the setting anywhere=true"),
        ("posters/../../secret.txt", "leaves the media folder"),
        ("link/secret.txt", "leaves the media folder"),
        ("round", "leaves the media folder"),
        ("~/1.jpg", "not relative to the media folder; the setting anywhere=true"),
        ("/etc/hostname", "not relative to the media folder"),
        ("https://example.org/1.jpg", "is a web address; only files are read, nothing is fetched"),
        ("data:image/png;base64,AAAA", "is a web address"),
        ("data:image/png;base64," + "A" * 5000, "is a web address"),
        ("https://example.org/" + "a" * 300, "is a web address"),
        ("a\0b", "zero byte"),
        ("x" * 5000, "…' cannot be read"),
        ("pipe", "no plain file"),
        ("empty", "is empty"),
    ],
)
def test_other_cells_say_what_is_wrong(root: Path, cell: str, reason: str) -> None:
    (root / "link").symlink_to(root.parent)
    (root / "round").symlink_to(root / "round")
    (root / "empty").touch()
    os.mkfifo(root / "pipe")
    with pytest.raises(DataError, match=reason.replace("(", "\\(")):
        read(root, cell)


def test_a_file_above_the_limit_is_not_read(root: Path) -> None:
    assert read(root, "posters/1.jpg", most=7) == b"picture"
    with pytest.raises(DataError, match="larger than 6 bytes; the setting max_bytes"):
        read(root, "posters/1.jpg", most=6)


def test_paths_elsewhere_are_read_when_that_is_wished(root: Path) -> None:
    assert read(root, "../secret.txt", anywhere=True) == b"secret"
    assert read(root, str(root.parent / "secret.txt"), anywhere=True) == b"secret"
    assert read(None, str(root.parent / "secret.txt"), anywhere=True) == b"secret"
    with pytest.raises(DataError, match="web address"):
        read(root, "http://example.org/x", anywhere=True)


def test_without_a_media_folder_a_relative_path_says_so() -> None:
    with pytest.raises(DataError, match="no media folder"):
        read(None, "posters/1.jpg")


def test_one_file_per_item_and_none_for_empty_cells(root: Path) -> None:
    items = pl.DataFrame(
        {"item_id": ["a", "b", "c"], "image": [" posters/1.jpg ", None, "  "], "cover": ["x", "y", "z"]}
    )
    assert media_files(items, "image", root) == [MediaFile("posters/1.jpg", root), None, None]
    assert media_files(items, "image", root, ["cover"])[2] == MediaFile("z", root)
    with pytest.raises(DataError, match=r"did you mean 'cover'\?"):
        media_files(items, "image", root, ["covr"])
    with pytest.raises(ConfigError, match="one column, not from 2"):
        media_files(items, "image", root, ["image", "cover"])


def test_reading_a_small_file_asks_for_little_memory_whatever_the_limit(root: Path) -> None:
    tracemalloc.start()
    assert read(root, "posters/1.jpg", most=1 << 28) == b"picture"
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20
