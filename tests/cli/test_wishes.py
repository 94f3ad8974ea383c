"""`palate recommend` with wishes and `palate explain`, on a small shop; mistakes end in a message."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

import worlds
from cli.settings import SMALL
from palate.ingest.catalogue import Catalogue
from palate.printing import print_explanation

# Who did most, so that something of it is in training.
BUSY = str(worlds.interactions()["user_id"].mode().sort()[0])
COLOURS = ["red|small", "green", "blue", None, "red"] * 5


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """Items with colours and years; nobody took the last three."""
    goods = pl.DataFrame(
        {
            "item_id": [f"i{item}" for item in range(28)],
            "title": [f"The film {item}" for item in range(28)],
            "colour": [*COLOURS, "red", "red", "green"],
            "year": [str(1980 + item) for item in range(28)],
        }
    )
    return worlds.stored(tmp_path / "shop", Catalogue.of(worlds.interactions(), goods, name="shop"))


@pytest.fixture
def run(shop: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    assert worlds.palate("train", "vbpr", "--data", shop, "-o", folder, *SMALL).code == 0
    return folder


def listed(run: Path, *words: object) -> pl.DataFrame:
    target = run.parent / "lists.parquet"
    ended = worlds.palate("recommend", run, "--all", "-o", target, *words)
    assert ended.code == 0, ended.text
    return pl.read_parquet(target)


def test_wishes_hold_in_every_list(run: Path, tmp_path: Path) -> None:
    plain = listed(run, "-k", 8)
    table = listed(run, "-k", 8, "--where", "colour=red", "--where", "year>=1985")
    wanted = {f"i{item}" for item in (5, 9, 10, 14, 15, 19, 20, 24, 25, 26)}
    assert set(table["item_id"]) <= wanted
    assert set(plain["item_id"]) - wanted
    assert table.height > 30

    (tmp_path / "some.txt").write_text("i1\ni2\ni3\ni4\n")
    (tmp_path / "never.txt").write_text("i3\n")
    table = listed(run, "--allow", tmp_path / "some.txt", "--deny", tmp_path / "never.txt")
    assert set(table["item_id"]) == {"i1", "i2", "i4"}

    table = listed(run, "-k", 6, "--popularity-cap", 1, "--cold-quota", 2)
    known = worlds.interactions().select("user_id", "item_id")
    assert table.join(known, on=["user_id", "item_id"]).is_empty()
    assert not table.select("user_id", "item_id").is_duplicated().any()
    cold = {"i25", "i26", "i27"}
    kept = table.group_by("user_id").agg(pl.col("item_id").is_in(list(cold)).sum().alias("cold"))
    assert kept.height == 30
    assert bool((kept["cold"] >= 2).all())

    for modality in ("text", "image", "model"):
        same, other = (listed(run, "-k", 5, "--diversify", f"{modality}:{weight}") for weight in ("1", "0.1"))
        assert same["item_id"].to_list() == listed(run, "-k", 5)["item_id"].to_list()
        assert other["item_id"].to_list() != same["item_id"].to_list()


def test_an_item_is_explained(run: Path) -> None:
    ended = worlds.palate("explain", run, "--user", BUSY, "--item", "i7", "--json", "-k", 2)
    assert ended.code == 0, ended.text
    found = json.loads(ended.out)
    assert set(found["parts"]) == {"item id", "image", "text", "item bias"}
    assert sum(found["parts"].values()) == pytest.approx(found["score"], abs=1e-5)
    assert found["history"]["basis"] == "cosine"
    assert len(found["history"]["items"]) == 2
    assert set(found["neighbours"]) == {"image", "text"}
    said = worlds.palate("explain", run, "--user", BUSY, "--item", "i7", "-k", 2)
    assert said.code == 0, said.text
    assert f"user {BUSY}, item i7 (The film 7)" in said.out
    for near in [*found["history"]["items"], *found["neighbours"]["text"]]:
        assert near["title"] in said.out
    assert f"{found['score']:.4f}" in said.out
    assert "\nthe sum of:\n" in said.out


def test_parts_that_are_not_all_there_is_are_not_called_a_sum(capsys: pytest.CaptureFixture[str]) -> None:
    found = {"user": "u", "item_id": "i", "known": False, "score": 1.0, "history_length": 0, "neighbours": {}}
    history = {"basis": None, "items": [], "rest": None}
    print_explanation({**found, "history": history, "parts": {"id": 0.75, "image": 0.25}})
    print_explanation({**found, "history": history, "parts": {"id": 0.75}})
    whole, part = capsys.readouterr().out.split("user u")[1:]
    assert "the sum of:" in whole
    assert "parts, which do not add up to it:" in part


def test_a_model_of_item_weights_is_explained(shop: Path, tmp_path: Path) -> None:
    folder = tmp_path / "ease"
    assert worlds.palate("train", "ease", "--data", shop, "-o", folder, "--quiet").code == 0
    found = json.loads(worlds.palate("explain", folder, "-u", BUSY, "-i", "i7", "--json", "-k", 1).out)
    assert found["parts"] == {}
    assert found["history"]["basis"] == "weight"
    assert sum(near["weight"] for near in found["history"]["items"]) + found["history"]["rest"] == pytest.approx(
        found["score"], abs=1e-5
    )
    # Neighbours by content are those of the catalogue, whatever the model reads.
    assert set(found["neighbours"]) == {"image", "text"}
    said = worlds.palate("explain", folder, "-u", BUSY, "-i", "i7", "-k", 1)
    assert "all others add" in said.out
    said = worlds.palate("recommend", folder, "-u", "u1", "--diversify", "model:0.5")
    assert said.code == 1
    assert "unknown modality 'model'" in said.err


def test_stale_ids_are_left_out_and_named(run: Path, tmp_path: Path) -> None:
    (tmp_path / "old.txt").write_text("gone\ni3\n")
    (tmp_path / "gone.txt").write_text("I3x\n")
    allowed = worlds.palate(
        "recommend", run, "-u", "u1", "--allow", tmp_path / "old.txt", "--deny", tmp_path / "gone.txt"
    )
    assert allowed.code == 0, allowed.text
    assert allowed.err.splitlines() == [
        f"note: {tmp_path}/old.txt: 1 id that is no item is left out: gone",
        f"note: {tmp_path}/gone.txt: 1 id that is no item is left out: I3x",
    ]
    assert "i3 " in allowed.out
    nothing = worlds.palate("recommend", run, "-u", "u1", "--allow", tmp_path / "gone.txt")
    assert nothing.code == 1
    assert "there is no item of an id in this file" in nothing.err
    assert "did you mean 'i3' by 'I3x'?" in nothing.err


def test_who_is_named_twice_gets_one_list(run: Path) -> None:
    once, twice = (worlds.palate("recommend", run, *users) for users in (("-u", "u1"), ("-u", "u1", "-u", "u1")))
    assert once.code == 0
    assert once.out == twice.out


def test_a_file_that_no_table_goes_into_is_refused_at_once(tmp_path: Path) -> None:
    ended = worlds.palate("recommend", tmp_path / "no run", "--all", "-o", tmp_path / "lists.txt")
    assert "'lists.txt' is neither .parquet nor .csv" in ended.err


def test_a_bundle_is_explained_by_its_run(run: Path, tmp_path: Path) -> None:
    assert worlds.palate("export", run, "-o", tmp_path / "bundle").code == 0
    ended = worlds.palate("explain", tmp_path / "bundle", "-u", "u1", "-i", "i1")
    assert ended.code == 1
    assert "do:    name the run that it was exported from" in ended.err


def test_what_a_model_cannot_tell_apart_is_said(shop: Path, tmp_path: Path) -> None:
    folder = tmp_path / "ease"
    assert worlds.palate("train", "ease", "--data", shop, "-o", folder, "--quiet").code == 0
    # Nobody took i26: what is like it, the model does not know.
    new = worlds.palate("recommend", folder, "--liked", "i26", "-k", 3)
    assert new.err == (
        "note: the model gives all items that may be in this list the same score: they come in order of popularity\n"
    )
    popular = worlds.palate("recommend", folder, "--liked", "i26", "-k", 3, "--cold-quota", 3)
    assert "2 of 3 items that nobody took in training: no other may be in this list" in popular.err
    assert "same score: their choice and order are chance" in popular.err
    short = worlds.palate("recommend", folder, "--liked", "i7", "-k", 2, "--cold-quota", 4)
    assert short.code == 0, short.text
    assert "2 of 4 items that nobody took in training: a list of 2 holds no more" in short.err
    known = worlds.palate("recommend", folder, "--liked", "i7", "-k", 3)
    assert known.err == ""


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--where", "color=red"), "did you mean 'colour'"),
        (("--where", "colour=rad"), "did you mean 'red'"),
        (("--where", "colour"), "COLUMN=VALUE"),
        (("--where", "title>=3"), "no numbers"),
        (("--where", "colour=red", "--where", "colour=blue"), "no item satisfies"),
        (("--allow", "nowhere.txt"), "error: there is no such file\n  where: nowhere.txt\n  do:    check the path"),
        (("--diversify", "text"), "MODALITY:λ"),
        (("--diversify", "audio:0.5"), "unknown modality 'audio'"),
        (("--popularity-cap", "half"), "30%"),
        (("--cold-quota", "-1"), "cold-quota"),
    ],
)
def test_wishes_that_cannot_be_are_answered(run: Path, words: tuple[str, ...], expected: str) -> None:
    ended = worlds.palate("recommend", run, "--user", "u1", *words)
    assert ended.code
    assert expected in ended.text
    assert "Traceback" not in ended.text


@pytest.mark.parametrize(
    ("words", "expected"),
    [(("-u", "u999", "-i", "i1"), "unknown user"), (("-u", "u1", "-i", "x"), "unknown item"), (("-u", "u1"), "--item")],
)
def test_what_cannot_be_explained_is_answered(run: Path, words: tuple[str, ...], expected: str) -> None:
    ended = worlds.palate("explain", run, *words)
    assert ended.code
    assert expected in ended.text
    assert "Traceback" not in ended.text
