"""The bundle that is served under load can be loaded and searched, and the client counts what it is answered."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import numpy as np

from benchmarks import serving
from palate.serve.state import load


def test_the_synthetic_bundle_is_served_like_any_other(tmp_path: Path) -> None:
    serving.bundle(300).save(tmp_path / "bundle")
    served = load("it", tmp_path / "bundle")
    assert (served.bundle.facts.users, served.bundle.facts.items) == (serving.USERS, 300)
    items, _ = served.bundle.recommend(np.array([served.user("u5")]), serving.K)
    assert not set(items[0].tolist()) & set(served.bundle.seen[served.user("u5")].tolist())
    found = serving.inside(tmp_path / "bundle")
    assert found["search"] == "exact search"
    assert 0 < found["search_p50_ms"] <= found["search_p99_ms"]


def test_the_client_counts_answers_and_refusals() -> None:
    asked: list[str] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readline():
            length = 0
            while (line := await reader.readline()) != b"\r\n":
                if line.startswith(b"Content-Length:"):
                    length = int(line.split()[1])
            asked.append(json.loads(await reader.readexactly(length))["user"])
            status = b"503 Busy" if len(asked) == 3 else b"200 OK"
            assert head.startswith(b"POST /v1/recommend")
            writer.write(b"HTTP/1.1 " + status + b"\r\ncontent-length: 2\r\n\r\n{}")
        writer.close()

    async def measured() -> dict[str, float]:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            return await serving.drive(port, 2, 0.2)

    found = asyncio.run(measured())
    assert found["requests"] == len(asked) - 2 * serving.WARM > 0
    assert found["not_answered"] == 1
    assert 0 < found["p50_ms"] <= found["p99_ms"]
    assert found["requests_per_second"] > 0
    assert asked[0] in ("u0", "u31")
