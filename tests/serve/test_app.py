"""Every route, on a shop whose right answers are known."""

from __future__ import annotations

import base64
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from palate.measure.ranking import top_items
from palate.serve.content import Readers
from palate.serve.limits import Limits
from palate.serve.refusals import Refusal
from palate.serve.state import Served, Shelf
from palate.version import __version__
from serve import shop


def ask(client: TestClient, route: str, **body: Any) -> dict[str, Any]:
    answer = client.post(f"/v1/{route}", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def ids(answer: dict[str, Any]) -> list[str]:
    return [item["id"] for item in answer["items"]]


def refused(client: TestClient, route: str, status: int, **body: Any) -> dict[str, Any]:
    answer = client.post(f"/v1/{route}", json=body)
    assert answer.status_code == status, answer.text
    return answer.json()["error"]


def test_health_names_the_models(client: TestClient) -> None:
    assert client.get("/v1/health").json() == {
        "status": "ok",
        "version": __version__,
        "models": ["vbpr", "contentknn", "popularity"],
        "default": "vbpr",
    }


def test_models_say_what_they_can_do(client: TestClient) -> None:
    first, second, third = client.get("/v1/models").json()["models"]
    assert (first["users"], first["items"], first["catalogue"]) == (shop.USERS, shop.ITEMS, "shop")
    assert first["modalities"] == ["image", "text"]
    assert first["branches"] == ["item id", "image", "text", "item bias"]
    assert second["branches"] == third["branches"] == []
    for facts in (first, second, third):
        assert (facts["folds_in"], facts["takes_text"], facts["takes_image"]) == (True, True, True)
        assert facts["places_items"] == (facts["name"] != "popularity")


def test_users_are_found_by_their_id(client: TestClient) -> None:
    found = client.get("/v1/users", params={"query": "u1", "limit": 30}).json()["users"]
    assert [user["id"] for user in found] == ["u1", *(f"u{number}" for number in range(10, 20))]
    assert found[0]["interactions"] == len(shop.met("u1"))
    assert len(client.get("/v1/users", params={"limit": 3}).json()["users"]) == 3
    assert client.get("/v1/users", params={"query": "%"}).json() == {"users": []}


def test_a_user_has_a_history_latest_first(client: TestClient) -> None:
    found = client.get("/v1/users/u2").json()
    rows = shop.data().catalogue.interactions
    times = dict(rows.filter(rows["user_id"] == "u2").select("item_id", "timestamp").iter_rows())
    history = [item["id"] for item in found["history"]]
    assert set(history) == shop.met("u2")
    assert found["interactions"] == len(history)
    assert [times[item] for item in history] == sorted(times.values(), reverse=True)
    assert [item["id"] for item in client.get("/v1/users/u2?limit=1").json()["history"]] == history[:1]
    assert client.get("/v1/users/nobody").json()["error"]["what"] == "there is no user 'nobody'"
    assert client.get("/v1/users/nobody").status_code == 404


def test_items_are_found_by_all_their_words(client: TestClient) -> None:
    def found(query: str) -> list[str]:
        return [item["id"] for item in client.get("/v1/items", params={"query": query, "limit": 50}).json()["items"]]

    # "Robot 15" holds both words too; the title that is the query comes first.
    assert found("ROBOT 5") == ["i5", "i15"]
    assert set(found("metro")) == {f"i{item}" for item in range(4, shop.ITEMS, 5)}
    assert set(found("quiet comedy")) == {f"i{item}" for item in range(shop.ITEMS) if item % 4 in (0, 2)}
    assert found("garden zebra") == []
    taken = shop.data().catalogue.interactions["item_id"].value_counts(sort=True)["count"]
    popular = client.get("/v1/items?limit=5").json()["items"]
    counts = [shop.data().catalogue.interactions["item_id"].to_list().count(item["id"]) for item in popular]
    assert counts == taken.to_list()[:5]


def test_an_item_has_all_that_is_known(client: TestClient) -> None:
    assert client.get("/v1/items/i6").json() == {
        "id": "i6",
        "title": "Garden 6",
        "description": "a quiet story, number 6",
        "image": "/media/i6",
        "attributes": {"genres": "Comedy|Drama", "year": 1986},
        "modalities": ["image", "text"],
    }
    assert client.get("/v1/items/i3").json()["modalities"] == ["text"]
    assert client.get("/v1/items/none").status_code == 404


@pytest.mark.parametrize("name", ["vbpr", "contentknn", "popularity"])
def test_a_user_gets_what_the_model_ranks_best(client: TestClient, name: str) -> None:
    bundle = shop.bundle(name)
    row = bundle.users.row("u7")
    items, scores = top_items(shop.model(name).scorer(), np.array([row]), 6, mask=shop.data().known(), seed=0)
    wanted = [bundle.items.ids[item] for item in items[0].tolist() if item >= 0]
    answer = ask(client, "recommend", user="u7", k=6, model=name)
    assert (answer["model"], answer["query"], ids(answer)) == (name, "user", wanted)
    assert [item["rank"] for item in answer["items"]] == list(range(1, 1 + len(wanted)))
    assert np.allclose([item["score"] for item in answer["items"]], scores[0][: len(wanted)], atol=1e-4)
    assert not set(wanted) & shop.met("u7")
    assert len(ask(client, "recommend", user="u7", k=200, model=name, exclude_seen=False)["items"]) == shop.ITEMS


@pytest.mark.parametrize("name", ["vbpr", "contentknn", "popularity"])
def test_a_list_of_items_is_folded_in(client: TestClient, name: str) -> None:
    bundle = shop.bundle(name)
    given = ["i4", "i9", "i20"]
    scores = bundle.fold_in(given).scores[0].clone()
    answer = ask(client, "recommend", items=[{"id": item} for item in given], k=22, model=name)
    assert answer["query"] == "items"
    assert set(ids(answer)) == {f"i{item}" for item in range(shop.ITEMS)} - set(given)
    told = {item["id"]: item["score"] for item in answer["items"]}
    assert np.allclose(list(told.values()), [float(scores[bundle.items.row(item)]) for item in told], atol=1e-4)
    again = ask(client, "recommend", items=[{"id": item} for item in given], k=25, model=name, exclude_seen=False)
    assert len(again["items"]) == shop.ITEMS


def test_ratings_decide_what_is_liked(client: TestClient) -> None:
    rated = [{"id": "i4", "rating": 5}, {"id": "i9", "rating": 1}]
    # An item that is named twice counts once, as it was named last.
    twice = [{"id": "i9", "rating": 3}, *rated]
    answer = ask(client, "recommend", items=rated)
    assert ids(answer) == ids(ask(client, "recommend", items=twice))
    assert answer["notes"] == []


def test_ratings_that_decide_nothing_are_told() -> None:
    bundle = shop.bundle("bpr")
    everything = dataclasses.replace(bundle, facts=bundle.facts.override({"positive": "all", "dislike": None}))
    with shop.client(Served("it", everything)) as client:
        rated = ask(client, "recommend", items=[{"id": "i4", "rating": 1}])
        assert ids(rated) == ids(ask(client, "recommend", items=[{"id": "i4"}]))
        assert any("whatever its rating" in note for note in rated["notes"])
        assert ask(client, "recommend", items=[{"id": "i4"}])["notes"] == []


def test_a_description_and_a_picture_are_queries(client: TestClient) -> None:
    by_text = ask(client, "similar", text=shop.title(11), by="text", k=3)
    assert ids(by_text)[0] == "i11"
    assert by_text["items"][0]["similarity"] == pytest.approx(1, abs=1e-5)
    by_image = ask(client, "similar", image=shop.picture(8), by="image", k=3)
    assert ids(by_image)[0] == "i8"
    as_address = ask(client, "similar", image=f"data:image/png;base64,{shop.picture(8)}", by="image", k=3)
    assert ids(as_address) == ids(by_image)
    for name in ("vbpr", "contentknn"):
        for query in ({"text": "robot in a garden"}, {"image": shop.picture(2)}):
            for route in ("recommend", "similar"):
                answer = ask(client, route, model=name, k=5, **query)
                assert 0 < len(answer["items"]) <= 5
    assert ask(client, "recommend", text="robot")["query"] == "text"
    assert ask(client, "recommend", image=shop.picture(2))["query"] == "image"


def test_what_cannot_be_asked_says_so(client: TestClient) -> None:
    assert "it places no new items" in refused(client, "recommend", 422, text="robot", model="popularity")["what"]
    assert "no vectors" in refused(client, "recommend", 422, user="u1", model="popularity", diversify={"by": "model"})[
        "what"
    ].replace("item vectors", "vectors")
    assert "compares no items" in refused(client, "similar", 422, item="i1", model="popularity")["what"]
    error = refused(client, "similar", 422, text="robot", by="image")
    assert "none of the modalities" in error["what"]
    assert error["do"] == 'ask with "by": "text", or choose another model'
    error = refused(client, "similar", 422, text="robot", model="popularity")
    assert error["what"] == "this model cannot be asked by a description: it places no new items"
    assert error["do"] == 'ask with "by": "text", or choose another model'
    assert ask(client, "similar", text="robot", model="popularity", by="text", k=1)["items"]
    for body in (
        {"user": "x"},
        {"items": [{"id": "x"}]},
        {"user": "u1", "model": "x"},
        {"user": "u1", "allow": ["x"]},
        {"user": "u1", "where": {"x": 1}},
        {"user": "u1", "diversify": {"by": "x"}},
    ):
        assert refused(client, "recommend", 404, **body)["what"].startswith(("there is no", "unknown model"))
    assert refused(client, "similar", 404, item="x")["what"] == "there is no item 'x'"
    assert refused(client, "similar", 404, item="i1", by="x")["what"] == "there is no modality 'x'"


def test_similar_items_by_content_and_by_the_model(client: TestClient) -> None:
    bundle = shop.bundle("vbpr")
    for by in ("image", "text", "model"):
        answer = ask(client, "similar", item="i5", by=by, k=4)
        matrix = bundle.item_vectors if by == "model" else bundle.features[by].matrix
        assert matrix is not None
        unit = matrix / np.maximum(np.linalg.norm(matrix, axis=1, keepdims=True), 1e-12)
        cosines = unit @ unit[bundle.items.row("i5")]
        cosines[bundle.items.row("i5")] = -2
        assert np.allclose([item["similarity"] for item in answer["items"]], np.sort(cosines)[::-1][:4], atol=1e-5)
        assert "i5" not in ids(answer)
    weights = ask(client, "similar", item="i5", model="contentknn", k=24)
    assert "i5" not in ids(weights)
    assert all(item["similarity"] > 0 for item in weights["items"])
    none = ask(client, "similar", item="i3", by="image")
    assert (none["items"], none["notes"]) == ([], ["this item has no image"])


def test_filters_come_before_the_list_is_cut(client: TestClient) -> None:
    def chosen(**wish: Any) -> set[int]:
        answer = ask(client, "recommend", user="u7", k=200, exclude_seen=False, **wish)
        return {int(item[1:]) for item in ids(answer)}

    every = set(range(shop.ITEMS))
    assert chosen(where={"genres": "Drama"}) == {item for item in every if item % 4 in (1, 2)}
    assert chosen(where={"genres": ["Drama", "Comedy"]}) == {item for item in every if item % 4 != 3}
    assert chosen(where={"year": {"min": 1990, "max": 1993}}) == {10, 11, 12, 13}
    assert chosen(where={"year": [1984, 1985], "genres": "Comedy"}) == {4}
    assert chosen(where={"year": {}}) == every
    assert chosen(allow=["i1", "i2"], deny=["i2"]) == {1}
    assert chosen(allow=[]) == set()
    assert refused(client, "recommend", 404, user="u7", where={"genres": "Comdy"})["do"].startswith(
        "did you mean 'Comedy'"
    )
    assert refused(client, "recommend", 422, user="u7", where={"title": {"min": 3}})["where"] == "title>=3"


def test_a_list_that_is_too_short_says_why(client: TestClient) -> None:
    answer = ask(client, "recommend", user="u7", k=9, allow=["i1", "i2"], exclude_seen=False)
    assert answer["notes"] == ["2 of 9: no other item may be in this list"]


def test_rules_change_the_list(client: TestClient) -> None:
    whole = ids(ask(client, "recommend", user="u7", k=5, exclude_seen=False))
    same = {"by": "image", "strength": 0.0}
    assert ids(ask(client, "recommend", user="u7", k=5, exclude_seen=False, diversify=same)) == whole
    unlike = ask(client, "recommend", user="u7", k=5, exclude_seen=False, diversify={"by": "image", "strength": 1.0})
    assert ids(unlike)[0] == whole[0]
    assert ids(unlike) != whole
    capped = ask(client, "recommend", user="u7", k=5, exclude_seen=False, popularity_cap=0, model="popularity")
    plain = ask(client, "recommend", user="u7", k=5, exclude_seen=False, popularity_cap="100%", model="popularity")
    assert capped["items"][0]["score"] < plain["items"][0]["score"]
    # Every item was taken in training: there is no cold one to keep a quota of.
    assert ids(ask(client, "recommend", user="u7", k=5, exclude_seen=False, cold_quota=9)) == whole


def test_reasons_add_up(client: TestClient) -> None:
    for query in ({"user": "u7"}, {"items": [{"id": "i4"}, {"id": "i9"}]}, {"text": "robot"}):
        for item in ask(client, "recommend", k=3, explain=True, neighbours=2, **query)["items"]:
            why = item["why"]
            assert sum(why["branches"].values()) == pytest.approx(item["score"], abs=1e-4)
            assert set(why["branches"]) == {"item id", "image", "text", "item bias"}
            assert len(why["neighbours"]["text"]) == 2
            cosines = [reason["similarity"] for reason in why["history"]]
            assert cosines == sorted(cosines, reverse=True)
    given = {"i4", "i9"}
    answer = ask(client, "recommend", k=3, explain=True, items=[{"id": item} for item in given], model="contentknn")
    for item in answer["items"]:
        assert sum(reason["contribution"] for reason in item["why"]["history"]) == pytest.approx(
            item["score"], abs=1e-5
        )
        assert {reason["id"] for reason in item["why"]["history"]} <= given
        assert "neighbours" not in item["why"]
    assert "why" not in ask(client, "recommend", user="u7")["items"][0]


def test_pictures_come_with_their_kind_and_a_tag(client: TestClient) -> None:
    answer = client.get("/media/i6")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    assert answer.content == shop.png(shop.colour(6))
    again = client.get("/media/i6", headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    for missing in ("i3", "none"):
        assert client.get(f"/media/{missing}").status_code == 404


def test_only_pictures_inside_the_media_folder_are_shown(media: Path) -> None:
    secret = media.parent / "secret.png"
    secret.write_bytes(shop.png((1, 2, 3)))
    (media / "p" / "6.png").unlink()
    (media / "p" / "6.png").symlink_to(secret)
    (media / "p" / "7.png").write_bytes(b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>")
    (media / "p" / "8.png").write_bytes(b"")
    table = shop.bundle("popularity").table
    with shop.client(shop.served("popularity", media)) as client:
        for item in ("i6", "i7", "i8"):
            answer = client.get(f"/media/{item}")
            assert answer.status_code == 404
            assert str(media.parent) not in answer.text
        assert client.get("/media/..%2F..%2Fsecret.png").status_code == 404
    assert table.height == shop.ITEMS


def test_without_media_items_have_no_picture() -> None:
    with shop.client(shop.served("popularity")) as client:
        assert client.get("/v1/items/i6").json()["image"] is None
        assert client.get("/media/i6").status_code == 404


def test_metrics_count_requests_by_route_and_status(client: TestClient) -> None:
    client.get("/v1/users/u1")
    client.get("/v1/users/u2")
    client.get("/v1/users/nobody")
    client.get("/somewhere")
    text = client.get("/metrics").text
    assert 'palate_requests_total{route="/v1/users/{user_id:path}",status="200"} 2.0' in text
    assert 'palate_requests_total{route="/v1/users/{user_id:path}",status="404"} 1.0' in text
    assert 'palate_requests_total{route="other",status="404"} 1.0' in text
    assert 'palate_request_seconds_count{route="/v1/users/{user_id:path}"} 3.0' in text
    assert 'palate_model_items{model="vbpr",source="run",title="VBPR"} 25.0' in text
    assert 'palate_swaps_total{model="vbpr",outcome="swapped"} 0.0' in text


def test_the_page_and_its_files_are_served(tmp_path: Path) -> None:
    page = tmp_path / "page"
    page.mkdir()
    (page / "index.html").write_text("<!doctype html><title>Palate</title>")
    (page / "start.js").write_text("export {};")
    with shop.client(shop.served("popularity"), page=page) as client:
        assert client.get("/").text.startswith("<!doctype html>")
        assert client.get("/static/start.js").headers["content-type"].startswith("text/javascript")
        assert client.get("/static/../shop.py").status_code == 404
        assert client.get("/static/none.js").json()["error"]["what"] == "Not Found"
    with shop.client(shop.served("popularity"), page=tmp_path / "none") as client:
        assert client.get("/").status_code == 404


def test_a_picture_is_refused_when_it_is_none_or_too_large(client: TestClient) -> None:
    for image, status, word in (
        ("not base64!", 422, "base64"),
        (base64.b64encode(b"<svg/>").decode(), 422, "no picture"),
        ("====", 422, "base64"),
    ):
        assert word in refused(client, "similar", status, image=image, by="image")["what"]


def test_encoders_are_warmed_when_the_service_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    shop.plant(monkeypatch)
    readers = Readers(Limits())
    warmed: list[str] = []
    for kind in (shop.LetterEncoder, shop.ColourEncoder):
        encode = kind.encode_batch
        monkeypatch.setattr(
            kind,
            "encode_batch",
            lambda self, values, encode=encode: warmed.append(self.modality) or encode(self, values),
        )
    readers.warm(Shelf.of(shop.served("vbpr"), shop.served("popularity")))
    assert warmed == ["text", "image", "text", "image"]


def test_an_encoder_that_is_not_the_very_same_is_refused() -> None:
    readers = Readers(Limits())
    for identity, word in (
        ("text 1 letters", "which cannot be run here"),
        ("text 1 minilm pooling=mean max_tokens=256 normalise=true files=0000", "another one"),
        ("text 1 minilm pooling=best", "pooling"),
        ("text", "cannot be run here"),
    ):
        with pytest.raises(Refusal, match=word) as refusal:
            readers.find("text", {"text": identity})
        assert refusal.value.status == 422
