"""Settings with which a training on the small shop ends within moments, and commands that must go well."""

from __future__ import annotations

import worlds

SMALL = ("--set", "dim=4", "--set", "epochs=2", "--quiet")


def good(*words: object) -> worlds.Ended:
    """Run a command; it must end well."""
    ended = worlds.palate(*words)
    assert ended.code == 0, ended.text
    return ended
