"""A stand-in for the service: the page's files, and made-up answers that a test can delay, spoil or read back.

Its items are what a page can trip over: markup in a title, a title that never ends, no title, no picture, a broken one.
"""

from __future__ import annotations

import io
import json
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from PIL import Image

import palate.serve
from palate.serve.guard import SAFE

PAGE = Path(palate.serve.__file__).parent / "page"
KINDS = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
MARKUP = "<img src=x onerror=\"document.title='broken in'\"><script>document.title='broken in'</script>"
ENDLESS = "Pneumonoultramicroscopicsilicovolcanoconiosis" * 6
COUNT = 60
MODELS = [
    {"name": "alpha", "title": "Alpha", "modalities": ["image", "text"], "branches": ["image", "text"], "dislike": 2.0},
    {"name": "beta", "title": "Beta", "modalities": ["text"], "branches": [], "dislike": None},
]
ABLE = {"source": "bundle", "users": 30, "items": COUNT, "folds_in": True, "takes_text": True}
BRANCHES = {"image": 2.0, "text": -0.5, "knowledge": 1.0}


def png(colour: tuple[int, int, int], side: int) -> bytes:
    """A square picture of one colour."""
    stream = io.BytesIO()
    Image.new("RGB", (side, side), colour).save(stream, "PNG")
    return stream.getvalue()


def item(number: int) -> dict[str, Any]:
    """An item in short."""
    titles: dict[int, str | None] = {0: MARKUP, 1: ENDLESS, 2: None}
    image = None if number in (2, 3) else f"/media/i{number}"
    return {"id": f"i{number}", "title": titles.get(number, f"Title {number}"), "image": image}


def order(model: str, salt: str) -> list[int]:
    """How a model ranks the items for somebody; the two agree in part."""
    step = 7 if model == "alpha" else 11
    start = sum(map(ord, salt)) % 5
    return [(start + step * place) % COUNT for place in range(COUNT)]


@dataclass
class Stub:
    """What a test may set and read.

    Attributes:
        key: wanted in X-API-Key; "" for none.
        delays: path or user → seconds that its next answers take.
        failures: path → status and error of its answers.
        plain: items have neither titles nor pictures.
        broken: items whose picture is not there.
        apart: Beta is of another catalogue, whose items are called "Other …".
        titles: other titles of some items.
        placed: items that nobody took, whose scores have no parts.
        asked: path and body of every request to the API, in order.
    """

    key: str = ""
    delays: dict[str, float] = field(default_factory=dict[str, float])
    failures: dict[str, tuple[int, dict[str, str]]] = field(default_factory=dict[str, tuple[int, dict[str, str]]])
    plain: bool = False
    apart: bool = False
    broken: frozenset[int] = frozenset()
    titles: dict[int, str] = field(default_factory=dict[int, str])
    placed: frozenset[int] = frozenset()
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list[tuple[str, dict[str, Any]]])
    address: str = ""

    def bodies(self, path: str) -> list[dict[str, Any]]:
        """What was asked of a path, in order."""
        return [body for asked, body in self.asked if asked == path]

    def shown(self, number: int, model: str = "") -> dict[str, Any]:
        if self.apart and model == "beta":
            return {"id": f"i{number}", "title": f"Other {number}", "image": f"/media/i{number}?model=beta"}
        if self.plain:
            return {**item(number), "title": None, "image": None}
        return item(number) | ({"title": self.titles[number]} if number in self.titles else {})

    def answer(self, path: str, query: dict[str, str], body: dict[str, Any]) -> dict[str, Any] | None:
        """The answer to a request; None where there is none."""
        model = str(query.get("model", ""))
        if path == "/v1/models":
            able = {"alpha": True, "beta": False}
            found = [{**ABLE, **each, "takes_image": able[str(each["name"])]} for each in MODELS]
            return {"models": [{**each, "catalogue": str(each["name"]) if self.apart else "shop"} for each in found]}
        if path == "/v1/users":
            letter = "v" if self.apart and model == "beta" else "u"
            found = [f"{letter}{number}" for number in range(30) if query.get("query", "") in f"{letter}{number}"]
            return {"users": [{"id": name, "interactions": 8} for name in found[: int(query["limit"])]]}
        if path.startswith("/v1/users/"):
            name = query.get("id") or unquote(path.removeprefix("/v1/users/"))
            return {"id": name, "interactions": 8, "history": [self.shown(50 + place, model) for place in range(8)]}
        if path == "/v1/items":
            words = query.get("query", "").lower().split()
            found = [n for n in range(COUNT) if all(word in (item(n)["title"] or "").lower() for word in words)]
            return {"items": [self.shown(number, model) for number in found[: int(query["limit"])]]}
        if path.startswith("/v1/items/"):
            # The item of two points is the ninth.
            number = 8 if query.get("id") == ".." else int(path.removeprefix("/v1/items/i"))
            known = {"attributes": {"genre": "calm|loud" if number % 2 else "calm", "year": 1980 + number}}
            if self.plain:
                return {**self.shown(number), "modalities": [], "attributes": {}, "description": None}
            described = "Words. " * 120 if number == 4 else f"About {number}"
            return {**self.shown(number, model), **known, "description": described, "modalities": ["text"]}
        if path == "/v1/recommend":
            return self.recommend(body)
        if path == "/v1/similar":
            return self.similar(body)
        return None

    def recommend(self, body: dict[str, Any]) -> dict[str, Any]:
        kind = next(key for key in ("user", "items", "text", "image") if key in body)
        model = body.get("model", "alpha")
        ranked = order(model, json.dumps(body[kind]))[: body["k"]]
        items = [
            {**self.shown(number, model), "score": 9 - place / 8, "rank": place + 1}
            for place, number in enumerate(ranked)
        ]
        if body.get("explain") and model == "alpha":
            for each in items:
                near = [{**self.shown(52), "similarity": 0.75}, {**self.shown(53), "similarity": 0.5}]
                placed = int(each["id"][1:]) in self.placed
                each["why"] = {"branches": {} if placed else BRANCHES, "history": near, "placed": placed}
        elif body.get("explain"):
            for each in items:
                each["why"] = {"branches": {}, "history": []}
        return {"model": model, "query": kind, "items": items, "notes": []}

    def similar(self, body: dict[str, Any]) -> dict[str, Any]:
        ranked = order("beta" if body["by"] == "text" else "alpha", body["by"])[: body["k"]]
        shown = [self.shown(number, str(body.get("model"))) for number in ranked]
        items = [{**each, "similarity": 1 - place / 20, "rank": place + 1} for place, each in enumerate(shown)]
        return {"model": body.get("model"), "by": body["by"], "items": items, "notes": []}


