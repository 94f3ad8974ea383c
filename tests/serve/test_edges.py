"""What goes wrong beside a request: other threads, strange files, models that come and go."""

from __future__ import annotations

import dataclasses
import os
import shutil
import threading
from collections.abc import Generator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from fastapi.testclient import TestClient

from palate.core.errors import ArtefactError
from palate.experiment import Run
from palate.recommend import reading
from palate.serve.app import create_app
from palate.serve.limits import Limits
from palate.serve.state import Served, Shelf, load, standing
from palate.serve.watching import Watcher
from serve import shop

ASKED: tuple[tuple[str, dict[str, Any]], ...] = (
    ("recommend", {"user": "u7", "k": 5, "explain": True, "neighbours": 2}),
    ("recommend", {"items": [{"id": "i1"}, {"id": "i2", "rating": 1}], "k": 5}),
    ("recommend", {"text": "a robot", "k": 5}),
    ("recommend", {"user": "u7", "k": 5, "diversify": {"by": "image", "strength": 0.5}, "cold_quota": 1}),
    ("similar", {"item": "i1", "by": "model", "k": 5}),
    ("similar", {"item": "i1", "by": "image", "k": 5}),
)


@pytest.fixture
def doubles() -> Generator[None]:
    """What a thread that builds a model in double precision does to all the others."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("name", ["bpr", "vbpr", "crmman", "itemknn", "contentknn"])
def test_answers_are_the_same_while_a_model_of_doubles_is_built(
    name: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    shop.plant(monkeypatch)
    with shop.client(shop.served(name)) as client:
        before = [client.post(f"/v1/{route}", json=body) for route, body in ASKED]
        request.getfixturevalue("doubles")
        after = [client.post(f"/v1/{route}", json=body) for route, body in ASKED]
    assert [answer.status_code for answer in after] == [answer.status_code for answer in before]
    assert sum(answer.status_code == 200 for answer in before) >= 4
    assert [[item["id"] for item in answer.json().get("items", ())] for answer in after] == [
        [item["id"] for item in answer.json().get("items", ())] for answer in before
    ]


def test_a_picture_that_is_written_as_an_address_is_not_found() -> None:
    bundle = shop.bundle("popularity")
    table = bundle.table.with_columns(image=pl.lit("data:image/png;base64," + "A" * 5000))
    model = Served("it", dataclasses.replace(bundle, table=table), media=Path("."))
    with shop.client(model) as client:
        answer = client.get("/media/i1")
    assert (answer.status_code, answer.json()["error"]["what"]) == (404, "the picture of the item 'i1' cannot be read")


def test_pictures_that_nobody_can_find_are_known_to_be_missing(tmp_path: Path) -> None:
    bundle = shop.bundle("popularity")
    shown = dataclasses.replace(bundle, table=bundle.table.with_columns(image=pl.lit("a.jpg")))
    assert Served("it", shown).lacks_media
    assert not Served("it", shown, media=tmp_path).lacks_media
    bare = dataclasses.replace(bundle, table=bundle.table.drop("image", strict=False))
    assert not Served("it", bare).lacks_media


def test_ranges_of_days_and_times_hold_and_what_is_no_date_is_refused() -> None:
    bundle = shop.bundle("popularity")
    first, days = datetime(2024, 5, 1, 12), [int(name[1:]) for name in bundle.items.ids]
    added = [first + timedelta(days=number) for number in days]
    model = Served("it", dataclasses.replace(bundle, table=bundle.table.with_columns(added=pl.Series(added))))
    with shop.client(model) as client:

        def answer(wanted: Any) -> Any:
            body = {"user": "u7", "k": 200, "exclude_seen": False, "where": {"added": wanted}}
            return client.post("/v1/recommend", json=body)

        def chosen(wanted: Any) -> set[int]:
            return {int(item["id"][1:]) for item in answer(wanted).json()["items"]}

        assert chosen({"min": "2024-05-03", "max": "2024-05-05"}) == {2, 3, 4}
        assert chosen({"max": "2024-05-03T14:00+02:00"}) == {0, 1, 2}
        assert chosen({"min": "2024-05-24T12:00:01"}) == {24}
        assert chosen("2024-05-02") == {1}
        for wanted, where in (({"min": 2024}, "added>=2024"), ({"max": "soon"}, "added<=soon")):
            refused = answer(wanted)
            assert refused.status_code == 422
            assert "is no date" in refused.json()["error"]["what"]
            assert refused.json()["error"]["where"] == where


def test_ids_and_long_numbers_are_asked_for_as_they_are() -> None:
    bundle = shop.bundle("popularity")
    numbers = pl.Series([2**53 + int(name[1:]) for name in bundle.items.ids])
    table = bundle.table.with_columns(
        article=numbers, title=pl.col("item_id").str.replace("i", "Up|Down "), old=pl.col("item_id") == "i3"
    )
    model = Served("it", dataclasses.replace(bundle, table=table))
    with shop.client(model) as client:

        def chosen(**where: Any) -> list[str]:
            body = {"user": "u7", "k": 200, "exclude_seen": False, "where": where}
            return [item["id"] for item in client.post("/v1/recommend", json=body).json()["items"]]

        wanted = 2**53 + 1
        assert chosen(article=wanted) == ["i1"]
        assert chosen(article={"min": wanted, "max": wanted}) == ["i1"]
        assert chosen(title="Up|Down 2") == ["i2"]
        for yes in (True, "True", 1):
            assert chosen(old=yes) == ["i3"]


def test_who_only_dislikes_is_told_what_the_list_comes_of() -> None:
    with shop.client(shop.served("crmman"), shop.served("bpr")) as client:

        def answer(model: str, *items: str) -> dict[str, Any]:
            given = [{"id": name, "rating": 1} for name in items]
            return client.post("/v1/recommend", json={"items": given, "model": model, "exclude_seen": False}).json()

        one, other, plain = answer("crmman", "i1", "i2"), answer("crmman", "i4", "i5"), answer("bpr", "i1", "i2")
        assert [item["score"] for item in one["items"]] != [item["score"] for item in other["items"]]
        assert "comes of what is disliked alone" in one["notes"][0]
        assert "what somebody without a history gets" in plain["notes"][0]
        assert plain["items"] == answer("bpr", "i4", "i5")["items"]


def test_every_refusal_for_a_time_says_when_to_come_again() -> None:
    go, model = threading.Event(), shop.served("popularity")
    app = create_app(Shelf.of(model), limits=Limits(seconds=0.1, workers=1, waiting=0))
    real = model.words.find
    model.words.find = lambda *words: (go.wait(60), real(*words))[1]  # pyright: ignore[reportAttributeAccessIssue]
    with TestClient(app) as client:
        late, busy = client.get("/v1/items"), client.get("/v1/users")
        go.set()
    with TestClient(create_app(Shelf.of(shop.served("bpr")))) as client:
        pass
    stopped = client.get("/v1/users")
    said = ("no answer within 0.1 s", "the service is busy", "the service is stopping")
    for answer, words in zip((late, busy, stopped), said, strict=True):
        assert (answer.status_code, answer.headers.get("Retry-After")) == (503, "1")
        assert answer.json()["error"]["what"] == words


def test_models_are_listed_while_a_picture_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go = threading.Event(), threading.Event()

    class Slow(shop.LetterEncoder):
        def encode_batch(self, values: Any) -> Any:
            begun.set()
            assert go.wait(60)
            return super().encode_batch(values)

    monkeypatch.setattr(shop, "LetterEncoder", Slow)
    shop.plant(monkeypatch)
    with shop.client(shop.served("vbpr"), limits=Limits(workers=2)) as client:
        asked = threading.Thread(target=lambda: client.post("/v1/recommend", json={"text": "a robot"}))
        asked.start()
        assert begun.wait(60)
        listed = client.get("/v1/models")
        go.set()
        asked.join()
    assert listed.status_code == 200


@pytest.fixture
def stored(tmp_path: Path) -> dict[str, Path]:
    for name in ("popularity", "bpr"):
        shop.bundle(name).save(tmp_path / name)
    return {name: tmp_path / name for name in ("popularity", "bpr")}


def turning(monkeypatch: pytest.MonkeyPatch, link: Path, target: Path) -> list[Path]:
    """Let the link lead elsewhere the first time that a manifest was read."""
    real, turned = reading.read_manifest, list[Path]()

    def read(folder: Path, *words: Any, **named: Any) -> dict[str, Any]:
        manifest = real(folder, *words, **named)
        if not turned:
            turned.append(folder)
            link.unlink()
            link.symlink_to(target)
        return manifest

    monkeypatch.setattr(reading, "read_manifest", read)
    return turned


def test_what_changed_while_it_was_read_is_read_once_more(
    stored: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = tmp_path / "current"
    link.symlink_to(stored["popularity"])
    # When the service starts, and when it is told to load: nobody looks again later.
    turned = turning(monkeypatch, link, stored["bpr"])
    shelf = Shelf.open({"it": link})
    assert len(turned) == 1
    assert shelf.get().bundle.facts.model == "bpr"
    told: list[str] = []
    shelf.told = lambda _, outcome: told.append(outcome)
    turned = turning(monkeypatch, link, stored["popularity"])
    shelf.refresh(force=True)
    assert shelf.get().bundle.facts.model == "popularity"
    monkeypatch.undo()
    shelf.refresh()
    assert told == ["swapped"]


def test_a_run_is_read_of_one_state_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import worlds
    from palate import experiment

    catalogue = worlds.stored(tmp_path / "catalogue")
    data = experiment.load(catalogue, split="random")
    small = {"dim": 4, "epochs": 1, "batch_size": 64}
    for seed in (0, 1):
        experiment.fit("bpr", data, seed=seed, settings=small, out=tmp_path / str(seed), quiet=True)
    link = tmp_path / "current"
    link.symlink_to("0")
    run = Run.load(link)
    link.unlink()
    link.symlink_to("1")
    # Its model is read later, and belongs to the scores that were read first.
    assert run.folder == tmp_path / "0"
    assert torch.equal(run.model().scorer().score_block(torch.arange(3)), run.scorer.score_block(torch.arange(3)))
    real = experiment.read_manifest

    def turned(*words: Any, **named: Any) -> dict[str, Any]:
        manifest = real(*words, **named)
        link.unlink()
        link.symlink_to("0")
        return manifest

    monkeypatch.setattr(experiment, "read_manifest", turned)
    with pytest.raises(ArtefactError, match="changed while it was read"):
        Run.load(link)
    link.unlink()
    link.symlink_to("1")
    with pytest.raises(ArtefactError, match="changed while it was read"):
        load("it", link)
    monkeypatch.undo()
    # A measurement that is noted meanwhile changes nothing of what is served.
    real_scorer = experiment._scorer_of

    link.unlink()
    link.symlink_to("1")
    other = Run.load(link)
    monkeypatch.setattr(experiment, "_scorer_of", lambda *words: (other.evaluate(), real_scorer(*words))[1])
    assert Run.load(link).recipe.seed == 1


def test_a_link_whose_folder_was_taken_away_is_served_from_beside_that_folder(
    stored: dict[str, Path], tmp_path: Path
) -> None:
    (tmp_path / "links").mkdir()
    link = tmp_path / "links" / "current"
    link.symlink_to(stored["bpr"])
    left = tmp_path / ".bpr.abc123.old"
    left.mkdir()
    os.rename(stored["bpr"], left / "was")
    # Of another folder, whose name begins alike.
    shutil.copytree(stored["popularity"], tmp_path / ".bpr.b.abc123.old" / "was")
    assert standing(link) == standing(stored["bpr"]) == left / "was"
    assert Shelf.open({"it": link}).get().bundle.facts.model == "bpr"


def test_the_watcher_outlives_whatever_happens() -> None:
    shelf, calls, second = Shelf.of(shop.served("popularity")), list[bool](), threading.Event()

    def refresh(*, force: bool = False) -> None:
        calls.append(force)
        if len(calls) == 1:
            raise LookupError("a surprise")
        second.set()

    shelf.refresh = refresh  # pyright: ignore[reportAttributeAccessIssue]
    watcher = Watcher(shelf, 0.01)
    assert second.wait(60)
    watcher.close()
