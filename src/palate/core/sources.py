"""Where a class from outside Palate stands, and the digest of a file with the files beside it that it imports."""

from __future__ import annotations

import ast
import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

# A file may be edited after it was imported: what runs is what it was then.
KEPT: WeakKeyDictionary[type, str] = WeakKeyDictionary()


def is_own(kind: object) -> bool:
    """Whether a class, or a function in its place, is from outside Palate."""
    return not str(getattr(kind, "__module__", "")).startswith("palate.")


def file_of(kind: object) -> Path | None:
    """The file in which a class stands; None where there is none."""
    module = str(getattr(kind, "__module__", ""))
    # A class that `type` makes has the module of the function that called it, which may be one of Python's own.
    if module.split(".")[0] in sys.stdlib_module_names:
        return None
    name: Any = getattr(sys.modules.get(module), "__file__", None)
    # Of a script on standard input it is "<stdin>".
    path = Path(name).resolve() if isinstance(name, str) else None
    return path if path is not None and path.is_file() else None


def place_of(kind: object) -> str:
    """A class and where it stands, for messages."""
    if not hasattr(kind, "__qualname__"):
        return repr(kind)
    where = file_of(kind) or f"{getattr(kind, '__module__', 'a module')}, which has no file"
    return f"{getattr(kind, '__qualname__', '')} in {where}"


def same_definition(one: object, other: object) -> bool:
    """Whether both have one name in one file or module: then the later is the earlier, defined anew."""
    places = [
        (file_of(each) or getattr(each, "__module__", None), getattr(each, "__qualname__", None))
        for each in (one, other)
    ]
    return None not in places[0] and places[0] == places[1]


def keep_code(kind: type) -> None:
    """Remember what the file of a class holds now, while it is imported."""
    file = file_of(kind) if is_own(kind) else None
    if file is not None:
        KEPT[kind] = digest_of(file)


def digest_of(file: Path) -> str:
    """The sha256 of a file; where it imports files from its own folder or package, one of all of them."""
    within = file.parent
    while (within / "__init__.py").is_file() and (within.parent / "__init__.py").is_file():
        within = within.parent
    files: dict[Path, str] = {}
    _collect(file, within, files)
    if len(files) == 1:
        return files[file]
    lines = sorted(f"{path.relative_to(within).as_posix()} {digest}" for path, digest in files.items())
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _collect(file: Path, within: Path, files: dict[Path, str]) -> None:
    """The file, and those in the folder `within` that it imports, with their sha256."""
    if file in files or not file.is_relative_to(within):
        return
    content = file.read_bytes()
    files[file] = hashlib.sha256(content).hexdigest()
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError):
        return
    for folder, parts in _imports(tree, file, within):
        for count in range(1, len(parts) + 1):
            place = folder.joinpath(*parts[:count])
            for found in (place.with_name(f"{place.name}.py"), place / "__init__.py"):
                if found.is_file():
                    _collect(found.resolve(), within, files)


def _imports(tree: ast.AST, file: Path, within: Path) -> Iterator[tuple[Path, list[str]]]:
    """Folder and parts of the name of all that a file may import from its own folder or package."""
    # Beside it, and by the whole name of its package.
    folders = [file.parent, *([within.parent] if (within / "__init__.py").is_file() else [])]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for name in node.names:
                yield from ((folder, name.name.split(".")) for folder in folders)
        elif isinstance(node, ast.ImportFrom):
            base = [file.parents[node.level - 1]] if 0 < node.level <= len(file.parents) else folders
            begin = node.module.split(".") if node.module else []
            yield from ((folder, [*begin, name.name]) for folder in base for name in node.names)
