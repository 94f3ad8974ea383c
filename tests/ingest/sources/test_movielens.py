"""MovieLens from small files in the form of the real ones: sources agree, caches are checked, offline is explained."""

from __future__ import annotations

import hashlib
import io
import subprocess
import urllib.error
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from palate.core.errors import ArtefactError, DataError
from palate.core.places import cache_folder, data_folder
from palate.ingest.catalogue import Catalogue
from palate.ingest.sources import movielens
from palate.ingest.sources.movielens import SOURCES, CannotFetch, Source, get_movielens_100k

RATINGS = [("1", "2", "5", "881250949"), ("2", "1", "3", "891717742"), ("1", "267", "1", "878887116")]
FLAGS = {"1": "000111" + "0" * 13, "2": "0000000100" + "0" * 9, "267": "1" + "0" * 18, "1412": "0001100" + "0" * 12}


def zipped(members: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return stream.getvalue()


def official() -> bytes:
    films = {
        "1": "Toy Story (1995)",
        "2": "Misérables, Les (1995)",
        "267": "unknown",
        "1412": "Land Before Time III (1995) (V)",
    }
    items = "".join(f"{key}|{film}|01-Jan-1995||http://x|{'|'.join(FLAGS[key])}\n" for key, film in films.items())
    return zipped(
        {
            "ml-100k/u.data": "".join("\t".join(row) + "\n" for row in RATINGS).encode("latin-1"),
            "ml-100k/u.item": items.encode("latin-1"),
        }
    )


def package() -> bytes:
    folder = "recbole/dataset_example/ml-100k/ml-100k"
    items = [
        ("item_id:token", "movie_title:token_seq", "release_year:token", "class:token_seq"),
        ("1", "Toy Story", "1995", "Animation Children's Comedy"),
        ("2", "Misérables, Les", "1995", "Documentary"),
        ("267", "unkonwn", "unkonwn", "unknown"),
        ("1412", "Land Before Time III (1995)", "V", "Animation Children's"),
    ]
    ratings = [("user_id:token", "item_id:token", "rating:float", "timestamp:float"), *RATINGS]
    knowledge = [("head_id:token", "relation_id:token", "tail_id:token"), ("m.1", "film.actor", "m.9")]
    links = [("item_id:token", "entity_id:token"), ("267", "m.267"), ("1", "m.1")]
    tables = {"inter": ratings, "item": items, "kg": knowledge, "link": links}
    return zipped(
        {f"{folder}.{kind}": "".join("\t".join(row) + "\n" for row in rows).encode() for kind, rows in tables.items()}
    )


@dataclass
class Place:
    """A source that gives `data`, or fails, and counts how often it was asked."""

    like: Source
    data: bytes
    gives: Callable[[bytes], bytes] | None = None
    asked: list[str] = field(default_factory=list[str])

    def source(self) -> Source:
        return replace(self.like, digest=hashlib.new(self.like.algorithm, self.data).hexdigest(), fetch=self._fetch)

    def _fetch(self) -> bytes:
        self.asked.append(self.like.place)
        return self.data if self.gives is None else self.gives(self.data)


def offline(_: bytes) -> bytes:
    raise CannotFetch("the network is unreachable")


def test_both_sources_give_the_same_interactions_and_items(tmp_path: Path) -> None:
    first = get_movielens_100k(tmp_path / "a", tmp_path / "c1", sources=[Place(SOURCES[0], official()).source()])
    second = get_movielens_100k(tmp_path / "b", tmp_path / "c2", sources=[Place(SOURCES[1], package()).source()])
    assert first.interactions.equals(second.interactions)
    assert first.items.equals(second.items)
    assert first.interactions.select("user_id", "item_id", "rating", "timestamp").rows()[0] == ("1", "2", 5, 881250949)
    assert first.items.select("item_id", "title", "year", "genres").rows() == [
        ("1", "Toy Story", "1995", "Animation|Children's|Comedy"),
        ("2", "Misérables, Les", "1995", "Documentary"),
        ("267", None, None, None),
        ("1412", "Land Before Time III", "1995", "Animation|Children's"),
    ]
    assert (first.knowledge, first.item_entities) == (None, None)
    assert second.knowledge is not None
    assert second.knowledge.rows() == [("m.1", "film.actor", "m.9")]
    assert second.item_entities is not None
    assert second.item_entities.rows() == [("1", "m.1"), ("267", "m.267")]
    assert Catalogue.load(tmp_path / "b").fingerprint == second.fingerprint


def test_the_package_is_the_second_choice_and_the_cache_the_first(tmp_path: Path) -> None:
    one, two = Place(SOURCES[0], official(), offline), Place(SOURCES[1], package())
    sources = [one.source(), two.source()]
    get_movielens_100k(tmp_path / "a", tmp_path / "cache", sources=sources)
    assert (len(one.asked), len(two.asked)) == (1, 1)
    get_movielens_100k(tmp_path / "b", tmp_path / "cache", sources=sources)
    assert (len(one.asked), len(two.asked)) == (1, 1)


def test_a_damaged_cache_is_fetched_again(tmp_path: Path) -> None:
    whole = official()
    place = Place(SOURCES[0], whole)
    get_movielens_100k(tmp_path / "a", tmp_path / "cache", sources=[place.source()])
    kept = tmp_path / "cache" / "ml-100k.zip"
    kept.write_bytes(kept.read_bytes()[:-1])
    get_movielens_100k(tmp_path / "b", tmp_path / "cache", sources=[place.source()])
    assert len(place.asked) == 2
    assert kept.read_bytes() == whole


def test_a_file_with_another_hash_is_neither_used_nor_kept(tmp_path: Path) -> None:
    place = Place(SOURCES[0], official(), lambda data: data + b"!")
    with pytest.raises(DataError, match="is not the published"):
        get_movielens_100k(tmp_path / "a", tmp_path / "cache", sources=[place.source()])
    assert not (tmp_path / "a").exists()
    assert not (tmp_path / "cache" / "ml-100k.zip").exists()


def test_offline_it_says_what_was_tried_and_how_to_go_on(tmp_path: Path) -> None:
    sources = [Place(SOURCES[0], b"", offline).source(), Place(SOURCES[1], b"", offline).source()]
    with pytest.raises(DataError) as caught:
        get_movielens_100k(tmp_path / "a", tmp_path / "cache", sources=sources)
    text = str(caught.value)
    for part in ("ml-100k.zip: not there", "recbole==1.2.1: the network is unreachable", "palate data import"):
        assert part in text


def test_a_catalogue_that_is_there_is_kept_unless_it_may_be_replaced(tmp_path: Path) -> None:
    sources = [Place(SOURCES[0], official()).source()]
    get_movielens_100k(tmp_path / "a", tmp_path / "cache", sources=sources)
    with pytest.raises(ArtefactError, match="exists already"):
        get_movielens_100k(tmp_path / "a", tmp_path / "cache", sources=sources)
    get_movielens_100k(tmp_path / "a", tmp_path / "cache", sources=sources, replace=True)


def test_a_refused_connection_is_a_source_that_cannot_fetch(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise urllib.error.URLError("refused")

    monkeypatch.setattr(movielens.urllib.request, "urlopen", refuse)
    with pytest.raises(CannotFetch, match="refused"):
        SOURCES[0].fetch()


def test_an_answer_that_never_ends_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    class Endless(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return bytes(size or 0)

    def answer(*_: Any, **__: Any) -> Endless:
        return Endless()

    monkeypatch.setattr(movielens.urllib.request, "urlopen", answer)
    monkeypatch.setattr(movielens, "MAX_BYTES", 1 << 20)
    with pytest.raises(CannotFetch, match="far larger"):
        SOURCES[0].fetch()


def test_the_package_comes_through_pip_and_its_last_word_is_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def pip(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        (Path(command[-1]) / "recbole-1.2.1-py3-none-any.whl").write_bytes(b"wheel")
        return subprocess.CompletedProcess(command, 0, "", "")

    def no_pip(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, 1, "", "warning\nNo module named pip\n")

    monkeypatch.setattr(movielens.subprocess, "run", pip)
    assert SOURCES[1].fetch() == b"wheel"
    monkeypatch.setattr(movielens.subprocess, "run", no_pip)
    with pytest.raises(CannotFetch, match="No module named pip"):
        SOURCES[1].fetch()


def test_places_follow_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PALATE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PALATE_DATA", str(tmp_path / "data"))
    assert (cache_folder(), data_folder()) == (tmp_path / "cache", tmp_path / "data")
    get_movielens_100k(tmp_path / "a", sources=[Place(SOURCES[0], official()).source()])
    assert (tmp_path / "cache" / "movielens-100k" / "ml-100k.zip").is_file()
    monkeypatch.delenv("PALATE_CACHE")
    monkeypatch.delenv("PALATE_DATA")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert (cache_folder(), data_folder()) == (tmp_path / ".cache" / "palate", None)
