"""What is refused before anything of it is believed: keys, hosts, bodies, and requests that no schema allows."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from starlette.types import Message

from palate.core.errors import ConfigError
from palate.serve.app import create_app
from palate.serve.guard import Door
from palate.serve.limits import Limits
from palate.serve.running import door_of, is_local, read_hosts, read_key
from palate.serve.state import Shelf
from serve import shop

KEY = "0123456789abcdef-key"
LOCAL = "http://localhost:8000"


def test_with_a_key_everything_but_health_and_the_page_wants_it(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("<!doctype html>")
    (tmp_path / "a.js").write_text("")
    with shop.client(shop.served("popularity"), door=Door(KEY), page=tmp_path) as client:
        for path in ("/v1/health", "/", "/static/a.js"):
            assert client.get(path).status_code == 200
        for path in ("/v1/models", "/v1/users", "/v1/users/u1", "/v1/items", "/media/i1", "/metrics", "/openapi.json"):
            for headers in ({}, {"X-API-Key": KEY + "x"}, {"X-API-Key": "ké"}):
                answer = client.get(path, headers={name: value.encode() for name, value in headers.items()})
                assert (answer.status_code, answer.json()["error"]["where"]) == (401, "X-API-Key")
            assert client.get(path, headers={"X-API-Key": KEY}).status_code in (200, 404)
        described = client.get("/openapi.json", headers={"X-API-Key": KEY}).json()
        assert described["paths"]["/v1/health"]["get"]["security"] == []
        assert described["paths"]["/v1/recommend"]["post"]["security"] == [{"key": []}]


def test_on_loopback_only_names_of_this_machine_are_served() -> None:
    door = door_of("127.0.0.1", None)
    for host in ("localhost:8000", "127.0.0.1", "[::1]:80", "LOCALHOST"):
        with shop.client(shop.served("popularity"), door=door) as client:
            assert client.get("/v1/health", headers={"Host": host}).status_code == 200
    for host in ("evil.example", "127.0.0.1.evil.example", "localhost.evil.example:8000", ""):
        with shop.client(shop.served("popularity"), door=door) as client:
            assert client.get("/v1/health", headers={"Host": host}).status_code == 400
    assert door_of("0.0.0.0", None).hosts is None
    assert [
        is_local(host) for host in ("127.0.0.1", "127.8.8.8", "::1", "localhost", "0.0.0.0", "10.0.0.1", "box")
    ] == [
        *[True] * 4,
        *[False] * 3,
    ]


def test_further_names_are_let_in_where_they_are_given() -> None:
    for address in ("127.0.0.1", "0.0.0.0"):
        door = door_of(address, None, read_hosts(["Films.example.org", "::2"]))
        with shop.client(shop.served("popularity"), door=door) as client:
            for host in ("films.example.org", "FILMS.example.org:443", "[::2]:80", "localhost:8000"):
                assert client.get("/v1/health", headers={"Host": host}).status_code == 200
            for host in ("example.org", "x.films.example.org", "films.example.org.evil"):
                assert client.get("/v1/health", headers={"Host": host}).status_code == 400
    for name in ("https://films.example.org", "films.example.org:443", "*", "*.example.org", "", "a b", "films/", "-x"):
        with pytest.raises(ConfigError, match="is no name of a host"):
            read_hosts([name])


def test_what_can_be_got_can_be_asked_for_its_head(client: TestClient) -> None:
    for path in (
        "/",
        "/v1/health",
        "/v1/items/i6",
        "/media/i6",
        "/static/main.js",
        "/metrics",
        "/nowhere",
        "/media/i3",
    ):
        head, whole = client.head(path), client.get(path)
        assert (head.status_code, head.content) == (whole.status_code, b"")
        assert head.headers["content-type"] == whole.headers["content-type"]
        if path != "/metrics":
            assert head.headers["content-length"] == str(len(whole.content))
    assert client.head("/v1/recommend").status_code == 405


def test_every_answer_keeps_browsers_safe(client: TestClient) -> None:
    for path in ("/v1/health", "/v1/users/none", "/nowhere", "/media/i6", "/metrics"):
        headers = client.get(path).headers
        assert headers["content-security-policy"].startswith("default-src 'self'; img-src 'self' data:")
        assert headers["x-content-type-options"] == "nosniff"
        assert "access-control-allow-origin" not in headers
        assert "server" not in headers


def test_a_large_body_is_refused_while_it_arrives() -> None:
    with shop.client(shop.served("popularity"), limits=Limits(body_bytes=1000)) as client:
        headers = {"Content-Type": "application/json"}
        taken = 0

        def endless() -> Any:
            nonlocal taken
            for _ in range(1000):
                taken += 100
                yield b" " * 100

        answer = client.post("/v1/recommend", content=endless(), headers=headers)
        assert (answer.status_code, answer.json()["error"]["what"]) == (413, "the body is larger than 1,000 bytes")
        answer = client.post("/v1/recommend", content=b" " * 1001, headers=headers)
        assert answer.status_code == 413
        fits = json.dumps({"user": "u1"}).encode().ljust(1000)
        assert client.post("/v1/recommend", content=fits, headers=headers).status_code == 200


def test_pictures_have_limits_of_bytes_and_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    shop.plant(monkeypatch)
    limits = Limits(picture_bytes=2000, picture_pixels=100)
    with shop.client(shop.served("vbpr"), limits=limits) as client:

        def asked(data: bytes) -> tuple[int, dict[str, str]]:
            body = {"image": base64.b64encode(data).decode(), "by": "image"}
            answer = client.post("/v1/similar", json=body)
            return answer.status_code, answer.json().get("error", {})

        assert asked(shop.png((9, 9, 9), side=10)) == (200, {})
        many = {"what": "the picture has 11 × 11 pixels; it may have up to 100 in all", "do": "send a smaller one"}
        assert asked(shop.png((9, 9, 9), side=11)) == (413, {**many, "where": "image"})
        heavy = {"what": "the picture has 2,008 bytes; it may have up to 2,000", "do": "send a smaller one"}
        assert asked(b"\x89PNG\r\n\x1a\n" + b"\0" * 2000) == (413, {**heavy, "where": "image"})


@pytest.mark.parametrize(
    ("content", "status", "word"),
    [
        (b"", 422, "the body is missing"),
        (b"{", 400, "no JSON"),
        (b"[1]", 422, "exactly one"),
        (b"[" * 100_000, 400, ""),
        (b'{"user": "u1", "text": "x"}', 422, "exactly one"),
        (b'{"user": "u1", "colour": 1}', 422, "unknown field 'colour'"),
        (b'{"user": "u1", "k": 0}', 422, "k: input should be greater than or equal to 1"),
        (b'{"user": "u1", "k": 201}', 422, "200"),
        (b'{"user": "u1", "k": 1e400}', 422, "k:"),
        (b'{"items": [{"id": "i1", "rating": NaN}]}', 422, "finite"),
        (b'{"user": "\\ud800"}', 422, "user"),
        (b'{"user": "u1", "where": {"\\ud800": 1}}', 422, ""),
        (b'{"text": " "}', 422, "pattern"),
        (b'{"text": "' + b"x" * 4001 + b'"}', 422, "4000"),
        (b'{"items": []}', 422, "at least 1"),
        (b'{"items": [' + b",".join([b'{"id": "i1"}'] * 1001) + b"]}", 422, "1000"),
        (b'{"user": "u1", "diversify": {"by": "text", "strength": 2}}', 422, "strength"),
        (b'{"user": "u1", "popularity_cap": "300%"}', 422, "popularity_cap: "),
        (b'{"user": "u1", "k": "5"}', 422, "k: input should be a valid integer"),
        (b'{"user": "u1", "where": {"year": {"low": 3}}}', 422, "unknown field 'low'"),
        (b"\xff\xfe", 400, ""),
    ],
)
def test_what_no_schema_allows_is_refused_in_words(client: TestClient, content: bytes, status: int, word: str) -> None:
    answer = client.post("/v1/recommend", content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code == status
    assert word in answer.json()["error"]["what"]


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("application/x-www-form-urlencoded", "the body is sent as 'application/x-www-form-urlencoded', not as JSON"),
        ("text/plain;charset=UTF-8", "the body is sent as 'text/plain', not as JSON"),
        (None, "nothing says that the body is JSON"),
    ],
)
def test_a_body_that_is_not_sent_as_json_is_told_how_to_send_it(
    client: TestClient, kind: str | None, said: str
) -> None:
    headers = {} if kind is None else {"Content-Type": kind}
    for route in ("recommend", "similar"):
        answer = client.post(f"/v1/{route}", content=b'{"user": "u1"}', headers=headers)
        assert (answer.status_code, answer.json()["error"]["what"]) == (415, said)
        assert "Content-Type: application/json" in answer.json()["error"]["do"]
    for right in ("application/json; charset=utf-8", "Application/JSON", "application/vnd.shop+json"):
        answer = client.post("/v1/recommend", content=b'{"user": "u1"}', headers={"Content-Type": right})
        assert answer.status_code == 200
    assert client.post("/v1/recommend").json()["error"]["what"] == "the body is missing"


def test_a_whole_number_may_be_written_with_a_point(client: TestClient) -> None:
    asked = [client.post("/v1/recommend", json={"user": "u1", "k": k}).json() for k in (3, 3.0)]
    assert asked[0] == asked[1]
    assert client.post("/v1/recommend", json={"user": "u1", "k": 3.5}).status_code == 422


def test_unknown_routes_and_methods_have_the_shape_of_all_refusals(client: TestClient) -> None:
    assert client.get("/v2/health").json() == {"error": {"what": "Not Found"}}
    answer = client.delete("/v1/recommend")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert answer.json() == {"error": {"what": "Method Not Allowed"}}
    assert client.get("/v1/items", params={"limit": "many"}).status_code == 422
    assert client.get("/v1/items", params={"query": "x" * 201}).status_code == 422


def test_a_defect_is_an_answer_without_details(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("palate.serve.app.whole_item", lambda *_: 1 / 0)
    answer = client.get("/v1/items/i1")
    assert (answer.status_code, answer.json()["error"]["what"]) == (500, "the service has a defect; its log says more")


def test_slow_work_ends_in_a_refusal_and_health_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    held = threading.Event()
    monkeypatch.setattr("palate.serve.app.whole_item", lambda *_: held.wait(20))
    limits = Limits(workers=1, waiting=1, seconds=0.5)
    with shop.client(shop.served("popularity"), limits=limits) as client:
        statuses: list[tuple[int, str]] = []

        def ask() -> None:
            answer = client.get("/v1/items/i1")
            statuses.append((answer.status_code, answer.json()["error"]["what"]))

        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        start = time.monotonic()
        assert client.get("/v1/health").status_code == 200
        for thread in threads:
            thread.join()
        assert time.monotonic() - start < 15
        # One is worked on, one waits, the third is sent away at once.
        assert sorted(statuses) == [
            (503, "no answer within 0.5 s"),
            (503, "no answer within 0.5 s"),
            (503, "the service is busy"),
        ]
        held.set()


def test_a_key_file_holds_one_long_line(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text(f"{KEY}\n")
    assert read_key(path) == KEY
    for text in ("", "short", f"{KEY}\n{KEY}", f"{KEY} {KEY}", "é" * 20, "x" * 1000):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(ConfigError, match="no API key"):
            read_key(path)
    with pytest.raises(ConfigError, match="no such file"):
        read_key(tmp_path / "none")


def test_who_still_sends_when_the_service_stops_is_told_so() -> None:
    sent: list[Message] = []

    async def silence() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Message) -> None:
        sent.append(message)

    async def given_up() -> None:
        app = create_app(Shelf.of(shop.served("popularity")))
        headers = [(b"content-type", b"application/json"), (b"content-length", b"30"), (b"host", b"localhost")]
        path = {"path": "/v1/recommend", "raw_path": b"/v1/recommend", "query_string": b"", "root_path": ""}
        scope = {"type": "http", "http_version": "1.1", "method": "POST", "scheme": "http", "headers": headers, **path}
        task = asyncio.create_task(app(scope, silence, send))
        await asyncio.sleep(0.05)
        task.cancel()
        await task

    asyncio.run(given_up())
    assert sent[0]["status"] == 503
    assert json.loads(sent[1]["body"])["error"]["what"] == "the service is stopping"


def test_the_page_without_scripts_names_an_address_that_is_there() -> None:
    with shop.client(shop.served("popularity")) as client:
        said = client.get("/").text.partition("<noscript>")[2].partition("</noscript>")[0]
        described = said.partition("described at ")[2].split(".</p>")[0]
        assert client.get(described).status_code == 200
