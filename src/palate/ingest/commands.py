"""Commands that mend a file, written so that they can be pasted into a shell."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path


def python(program: str) -> str:
    """A command that runs a short program; in double quotes where no sign in it means something to a shell there."""
    plain = not any(sign in program for sign in '"$`\\!')
    return f'python -c "{program}"' if plain else f"python -c {shlex.quote(program)}"


def through(file: str, command: str, new: str) -> str:
    """A command that reads a file, unpacked where its name ends in .gz, and writes another one beside it.

    Args:
        file: the file.
        command: reads its text from standard input, and writes to standard output.
        new: the other file's name.
    """
    path = Path(file)
    target = shlex.quote(str(path.with_name(new)))
    if path.name.lower().endswith(".gz"):
        return f"gunzip -c {shlex.quote(file)} | {command} > {target}"
    return f"{command} < {shlex.quote(file)} > {target}"


def beside(file: str, addition: str = "", suffix: str | None = None) -> str:
    """A name for a changed copy of a file: its own without .gz, something added to it, with another suffix."""
    name = Path(file).name
    path = Path(name[:-3] if name.lower().endswith(".gz") else name)
    return f"{path.stem}{addition}{path.suffix if suffix is None else suffix}"


def joined(files: Sequence[Path], *, headed: bool) -> str:
    """A command that makes one file of text files of one kind.

    Args:
        files: all that a folder has of these with this suffix, in the order of their names.
        headed: each begins with the same line of column names, which then stands in the result once.
    """
    folder, first = files[0].parent, files[0]
    packed = first.name.lower().endswith(".gz")
    ends = "".join(first.suffixes[-2:] if packed else first.suffixes[-1:])
    every, kind = f"{shlex.quote(str(folder))}/*{ends}", ends[: -len(".gz")] if packed else ends
    name = f"{folder.resolve().name or 'log'}-all{kind}"
    target = shlex.quote(str(folder.with_name(name) if folder.name else Path("..", name)))
    # awk ends the last line of each file where the file does not.
    if not packed:
        return f"awk '{'FNR > 1 || NR == 1' if headed else 1}' {every} > {target}"
    rest = f"for file in {every}; do gunzip -c -- \"$file\" | awk '{'NR > 1' if headed else 1}'; done"
    if not headed:
        return f"{rest} > {target}"
    return f"{{ gunzip -c -- {shlex.quote(str(first))} | head -n 1; {rest}; }} > {target}"
