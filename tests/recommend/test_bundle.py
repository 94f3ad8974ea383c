"""Bundles: what is stored is what was trained, and a folder that is not what was written is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from palate.core.artefact import MANIFEST, read_json, read_tensors, sha256_of, write_json, write_tensors
from palate.core.errors import ArtefactError, ConfigError
from palate.recommend import reading
from palate.recommend.bundle import CONTENT, FEATURES, FOLD_IN, HISTORY, ITEMS, SCORES, USERS, Bundle
from palate.recommend.bundling import bundle_of
from recommend import trained

PAGE = Path(__file__).parents[2] / "docs" / "bundle.md"
every_model = pytest.mark.parametrize("name", trained.NAMES)


@every_model
def test_a_stored_bundle_scores_as_the_trained_model_does(name: str, tmp_path: Path) -> None:
    made = trained.bundle(name)
    made.save(tmp_path / "bundle")
    loaded = Bundle.load(tmp_path / "bundle")
    assert np.allclose(loaded.scores(trained.everyone()), trained.scores(name).numpy(), atol=1e-5)
    assert loaded.facts == made.facts
    assert loaded.users.ids.to_list() == trained.data().users.ids.to_list()
    assert loaded.items.ids.to_list() == trained.data().items.ids.to_list()
    assert loaded.table["title"].to_list() == [f"The film {name[1:]}" for name in loaded.items.ids]
    ids = loaded.items.ids.to_list()[:3]
    assert torch.equal(loaded.fold_in(ids).scores, made.fold_in(ids).scores)
    assert set(loaded.features) == {"image", "text"}
    assert not loaded.features["text"].present[loaded.items.row("i3")]


@every_model
def test_a_bundle_recommends_nothing_that_a_user_has_met(name: str) -> None:
    bundle, dataset = trained.bundle(name), trained.data()
    met = dataset.catalogue.interactions
    items, scores = bundle.recommend(trained.everyone(), 5)
    ids = bundle.items.ids.to_list()
    for row, user in enumerate(bundle.users.ids):
        known = set(met.filter(pl.col("user_id") == user)["item_id"])
        chosen = [ids[item] for item in items[row] if item >= 0]
        assert not known & set(chosen)
        assert len(chosen) == min(5, 25 - len(known))
    assert (np.diff(scores, axis=1) <= 0).all()


@pytest.mark.parametrize(("keep", "tolerance", "size"), [("float16", 1e-3, 2), ("float32", 1e-7, 4)])
def test_kept_rows_have_the_cosines_of_the_features(keep: str, tolerance: float, size: int, tmp_path: Path) -> None:
    trained.bundle("lightgcn", keep=keep).save(tmp_path / "bundle")
    stored, _ = read_tensors(tmp_path / "bundle" / FEATURES)
    assert stored["image.rows"].element_size() == size
    kept, given = Bundle.load(tmp_path / "bundle").features["image"], trained.data().features["image"]
    unit = given.matrix / np.linalg.norm(given.matrix, axis=1, keepdims=True)
    assert np.allclose(kept.matrix @ kept.matrix.T, unit @ unit.T, atol=tolerance)


def test_without_features_a_bundle_keeps_none(tmp_path: Path) -> None:
    trained.bundle("lightgcn", keep="none").save(tmp_path / "bundle")
    assert not (tmp_path / "bundle" / FEATURES).exists()
    loaded = Bundle.load(tmp_path / "bundle")
    assert loaded.features == {}
    assert loaded.content is not None


def test_unknown_choices_are_refused() -> None:
    model, data = trained.model("bpr"), trained.data()
    with pytest.raises(ConfigError, match="did you mean 'float16'"):
        bundle_of("bpr", model, model.scorer(), data, keep="float61")  # pyright: ignore
    with pytest.raises(ConfigError, match="did you mean 'regression'"):
        bundle_of("bpr", model, model.scorer(), data, new_items="regresion")  # pyright: ignore


@pytest.mark.parametrize("name", ["bm3", "itemknn"])
def test_the_page_reads_a_bundle_with_numpy_alone(name: str, tmp_path: Path) -> None:
    bundle, folder = trained.bundle(name), tmp_path / "bundle"
    bundle.save(folder)
    blocks = PAGE.read_text("utf-8").split("```python\n")[1:]
    reading, weights, _ = (block.partition("```")[0] for block in blocks)
    assert len([line for line in reading.splitlines() if line and "import" not in line]) <= 10
    place = {'"BUNDLE"': repr(str(folder)), '"196"': '"u7"'}
    for written, here in place.items():
        assert written in reading
        reading = reading.replace(written, here)
    row = bundle.users.row("u7")
    if name == "itemknn":
        reading = reading.partition("scores =")[0]
        reading += weights
    found: dict[str, object] = {}
    exec(reading, found)
    if name == "itemknn":
        assert np.allclose(found["scores"], bundle.scores(np.array([row]))[0], atol=1e-5)  # pyright: ignore
    else:
        ranked, ids = bundle.recommend(np.array([row]), 10)[0][0], bundle.items.ids.to_list()
        expected = [ids[item] for item in ranked if item >= 0]
        assert len(expected) >= 5
        assert found["best"][: len(expected)] == expected  # pyright: ignore


def rewritten(folder: Path, name: str, **changes: torch.Tensor) -> None:
    """Change arrays of a file, and let the manifest agree: what a careful forger or a defect would do."""
    tensors, _ = read_tensors(folder / name)
    write_tensors(folder / name, tensors | changes)
    agreed(folder, name)


def agreed(folder: Path, name: str) -> None:
    manifest = read_json(folder / MANIFEST)
    manifest["files"][name] = {"bytes": (folder / name).stat().st_size, "sha256": sha256_of(folder / name)}
    write_json(folder / MANIFEST, manifest)


def edited(folder: Path, *names: str, value: object) -> None:
    manifest = read_json(folder / MANIFEST)
    place = manifest
    for name in names[:-1]:
        place = place[name]
    place[names[-1]] = value
    write_json(folder / MANIFEST, manifest)


def table(folder: Path, name: str, change: Callable[[pl.DataFrame], pl.DataFrame]) -> None:
    change(pl.read_parquet(folder / name)).write_parquet(folder / name)
    agreed(folder, name)


def array(folder: Path, file: str, name: str) -> torch.Tensor:
    return read_tensors(folder / file)[0][name]


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no manifest": (lambda at: (at / MANIFEST).unlink(), "not a bundle"),
    "a manifest of garbage": (lambda at: (at / MANIFEST).write_bytes(b"\xff\x00"), "cannot be read"),
    "a manifest of nothing": (lambda at: (at / MANIFEST).write_text("{}"), "not a bundle"),
    "another kind": (lambda at: edited(at, "kind", value="run"), "is a run, not a bundle"),
    "another version": (lambda at: edited(at, "version", value=2), "schema version 2"),
    "an unknown fact": (lambda at: edited(at, "extra", value=1), "manifest is damaged"),
    "sizes that are none": (lambda at: edited(at, "items", value=-3), "manifest is damaged"),
    "sizes beyond reason": (lambda at: edited(at, "items", value=1 << 40), "manifest is damaged"),
    "more items than there are": (lambda at: edited(at, "items", value=26), "26"),
    "more users than there are": (lambda at: edited(at, "users", value=41), "41"),
    "another width": (lambda at: edited(at, "width", value=9), "(40, 8), not F32 of (40, 9)"),
    "no width": (lambda at: edited(at, "width", value=None), "lacks the width"),
    "another form": (lambda at: edited(at, "form", value="weights"), "does not belong here"),
    "an unknown fold-in": (lambda at: edited(at, "fold_in", "kind", value="guess"), "fold-in"),
    "a fold-in of nothing": (lambda at: edited(at, "fold_in", "settings", value={}), "fold-in"),
    "an unknown way for new items": (lambda at: edited(at, "content", "kind", value="guess"), "way from content"),
    "a path out of the folder": (lambda at: edited(at, "files", "../secret", value={}), "leaves its folder"),
    "a file too many": (lambda at: (at / "further.bin").write_bytes(b"x"), "'further.bin' does not belong here"),
    "a file that is elsewhere": (lambda at: linked(at), "leaves its folder"),
    "scores of a stranger": (lambda at: rewritten(at, SCORES, other=torch.ones(3)), "'other' is unknown"),
    "fewer scores": (lambda at: rewritten(at, SCORES, item=torch.ones(24, 8)), "(24, 8), not F32 of (25, 8)"),
    "other numbers": (lambda at: rewritten(at, SCORES, item=torch.ones(25, 8).double()), "F64"),
    "scores that are no numbers": (lambda at: rewritten(at, SCORES, item=torch.full((25, 8), torch.nan)), "not finite"),
    "a map that is not finite": (lambda at: rewritten(at, FOLD_IN, bias=torch.full((8,), torch.inf)), "not finite"),
    "a map of another width": (lambda at: rewritten(at, FOLD_IN, bias=torch.ones(7)), "fold-in"),
    "items beyond the last": (
        lambda at: rewritten(at, HISTORY, seen_columns=array(at, HISTORY, "seen_columns") + 1),
        "lists 'seen' are damaged",
    ),
    "lists that run backwards": (
        lambda at: rewritten(at, HISTORY, seen_pointer=array(at, HISTORY, "seen_pointer").flip(0)),
        "lists 'seen' are damaged",
    ),
    "lists of fractions": (
        lambda at: rewritten(at, HISTORY, liked_pointer=array(at, HISTORY, "liked_pointer").double()),
        "F64",
    ),
    "an item twice": (
        lambda at: table(at, ITEMS, lambda frame: pl.concat([frame.head(24), frame.head(1)])),
        "not distinct",
    ),
    "a user without an id": (
        lambda at: table(at, USERS, lambda frame: frame.with_columns(pl.lit(None, pl.String).alias("user_id"))),
        "not distinct",
    ),
    "items without ids": (lambda at: table(at, ITEMS, lambda frame: frame.drop("item_id")), "no column 'item_id'"),
    "titles of numbers": (
        lambda at: table(at, ITEMS, lambda frame: frame.with_columns(title=pl.lit(1))),
        "the column 'title' holds no text",
    ),
    "a table of numbers": (
        lambda at: table(at, USERS, lambda frame: frame.with_row_index("user_id_").select(user_id="user_id_")),
        "no column 'user_id'",
    ),
    "features of others": (
        lambda at: rewritten(at, FEATURES, **{"text.rows": torch.ones(24, 6)}),
        "(24, 6), not F32 of (25, 6)",
    ),
    "content of another width": (lambda at: rewritten(at, CONTENT, bias=torch.ones(9)), "does not fit"),
    "a map of doubles": (lambda at: rewritten(at, FOLD_IN, bias=array(at, FOLD_IN, "bias").double()), "F64, not F32"),
    "a map of integers": (lambda at: rewritten(at, FOLD_IN, bias=array(at, FOLD_IN, "bias").long()), "I64, not F32"),
    "content of doubles": (lambda at: rewritten(at, CONTENT, bias=array(at, CONTENT, "bias").double()), "F64"),
    "eight bits": (lambda at: rewritten(at, CONTENT, bias=array(at, CONTENT, "bias").to(torch.float8_e5m2)), "F8_E5M2"),
    "words for numbers": (lambda at: edited(at, "content", "settings", "explained", value="x"), "damaged"),
    "content without a modality": (lambda at: edited(at, "content", "modalities", value={}), "does not fit"),
    "content of another encoder": (
        lambda at: edited(at, "content", "modalities", "text", "encoder", value="guess"),
        "other features 'text'",
    ),
    "an item liked twice": (lambda at: rewritten(at, HISTORY, **twice(at)), "lists 'liked' are damaged"),
}


def twice(folder: Path) -> dict[str, torch.Tensor]:
    columns = array(folder, HISTORY, "liked_columns").clone()
    pointer = array(folder, HISTORY, "liked_pointer")
    start = int(pointer[:-1][pointer.diff() > 1][0])
    columns[start + 1] = columns[start]
    return {"liked_columns": columns}


def linked(folder: Path) -> None:
    outside = folder.parent / "outside.safetensors"
    shutil.copy(folder / SCORES, outside)
    (folder / SCORES).unlink()
    (folder / SCORES).symlink_to(outside)


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    trained.bundle("bpr").save(tmp_path / "bundle")
    return tmp_path / "bundle"


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_was_not_written_is_refused(damage: str, stored: Path) -> None:
    change, words = DAMAGES[damage]
    change(stored)
    with pytest.raises(ArtefactError) as refused:
        Bundle.load(stored)
    assert words in str(refused.value)


@pytest.mark.parametrize("name", [SCORES, HISTORY, USERS, ITEMS, FOLD_IN, FEATURES, CONTENT])
@pytest.mark.parametrize("agree", [False, True], ids=["as it is", "with a manifest that agrees"])
@pytest.mark.parametrize("damage", ["missing", "empty", "half", "one byte"])
def test_every_file_is_checked(name: str, agree: bool, damage: str, stored: Path) -> None:
    path = stored / name
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
        if agree:
            manifest = read_json(stored / MANIFEST)
            del manifest["files"][name]
            write_json(stored / MANIFEST, manifest)
    else:
        # Safetensors begin with the length of their header, Parquet ends with its name.
        place = len(content) - 1 if path.suffix == ".parquet" else 0
        turned = content[:place] + bytes([content[place] ^ 255]) + content[place + 1 :]
        path.write_bytes({"empty": b"", "half": content[: len(content) // 2], "one byte": turned}[damage])
        if agree:
            agreed(stored, name)
    with pytest.raises(ArtefactError):
        Bundle.load(stored)


@pytest.mark.parametrize("name", ["crmman", "mmgcn", "freedom", "alignrec", "contentknn"])
def test_what_models_keep_of_themselves_is_checked_too(name: str, tmp_path: Path) -> None:
    trained.bundle(name).save(tmp_path / "bundle")
    tensors, _ = read_tensors(tmp_path / "bundle" / CONTENT)
    key, value = next((key, value) for key, value in tensors.items() if value.ndim)
    rewritten(tmp_path / "bundle", CONTENT, **{key: torch.ones(value.shape[0] + 1, *value.shape[1:])})
    with pytest.raises(ArtefactError, match=r"damaged|fit"):
        Bundle.load(tmp_path / "bundle")


@pytest.mark.parametrize("value", ["x", None, -1, 0, 1e400, 10**30, [], {}])
@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("crmman", ("fold_in", "settings", "set_size")),
        ("crmman", ("content", "settings", "config")),
        ("contentknn", ("content", "settings", "groups", 0, "neighbours")),
        ("contentknn", ("content", "settings", "groups")),
        ("freedom", ("content", "settings", "rule")),
        ("bpr", ("content", "modalities", "text", "width")),
        ("bpr", ("fold_in", "settings", "spread")),
    ],
)
def test_strange_settings_end_in_a_refusal(
    name: str, place: tuple[str | int, ...], value: object, tmp_path: Path
) -> None:
    trained.bundle(name, new_items="auto" if name == "bpr" else "content").save(tmp_path / "bundle")
    path = tmp_path / "bundle" / MANIFEST
    manifest = json.loads(path.read_text())
    inner = manifest
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    path.write_text(json.dumps(manifest))
    with pytest.raises(ArtefactError):
        Bundle.load(tmp_path / "bundle")


def test_a_bundle_that_changes_while_it_is_read_is_not_mixed(
    stored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained.bundle("ease").save(tmp_path / "other")
    link = tmp_path / "current"
    link.symlink_to("bundle")
    real = reading.read_manifest

    def slow(*words: Any, **named: Any) -> dict[str, Any]:
        manifest = real(*words, **named)
        link.unlink()
        link.symlink_to("other")
        return manifest

    monkeypatch.setattr(reading, "read_manifest", slow)
    with pytest.raises(ArtefactError, match="changed while it was read"):
        Bundle.load(link)
    monkeypatch.undo()
    assert Bundle.load(link).facts.model == "ease"


def test_a_link_to_a_bundle_stays_a_link_when_the_bundle_is_replaced(stored: Path, tmp_path: Path) -> None:
    link = tmp_path / "current"
    link.symlink_to("bundle")
    trained.bundle("ease").save(link, replace=True)
    assert link.is_symlink()
    assert Bundle.load(stored).facts.model == "ease"


def test_a_stored_fold_in_of_too_many_views_is_refused(tmp_path: Path) -> None:
    trained.bundle("crmman").save(tmp_path / "bundle")
    edited(tmp_path / "bundle", "fold_in", "settings", "views", value=10**9)
    with pytest.raises(ArtefactError, match="fold-in"):
        Bundle.load(tmp_path / "bundle")


def test_a_bundle_is_replaced_only_by_request_and_nothing_else_is(stored: Path, tmp_path: Path) -> None:
    bundle = trained.bundle("ease")
    with pytest.raises(ArtefactError, match="exists already"):
        bundle.save(stored)
    assert Bundle.load(stored).facts.model == "bpr"
    bundle.save(stored, replace=True)
    assert Bundle.load(stored).facts.model == "ease"
    (tmp_path / "letters").mkdir()
    with pytest.raises(ArtefactError, match="not a bundle"):
        bundle.save(tmp_path / "letters", replace=True)


def test_what_is_said_of_a_bundle_is_plain_data(stored: Path) -> None:
    manifest = json.loads((stored / MANIFEST).read_text())
    assert manifest["recipe"] == {"model": "bpr"}
    assert manifest["positive"] == 4.0
    assert manifest["dislike"] == 2.0
    assert manifest["fingerprint"]
