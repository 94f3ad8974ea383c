"""Models of one's own, in files outside the package: each is imported, and registers like any other.

The files stand in the environment, which is read when the models are first imported, so that the processes of a
comparison or a search know them too.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import traceback
from collections.abc import Iterable, Mapping, MutableMapping
from pathlib import Path

from palate.core.artefact import sha256_of
from palate.core.errors import ConfigError, PalateError

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
    """The sha256 of the file of a class from outside Palate; None for Palate's own, and where there is no file."""
    file = getattr(sys.modules.get(kind.__module__), "__file__", None)
    return None if file is None or kind.__module__.startswith("palate.") else sha256_of(Path(file))


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
