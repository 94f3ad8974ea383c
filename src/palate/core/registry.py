"""Named choices (models, encoders): a decorator registers, a duplicate is an error, an unknown name lists them all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar, cast

from palate.core.errors import ConfigError, unknown_name

T = TypeVar("T")
# What the decorator is put on keeps its own, narrower type.
Entry = TypeVar("Entry")


class Registry(Generic[T]):
    """Name → entry, for one kind of thing.

    Args:
        kind: what the entries are, in the singular ("model"); used in messages.
        besides: what else may be done about an unknown name.
    """

    def __init__(self, kind: str, besides: str = "") -> None:
        self.kind, self.besides = kind, besides
        self._entries: dict[str, T] = {}

    def register(self, name: str) -> Callable[[Entry], Entry]:
        """Decorator that files an entry under `name`.

        Raises:
            ConfigError: when another entry has that name.
        """

        def add(entry: Entry) -> Entry:
            if name in self._entries:
                present = self._entries[name]
                raise ConfigError(
                    f"two {self.kind}s are called '{name}'", where=f"{present!r} and {entry!r}", do="rename one"
                )
            self._entries[name] = cast(T, entry)
            return entry

        return add

    def __getitem__(self, name: str) -> T:
        if name not in self._entries:
            valid = f"valid {self.kind}s: {', '.join(self)}{self.besides and f'; {self.besides}'}"
            raise ConfigError(unknown_name(self.kind, name, self._entries), do=valid)
        return self._entries[name]

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._entries))

    def __len__(self) -> int:
        return len(self._entries)
