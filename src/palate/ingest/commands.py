"""Commands that mend a file, written so that they can be pasted into a shell."""

from __future__ import annotations

import shlex


def python(program: str) -> str:
    """A command that runs a short program; in double quotes where no sign in it means something to a shell there."""
    plain = not any(sign in program for sign in '"$`\\!')
    return f'python -c "{program}"' if plain else f"python -c {shlex.quote(program)}"
