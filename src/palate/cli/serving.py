"""Commands that answer over the network: serve."""

from __future__ import annotations

import math
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from palate.cli.application import MovedOption, app

# Longer than a day means nothing here, and threads cannot wait for ever in numbers.
MOST_SECONDS = 86_400.0


def _seconds(value: float) -> float:
    """Refuse what is no number: the bounds of an option let it through."""
    if math.isnan(value):
        raise typer.BadParameter("nan is no number of seconds.")
    return value


@app.command()
def serve(
    paths: Annotated[
        list[str],
        typer.Argument(metavar="RUN|BUNDLE...", help="What to serve; the first is the default. NAME=PATH names it."),
    ],
    host: Annotated[str, typer.Option(help="Address to listen at; other machines reach it only where you say so.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0: any that is free.")] = 8000,
    media: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Folder that the paths of pictures belong to; default: for runs the catalogue's, for bundles none.",
        ),
    ] = None,
    api_key_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="File with the key that requests must send as X-API-Key.")
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Further name by which the service may be called, as behind a proxy; may be given again.",
        ),
    ] = None,
    workers: Annotated[
        int, typer.Option(min=0, max=256, help="Requests that are worked on at once; 0: as many as there are cores.")
    ] = 0,
    timeout: Annotated[
        float, typer.Option(min=0.1, max=MOST_SECONDS, callback=_seconds, help="Seconds that an answer may take.")
    ] = 30.0,
    poll: Annotated[
        float,
        typer.Option(
            min=0,
            max=MOST_SECONDS,
            callback=_seconds,
            help="Seconds between looks for a new state of what is served; 0: on SIGHUP alone.",
        ),
    ] = 2.0,
    data: MovedOption = None,
) -> None:
    """Serve runs or bundles: an API (/openapi.json), a page (/), pictures and metrics.

    What is served is swapped without losing a request when its folder is replaced, the link to it is turned, or on
    SIGHUP; what cannot be loaded is refused and the old model stays. Ctrl-C ends it.
    """
    # Whoever asks for a swap before the models are loaded gets them as they are then.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    from palate.core.errors import ConfigError
    from palate.encode.checkpoints import need_package

    for package in ("fastapi", "uvicorn", "prometheus_client"):
        need_package(package, "serving", "serve")
    from palate.serve.app import create_app
    from palate.serve.limits import Limits
    from palate.serve.running import door_of, is_local, listen, read_hosts, read_key, run
    from palate.serve.state import Shelf, names_of

    key = None if api_key_file is None else read_key(api_key_file)
    hosts = read_hosts(allow_host or [])
    if media is not None and not media.is_dir():
        raise ConfigError("there is no such folder of media", where=str(media))
    names = names_of(paths)
    limits = Limits(workers=workers, seconds=timeout)
    bound = listen(host, port)
    with bound:
        if not is_local(host) and key is None:
            print(
                f"warning: {host} is not this machine alone, and no key is wanted (--api-key-file): everybody who can "
                "reach it can read users and items",
                file=sys.stderr,
            )
        shelf = Shelf.open(names, media=media, data=data)
        for name in names:
            facts = shelf.get(name).bundle.facts
            print(f"{name}: {facts.title}, {facts.users:,} users, {facts.items:,} items; {shelf.get(name).searched}")
            if shelf.get(name).lacks_media:
                print(
                    f"note: {name} shows no pictures: name their folder with --media, or serve the run", file=sys.stderr
                )
        # From now on nobody is sent away: who comes before the service has started waits for it.
        bound.listen(limits.connections)
        shown = f"[{host}]" if ":" in host else host
        print(f"serving at http://{shown}:{bound.getsockname()[1]}/ (Ctrl-C ends it)", flush=True)
        run(create_app(shelf, limits=limits, door=door_of(host, key, hosts), poll=poll, warm=True), bound, limits)
    print("stopped", flush=True)
