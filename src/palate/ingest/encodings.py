"""Whether the bytes of a file are text that can be read: UTF-8, without zero bytes, with ordinary line ends."""

from __future__ import annotations

import codecs

from palate.ingest.commands import beside, through
from palate.ingest.lines import Bytes, line_at
from palate.ingest.report import Example, Report

UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
HEAD = 256
# Of a text of mostly Latin letters in UTF-16, every other byte is zero.
ZEROS = 0.8
RETURNS = "write ordinary line ends: {}"


def is_text(data: Bytes, file: str, report: Report) -> bool:
    """Whether these bytes are text; a fatal problem in the report where they are not."""
    name = _utf16(data[:HEAD].tobytes())
    if name:
        report.add("fatal", file, "the text is encoded as UTF-16", do=_converted(file, name))
        return False
    decoder = codecs.getincrementaldecoder("utf-8")()
    block = 1 << 24
    newlines = returns = False
    for start in range(0, len(data), block):
        part = data[start : start + block].tobytes()
        zero = part.find(0)
        if zero >= 0:
            example = Example(line_at(data, start + zero), "a zero byte")
            report.add("fatal", file, "this is no text file", examples=[example], do="check that it is the right file")
            return False
        newlines, returns = newlines or b"\n" in part, returns or b"\r" in part
        kept = len(decoder.getstate()[0])
        # ASCII after whole characters is UTF-8, and known as such many times faster than it is decoded.
        if not kept and part.isascii():
            continue
        try:
            decoder.decode(part, final=start + block >= len(data))
        except UnicodeDecodeError as error:
            position = start - kept + error.start
            example = Example(line_at(data, position), f"byte 0x{int(data[position]):02x}")
            report.add(
                "fatal",
                file,
                "the text is not UTF-8",
                examples=[example],
                do=f"{_converted(file, 'latin1')} (or whatever it was written in)",
            )
            return False
    if returns and not newlines:
        report.add(
            "fatal",
            file,
            "the lines end in bare carriage returns",
            do=RETURNS.format(through(file, r"tr '\r' '\n'", beside(file, "-lines"))),
        )
        return False
    return True


def _utf16(head: bytes) -> str:
    """The name of the UTF-16 that a text begins in; empty for any other."""
    if head[:2] in UTF16_MARKS:
        return "UTF-16"
    for name, place in (("UTF-16LE", 1), ("UTF-16BE", 0)):
        high, low = head[place::2], head[1 - place :: 2]
        if high and high.count(0) >= ZEROS * len(high) and not low.count(0):
            return name
    return ""


def _converted(file: str, name: str) -> str:
    return f"save it as UTF-8, for example: {through(file, f'iconv -f {name} -t UTF-8', beside(file, '-utf8'))}"
