"""The service as a web application: routes, their documentation, and nothing else.

`create_app` takes the models and gives an application for any ASGI server; `palate serve` runs it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path as FilePath
from threading import Thread
from typing import Annotated, Any

import numpy as np
from fastapi import Body, Depends, FastAPI, Path, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.responses import Response

from palate.core.errors import PalateError
from palate.serve import schema
from palate.serve.content import Readers
from palate.serve.guard import KEY_HEADER, OPEN, Door, Guard
from palate.serve.items import short_items, whole_item
from palate.serve.limits import Limits, Workers
from palate.serve.media import picture_of
from palate.serve.metrics import TYPE, Metrics
from palate.serve.ranking import recommend, similar
from palate.serve.refusals import Refusal, malformed, not_json, problem
from palate.serve.state import Served, Shelf
from palate.serve.watching import Watcher
from palate.version import __version__

PAGE = FilePath(__file__).parent / "page"
ABOUT = """Recommendations of trained models: for known users, for people known by a list of items, and for new items by
their words or their picture. Every answer names the model that gave it; every refusal says what is wrong and what to
do."""

Given = dict[int | str, dict[str, Any]]
_SAID = {
    400: "The request makes no sense.",
    401: "The API key is missing or wrong.",
    404: "Something that the request names is not there: a user, an item, a model, a modality, a column.",
    408: "The body did not arrive in time.",
    410: "The model is not served any more: somebody was forgotten in its run.",
    413: "The body or the picture is too large.",
    415: "The body is not said to be JSON.",
    422: "The request does not fit the schema, or the model cannot answer it.",
    503: "The service is busy, or it took too long.",
}

UserPath = Annotated[str, Path(description="a user's id", max_length=schema.MOST_ID)]
ItemPath = Annotated[str, Path(description="an item's id", max_length=schema.MOST_ID)]
# Browsers take these two out of a path, however they are written there.
NoPath = Annotated[
    str | None,
    Query(max_length=schema.MOST_ID, description="the id in place of the path's, which can be neither '.' nor '..'"),
]


def _user_id(user_id: UserPath, id: NoPath = None) -> str:
    return user_id if id is None else id


def _item_id(item_id: ItemPath, id: NoPath = None) -> str:
    return item_id if id is None else id


UserId = Annotated[str, Depends(_user_id)]
ItemId = Annotated[str, Depends(_item_id)]
Words = Annotated[str, Query(max_length=schema.MOST_QUERY, description="words; empty: the first there are")]
Most = Annotated[int, Query(ge=1, le=500, description="at most so many")]
Model = Annotated[str | None, Query(max_length=schema.MOST_NAME, description="one of /v1/models; default: the first")]


def create_app(
    shelf: Shelf,
    *,
    limits: Limits | None = None,
    door: Door | None = None,
    poll: float = 0.0,
    warm: bool = False,
    page: FilePath = PAGE,
) -> FastAPI:
    """The application that serves some models.

    Args:
        shelf: the models.
        limits: of requests.
        door: who may come in; None: everybody.
        poll: seconds between looks at what the models were loaded from; 0: never.
        warm: load the encoders of raw queries when the service starts, so that nobody has to wait for them.
        page: folder of the page's files, with an index.html.
    """
    limits, door = limits or Limits(), door or Door()
    workers, readers = Workers(limits), Readers(limits)
    metrics = Metrics(shelf, lambda: workers.busy)
    shelf.told = metrics.swapped

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncGenerator[None]:
        app.state.watcher = watcher = Watcher(shelf, poll)
        if warm:
            Thread(target=readers.warm, args=(shelf,), name="palate-warm", daemon=True).start()
        yield
        watcher.close()
        workers.close()

    app = FastAPI(title="Palate", version=__version__, description=ABOUT, lifespan=life, docs_url=None, redoc_url=None)
    app.add_middleware(Guard, door=door, limits=limits, answered=metrics.answered)
    _answer_problems(app)

    async def answer(work: Callable[[], BaseModel]) -> Response:
        # Written out in the worker too: the loop is for requests that come and go.
        content = await workers.run(lambda: work().model_dump_json(exclude_unset=True).encode())
        return Response(content, media_type="application/json")

    @app.get("/v1/health", response_model=schema.Health, tags=["service"])
    async def health() -> schema.Health:
        """Whether the service runs, and which models it serves. Needs no key."""
        names = [place.name for place, _ in shelf.all()]
        default = shelf.default if shelf.default in names else ""
        return schema.Health(status="ok", version=__version__, models=names, default=default)

    @app.get("/v1/models", response_model=schema.ModelsAnswer, responses=_told(401, 503), tags=["service"])
    async def models() -> Response:
        """All models that are served, and what each of them can do."""
        served = [each for _, each in shelf.all()]
        return await answer(lambda: schema.ModelsAnswer(models=[_facts(each, readers) for each in served]))

    @app.get("/v1/users", response_model=schema.UsersAnswer, responses=_told(401, 404, 410, 422, 503), tags=["users"])
    async def users(query: Words = "", limit: Most = 20, model: Model = None) -> Response:
        """Users whose id holds the query: the id itself first, then those that begin so, short ones first."""
        served = shelf.get(model)

        def work() -> schema.UsersAnswer:
            rows = served.people.find(query, limit)
            return schema.UsersAnswer(users=[schema.UserRow(id=name, interactions=met) for name, met in rows])

        return await answer(work)

    @app.get(
        "/v1/users/{user_id:path}",
        response_model=schema.UserAnswer,
        responses=_told(401, 404, 410, 422, 503),
        tags=["users"],
    )
    async def user(user_id: UserId, limit: Most = 50, model: Model = None) -> Response:
        """What a user met, latest first."""
        served = shelf.get(model)

        def work() -> schema.UserAnswer:
            met = served.bundle.seen[served.user(user_id)]
            history = [schema.Item(**short) for short in short_items(served, met[::-1][:limit].astype(np.int64))]
            return schema.UserAnswer(id=user_id, interactions=len(met), history=history)

        return await answer(work)

    @app.get("/v1/items", response_model=schema.ItemsAnswer, responses=_told(401, 404, 410, 422, 503), tags=["items"])
    async def items(query: Words = "", limit: Most = 20, model: Model = None) -> Response:
        """Items with every word of the query in title, description or categories. Titles count most, then popularity;
        case and accents do not matter. Without words, the most popular items."""
        served = shelf.get(model)

        def work() -> schema.ItemsAnswer:
            found = short_items(served, served.words.find(query, limit))
            return schema.ItemsAnswer(items=[schema.Item(**short) for short in found])

        return await answer(work)

    @app.get(
        "/v1/items/{item_id:path}",
        response_model=schema.ItemAnswer,
        responses=_told(401, 404, 410, 422, 503),
        tags=["items"],
    )
    async def item(item_id: ItemId, model: Model = None) -> Response:
        """All that is known of an item."""
        served = shelf.get(model)
        return await answer(lambda: whole_item(served, served.item(item_id)))

    @app.post(
        "/v1/recommend",
        response_model=schema.RecommendAnswer,
        response_model_exclude_unset=True,
        responses=_told(400, 401, 404, 408, 410, 413, 415, 422, 503),
        dependencies=[Depends(_said_to_be_json)],
        tags=["recommend"],
    )
    async def recommendations(asked: Annotated[schema.Recommend, Body()]) -> Response:
        """Recommend items, best first.

        For exactly one of: `user` (an id), `items` (what somebody met, with or without ratings; nothing is trained),
        `text` or `image` (for somebody who liked just such an item). Filters (`allow`, `deny`, `where`) come before
        the list is cut; then the popularity cap takes hits away, diversity orders what is left, and the cold quota is
        kept.
        """
        served = shelf.get(asked.model)
        return await answer(lambda: recommend(served, asked, readers))

    @app.post(
        "/v1/similar",
        response_model=schema.SimilarAnswer,
        responses=_told(400, 401, 404, 408, 410, 413, 415, 422, 503),
        dependencies=[Depends(_said_to_be_json)],
        tags=["recommend"],
    )
    async def similars(asked: Annotated[schema.Similar, Body()]) -> Response:
        """Items similar to an `item`, a `text` or an `image`: in one modality's content, or to the model."""
        served = shelf.get(asked.model)
        return await answer(lambda: similar(served, asked, readers))

    @app.get(
        "/media/{item_id:path}",
        response_class=Response,
        responses={
            200: {"content": {"image/*": {}}},
            304: {"description": "Unchanged."},
            **_told(401, 404, 410, 422, 503),
        },
        tags=["items"],
    )
    async def media(request: Request, item_id: ItemId, model: Model = None) -> Response:
        """The picture of an item."""
        served, known = shelf.get(model), request.headers.get("if-none-match")
        return await workers.run(lambda: picture_of(served, served.item(item_id), known, most=limits.picture_bytes))

    @app.get(
        "/metrics",
        response_class=Response,
        responses={200: {"content": {"text/plain": {}}}, **_told(401)},
        tags=["service"],
    )
    async def counts() -> Response:
        """Counts of requests, times and swaps, and the models that are loaded, for Prometheus."""
        return Response(metrics.text(), headers={"Content-Type": TYPE})

    _serve_page(app, page)
    _describe_key(app, door)
    return app


