"""Media columns at import: what leads to no picture or sound is named with path and row, and no row is lost."""

from __future__ import annotations

import struct
from pathlib import Path

import polars as pl
import pytest

from palate.core.errors import DataError
from palate.ingest.importing import import_tables
from palate.ingest.media import is_picture, is_sound

PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)
WAV = b"RIFF" + struct.pack("<I", 36) + b"WAVEfmt " + bytes(20)

CELLS = {
    "good": "good.png",
    "gone": "gone.png",
    "folder": "sub",
    "empty": "empty.png",
    "words": "words.jpg",
    "sound": "song.wav",
    "web": "https://example.org/a.png",
    "out": "../outside.png",
    "none": "",
    "through": "good.png/a.png",
    "long": "x" * 5000,
}


@pytest.fixture
def shop(tmp_path: Path) -> tuple[Path, Path]:
    folder = tmp_path / "shop"
    (folder / "sub").mkdir(parents=True)
    (folder / "good.png").write_bytes(PNG)
    (folder / "empty.png").touch()
    (folder / "words.jpg").write_text("not a picture at all")
    (folder / "song.wav").write_bytes(WAV)
    (tmp_path / "outside.png").write_bytes(PNG)
    (folder / "log.csv").write_text("user_id,item_id\na,good\n")
    (folder / "items.csv").write_text(
        "item_id,poster,audio\n" + "".join(f"{item},{cell},song.wav\n" for item, cell in CELLS.items())
    )
    return folder / "log.csv", folder / "items.csv"


def test_every_fault_is_a_note_on_its_line_and_all_rows_are_kept(shop: tuple[Path, Path]) -> None:
    catalogue, report = import_tables(*shop)
    assert catalogue.items["item_id"].to_list() == list(CELLS)
    assert catalogue.items["image"].to_list() == [cell or None for cell in CELLS.values()]
    line = {item: number for number, item in enumerate(CELLS, start=2)}
    found = {
        problem.what: [example.place for example in problem.examples]
        for problem in report.of("note")
        if problem.column == "poster" and "no picture then" in problem.do
    }
    assert found.pop("the file cannot be read: File name too long") == [line["long"]]
    assert found == {
        "there is no such file": [line["gone"], line["through"]],
        "this is a folder or device, not a file": [line["folder"]],
        "the file is empty (zero bytes)": [line["empty"]],
        "the file is no picture, by its first bytes": [line["words"], line["sound"]],
        "a web address: only files are read, nothing is fetched": [line["web"]],
        "the path leads out of the items' folder; encoding it needs the setting anywhere=true": [line["out"]],
    }
    assert not any(problem.column == "audio" for problem in report.problems)
    assert "'gone.png'" in report.text()


def test_absolute_paths_into_the_items_folder_are_kept_relative(shop: tuple[Path, Path]) -> None:
    """The catalogue can then be encoded and served, for paths stay inside their folder; one that leaves it is named."""
    folder = shop[1].parent
    (folder / "sub" / "deep.png").write_bytes(PNG)
    cells = [folder / "good.png", folder / "sub" / ".." / "sub" / "deep.png", folder.parent / "outside.png"]
    shop[1].write_text("item_id,image\n" + "".join(f"i{n},{cell}\n" for n, cell in enumerate(cells)))
    shop[0].write_text("user_id,item_id\na,i0\n")
    catalogue, report = import_tables(*shop)
    assert catalogue.items["image"].to_list() == ["good.png", "sub/deep.png", str(cells[2])]
    assert [problem.count for problem in report.of("note") if "leads out" in problem.what] == [1]


def test_a_folder_that_is_named_through_a_link_is_the_same_folder(shop: tuple[Path, Path], tmp_path: Path) -> None:
    folder, link = shop[1].parent, tmp_path / "link"
    link.symlink_to(folder)
    shop[0].write_text("user_id,item_id\na,i0\n")
    for items, base in ((link / "items.csv", folder), (folder / "items.csv", link), (link / "items.csv", link)):
        (folder / "items.csv").write_text(f"item_id,image\ni0,{base / 'good.png'}\n")
        assert import_tables(shop[0], items)[0].items["image"].to_list() == ["good.png"]


def test_strict_refuses_what_the_default_notes(shop: tuple[Path, Path]) -> None:
    with pytest.raises(DataError, match="no picture, by its first bytes"):
        import_tables(*shop, strict=True)


@pytest.mark.parametrize(
    ("head", "picture", "sound"),
    [
        (b"\xff\xd8\xff\xe0", True, False),
        (b"GIF89a", True, False),
        (b"RIFF\0\0\0\0WEBPVP8 ", True, False),
        (b"RIFF\0\0\0\0WAVEfmt ", False, True),
        (b"RIFF\0\0\0\0AVI LIST", False, False),
        (b"\xff\xfb\x90\0", False, True),
        (b"FORM\0\0\0\0AIFFCOMM", False, True),
        (b"fLaC", False, True),
        (b"<html>", False, False),
        (b"\xff", False, False),
    ],
)
def test_kinds_are_told_by_their_first_bytes(head: bytes, picture: bool, sound: bool) -> None:
    assert (is_picture(head), is_sound(head)) == (picture, sound)


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
def test_of_a_list_of_paths_the_first_is_taken(shop: tuple[Path, Path], kind: str) -> None:
    log, _ = shop
    goods = log.parent / f"goods.{kind}"
    frame = pl.DataFrame({"item_id": ["a", "b", "c", "d"], "image": [["good.png", "gone.png"], ["good.png"], [], None]})
    (frame.write_parquet if kind == "parquet" else frame.write_ndjson)(goods)
    log.write_text("user_id,item_id\nu,a\n")
    catalogue, report = import_tables(log, goods)
    assert catalogue.items["image"].to_list() == ["good.png", "good.png", None, None]
    (note,) = [problem for problem in report.of("note") if problem.column == "image"]
    assert (note.what, note.count) == ("an item has one path here: of a list, the first is taken", 1)
    assert [example.value for example in note.examples] == ["'good.png|gone.png'"]


def test_a_bar_in_a_path_that_was_no_list_stays(shop: tuple[Path, Path]) -> None:
    log, items = shop
    (log.parent / "a|b.png").write_bytes(PNG)
    items.write_text("item_id,image\ngood,a|b.png\n")
    catalogue, report = import_tables(log, items)
    assert catalogue.items["image"].to_list() == ["a|b.png"]
    assert report.problems == []
