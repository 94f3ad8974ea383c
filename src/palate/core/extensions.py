"""Models of one's own, in files outside the package: each is imported, and registers like any other.

The files stand in the environment, which is read when the models are first imported, so that the processes of a
comparison or a search know them too.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import traceback
from collections.abc import Iterable, MutableMapping
from pathlib import Path

from palate.core.errors import ConfigError, PalateError

VARIABLE = "PALATE_MODELS"


def name_files(files: Iterable[Path], environment: MutableMapping[str, str]) -> None:
    """Add files to those that are imported with the models.

    Raises:
        ConfigError: for what is no Python file.
    """
    named = [name for name in environment.get(VARIABLE, "").split(os.pathsep) if name]
    for file in files:
        if file.suffix != ".py" or not file.is_file():
            raise ConfigError("there is no Python file here", where=str(file), do="--models takes one .py file each")
        if str(file.resolve()) not in named:
            named.append(str(file.resolve()))
    if named:
        environment[VARIABLE] = os.pathsep.join(named)


def import_files(environment: MutableMapping[str, str]) -> None:
    """Import the files that the environment names.

    Raises:
        ConfigError: when one is not there, or ends in an error.
    """
    for number, name in enumerate(filter(None, environment.get(VARIABLE, "").split(os.pathsep))):
        _import(Path(name), f"own_models_{number}_{Path(name).stem}")


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
