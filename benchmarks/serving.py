"""The service under load on loopback: times of an answer, answers a second, and the search inside them.

    python -m benchmarks.serving [--items 1682 100000 1000000] [--clients 1 8 64] [--seconds 5] [--out FILE.json]

A synthetic bundle (vectors of 64 numbers, as in benchmarks.search) is served by `palate serve` in a process of its own;
this process drives it with so many connections, each of which asks for 20 recommendations for one user after the other,
100 seen items left out. Client and server share the machine. "Inside" is the search alone, in a process without web.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from benchmarks import processes, search
from palate.dataset.vocabulary import Vocabulary
from palate.graph.rows import Rows
from palate.recommend.bundle import Bundle, Facts, FoldInFacts
from palate.recommend.foldin import MappedMean
from palate.recommend.forms import Vectors
from palate.serve.state import load

USERS, K, SEEN, QUERIES = 2_000, 20, 100, 400
# Requests that each connection sends before it is measured.
WARM = 1


def bundle(items: int) -> Bundle:
    """Something to serve: vectors, ids, titles, and what users have seen."""
    vectors, users = search.world(items, USERS)
    width = vectors.shape[1]
    first = np.random.default_rng(1).integers(0, items, USERS)
    drawn = (first[:, None] + np.arange(SEEN) * (items // SEEN)) % items
    seen = Rows.from_pairs(np.repeat(np.arange(USERS), SEEN), drawn.ravel(), USERS, items)
    nothing = Rows(np.zeros(USERS + 1, np.int64), np.zeros(0, np.int32), items)
    item, user = torch.from_numpy(vectors), torch.from_numpy(users)
    folding = MappedMean(item, torch.eye(width), torch.zeros(width), user.mean(0), "mean")
    ids = pl.Series("item_id", [f"i{number}" for number in range(items)])
    table = pl.DataFrame(
        {"item_id": ids, "title": "Film " + ids, "description": pl.Series([None] * items, dtype=pl.String)}
    )
    return Bundle(
        Facts(
            model="bpr",
            title="synthetic",
            form="vectors",
            users=USERS,
            items=items,
            width=width,
            fold_in=FoldInFacts(kind=folding.kind, settings=folding.settings()),
            name="synthetic",
        ),
        Vectors(user, item, folding),
        Vocabulary("user", pl.Series("user_id", [f"u{number}" for number in range(USERS)])),
        Vocabulary("item", ids),
        table,
        seen,
        nothing,
        seen,
    )


def inside(folder: Path) -> dict[str, Any]:
    """Times of the search alone, one query after the other, by what the service itself would search with."""
    torch.set_num_threads(1)
    start = time.perf_counter()
    served = load("it", folder)
    loaded = time.perf_counter() - start
    index, found = served.index, served.bundle
    assert index is not None
    users = found.user_vectors
    assert users is not None
    own = [found.seen.take(np.array([row])) for row in range(QUERIES)]
    taken, cpu = search.times(lambda row: index.search(users[row], K, hidden=own[row]), QUERIES)
    return {
        "search": index.about,
        "load_seconds": loaded,
        "search_p50_ms": float(np.median(taken)),
        "search_p99_ms": float(np.quantile(taken, 0.99)),
        "search_cpu_ms": cpu,
    }


@contextlib.contextmanager
def server(folder: Path) -> Generator[int]:
    """A server in a process of its own; its port."""
    command = [sys.executable, "-m", "palate", "serve", str(folder), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if line.startswith("serving at "):
                    yield int(line.split()[2].rstrip("/").rpartition(":")[2])
                    return
            raise RuntimeError("the server ended before it served")
        finally:
            process.terminate()
            process.wait(30)


async def ask(port: int, first: int, until: float, taken: list[float], wrong: list[int]) -> None:
    """One connection: a request, its answer, the next one."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        number = 0
        while number < WARM or time.perf_counter() < until:
            body = json.dumps({"user": f"u{(first + number) % USERS}", "k": K}).encode()
            head = (
                f"POST /v1/recommend HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(body)}\r\n\r\n"
            )
            start = time.perf_counter()
            writer.write(head.encode() + body)
            answer = await reader.readuntil(b"\r\n\r\n")
            length = int(answer.lower().split(b"content-length:")[1].split(b"\r\n")[0])
            await reader.readexactly(length)
            if number >= WARM:
                taken.append(1e3 * (time.perf_counter() - start))
            if not answer.startswith(b"HTTP/1.1 200"):
                wrong.append(int(answer.split()[1]))
            number += 1
    finally:
        writer.close()


async def drive(port: int, clients: int, seconds: float) -> dict[str, Any]:
    """Times of answers with so many connections at once."""
    taken: list[float] = []
    wrong: list[int] = []
    start = time.perf_counter()
    until = start + seconds
    await asyncio.gather(*(ask(port, 31 * client, until, taken, wrong) for client in range(clients)))
    spent = time.perf_counter() - start
    return {
        "clients": clients,
        "requests": len(taken),
        "p50_ms": float(np.median(taken)),
        "p99_ms": float(np.quantile(taken, 0.99)),
        "requests_per_second": len(taken) / spent,
        "not_answered": len(wrong),
    }


def run(items: int, clients: list[int], seconds: float) -> list[dict[str, Any]]:
    """One size with every number of clients."""
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root) / "bundle"
        bundle(items).save(folder)
        alone = processes.found_by("benchmarks.serving", "--inside", str(folder), threads=1)
        if alone is None:
            raise RuntimeError("the search alone could not be measured")
        found: list[dict[str, Any]] = []
        with server(folder) as port:
            for count in clients:
                found.append({"items": items} | asyncio.run(drive(port, count, seconds)) | alone)
                print(row(found[-1]), flush=True)
        return found


HEAD = (
    "| items | clients | p50 ms | p99 ms | answers/s | not answered | search inside: p50 ms | p99 ms | by |\n"
    "|---|---|---|---|---|---|---|---|---|"
)


def row(found: dict[str, Any]) -> str:
    """One line of the table."""
    return (
        f"| {found['items']:,} | {found['clients']} | {found['p50_ms']:.1f} | {found['p99_ms']:.1f} "
        f"| {found['requests_per_second']:,.0f} | {found['not_answered']} | {found['search_p50_ms']:.2f} "
        f"| {found['search_p99_ms']:.2f} | {found['search']} |"
    )


def main() -> None:
    """Measure each size and print the table."""
    reader = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reader.add_argument("--items", type=int, nargs="+", default=[1_682, 100_000, 1_000_000])
    reader.add_argument("--clients", type=int, nargs="+", default=[1, 8, 64])
    reader.add_argument("--seconds", type=float, default=5.0, help="of each measurement")
    reader.add_argument("--out", type=processes.output, help="JSON file, in place of what was there")
    reader.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    asked = reader.parse_args()
    if asked.inside:
        print(json.dumps(inside(asked.inside)))
        return
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before it began\n\n{HEAD}", flush=True)
    results = [found for items in asked.items for found in run(items, asked.clients, asked.seconds)]
    if asked.out:
        processes.write(asked.out, results)


if __name__ == "__main__":
    processes.guarded(main)
