"""Typed settings: a pydantic base where an unknown key is an error that names the nearest valid one.

Takes mappings, YAML text or `key=value` words; gives frozen, validated configs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Protocol, Self, cast

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from palate.core.errors import ConfigError, unknown_name

TYPES = re.compile(r"(float|int|bool|str|none|literal\[.*\]|list\[.*\]|dict\[.*\])")


class Read(Protocol):
    """Makes a value of its text; `where` is for messages."""

    def __call__(self, text: str, *, where: str) -> Any: ...


class Config(BaseModel):
    """Base of every settings class: frozen, validated, closed to unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)

    @classmethod
    def parse(cls, values: Mapping[str, Any] | None = None, *, where: str = "") -> Self:
        """Validate `values`.

        Raises:
            ConfigError: with every problem at once, an unknown key together with its nearest valid key.
        """
        try:
            return cls.model_validate(dict(values or {}))
        except ValidationError as error:
            problems = error.errors()
            unknown = any(problem["type"] == "extra_forbidden" for problem in problems)
            raise ConfigError(
                "; ".join(cls._sentence(problem) for problem in problems),
                where=where,
                do=f"valid settings: {', '.join(cls.model_fields) or 'none'}" if unknown else "",
            ) from None

    @classmethod
    def wrong_defaults(cls) -> list[str]:
        """What is wrong with the default values; a setting that has none is not."""
        try:
            cls.model_validate({})
        except ValidationError as error:
            return [cls._sentence(problem) for problem in error.errors() if problem["type"] != "missing"]
        return []

    @classmethod
    def _sentence(cls, problem: Any) -> str:
        # Where one of several types would do, the last parts name a type, which says nothing to a person.
        parts = [str(part) for part in problem["loc"]]
        key = ".".join([*parts[:1], *(part for part in parts[1:] if not TYPES.fullmatch(part))])
        if problem["type"] == "extra_forbidden":
            owner: type[BaseModel] = cls
            for part in problem["loc"][:-1]:
                inner = owner.model_fields[part].annotation if part in owner.model_fields else None
                if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
                    break
                owner = inner
            return unknown_name("setting", key, owner.model_fields)
        if problem["type"] == "literal_error":
            choices = [word.strip("' ") for word in problem["ctx"]["expected"].replace(" or ", ", ").split(",")]
            return f"{unknown_name(key, str(problem['input']), choices)} (valid: {', '.join(choices)})"
        text = str(problem["msg"])
        message = text[:1].lower() + text[1:]
        return f"{key}: {message} (got {problem['input']!r})" if key else message

    def override(self, values: Mapping[str, Any], *, where: str = "") -> Self:
        """A validated copy with `values` in place of the present ones.

        Raises:
            ConfigError: as `parse`.
        """
        return type(self).parse({**self.model_dump(), **values}, where=where)


def read_assignments(
    words: Iterable[str], option: str = "--set", example: str = "dim=64", *, read: Read | None = None
) -> dict[str, Any]:
    """`["dim=64", "features=[image, text]"]` as a mapping; values are YAML scalars or lists.

    Args:
        words: what was given.
        option: where, for messages.
        example: a word that would do there.
        read: makes a value of its text, told where that stands; by default `read_yaml`.

    Raises:
        ConfigError: for a word without `=`, a value that is not YAML, or a name that is given twice.
    """
    values: dict[str, Any] = {}
    for word in words:
        key, separator, text = word.partition("=")
        if not separator or not key.strip():
            raise ConfigError(
                f"'{word}' has no name or no value", where=option, do=f"write it as key=value, for example {example}"
            )
        name = key.strip()
        if name in values:
            raise ConfigError(f"'{name}' is given more than once", where=f"{option} {word}", do="say it once")
        values[name] = (read or read_yaml)(text, where=f"{option} {word}")
    return values


def read_yaml(text: str, *, where: str) -> Any:
    """Plain YAML data (no tags, no objects).

    Raises:
        ConfigError: with the line of the first mistake.
    """
    try:
        value = yaml.safe_load(text)
    # The loader lets impossible dates, wrong tags and endless nesting through as errors of the language.
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, RecursionError) as error:
        raise ConfigError(f"not valid YAML: {' '.join(str(error).split())}", where=where) from None
    return [_number(item) for item in cast("list[Any]", value)] if isinstance(value, list) else _number(value)


def _number(value: Any) -> Any:
    # YAML 1.1 reads "1e-3" as a string; people who write settings mean the number.
    if isinstance(value, str) and "e" in value.lower():
        try:
            return float(value)
        except ValueError:
            return value
    return value
