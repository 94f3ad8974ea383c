"""Swapping what is served: no request is lost, no broken model is taken, and the old one stays."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

import worlds
from palate.core.artefact import atomic_folder
from palate.core.errors import ArtefactError, ConfigError, PalateError
from palate.experiment import fit, load
from palate.recommend.forgetting import forget
from palate.serve.app import create_app
from palate.serve.state import Served, Shelf, names_of, standing
from serve import shop


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("bundles")
    made = {"popularity": shop.bundle("popularity"), "one": shop.bundle("bpr"), "two": shop.bundle("bpr", 1)}
    for name, bundle in made.items():
        bundle.save(root / name)
    return {name: root / name for name in made}


def turn(link: Path, target: Path) -> None:
    """Let a link lead elsewhere, in one step."""
    new = link.with_name(f"{link.name}.new")
    new.symlink_to(target)
    os.replace(new, link)


def test_a_turned_link_and_a_replaced_folder_are_swapped(bundles: dict[str, Path], tmp_path: Path) -> None:
    link, folder = tmp_path / "current", tmp_path / "folder"
    turn(link, bundles["popularity"])
    shutil.copytree(bundles["popularity"], folder)
    shelf, told = Shelf.open({"link": link, "folder": folder}), list[tuple[str, str]]()
    shelf.told = lambda name, outcome: told.append((name, outcome))
    shelf.refresh()
    assert told == []
    turn(link, bundles["one"])
    shelf.refresh()
    shelf.refresh()
    assert told == [("link", "swapped")]
    assert [shelf.get(name).bundle.facts.model for name in ("link", "folder")] == ["bpr", "popularity"]
    with atomic_folder(folder, replace=True) as into:
        shutil.copytree(bundles["one"], into, dirs_exist_ok=True)
    shelf.refresh()
    assert shelf.get("folder").bundle.facts.model == "bpr"
    shelf.refresh(force=True)
    assert told == [("link", "swapped"), ("folder", "swapped"), ("link", "swapped"), ("folder", "swapped")]


def test_a_broken_bundle_is_refused_and_a_mended_one_taken(bundles: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    shutil.copytree(bundles["popularity"], folder)
    shelf, told = Shelf.open({"it": folder}), list[str]()
    shelf.told = lambda _, outcome: told.append(outcome)
    before = shelf.get("it")
    path = folder / "scores.safetensors"
    sound = path.read_bytes()
    path.write_bytes(sound[:-1])
    shelf.refresh()
    shelf.refresh()
    # Tried once for each state of the folder.
    assert told == ["refused"]
    assert shelf.get("it") is before
    path.write_bytes(sound)
    shelf.refresh()
    assert told == ["refused", "swapped"]
    shutil.rmtree(folder)
    shelf.refresh()
    assert told == ["refused", "swapped"]
    assert shelf.get("it").bundle.facts.model == "popularity"


def test_whatever_goes_wrong_in_a_swap_the_next_one_is_taken(bundles: dict[str, Path], tmp_path: Path) -> None:
    link = tmp_path / "current"
    turn(link, bundles["popularity"])
    shelf, told = Shelf.open({"it": link}), list[str]()
    shelf.told = lambda _, outcome: told.append(outcome)
    place = shelf.places["it"]
    sound = place.load

    def broken() -> Served:
        raise RuntimeError("not enough memory")

    place.load = broken
    turn(link, bundles["one"])
    shelf.refresh()
    place.load = sound
    turn(link, Path("current"))
    shelf.refresh()
    assert told == ["refused"]
    turn(link, bundles["two"])
    shelf.refresh()
    assert told == ["refused", "swapped"]


def test_of_several_leftovers_the_newest_that_is_whole_is_served(bundles: dict[str, Path], tmp_path: Path) -> None:
    for number, name in enumerate(("popularity", "one", "empty")):
        left = tmp_path / f".gone.{number}.old" / "was"
        if name == "empty":
            left.mkdir(parents=True)
        else:
            shutil.copytree(bundles[name], left)
            os.utime(left, (number, number))
    assert standing(tmp_path / "gone").parent.name == ".gone.1.old"


def test_swapping_loses_no_request(bundles: dict[str, Path], tmp_path: Path) -> None:
    link = tmp_path / "current"
    turn(link, bundles["one"])
    shelf = Shelf.open({"it": link})
    answers: dict[str, list[str]] = {}
    for name, seed in (("one", 0), ("two", 1)):
        with shop.client(shop.served("bpr", called="it", seed=seed)) as client:
            answers[name] = client.post("/v1/recommend", json={"user": "u7", "k": 5}).json()["items"]
    assert answers["one"] != answers["two"]
    wrong: list[object] = []
    got: dict[str, int] = {"one": 0, "two": 0}
    stop = threading.Event()

    with TestClient(create_app(shelf, poll=0.02)) as client:

        def ask() -> None:
            while not stop.is_set():
                answer = client.post("/v1/recommend", json={"user": "u7", "k": 5})
                found = [
                    name
                    for name, items in answers.items()
                    if answer.status_code == 200 and answer.json()["items"] == items
                ]
                if len(found) == 1:
                    got[found[0]] += 1
                else:
                    wrong.append((answer.status_code, answer.text))

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        swaps = 0
        while swaps < 6:
            turn(link, bundles["two" if swaps % 2 == 0 else "one"])
            before = shelf.get("it")
            while shelf.get("it") is before:
                stop.wait(0.01)
            swaps += 1
        stop.set()
        for thread in threads:
            thread.join()
        text = client.get("/metrics").text
    assert wrong == []
    assert got["one"] > 0
    assert got["two"] > 0
    assert 'palate_swaps_total{model="it",outcome="swapped"} 6.0' in text


def test_what_a_killed_replacement_left_is_still_served(bundles: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "b[1]"
    shutil.copytree(bundles["popularity"], folder)
    left = tmp_path / f".{folder.name}.abc.old"
    left.mkdir()
    os.rename(folder, left / "was")
    assert standing(folder) == left / "was"
    assert Shelf.open({"it": folder}).get().bundle.facts.model == "popularity"


def test_only_runs_and_bundles_are_served(bundles: dict[str, Path], tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(ArtefactError):
            Shelf.open({"it": path})
    shop.bundle("indexorder").save(tmp_path / "canary")
    with pytest.raises(ConfigError, match="canary"):
        Shelf.open({"it": tmp_path / "canary"})
    with pytest.raises(PalateError, match="unknown model 'thing'"):
        Shelf.open({"it": bundles["one"]}).get("thing")


def test_names_come_from_folders_or_are_given(tmp_path: Path) -> None:
    for name in ("runs/bpr", "other/bpr", "a=b"):
        (tmp_path / name).mkdir(parents=True)
    words = [
        str(tmp_path / "runs/bpr"),
        str(tmp_path / "other/bpr"),
        f"best={tmp_path / 'runs/bpr'}",
        str(tmp_path / "a=b"),
    ]
    found = names_of(words)
    assert list(found) == ["bpr", "bpr-2", "best", "a=b"]
    assert found["best"] == found["bpr"]
    with pytest.raises(ConfigError, match="two models"):
        names_of(["x=runs/one", "x=runs/two"])
    with pytest.raises(ConfigError, match="names no model"):
        names_of(["x="])


def test_a_run_in_which_somebody_was_forgotten_is_served_no_more(bundles: dict[str, Path], tmp_path: Path) -> None:
    """What was read of it before still holds them."""
    catalogue, run = tmp_path / "catalogue", tmp_path / "run"
    worlds.catalogue().save(catalogue)
    fit("popularity", load(catalogue, split="random"), out=run, quiet=True)
    shelf = Shelf.open({"run": run, "bundle": bundles["one"]})
    with TestClient(create_app(shelf)) as client:
        assert client.get("/v1/users/u1").status_code == 200
        forget([catalogue, run], users=["u1"])
        shelf.refresh()
        answer = client.get("/v1/users/u1")
        assert (answer.status_code, answer.json()["error"]["do"]) == (410, "train it again")
        assert client.get("/v1/users/u2", params={"model": "bundle"}).status_code == 200
        health = client.get("/v1/health").json()
        assert (health["models"], health["default"]) == (["bundle"], "")
        assert [model["name"] for model in client.get("/v1/models").json()["models"]] == ["bundle"]
        assert client.get("/metrics").status_code == 200
        shutil.rmtree(run)
        fit("popularity", load(catalogue, split="random"), out=run, quiet=True)
        shelf.refresh()
        assert client.get("/v1/users/u2").status_code == 200
        assert client.get("/v1/users/u1").status_code == 404
