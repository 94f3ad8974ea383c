"""What an answer says beside its list: where the model says nothing, and where a wish could not be met."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from palate.measure.popularity import popularity
from palate.recommend.alike import BY_POPULARITY
from serve import shop

DISLIKED = [{"id": "i4", "rating": 1}]


def ask(client: TestClient, **body: Any) -> dict[str, Any]:
    answer = client.post("/v1/recommend", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def ids(answer: dict[str, Any]) -> list[str]:
    return [item["id"] for item in answer["items"]]


@pytest.mark.parametrize("name", ["ease", "itemknn", "rp3beta", "contentknn"])
def test_where_the_model_says_nothing_the_most_popular_come_first(name: str) -> None:
    bundle = shop.bundle(name)
    with shop.client(shop.served(name)) as client:
        answer = ask(client, items=DISLIKED, k=8)
        assert BY_POPULARITY in answer["notes"]
        counts = popularity(bundle.liked)
        others = np.delete(counts, bundle.items.row("i4"))
        assert counts[bundle.items.rows(ids(answer))].tolist() == sorted(others.tolist(), reverse=True)[:8]
        assert {item["score"] for item in answer["items"]} == {0.0}
        assert ids(ask(client, items=DISLIKED, k=1)) == ids(answer)[:1]
        some = ask(client, items=DISLIKED, k=3, allow=ids(answer)[3:6])
        assert ids(some) == ids(answer)[3:6]
        assert not ask(client, items=[{"id": "i4"}], k=8)["notes"]