class Handler(BaseHTTPRequestHandler):
    """One request to the stub."""

    protocol_version = "HTTP/1.1"
    stub: Stub

    def do_GET(self) -> None:
        self.serve({})

    def do_POST(self) -> None:
        self.serve(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

    def serve(self, body: dict[str, Any]) -> None:
        parts = urlsplit(self.path)
        path, query = parts.path, {name: values[0] for name, values in parse_qs(parts.query).items()}
        file = PAGE / ("index.html" if path == "/" else path.removeprefix("/static/"))
        if path == "/" or path.startswith("/static/"):
            self.send(200, KINDS[file.suffix], file.read_bytes())
        elif self.stub.key and self.headers.get("X-API-Key") != self.stub.key:
            self.refuse(401, {"what": "the API key is missing or wrong"})
        elif path.startswith("/media/"):
            number = int(path.removeprefix("/media/i"))
            picture = png((4 * number, 240 - 4 * number, 90), side=24)
            if number in self.stub.broken:
                self.send(404, "text/plain", b"")
            else:
                self.send(200, "image/png", picture)
        else:
            self.api(path, query, body)

    def api(self, path: str, query: dict[str, str], body: dict[str, Any]) -> None:
        self.stub.asked.append((path, body or query))
        time.sleep(self.stub.delays.get(path, 0) + self.stub.delays.get(str(body.get("user")), 0))
        if path in self.stub.failures:
            self.refuse(*self.stub.failures[path])
            return
        found = self.stub.answer(path, query, body)
        if found is None:
            self.refuse(404, {"what": "there is nothing here"})
        else:
            self.send(200, "application/json", json.dumps(found).encode())

    def refuse(self, status: int, error: dict[str, str]) -> None:
        self.send(status, "application/json", json.dumps({"error": error}).encode())

    def send(self, status: int, kind: str, content: bytes) -> None:
        try:
            self.send_response(status)
            for name, value in {**SAFE, "Content-Type": kind, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)
        except (BrokenPipeError, ConnectionResetError):
            # The page broke the request off, as it should when another one overtakes it.
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


class Server(ThreadingHTTPServer):
    """Does not wait for requests that a browser keeps open."""

    daemon_threads = True
    block_on_close = False


def start(stub: Stub) -> Server:
    """Serve until `shutdown`; the stub's address is set."""
    server = Server(("127.0.0.1", 0), type("Bound", (Handler,), {"stub": stub}))
    stub.address = f"http://127.0.0.1:{server.server_port}/"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    return server
