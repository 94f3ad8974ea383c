"""One JSON list of objects as JSON lines, so that both are read in the same way and the lines keep their numbers."""

from __future__ import annotations

import json
import re

import numpy as np

from palate.ingest.lines import Numbers

GAP = re.compile(r"[ \t\r\n]*")


class BrokenList(ValueError):
    """A text that is no JSON list.

    Args:
        line: where, counted from 1.
        what: what is wrong there.
    """

    def __init__(self, line: int, what: str) -> None:
        super().__init__(what)
        self.line = line
        self.what = what


def as_lines(text: str) -> tuple[str, Numbers]:
    """The members of a list, one on each line and with their own characters, and the line on which each began.

    Args:
        text: the list; nothing but blanks around it.

    Raises:
        BrokenList: where the text is no list, or not a whole one.
    """
    decoder = json.JSONDecoder()
    members: list[str] = []
    starts: list[int] = []
    line, counted = 1, 0
    place = _after(text, 0, "[")
    while True:
        place = _next(text, place)
        if not members and text[place : place + 1] == "]":
            break
        line, counted = line + text.count("\n", counted, place), place
        try:
            _, end = decoder.raw_decode(text, place)
        except json.JSONDecodeError as error:
            raise BrokenList(error.lineno, error.msg) from None
        except RecursionError:
            raise BrokenList(line, "nested too deeply") from None
        # Line ends between signs mean nothing, and none can be within a string.
        members.append(text[place:end].replace("\n", " ").replace("\r", " "))
        starts.append(line)
        place = _next(text, end)
        if text[place : place + 1] == "]":
            break
        place = _after(text, place, ",")
    rest = _next(text, place + 1)
    if rest < len(text):
        raise BrokenList(_line(text, rest), "there is more text after the list")
    return "\n".join(members), np.array(starts, dtype=np.int64)


def _next(text: str, place: int) -> int:
    gap = GAP.match(text, place)
    return place if gap is None else gap.end()


def _after(text: str, place: int, sign: str) -> int:
    place = _next(text, place)
    if text[place : place + 1] != sign:
        raise BrokenList(_line(text, place), f"'{sign}' was expected; was the file cut short?")
    return place + 1


def _line(text: str, place: int) -> int:
    return text.count("\n", 0, place) + 1
