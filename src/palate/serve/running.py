"""Run the service as a process: a socket of its own, orderly ends, and a swap on request (SIGHUP)."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import re
import signal
import socket
import sys
from collections.abc import Generator, Sequence
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from palate.core.errors import ConfigError
from palate.serve.guard import LOCAL, Door
from palate.serve.limits import Limits

# A key that can be guessed is none.
LEAST_KEY, MOST_KEY = 16, 512
# A name as browsers send it, international ones as xn--…
HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?")
# Seconds that requests under way have when the service is told to stop.
PATIENCE = 10


class Server(uvicorn.Server):
    """uvicorn's server, which leaves signals to us: what it does after they came would end in a traceback."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        """Capture nothing."""
        yield


def listen(host: str, port: int) -> socket.socket:
    """A bound socket; before the models are loaded, so that a port that is taken is known at once.

    Raises:
        ConfigError: when the address cannot be had.
    """
    try:
        family, kind, number, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind, number)
        try:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(address)
        except OSError:
            bound.close()
            raise
    except (OSError, OverflowError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ConfigError(
            f"the address {host}:{port} cannot be had: {reason}", do="choose another --port, or --host"
        ) from None
    return bound


def read_key(path: Path) -> str:
    """The API key in a file: its one line.

    Raises:
        ConfigError: when it is no key.
    """
    do = "write 16 to 512 letters, digits and signs: python -c 'import secrets; print(secrets.token_urlsafe())'"
    try:
        with open(path, encoding="ascii") as stream:
            key = stream.read(MOST_KEY + 2).strip()
    except FileNotFoundError:
        raise ConfigError("there is no such file", where=str(path), do=do) from None
    except UnicodeDecodeError:
        key = ""
    if not LEAST_KEY <= len(key) <= MOST_KEY or not key.isprintable() or " " in key:
        raise ConfigError("this file holds no API key", where=str(path), do=do)
    return key


def is_local(host: str) -> bool:
    """Whether only this machine can reach an address."""
    if host in LOCAL:
        return True
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return False


def read_hosts(names: Sequence[str]) -> frozenset[str]:
    """Names by which the service may be called, as requests write them but for the port.

    Raises:
        ConfigError: for what no request would call it.
    """
    for name in names:
        if not HOST.fullmatch(name) and not _is_address(name):
            raise ConfigError(
                f"'{name}' is no name of a host",
                where="--allow-host",
                do="give the name alone, as films.example.org: no scheme, port, path or *",
            )
    return frozenset(name.lower() for name in names)


def _is_address(name: str) -> bool:
    with contextlib.suppress(ValueError):
        return bool(ipaddress.ip_address(name))
    return False


def door_of(host: str, key: str | None, also: frozenset[str] = frozenset()) -> Door:
    """Who may come in: on loopback, those who call it by a name of this machine.

    Args:
        host: the address that is listened to.
        key: see `Door`.
        also: further names, see `read_hosts`. Where there are any, they count on other addresses too.
    """
    return Door(key, LOCAL | {host.lower()} | also if also or is_local(host) else None)


def run(app: FastAPI, bound: socket.socket, limits: Limits) -> None:
    """Serve until told to stop (Ctrl-C, SIGTERM); requests under way are ended first.

    Args:
        app: see `create_app`.
        bound: see `listen`.
    """
    logging.basicConfig(
        level=logging.WARNING, format="%(asctime)s %(name)s %(levelname)s %(message)s", stream=sys.stderr
    )
    logging.getLogger("palate.serve").setLevel(logging.INFO)
    settings = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws="none",
        timeout_keep_alive=30,
        limit_concurrency=limits.connections,
        timeout_graceful_shutdown=PATIENCE,
    )
    asyncio.run(_serve(Server(settings), app, bound))


async def _serve(server: Server, app: FastAPI, bound: socket.socket) -> None:
    loop = asyncio.get_running_loop()

    def stop() -> None:
        # Told twice, it does not wait for those under way.
        server.force_exit = server.should_exit
        server.should_exit = True

    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, stop)
    loop.add_signal_handler(signal.SIGHUP, lambda: app.state.watcher.now())
    await server.serve(sockets=[bound])
