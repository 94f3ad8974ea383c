"""A digest of what a class does, where no file tells: its bytecode, and that of what it calls, with their constants.

Notebooks, standard input and `exec` leave classes whose source nobody can be sure of. Another version of Python gives
another digest, which costs a training; an earlier run in place of a changed model would cost more.
"""

from __future__ import annotations

import dataclasses
import dis
import enum
import functools
import hashlib
import pathlib
import re
import secrets
import sys
import types
from collections.abc import Iterator, Mapping
from typing import Any, cast

import numpy as np
import torch

from palate.core.sources import digest_of, file_of

UNTOLD = "untold:"
PLAIN = (bool, int, float, complex, str, bytes, type(None), type(...), enum.Enum, pathlib.PurePath, re.Pattern)
TORCH = (torch.dtype, torch.device, torch.Size)
METHODS = (types.FunctionType, property, staticmethod, classmethod, functools.cached_property)
CALLABLE = (type, types.MethodType, *METHODS)


class _Untold(Exception):
    """Of something that is used it cannot be told whether it is what it was."""


def behaviour_of(kind: type) -> str:
    """The sha256 of what a class does; `UNTOLD`, what is in the way and a random word, where that cannot be told."""
    digest = hashlib.sha256()
    try:
        if _installed(kind.__module__):
            raise _Untold(kind.__name__)
        for part in _of(kind, set(), kind.__name__):
            digest.update(f"{part}\x1f".encode(errors="backslashreplace"))
    except _Untold as untold:
        return f"{UNTOLD}{untold}:{secrets.token_hex(8)}"
    return digest.hexdigest()


def _installed(module: str | None) -> bool:
    """Whether a module comes with Python or an installed package: such code is taken for what it is called."""
    if module is None or module.split(".")[0] in {*sys.stdlib_module_names, "palate"}:
        return True
    parts = pathlib.Path(getattr(sys.modules.get(module), "__file__", None) or "").parts
    return "site-packages" in parts or "dist-packages" in parts


def _of(value: Any, seen: set[int], name: str) -> Iterator[str]:
    """Words that say what `value` is.

    Args:
        seen: what was met before; all of it lives on, so that nothing else can have its place in memory.
        name: what it is called, for messages.
    """
    if isinstance(value, PLAIN + TORCH):
        yield repr(value)
    elif isinstance(value, types.CodeType):
        yield from _of_code(value, seen, name)
    elif id(value) in seen:
        yield name
    else:
        seen.add(id(value))
        yield from _of_callable(value, seen, name) if isinstance(value, CALLABLE) else _of_value(value, seen, name)


def _of_value(value: Any, seen: set[int], name: str) -> Iterator[str]:
    if isinstance(value, types.ModuleType):
        yield value.__name__
        if not _installed(value.__name__):
            file = pathlib.Path(getattr(value, "__file__", None) or "")
            if not file.is_file():
                raise _Untold(name)
            yield digest_of(file.resolve())
    elif isinstance(value, np.ndarray | torch.Tensor):
        array: Any = value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else value
        yield f"{array.dtype} {array.shape} {hashlib.sha256(array.tobytes()).hexdigest()}"
    elif isinstance(value, Mapping):
        for key, inner in cast("Mapping[Any, Any]", value).items():
            yield from (*_of(key, seen, name), *_of(inner, seen, f"{name}[{key!r}]"))
    elif isinstance(value, set | frozenset):
        yield from sorted(" ".join(_of(inner, seen, name)) for inner in cast("set[Any]", value))
    elif isinstance(value, list | tuple):
        yield f"{type(cast(object, value)).__name__} {len(cast('list[Any]', value))}"
        for inner in cast("list[Any]", value):
            yield from _of(inner, seen, name)
    elif dataclasses.is_dataclass(value):
        yield type(value).__qualname__
        for field in dataclasses.fields(value):
            yield from _of(getattr(value, field.name), seen, f"{name}.{field.name}")
    elif hasattr(value, "__wrapped__"):
        yield from (type(value).__qualname__, *_of(value.__wrapped__, seen, name))
    elif hasattr(value, "__qualname__") and _installed(getattr(value, "__module__", None)):
        yield f"{value.__module__}.{value.__qualname__}"
    else:
        raise _Untold(name)


def _of_callable(value: Any, seen: set[int], name: str) -> Iterator[str]:
    if isinstance(value, type):
        yield from _of_class(value, seen, name)
    elif isinstance(value, property):
        yield from (*_of(value.fget, seen, name), *_of(value.fset, seen, name))
    elif isinstance(value, functools.cached_property):
        yield from _of(cast(Any, value).func, seen, name)
    elif isinstance(value, types.FunctionType):
        yield from _of_function(value, seen, name)
    else:
        yield from _of(value.__func__, seen, name)


def _of_class(kind: type, seen: set[int], name: str) -> Iterator[str]:
    for each in kind.__mro__:
        yield each.__qualname__
        if _installed(each.__module__):
            continue
        file = file_of(each)
        if file is not None:
            yield digest_of(file)
            continue
        # Of settings, what is stored with a run says the rest.
        settings = hasattr(each, "model_fields")
        for key, value in sorted(vars(each).items()):
            if isinstance(value, METHODS) if settings or key.startswith("__") else key != "_abc_impl":
                yield key
                yield from _of(value, seen, f"{name}.{key}")


def _of_function(function: Any, seen: set[int], name: str) -> Iterator[str]:
    yield function.__code__.co_qualname
    if hasattr(function, "__wrapped__"):
        yield from _of(function.__wrapped__, seen, name)
    if _installed(function.__globals__.get("__name__")):
        return
    known = function.__globals__
    yield from _of_code(function.__code__, seen, name)
    yield from (*_of(function.__defaults__, seen, name), *_of(function.__kwdefaults__, seen, name))
    for key in sorted(_globals_of(function.__code__) & known.keys()):
        yield from (key, *_of(known[key], seen, key))
    for key, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        yield from (key, *_of(cell.cell_contents, seen, key))


def _of_code(code: types.CodeType, seen: set[int], name: str) -> Iterator[str]:
    yield code.co_code.hex()
    yield repr((code.co_names, code.co_varnames, code.co_freevars, code.co_flags))
    for constant in code.co_consts:
        yield from _of(constant, seen, name)


def _globals_of(code: types.CodeType) -> set[str]:
    found = {step.argval for step in dis.get_instructions(code) if step.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    return found.union(*(_globals_of(inner) for inner in code.co_consts if isinstance(inner, types.CodeType)))
