"""Named choices (models, encoders): a decorator registers, a duplicate is an error, an unknown name lists them all.

What is defined anew, by a cell of a notebook or a module that is loaded again, replaces what it was.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar, cast

from palate.core.errors import ConfigError, unknown_name
from palate.core.sources import keep_code, place_of, same_definition

T = TypeVar("T")
# What the decorator is put on keeps its own, narrower type.
Entry = TypeVar("Entry")
# Names become folders, labels and options.
NAME = re.compile(r"(?!.*\.ya?ml$)\w[\w.-]{0,59}")


class Registry(Generic[T]):
    """Name → entry, for one kind of thing.

    Args:
        kind: what the entries are, in the singular ("model"); used in messages.
        besides: what else may be done about an unknown name.
        check: of a name and its entry, what is wrong with it. Such an entry is refused when it is asked for, so that
            those beside it can be used.
    """

    def __init__(
        self, kind: str, besides: str = "", check: Callable[[str, object], ConfigError | None] | None = None
    ) -> None:
        self.kind, self.besides, self.check = kind, besides, check
        self._entries: dict[str, T] = {}
        self._problems: dict[str, ConfigError] = {}

    def register(self, name: str) -> Callable[[Entry], Entry]:
        """Decorator that files an entry under `name`.

        Raises:
            ConfigError: when another entry has that name, or it is none.
        """
        if not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            what = f"{self.kind}s are registered by a name, and none is given"
            raise ConfigError(what, where=place_of(name), do='write .register("name"), with a name in parentheses')

        def add(entry: Entry) -> Entry:
            if not NAME.fullmatch(name):
                do = "choose up to 60 letters, digits, '_', '-' and '.', a letter first, and no .yaml in the end"
                raise ConfigError(f"'{name}' cannot be the name of a {self.kind}", where=place_of(entry), do=do)
            present = self._entries.get(name)
            if present is not None and not same_definition(present, entry):
                places = f"{place_of(present)}, and {place_of(entry)}"
                raise ConfigError(f"two {self.kind}s are called '{name}'", where=places, do="rename one")
            problem = self.check(name, entry) if self.check else None
            self._problems.pop(name, None)
            if problem is not None:
                self._problems[name] = problem
            self._entries[name] = cast(T, entry)
            if isinstance(entry, type):
                keep_code(entry)
            return entry

        return add

    @property
    def problems(self) -> dict[str, ConfigError]:
        """Name → what is wrong with it, of the entries that cannot be used."""
        return {name: self._problems[name] for name in sorted(self._entries) if name in self._problems}

    def __getitem__(self, name: str) -> T:
        if name in self.problems:
            raise self._problems[name]
        if name not in self._entries:
            valid = f"valid {self.kind}s: {', '.join(self)}{self.besides and f'; {self.besides}'}"
            raise ConfigError(unknown_name(self.kind, name, self._entries), do=valid)
        return self._entries[name]

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        """The names of all that can be used."""
        return iter(sorted(self._entries.keys() - self._problems.keys()))

    def __len__(self) -> int:
        return len(list(iter(self)))
