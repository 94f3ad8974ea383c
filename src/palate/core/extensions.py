"""Models of one's own, in files outside the package: each is imported, and registers like any other.

The files stand in the environment, which is read when the models are first imported, so that the processes of a
comparison or a search know them too.
"""

from __future__ import annotations

import importlib.util
import os
import shlex
import sys
import traceback
from collections.abc import Iterable, Mapping, MutableMapping
from pathlib import Path

from palate.core.errors import ConfigError, PalateError
from palate.core.sourceless import UNTOLD, behaviour_of
from palate.core.sources import KEPT, digest_of, file_of, is_own

__all__ = ["UNTOLD", "VARIABLE", "code_of", "import_files", "name_files", "option_of"]

VARIABLE = "PALATE_MODELS"


def name_files(files: Iterable[Path], environment: MutableMapping[str, str]) -> None:
    """Add files to those that are imported with the models.

    Raises:
        ConfigError: for what is no Python file.
    """
    named = _named(environment)
    for file in map(Path, files):
        path = file.resolve()
        if path.suffix != ".py" or not path.is_file() or os.pathsep in str(path):
            do = f"name one .py file, without '{os.pathsep}' in its path"
            raise ConfigError("there is no Python file here", where=str(file), do=do)
        named.append(path)
    if named:
        environment[VARIABLE] = os.pathsep.join(map(str, dict.fromkeys(named)))


def import_files(environment: Mapping[str, str]) -> None:
    """Import the files that the environment names, each once.

    Raises:
        ConfigError: when one is not there, or ends in an error.
    """
    for number, file in enumerate(dict.fromkeys(_named(environment))):
        _import(file, f"own_models_{number}_{file.stem}")


def code_of(kind: type) -> str | None:
    """A digest of the code of a class from outside Palate; None for Palate's own.

    Returns:
        The sha256 of its file, with those of the files beside it that it imports, where there are any. Without a file
        (a notebook, standard input, `exec`) that of what it does; where this cannot be told, a word that begins with
        `UNTOLD` and is another one each time, so that nothing of an earlier run is taken for its own.
    """
    if not is_own(kind):
        return None
    file = file_of(kind)
    return KEPT.get(kind) or (behaviour_of(kind) if file is None else digest_of(file))


def option_of(kind: type, environment: Mapping[str, str]) -> str:
    """What a command needs before its name to know a class, with a space after it; empty for Palate's own."""
    file = file_of(kind) if is_own(kind) else None
    return f"--models {shlex.quote(str(file))} " if file is not None and file in _named(environment) else ""


def _named(environment: Mapping[str, str]) -> list[Path]:
    return [Path(name).resolve() for name in environment.get(VARIABLE, "").split(os.pathsep) if name]


def _import(file: Path, name: str) -> None:
    found = importlib.util.spec_from_file_location(name, file)
    if found is None or found.loader is None or not file.is_file():
        raise ConfigError("there is no Python file here", where=str(file), do=f"check --models, and {VARIABLE}")
    module = importlib.util.module_from_spec(found)
    # Classes look their module up by its name.
    sys.modules[name] = module
    try:
        found.loader.exec_module(module)
    except PalateError:
        raise
    except Exception as error:
        own = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
        line = error.lineno if isinstance(error, SyntaxError) else own[-1] if own else None
        where = str(file) if line is None else f"{file}, line {line}"
        raise ConfigError(f"the file cannot be imported: {type(error).__name__}: {error}", where=where) from error
