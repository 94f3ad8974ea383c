"""What is printed of other people's titles and ids is text: nothing in it steers the terminal or breaks a table."""

from __future__ import annotations

import polars as pl
import pytest

from palate.printing import print_explanation, print_table, visible

EVIL = "red \x1b[31m\x07, [bold]bold[/bold] [/b], :smile:, two\nlines\tand\r, \u202etxt.exe\x9b"
SHOWN = r"red \x1b[31m\x07, [bold]bold[/bold] [/b], :smile:, two\nlines\tand\r, \u202etxt.exe\x9b"


def test_what_would_steer_a_terminal_is_written_out() -> None:
    assert visible(EVIL) == SHOWN
    assert visible("one\ntwo\x1b", lines=True) == "one\ntwo\\x1b"
    # Letters of all kinds, and characters made of several, stay.
    for plain in ("é 日本語 ⅷ", "👨\u200d👩\u200d👧", "می\u200cخواهم", r"a\x1b"):
        assert visible(plain) == plain


def test_a_table_holds_titles_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(pl.DataFrame({"title": [EVIL, "plain"], "n[i]": [1, 2]}))
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert len(lines) == 3
    assert lines[0].endswith("n[i]")
    assert lines[1] == f"{SHOWN}     1"
    assert lines[2].split() == ["plain", "2"]


def test_an_explanation_holds_ids_and_titles_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    untitled = [{"item_id": f"i{place}", "cosine": 0.5} for place in range(101)]
    found = {
        "user": "u\x1b[2J",
        "item_id": "i\n1",
        "title": EVIL,
        "known": False,
        "score": 1.0,
        "parts": {},
        "history": {"basis": None, "items": [], "rest": None},
        "history_length": 0,
        "neighbours": {"text": [*untitled, {"item_id": "last", "title": EVIL, "cosine": 0.25}]},
    }
    print_explanation(found)
    out = capsys.readouterr().out
    assert out.splitlines()[0] == rf"user u\x1b[2J, item i\n1 ({SHOWN})"
    assert out.count(SHOWN) == 2
    assert not set(out) & {"\x1b", "\x07", "\r", "\t", "\u202e", "\x9b"}
