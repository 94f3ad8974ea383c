"""What every request passes before it reaches the application, and every answer on its way out.

Takes an ASGI application; checks host, key and size of the body before anything of it is read as JSON, adds the headers
that keep a browser safe, counts, and turns whatever goes wrong inside into a plain answer.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from palate.core.errors import PalateError
from palate.serve.limits import Limits
from palate.serve.refusals import Refusal, problem, stopping

log = logging.getLogger("palate.serve")

KEY_HEADER = "X-API-Key"
SAFE = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; base-uri 'self'; object-src 'none'; "
    "form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})
# What is counted where the other side left before it had an answer.
LEFT = 499
# Answered without a key: that the service runs, and the page, which asks for the key.
OPEN = ("/v1/health", "/", "/favicon.ico")
OPEN_BELOW = "/static/"


@dataclass(frozen=True)
class Door:
    """Who may come in.

    Attributes:
        key: what requests must send along; None: nothing.
        hosts: names by which the service may be called, in lower case; None: any. A page elsewhere can make its own
            name lead here (DNS rebinding), but not claim one of these.
    """

    key: str | None = None
    hosts: frozenset[str] | None = None

    def check(self, path: str, headers: Headers) -> None:
        """Let a request in.

        Raises:
            Refusal: when it may not.
        """
        if self.hosts is not None and _host(headers.get("host", "")) not in self.hosts:
            raise Refusal(
                400, "this service is not called so", where="Host", do=f"call it {' or '.join(sorted(self.hosts))}"
            )
        if self.key is None or path in OPEN or path.startswith(OPEN_BELOW):
            return
        given, wanted = (hashlib.sha256(key.encode()).digest() for key in (headers.get(KEY_HEADER, ""), self.key))
        # The comparison takes as long for a wrong key as for the right one.
        if not hmac.compare_digest(given, wanted):
            raise Refusal(401, "the API key is missing or wrong", where=KEY_HEADER, do=f"send it as {KEY_HEADER}")


class Guard:
    """The application behind its door.

    Args:
        app: what is guarded.
        door: who may come in.
        limits: how large a body may be, and how long it may take.
        answered: is told route, status and seconds of every request.
    """

    def __init__(
        self, app: ASGIApp, *, door: Door, limits: Limits, answered: Callable[[str, int, float], None]
    ) -> None:
        self.app, self.door, self.limits, self.answered = app, door, limits, answered

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start, status = time.perf_counter(), 0
        bare = scope["method"] == "HEAD"
        if bare:
            # Answered as GET is; what is sent of it ends with the headers.
            scope = {**scope, "method": "GET"}

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in SAFE.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
            elif bare and message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        try:
            headers = Headers(scope=scope)
            self.door.check(scope["path"], headers)
            body = await self._body(headers, receive)
            await self.app(scope, _replayed(body, receive), sending)
        except PalateError as error:
            if not status:
                await problem(error)(scope, receive, sending)
        except Gone:
            pass
        except asyncio.CancelledError:
            # The server gives up those that are still under way when it was told to stop. Who has no answer yet gets
            # one; raised again, this would be a defect in the server's eyes.
            log.warning("%s %s: given up, the service is stopping", scope["method"], scope["path"])
            if not status:
                await problem(stopping())(scope, receive, sending)
        except Exception:
            # The one place where a defect may end: it is logged whole, and its details are nobody else's business.
            log.exception("%s %s", scope["method"], scope["path"])
            if not status:
                await problem(Refusal(500, "the service has a defect; its log says more"))(scope, receive, sending)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            self.answered(route, status or LEFT, time.perf_counter() - start)

    async def _body(self, headers: Headers, receive: Receive) -> bytes:
        """The whole body, which is refused as soon as it is known to be too large.

        Raises:
            Refusal: 413 for a large one, 408 for a slow one.
            Gone: when the other side left.
        """
        if "transfer-encoding" not in headers and headers.get("content-length", "0") == "0":
            return b""
        most = self.limits.body_bytes
        said = headers.get("content-length", "")
        if said.isdecimal() and int(said[:20]) > most:
            raise _large(most)
        parts: list[bytes] = []
        size, more = 0, True
        try:
            async with asyncio.timeout(self.limits.seconds):
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise Gone
                    part: bytes = message.get("body", b"")
                    size, more = size + len(part), message.get("more_body", False)
                    if size > most:
                        raise _large(most)
                    parts.append(part)
        except TimeoutError:
            raise Refusal(408, "the body did not arrive in time", headers={"Connection": "close"}) from None
        return b"".join(parts)


class Gone(Exception):
    """The other side left in the middle of its request."""


def _large(most: int) -> Refusal:
    return Refusal(
        413, f"the body is larger than {most:,} bytes", do="send a smaller picture", headers={"Connection": "close"}
    )


def _replayed(body: bytes, receive: Receive) -> Receive:
    read = False

    async def again() -> Message:
        nonlocal read
        if read:
            return await receive()
        read = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


def _host(value: str) -> str:
    """The name in a Host header, without the port."""
    if value.startswith("["):
        return value[1:].partition("]")[0].lower()
    return value.partition(":")[0].lower()
