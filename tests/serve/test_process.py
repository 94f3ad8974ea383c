"""The command itself: it serves, swaps when it is told to, ends quietly, and survives whoever is killed beside it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

import worlds
from palate.recommend.bundle import Bundle
from serve import shop

# A refresh that is killed when all is written but the last step.
KILLED = """
import os, signal, sys
from pathlib import Path
from palate.core import artefact
from palate.recommend import bundle
found = bundle.Bundle.load(Path(sys.argv[1]))
def kill(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)
bundle.write_manifest = kill
found.save(Path(sys.argv[2]), replace=True)
"""


# A service that is told to load anew before it has loaded at all.
EARLY = """
import os, signal, sys
from palate.cli import main
from palate.core.errors import ConfigError
from palate.serve.state import Shelf
def opened(*_, **__):
    os.kill(os.getpid(), signal.SIGHUP)
    raise ConfigError("it lives")
Shelf.open = opened
sys.argv = ["palate", "serve", "nowhere", "--port", "0"]
main()
"""


class Served:
    """A server in a process of its own.

    Args:
        process: it.
        address: what it said.
    """

    def __init__(self, process: subprocess.Popen[str], address: str) -> None:
        self.process, self.address = process, address

    def get(self, path: str) -> dict[str, object]:
        with urllib.request.urlopen(f"{self.address}{path}", timeout=60) as answer:
            return json.load(answer)

    def title(self) -> object:
        models = self.get("v1/models")["models"]
        assert isinstance(models, list)
        return models[0]["title"]


@contextmanager
def server(path: Path, log: Path) -> Generator[Served]:
    command = [sys.executable, "-m", "palate", "serve", str(path), "--port", "0", "--poll", "0.1", "--workers", "1"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with (
        open(log, "a") as errors,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment) as process,
    ):
        try:
            assert process.stdout is not None
            said = [process.stdout.readline(), process.stdout.readline()]
            assert said[1].startswith("serving at "), log.read_text()
            yield Served(process, said[1].split()[2])
        finally:
            process.kill()


def test_a_server_survives_what_is_killed(tmp_path: Path) -> None:
    folder, log = tmp_path / "bundle", tmp_path / "log"
    shop.bundle("popularity").save(folder)
    shop.bundle("bpr").save(tmp_path / "new")
    with server(folder, log) as first:
        assert first.get("v1/health")["status"] == "ok"
        killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "new"), str(folder)], check=False)
        assert killed.returncode == -signal.SIGKILL
        first.process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + 60
        while "swapped" not in log.read_text() and time.monotonic() < deadline:
            time.sleep(0.05)
        # Told to load again, it found the old bundle whole.
        assert first.title() == "Popularity"
        os.kill(first.process.pid, signal.SIGKILL)
    with server(folder, log) as second:
        assert second.title() == "Popularity"
        Bundle.load(tmp_path / "new").save(folder, replace=True)
        deadline = time.monotonic() + 60
        while second.title() != "BPR-MF" and time.monotonic() < deadline:
            time.sleep(0.05)
        assert second.title() == "BPR-MF"
        second.process.send_signal(signal.SIGTERM)
        assert second.process.wait(60) == 0
        assert second.process.stdout is not None
        assert second.process.stdout.read() == "stopped\n"
    assert "Traceback" not in log.read_text()


def test_a_swap_that_is_asked_for_too_early_ends_nothing() -> None:
    ended = subprocess.run([sys.executable, "-c", EARLY], check=False, capture_output=True, text=True)
    assert ended.returncode == 1
    assert "it lives" in ended.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere"], "there is no bundle folder here"),
        (["nowhere", "--api-key-file", "none"], "there is no such file"),
        (["nowhere", "--media", "none"], "there is no such folder of media"),
        (["nowhere", "--allow-host", "http://films.example.org"], "is no name of a host"),
        (["a=x", "a=y"], "two models are called 'a'"),
        (["nowhere", "--host", "no.such.host.invalid"], "cannot be had"),
    ],
)
def test_mistakes_are_said_before_anything_is_served(words: list[str], said: str) -> None:
    ended = worlds.palate("serve", *words, "--port", "0")
    assert (ended.code, ended.out) == (1, "")
    assert said in ended.err
    assert "Traceback" not in ended.err


@pytest.mark.parametrize("option", ["--poll", "--timeout", "--port", "--workers"])
@pytest.mark.parametrize("value", ["inf", "nan", "-1", "1e11", "99999999999999999999"])
def test_numbers_out_of_bounds_are_refused_before_anything_is_served(option: str, value: str) -> None:
    ended = worlds.palate("serve", "nowhere", option, value)
    assert (ended.code, ended.out) == (2, "")
    assert f"Invalid value for '{option}'" in ended.err
    assert "Traceback" not in ended.err


def test_a_port_that_is_taken_and_an_open_door_are_said(tmp_path: Path) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        ended = worlds.palate("serve", tmp_path, "--port", taken.getsockname()[1])
        assert ended.code == 1
        assert "cannot be had" in ended.err
    ended = worlds.palate("serve", tmp_path, "--port", 0, "--host", "0.0.0.0")
    assert "warning: 0.0.0.0 is not this machine alone, and no key is wanted" in ended.err
