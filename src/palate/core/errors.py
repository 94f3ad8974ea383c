"""Errors that a person can act on: what was found, where, and what to do next.

Everything that is the user's to mend is a `PalateError`; the command line prints it without a traceback.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class PalateError(Exception):
    """What is wrong, where it is, and what to do about it.

    Args:
        what: one sentence about what was found.
        where: a file, line, column, id or setting; empty when there is no such place.
        do: the next thing to try; empty when nothing can be advised.
    """

    def __init__(self, what: str, *, where: str = "", do: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.do = do

    def __str__(self) -> str:
        lines = [self.what]
        if self.where:
            lines.append(f"  where: {self.where}")
        if self.do:
            lines.append(f"  do:    {self.do}")
        return "\n".join(lines)


class ConfigError(PalateError):
    """A setting that is unknown, of the wrong type or out of range."""


class DataError(PalateError):
    """Input data that cannot be used as it is."""


class WithdrawnError(DataError):
    """Somebody was forgotten in it: what is there cannot be used, and what was read of it before may not be."""


class ArtefactError(PalateError):
    """A stored file or folder that is missing, damaged, tampered with or of another kind."""


class MissingDependency(PalateError):
    """An optional package that the requested work needs."""


class TrainingError(PalateError):
    """Training that cannot go on: a loss that is not finite, or nothing to train on."""


class Interrupted(PalateError):
    """Work stopped on request (Ctrl-C); its state was kept."""


def nearest(name: str, valid: Iterable[str]) -> str | None:
    """The valid name that `name` was probably meant to be, or None when none is near."""
    found = get_close_matches(name.lower(), list(valid), n=1, cutoff=0.5)
    return found[0] if found else None


def unknown_name(kind: str, name: str, valid: Iterable[str]) -> str:
    """The sentence that names an unknown `kind` and its nearest valid name."""
    guess = nearest(name, valid)
    return f"unknown {kind} '{name}'" + (f"; did you mean '{guess}'?" if guess else "")
