"""The API against its own description: whatever fits the schema is answered as described, whatever does not is refused.

Half of what is sent is wrong on purpose.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.generation.modes import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from palate.serve.app import create_app
from palate.serve.state import Shelf
from serve import shop

OPERATIONS = (
    "GET /v1/health",
    "GET /v1/models",
    "GET /v1/users",
    "GET /v1/users/{user_id}",
    "GET /v1/items",
    "GET /v1/items/{item_id}",
    "POST /v1/recommend",
    "POST /v1/similar",
    "GET /media/{item_id}",
    "GET /metrics",
)
# Nothing is asked there that could be wrong.
UNASKED = ("GET /v1/health", "GET /v1/models", "GET /metrics")
TRIED = [(name, GenerationMode.POSITIVE) for name in OPERATIONS] + [
    (name, GenerationMode.NEGATIVE) for name in OPERATIONS if name not in UNASKED
]
BOUNDED = settings(
    max_examples=15,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture
def api(media: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    shop.plant(monkeypatch)
    app = create_app(Shelf.of(*[shop.served(name, media) for name in ("vbpr", "contentknn")]))
    return schemathesis.openapi.from_asgi("/openapi.json", app)


def operations(api: Any) -> dict[str, Any]:
    found = [each.ok() for each in api.get_all_operations()]
    return {f"{operation.method.upper()} {operation.path}": operation for operation in found}


def test_every_route_is_tried(api: Any) -> None:
    assert set(operations(api)) == set(OPERATIONS)


@pytest.mark.parametrize(("name", "mode"), TRIED, ids=[f"{name}, {mode.value}" for name, mode in TRIED])
def test_the_api_does_what_its_description_says(api: Any, name: str, mode: GenerationMode) -> None:
    operation = operations(api)[name]

    @BOUNDED
    @given(case=operation.as_strategy(generation_mode=mode))
    def check(case: schemathesis.Case) -> None:
        # A schema cannot say what bytes are a picture: random ones are refused, though they fit it.
        fits = isinstance(case.body, dict) and "image" in case.body
        case.call_and_validate(excluded_checks=[positive_data_acceptance] if fits else [])

    check()
