"""What the service refuses, and with which status: every answer that is no success has the same shape."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from starlette.responses import Response

from palate.core.errors import PalateError
from palate.serve.schema import Problem, ProblemAnswer

SHOWN = 5
UNAVAILABLE = 503
TRIED = frozenset({"str", "bool", "int", "float", "one", "several", "range"})
TRIED_IN_WORDS = ("constrained-", "list[", "function-")


class Refusal(PalateError):
    """A request that is not answered.

    Args:
        status: of the answer.
        headers: further ones.
    """

    def __init__(
        self, status: int, what: str, *, where: str = "", do: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(what, where=where, do=do)
        self.status = status
        self.headers = dict(headers or {})


def stopping() -> Refusal:
    """The refusal of whatever is not done when the service ends."""
    return Refusal(503, "the service is stopping", do="try again in a moment", headers={"Connection": "close"})


def problem(error: PalateError, status: int | None = None) -> Response:
    """The answer to a request that cannot be served."""
    found = error.status if isinstance(error, Refusal) else 422
    headers = dict(error.headers) if isinstance(error, Refusal) else {}
    if (status or found) == UNAVAILABLE:
        headers.setdefault("Retry-After", "1")
    told = {"what": error.what, "where": error.where, "do": error.do}
    body = ProblemAnswer(error=Problem(**{name: plain(text) for name, text in told.items() if text}))
    content = body.model_dump_json(exclude_unset=True)
    return Response(content, status or found, headers, media_type="application/json")


def malformed(errors: Sequence[Mapping[str, Any]]) -> Refusal:
    """The refusal of a request that does not fit the schema.

    Args:
        errors: as pydantic lists them.
    """
    if any(error["type"] == "json_invalid" for error in errors):
        reason = errors[0].get("ctx", {}).get("error", "")
        return Refusal(400, f"the body is no JSON: {reason}" if reason else "the body is no JSON")
    sentences = [_sentence(error) for error in errors[:SHOWN]]
    if len(errors) > SHOWN:
        sentences.append(f"and {len(errors) - SHOWN:,} more")
    where = dict.fromkeys(_place(error) for error in errors[:SHOWN])
    return Refusal(422, "; ".join(sentences), where=", ".join(filter(None, where)), do="see /openapi.json")


def not_json(kind: str) -> Refusal:
    """The refusal of a body that is sent as something else.

    Args:
        kind: what it is said to be; empty: nothing is said.
    """
    what = f"the body is sent as '{plain(kind, 100)}', not as JSON" if kind else "nothing says that the body is JSON"
    do = "send it with 'Content-Type: application/json' (curl -H 'Content-Type: application/json' -d …)"
    return Refusal(415, what, where="Content-Type", do=do)


def _place(error: Mapping[str, Any]) -> str:
    """What was sent that is wrong, as a path of names."""
    # The first part says body, query or path; below a body the kind of query comes next, which nobody sent.
    kind, *parts = [str(part) for part in error["loc"]]
    parts = parts[1:] if kind == "body" else parts
    # Where a value may be of several types, the type that was tried comes last.
    while len(parts) > 1 and (parts[-1] in TRIED or parts[-1].startswith(TRIED_IN_WORDS)):
        parts.pop()
    return ".".join(parts)


def _sentence(error: Mapping[str, Any]) -> str:
    if error["type"] == "extra_forbidden":
        return f"unknown field '{error['loc'][-1]}'"
    name, text = _place(error), str(error["msg"])
    text = f"{text[:1].lower()}{text[1:]}"
    if name:
        return f"{name}: {text}"
    return "the body is missing" if error["type"] == "missing" else text


def plain(text: str, most: int = 2000) -> str:
    """Text as JSON can hold it, cut to a bearable length."""
    return text.encode("utf-8", "replace").decode()[:most]