async def _said_to_be_json(request: Request) -> None:
    """Refuse a body of another type: forms and plain text are what a page elsewhere can send unasked.

    Raises:
        Refusal: 415.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    main, _, sub = kind.partition("/")
    if await request.body() and not (main == "application" and (sub == "json" or sub.endswith("+json"))):
        raise not_json(kind)


def _facts(served: Served, readers: Readers) -> schema.ModelFacts:
    bundle = served.bundle
    return schema.ModelFacts(
        name=served.name,
        title=bundle.facts.title,
        source=served.source,
        catalogue=bundle.facts.name,
        users=bundle.facts.users,
        items=bundle.facts.items,
        modalities=list(bundle.features),
        branches=list(served.branches.parts),
        folds_in=True,
        places_items=bundle.content is not None,
        takes_text=readers.takes("text", bundle),
        takes_image=readers.takes("image", bundle),
        dislike=bundle.facts.dislike,
        search=served.searched,
    )


def _told(*statuses: int) -> Given:
    """The refusals of a route, for its documentation."""
    return {status: {"model": schema.ProblemAnswer, "description": _SAID[status]} for status in statuses}


def _answer_problems(app: FastAPI) -> None:
    """Let every refusal have the same shape."""

    async def refused(_: Request, error: Exception) -> Response:
        if isinstance(error, RequestValidationError):
            return problem(malformed(error.errors()))
        if isinstance(error, HTTPException):
            return problem(Refusal(error.status_code, error.detail, headers=error.headers or {}))
        assert isinstance(error, PalateError)
        return problem(error)

    for kind in (RequestValidationError, HTTPException, PalateError):
        app.add_exception_handler(kind, refused)


def _serve_page(app: FastAPI, page: FilePath) -> None:
    @app.get("/", include_in_schema=False)
    async def index() -> Response:
        if not (page / "index.html").is_file():
            raise Refusal(404, "this service has no page", do="see /openapi.json")
        return FileResponse(page / "index.html", headers={"Cache-Control": "no-cache"})

    if page.is_dir():
        app.mount("/static", StaticFiles(directory=page), name="static")


def _describe_key(app: FastAPI, door: Door) -> None:
    """Say in the documentation that a key is wanted."""
    if door.key is None:
        return
    plain = app.openapi

    def described() -> dict[str, Any]:
        whole = plain()
        scheme = {"type": "apiKey", "in": "header", "name": KEY_HEADER}
        whole.setdefault("components", {}).setdefault("securitySchemes", {})["key"] = scheme
        for path, operations in whole["paths"].items():
            for operation in operations.values():
                operation["security"] = [] if path in OPEN else [{"key": []}]
        return whole

    app.openapi = described
