"""What an answer says beside its list: where the model says nothing, and where a wish could not be met."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from palate.graph.rows import Rows
from palate.measure.popularity import popularity
from palate.recommend.alike import BY_POPULARITY
from palate.serve.state import Served
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


def test_stale_ids_in_a_list_are_left_out_and_named() -> None:
    with shop.client(shop.served("popularity")) as client:
        wish: dict[str, Any] = {"user": "u7", "k": 3, "exclude_seen": False}
        plain = ask(client, **wish)
        denied = ask(client, **wish, deny=["old", ids(plain)[0], "older"])
        assert ids(denied)[:2] == ids(plain)[1:]
        assert denied["notes"] == ["deny: 2 ids that are no item are left out: old, older"]
        assert ids(ask(client, **wish, deny=["old"])) == ids(plain)
        allowed = ask(client, **wish, allow=["i1", "old", "i2"])
        assert set(ids(allowed)) == {"i1", "i2"}
        assert allowed["notes"][0] == "allow: 1 id that is no item is left out: old"
        refused = client.post("/v1/recommend", json={**wish, "allow": ["old"]})
        assert refused.status_code == 404
        assert refused.json()["error"]["what"] == "there is no item of an id in 'allow'"


def test_of_an_item_that_is_named_twice_the_last_rating_counts() -> None:
    with shop.client(shop.served("bpr")) as client:

        def listed(*items: tuple[str, float]) -> dict[str, Any]:
            given = [{"id": name, "rating": rating} for name, rating in items]
            return ask(client, items=given, k=8, exclude_seen=False)

        likes, dislikes = listed(("i9", 5), ("i4", 5)), listed(("i9", 5), ("i4", 1))
        assert likes != dislikes
        assert listed(("i4", 1), ("i9", 5), ("i4", 5)) == likes
        assert listed(("i4", 5), ("i9", 5), ("i4", 1)) == dislikes


@pytest.mark.parametrize(
    ("k", "quota", "said"),
    [
        (3, 9, "1 of 9 items that nobody took in training: no other may be in this list"),
        (20, 15, "1 of 15 items that nobody took in training: no other may be in this list"),
        (20, 1, None),
    ],
)
def test_a_quota_that_cannot_be_met_says_how_many_there_were(k: int, quota: int, said: str | None) -> None:
    bundle = shop.bundle("popularity")
    # Nobody took i5.
    kept = bundle.liked.columns != bundle.items.row("i5")
    liked = Rows.from_pairs(
        bundle.liked.row_of_entry()[kept], bundle.liked.columns[kept], bundle.liked.count, bundle.liked.width
    )
    with shop.client(Served("it", dataclasses.replace(bundle, liked=liked))) as client:
        answer = ask(client, user="u7", k=k, cold_quota=quota, exclude_seen=False)
    assert len(answer["items"]) == k
    assert "i5" in ids(answer)
    assert answer["notes"] == ([] if said is None else [said])
