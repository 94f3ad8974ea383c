"""What is wrong with a class that is registered as a model, told before anything is trained with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from pydantic import PydanticUserError

from palate.core.config import Config
from palate.core.errors import ConfigError
from palate.core.search import Choice, Range
from palate.core.sources import place_of

SETTINGS = "write a class of settings, class MyConfig(Config), and Config = MyConfig in the model"
SEARCH = 'give each setting its values, as {"dim": Choice((16, 32))} or {"weight": Range(0.01, 1.0, log=True)}'


def problem_of(name: str, kind: object, ways: tuple[type, ...], needs: type) -> ConfigError | None:
    """Why `kind` cannot be used as a model; None where nothing is wrong.

    Args:
        name: under which it is registered.
        kind: a class, if its author made no mistake.
        ways: the bases of which it has one.
        needs: the type of its `needs`.
    """
    try:
        found = _of_class(kind, ways) or _of_settings(cast(Any, kind)) or _of_attributes(cast(Any, kind), needs)
    except PydanticUserError as error:
        found = f"its Config is not complete: {error}", "mend the types of its settings"
    if found is None:
        return None
    return ConfigError(f"the model '{name}' cannot be used: {found[0]}", where=place_of(kind), do=found[1])


def _of_class(kind: object, ways: tuple[type, ...]) -> tuple[str, str] | None:
    names = " or ".join(way.__name__ for way in ways)
    if not isinstance(kind, type):
        return f"it is a {type(kind).__name__}, not a class", f"register a class, a {names} (palate.models)"
    if not issubclass(kind, ways):
        return f"it is no {names}", "make it one of them (palate.models), whichever suits"
    lacking = sorted(cast("frozenset[str]", getattr(kind, "__abstractmethods__", frozenset())))
    if lacking:
        return f"it has no {', '.join(lacking)}", "write what is missing; the docstrings of its base say what it gives"
    return None


def _of_settings(kind: Any) -> tuple[str, str] | None:
    config = getattr(kind, "Config", None)
    if not (isinstance(config, type) and issubclass(config, Config)):
        return "it has no Config" if config is None else "its Config is no class of settings", SETTINGS
    wrong = config.wrong_defaults()
    return (f"a default does not suit its setting: {'; '.join(wrong)}", "mend it in its Config") if wrong else None


def _of_attributes(kind: Any, needs: type) -> tuple[str, str] | None:
    wanted = getattr(kind, "needs", None)
    if wanted is not None and not isinstance(wanted, needs | property):
        return f"needs is {wanted!r}", "write needs = Needs(negatives=2)"
    search: object = kind.search
    entries = cast("Mapping[object, object]", search).items() if isinstance(search, Mapping) else [("search", search)]
    for key, values in entries:
        if not isinstance(values, Choice | Range):
            return f"what tuning tries for '{key}' is {values!r}", SEARCH
    return None
