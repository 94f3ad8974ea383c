"""Forgetting: no file holds the id any more, and everybody else is served as before."""

from __future__ import annotations

import csv
import threading
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

import worlds
from palate.core.artefact import read_tensors
from palate.core.errors import ArtefactError, DataError
from palate.encode.store import FeatureStore
from palate.experiment import Run, fit, load
from palate.ingest.catalogue import Catalogue
from palate.models import MODELS, Recommender
from palate.recommend.bundle import Bundle
from palate.recommend.forgetting import forget, without
from palate.recommend.topk import write_table
from palate.study.exchange import export_trec
from palate.train.warmstart import WarmStart, read_ids
from recommend import trained

USER, ITEM = "user-4711-anna", "item-0815-secret"


def named(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.with_columns(
        user_id=pl.col("user_id").replace("u7", USER), item_id=pl.col("item_id").replace("i7", ITEM)
    )


@pytest.fixture
def catalogue(tmp_path: Path) -> Path:
    """A world with a user and an item whose ids cannot occur by chance, with knowledge, features, and a picture."""
    plain = worlds.catalogue()
    items = plain.items.with_columns(
        item_id=pl.col("item_id").replace("i7", ITEM),
        image=pl.when(pl.col("item_id") == "i7")
        .then(pl.lit(f"posters/{ITEM}.png"))
        .otherwise(pl.lit("posters/all.png")),
    )
    links = pl.DataFrame({"item_id": [ITEM, ITEM, "i8"], "entity": ["only-of-it", "shared", "shared"]})
    triples = pl.DataFrame(
        [("only-of-it", "starring", "x"), ("shared", "starring", "y"), (ITEM, "genre", "z")],
        schema=["head", "relation", "tail"],
        orient="row",
    )
    source = Catalogue.of(named(plain.interactions), items, triples, links, name="world")

    def pictures(folder: Path) -> None:
        (folder / "posters").mkdir()
        for name in (ITEM, "all"):
            (folder / "posters" / f"{name}.png").write_bytes(b"picture of " + name.encode())

    folder = tmp_path / "catalogue"
    source.save(folder, media=pictures)
    ids = items["item_id"].to_list()
    failed = pl.DataFrame({"item_id": [ITEM, "i3"], "file": ["a", "b"], "reason": ["broken", "broken"]})
    FeatureStore(folder).save(worlds.features(ids, "text", missing=("i3",)), failed)
    FeatureStore(folder).save(worlds.features(ids, "image", width=4))
    return folder


def mentions(folder: Path, *names: str) -> list[str]:
    """The files that hold one of the names, in their bytes or in a cell of what they decode to."""
    found: list[str] = []
    for path in sorted(folder.rglob("*")) if folder.is_dir() else [folder]:
        where = str(path.relative_to(folder.parent))
        if any(name in where for name in names):
            found.append(f"the name {where}")
        if not path.is_file():
            continue
        content = path.read_bytes()
        if any(name.encode() in content for name in names):
            found.append(where)
        if path.suffix == ".parquet":
            table = pl.read_parquet(path)
            if any(name in str(cell) for row in table.iter_rows() for cell in row for name in names):
                found.append(f"cells of {where}")
    return found


def test_the_search_finds_ids_where_they_are(catalogue: Path) -> None:
    assert {"cells of catalogue/interactions.parquet", "catalogue/features/text/failed.csv"} <= set(
        mentions(catalogue, USER, ITEM)
    )


def test_a_catalogue_forgets_rows_features_files_and_knowledge(catalogue: Path) -> None:
    before = Catalogue.load(catalogue)
    text = FeatureStore(catalogue).load("text", ["i1", "i2"]).matrix.copy()
    (done,) = forget([catalogue], [USER], [ITEM])
    assert (done.kind, done.users, done.items) == ("catalogue", (USER,), (ITEM,))
    assert mentions(catalogue, USER, ITEM, "only-of-it") == []
    after = Catalogue.load(catalogue)
    gone = (pl.col("user_id") == USER) | (pl.col("item_id") == ITEM)
    assert after.interactions.equals(before.interactions.filter(~gone))
    assert after.items.equals(before.items.filter(pl.col("item_id") != ITEM))
    assert after.knowledge is not None
    assert after.knowledge["head"].to_list() == ["shared"]
    assert after.item_entities is not None
    assert after.item_entities["item_id"].to_list() == ["i8"]
    store = FeatureStore(catalogue)
    assert store.names() == ["image", "text"]
    assert np.array_equal(store.load("text", ["i1", "i2"]).matrix, text)
    assert len(store.load("image", after.items["item_id"].to_list())) == 24
    assert (catalogue / "posters" / "all.png").read_bytes() == b"picture of all"
    assert load(catalogue, split="random").fingerprint


def test_files_that_lie_elsewhere_are_named(catalogue: Path, tmp_path: Path) -> None:
    source = Catalogue.load(catalogue)
    elsewhere = Catalogue.of(source.interactions, source.items, name="w", media_root="/pictures").save(
        tmp_path / "other"
    )
    assert elsewhere.folder is not None
    (done,) = forget([elsewhere.folder], items=[ITEM])
    assert f"posters/{ITEM}.png" in done.notes[0]
    assert "/pictures" in done.notes[0]
    assert mentions(elsewhere.folder, ITEM) == []


def settings_of(name: str) -> dict[str, object]:
    learns = {"epochs": 2, "batch_size": 64} if issubclass(MODELS[name], Recommender) else {}
    wanted = {"dim": 4, "neighbours": 5, **learns}
    return {key: value for key, value in wanted.items() if key in MODELS[name].Config.model_fields or key in learns}


@pytest.mark.parametrize("name", ["bm3", "vbpr", "crmman", "itemknn", "popularity"])
def test_runs_and_bundles_forget_and_the_rest_of_the_bundle_serves_as_before(
    name: str, catalogue: Path, tmp_path: Path
) -> None:
    data = load(catalogue, split="random")
    run = fit(name, data, settings=settings_of(name), out=tmp_path / "run", quiet=True)
    made = run.bundle()
    made.save(tmp_path / "bundle")
    assert mentions(tmp_path / "run", USER, ITEM)
    assert mentions(tmp_path / "bundle", USER, ITEM)
    forget([catalogue, tmp_path / "run", tmp_path / "bundle"], [USER], [ITEM])
    for folder in (catalogue, tmp_path / "run", tmp_path / "bundle"):
        assert mentions(folder, USER, ITEM) == []

    found = Bundle.load(tmp_path / "bundle")
    assert (len(found.users), len(found.items)) == (len(made.users) - 1, 24)
    users = np.array([made.users.row(user) for user in found.users.ids])
    items = np.array([made.items.row(item) for item in found.items.ids])
    liked = {user for user in range(len(made.users)) if made.items.row(ITEM) in made.liked[user]}
    # An item–item model's score of somebody who liked the item lacks what that item said.
    same = np.array([user not in liked for user in users]) | (found.facts.form != "weights")
    expected = made.scores(users)[:, items]
    assert np.allclose(found.scores(np.arange(len(users)))[same], expected[same], atol=1e-6)
    ids = made.items.ids.to_list()
    for row, user in enumerate(users):
        left = [ids[item] for item in made.seen[user] if ids[item] != ITEM]
        assert [found.items.ids.to_list()[item] for item in found.seen[row]] == left

    with pytest.raises(DataError, match="1 users and 1 items were forgotten"):
        Run.load(tmp_path / "run")
    known = read_ids(tmp_path / "run")
    assert (len(known["user"]), len(known["item"])) == (len(made.users) - 1, 24)
    if issubclass(MODELS[name], Recommender):
        vectors, _ = read_tensors(tmp_path / "run" / "embeddings.safetensors")
        assert torch.equal(vectors["user"], run.scorer.user[torch.from_numpy(users)])  # pyright: ignore
        today = load(catalogue, split="random")
        start = tmp_path / "run"
        again = fit(name, today, settings=settings_of(name), out=tmp_path / "new", quiet=True, warm_start=start)
        assert USER not in again.data.users.ids
        assert WarmStart.load(tmp_path / "new").model == name
    else:
        assert not (tmp_path / "run" / "model.safetensors").exists()


@pytest.mark.parametrize("name", trained.NAMES)
def test_every_bundle_can_forget_and_be_stored(name: str, tmp_path: Path) -> None:
    bundle = trained.bundle(name)
    left = without(bundle, ["u1", "u2"], ["i5"])
    left.save(tmp_path / "bundle")
    found = Bundle.load(tmp_path / "bundle")
    assert (len(found.users), len(found.items)) == (38, 24)
    assert mentions(tmp_path / "bundle", '"u1"', '"i5"') == []
    assert np.array_equal(found.scores(np.arange(38)), left.scores(np.arange(38)))
    assert torch.isfinite(found.fold_in(["i1", "i2"]).scores).all()


def test_an_item_that_was_forgotten_weighs_nothing_any_more() -> None:
    bundle = trained.bundle("ease")
    left = without(bundle, [], ["i5"])
    ids = left.items.ids.to_list()
    row = bundle.items.row("i1")
    columns = [bundle.items.row(item) for item in ids]
    expected = bundle.fold_in(["i1"]).scores[0].numpy()[columns]
    assert row >= 0
    assert np.allclose(left.fold_in(["i1"]).scores[0].numpy(), expected, atol=1e-7)


def test_lists_and_tables_forget(catalogue: Path, tmp_path: Path) -> None:
    run = fit("popularity", load(catalogue, split="random"), out=tmp_path / "run", quiet=True)
    table = run.recommend(k=24)
    for suffix in ("csv", "parquet"):
        write_table(table, tmp_path / f"lists.{suffix}")
    export_trec(run, tmp_path / "trec", mask="train")
    places = [tmp_path / "lists.csv", tmp_path / "lists.parquet", tmp_path / "trec"]
    assert all(mentions(place, ITEM) for place in places)
    done = forget(places, [USER], [ITEM])
    assert [one.kind for one in done] == ["table", "table", "ranked lists"]
    assert all(mentions(place, USER, ITEM) == [] for place in places)
    left = table.filter((pl.col("user_id") != USER) & (pl.col("item_id") != ITEM))
    assert pl.read_parquet(tmp_path / "lists.parquet").equals(left)
    with open(tmp_path / "lists.csv", encoding="utf-8") as stream:
        assert len(list(csv.reader(stream))) == left.height + 1


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_rows_of_nobody_stay(tmp_path: Path, suffix: str) -> None:
    target = tmp_path / f"clicks.{suffix}"
    write_table(pl.DataFrame({"user_id": [7, None, 8, 7], "item_id": ["a", "b", None, None]}), target)
    assert forget([target], ["7"])[0].users == ("7",)
    left = pl.read_parquet(target) if suffix == "parquet" else pl.read_csv(target)
    assert left.rows() == [(None, "b"), (8, None)]


def test_mistakes_end_in_a_message_and_leave_things_as_they_are(catalogue: Path, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in catalogue.rglob("*") if path.is_file()}
    with pytest.raises(DataError, match="no user 'nobody' is known"):
        forget([catalogue], ["nobody"])
    assert {path: path.read_bytes() for path in catalogue.rglob("*") if path.is_file()} == before
    with pytest.raises(ArtefactError, match="did you mean 'catalogue'"):
        forget([tmp_path / "catalog"], [USER])
    (tmp_path / "letters").mkdir()
    with pytest.raises(ArtefactError, match="no bundle, run, catalogue"):
        forget([tmp_path / "letters"], [USER])
    pl.DataFrame({"a": [1]}).write_parquet(tmp_path / "other.parquet")
    with pytest.raises(ArtefactError, match="no column user_id or item_id"):
        forget([tmp_path / "other.parquet"], [USER])
    (tmp_path / "broken.parquet").write_bytes(b"x")
    with pytest.raises(ArtefactError, match="cannot be read"):
        forget([tmp_path / "broken.parquet"], [USER])


def test_an_unknown_id_beside_a_known_one_tells_what_was_forgotten(catalogue: Path) -> None:
    with pytest.raises(DataError, match="no user 'nobody' is known") as caught:
        forget([catalogue], [USER, "nobody"])
    assert f"of the others:\n{catalogue}: catalogue: forgot user '{USER}'" in str(caught.value)
    assert "whatever else was to be forgotten is forgotten" in caught.value.do


def test_forgetting_twice_says_that_nobody_is_known(catalogue: Path, tmp_path: Path) -> None:
    forget([catalogue], [USER])
    with pytest.raises(DataError, match=f"no user '{USER}'"):
        forget([catalogue], [USER])
    run = fit("bpr", load(catalogue, split="random"), settings=settings_of("bpr"), out=tmp_path / "run", quiet=True)
    forget([run.folder], ["u1"])
    forget([run.folder], ["u2"])
    with pytest.raises(DataError, match="2 users and 0 items"):
        Run.load(run.folder)


def test_two_who_forget_at_once_both_do_and_nothing_is_lost(tmp_path: Path) -> None:
    """Each took the other's unfinished folder for what a killed process had left, and deleted it."""
    bundle, users = tmp_path / "bundle", [f"u{number}" for number in range(1, 6)]
    made = trained.bundle("popularity").save(bundle)
    threads = [threading.Thread(target=forget, args=([bundle], [user])) for user in users]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert set(Bundle.load(bundle).users.ids) == set(made.users.ids) - set(users)
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


@pytest.mark.parametrize(
    ("file", "what"), [("comparison.json", "a comparison"), ("world.train.inter", "an export"), ("checkpoint", "a run")]
)
def test_what_cannot_be_written_anew_without_somebody_is_to_be_deleted(file: str, what: str, tmp_path: Path) -> None:
    (tmp_path / file).write_text("")
    with pytest.raises(ArtefactError, match=f"this is {what}") as caught:
        forget([tmp_path], [USER])
    assert caught.value.do.startswith("delete the folder")


def test_what_killed_processes_left_beside_a_place_is_deleted(tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    trained.bundle("popularity").save(bundle)
    kept = [tmp_path / ".bundle.new.abc.old", tmp_path / ".other.abc.partial", tmp_path / ".bundle.notes"]
    left = [tmp_path / ".bundle.abc.old" / "was", tmp_path / ".bundle.x_y7.partial"]
    for path in [*kept, *left]:
        trained.bundle("popularity").save(path)
    (tmp_path / "link").symlink_to("bundle")
    [done] = forget([tmp_path / "link"], users=["u7"])
    assert all(path.exists() for path in kept)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["bundle", "link", *(path.name for path in kept)])
    assert (tmp_path / "link").is_symlink()
    assert "u7" not in Bundle.load(bundle).users.ids.to_list()
    assert "left beside it is deleted: .bundle.x_y7.partial" in str(done)
    # Also beside a place that knows nobody any more.
    trained.bundle("popularity").save(left[0])
    with pytest.raises(DataError, match="no user 'u7'"):
        forget([bundle], users=["u7"])
    assert not left[0].exists()
    table = tmp_path / "lists.csv"
    pl.DataFrame({"user_id": ["u1", "u7"], "item_id": ["i1", "i1"]}).write_csv(table)
    (tmp_path / ".lists.csv.abc.partial").write_text("user_id\nu7\n")
    forget([table], users=["u7"])
    assert not (tmp_path / ".lists.csv.abc.partial").exists()
