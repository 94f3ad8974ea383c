"""Processes of their own: what one cost by the clock, in CPU seconds and in memory, and what one found."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Spent:
    """What a process cost, from its start to its end.

    Attributes:
        wall: seconds by the clock.
        cpu: seconds of all its threads, user and system.
        peak_mb: its largest resident size.
        code: how it ended; 0 is well.
        said: the last line that it wrote to its standard output.
    """

    wall: float
    cpu: float
    peak_mb: float
    code: int
    said: str


def run(command: Sequence[str], environment: Mapping[str, str] | None = None) -> Spent:
    """Run a command to its end; what it writes to its error output is shown.

    A small process starts it: a new process begins with the peak memory of the one that started it.
    """
    starter = [sys.executable, __file__, *command]
    given = {**os.environ, **(environment or {})}
    # In a session of its own, so that Ctrl-C is met here, once.
    with subprocess.Popen(starter, stdout=subprocess.PIPE, text=True, env=given, start_new_session=True) as process:
        try:
            said, _ = process.communicate()
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    return Spent(**json.loads(said))


def measured(command: Sequence[str]) -> Spent:
    """Start a command from this process, and wait for it."""
    start = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = process.stdout.read().splitlines()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    # Linux counts in units of 1,024 bytes, macOS in bytes.
    peak = usage.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    wall, cpu = time.perf_counter() - start, usage.ru_utime + usage.ru_stime
    return Spent(wall, cpu, peak, process.returncode, lines[-1] if lines else "")


def found_by(module: str, *words: str, threads: int = 0) -> dict[str, Any] | None:
    """What `python -m module words` wrote as JSON in its last line; None when it failed.

    Args:
        threads: of its arithmetic; 0: all cores.
    """
    environment = {"OMP_NUM_THREADS": str(threads)} if threads else None
    done = run([sys.executable, "-m", module, *words], environment)
    return None if done.code else json.loads(done.said)


def write(path: Path, results: object) -> None:
    """Results as JSON, in place of what was there."""
    path.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def guarded(main: Callable[[], None]) -> None:
    """Run a benchmark's `main`; Ctrl-C ends it in one line."""
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("stopped; the file that was given, if one was, has what had been measured")


def positive(word: str) -> int:
    """A number of at least 1, on a command line."""
    if not word.isdecimal() or int(word) < 1:
        raise argparse.ArgumentTypeError(f"'{word}' is no number of 1 or more")
    return int(word)


def ask_models(reader: argparse.ArgumentParser, names: Iterable[str], usual: Iterable[str] | None = None) -> None:
    """Give a command line `--model NAME …`: one of `names`, by itself the `usual` ones (None: all of them)."""
    from palate.core.errors import unknown_name

    valid = list(names)

    def read(word: str) -> str:
        if word not in valid:
            raise argparse.ArgumentTypeError(f"{unknown_name('model', word, valid)} (there are {', '.join(valid)})")
        return word

    default = valid if usual is None else list(usual)
    told = f"of {', '.join(valid)}; default: {'all' if usual is None else ', '.join(default)}"
    reader.add_argument("--model", nargs="+", type=read, default=default, metavar="NAME", help=told)


def output(word: str) -> Path:
    """A file in a folder that there is, on a command line."""
    path = Path(word)
    if not path.parent.is_dir() or path.is_dir():
        raise argparse.ArgumentTypeError(f"'{word}' cannot be written: give a file in a folder that is there")
    return path


def kept(path: Path | None, add: bool) -> list[dict[str, Any]]:
    """The results that a file has, where new ones are to be added to them; else none. Ends the program at a file that
    holds something else."""
    if not add or path is None or not path.is_file():
        return []
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        results = None
    if not isinstance(results, list):
        sys.exit(f"{path} holds no results to add to; leave --add out to replace it")
    return results


def added(results: list[dict[str, Any]], found: dict[str, Any], *keys: str) -> None:
    """Put a result in place of the one of the same `keys`, or at the end."""
    for place, other in enumerate(results):
        if all(other.get(key) == found.get(key) for key in keys):
            results[place] = found
            return
    results.append(found)


if __name__ == "__main__":
    print(json.dumps(asdict(measured(sys.argv[1:]))))
