"""Models of different catalogues side by side: what one of them names is looked up in its own."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from urllib.parse import quote, urljoin

import pytest
from fastapi.testclient import TestClient

from palate.dataset.vocabulary import Vocabulary
from palate.serve.schema import MOST_ID
from palate.serve.state import Place, Served, Shelf
from serve import shop


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """The pictures of another catalogue, which has the same ids."""
    folder = shop.pictures(tmp_path / "other")
    for item in range(shop.ITEMS):
        (folder / "p" / f"{item}.png").write_bytes(shop.png((item, item, item)))
    return folder


def pictures(client: TestClient, model: str) -> dict[str, bytes]:
    """Item → picture, of all places in which a model names one."""
    asked = {"model": model, "k": 3}
    answers = [
        client.get("/v1/items", params={"model": model, "limit": 5}).json()["items"],
        client.get("/v1/users/u1", params={"model": model}).json()["history"],
        [client.get("/v1/items/i4", params={"model": model}).json()],
        client.post("/v1/recommend", json={**asked, "user": "u1"}).json()["items"],
        client.post("/v1/similar", json={**asked, "item": "i4", "by": "text"}).json()["items"],
    ]
    return {item["id"]: client.get(item["image"]).content for items in answers for item in items if item["id"] != "i3"}


def test_a_picture_is_that_of_the_model_that_named_it(media: Path, other: Path) -> None:
    first, second = shop.served("bpr", media, called="one"), shop.served("bpr", other, called="a b&c")
    with shop.client(first, second) as client:
        own, others = pictures(client, "one"), pictures(client, "a b&c")
        assert own == {item: shop.png(shop.colour(int(item[1:]))) for item in own}
        assert others == {item: shop.png((int(item[1:]),) * 3) for item in others}
        assert client.get("/v1/items/i4").json()["image"] == "/media/i4"


def test_a_model_that_is_swapped_in_keeps_its_place(media: Path) -> None:
    def place(name: str) -> Place:
        def load() -> Served:
            return shop.served("popularity", media, called=name)

        return Place(name, load(), media, load)

    shelf = Shelf([place("one"), place("two")])
    for force in (False, True):
        shelf.refresh(force=force)
        assert [served.default for _, served in shelf.all()] == [True, False]


@pytest.mark.parametrize("name", ["..", ".", "a/../b", "a b?c#d", "é", "x" * 2048, "x" * 2049])
def test_whatever_an_id_is_its_own_addresses_lead_to_it(name: str, media: Path) -> None:
    bundle = shop.bundle("popularity")
    ids = bundle.items.ids.replace("i5", name)
    items, table = Vocabulary("item", ids), bundle.table.with_columns(item_id=ids)
    users = Vocabulary("user", bundle.users.ids.replace("u1", name))
    changed = dataclasses.replace(bundle, items=items, table=table, users=users)
    with shop.client(shop.served("bpr"), Served("it", changed, media=media)) as client:
        found = client.get("/v1/items", params={"model": "it", "limit": shop.ITEMS}).json()["items"]
        (short,) = [item for item in found if item["id"] == name]
        if len(name) > MOST_ID:
            assert short["image"] is None
            return
        # As a browser does, the client takes '.' and '..' out of a path.
        assert client.get(urljoin("http://testserver/", short["image"])).content == shop.png(shop.colour(5))
        for kind in ("items", "users"):
            path = f"/v1/{kind}/" if name in (".", "..") else f"/v1/{kind}/{quote(name, safe='')}"
            answer = client.get(path, params={"model": "it"} | ({"id": name} if name in (".", "..") else {}))
            assert (answer.status_code, answer.json()["id"]) == (200, name)
