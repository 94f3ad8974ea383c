"""Warm starts after categories have shifted: columns are matched by name, what cannot be matched begins as usual."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from torch import Tensor

import worlds
from palate.core.artefact import read_tensors
from palate.core.errors import ArtefactError, ConfigError
from palate.dataset.dataset import Dataset
from palate.encode.catalogue import encode_all
from palate.encode.features import Features
from palate.experiment import Run, fit, load
from palate.ingest.catalogue import Catalogue
from palate.models import MODELS, Recommender
from palate.models.layers import key_of
from palate.recipe import resolve
from palate.train.columns import COLUMNS, OF_CONTENT, along_columns, names_of_columns
from palate.train.fitting import TrainConfig, build
from palate.train.warmstart import WarmStart

MODAL = [
    (name, preset)
    for name in MODELS
    if issubclass(MODELS[name], Recommender) and MODELS[name].modal
    for preset in ("intended", *(["official"] if hasattr(MODELS[name].Config, "official") else []))
]
WAY = "categories 1 multihot"


def settings_of(name: str, **wanted: Any) -> dict[str, Any]:
    valid = {**MODELS[name].Config.model_fields, **TrainConfig.model_fields}
    return {key: value for key, value in {"dim": 8, "epochs": 2, "batch_size": 64, **wanted}.items() if key in valid}


def world(names: str, *others: str, known: bool = True) -> Dataset:
    """A data set with categories of these names, a letter and a column each; what an item has goes by the letter."""
    source = worlds.catalogue(worlds.interactions(users=30, least=4))
    ids = source.items["item_id"].to_list()
    matrix = np.stack([worlds.features(ids, letter, width=1).matrix[:, 0] > 0 for letter in names], axis=1)
    encoder = f"{WAY} columns={len(names)} vocabulary={names}"
    columns = tuple(names) if known else ()
    categories = Features(
        "categories", matrix.astype(np.float32), np.ones(len(ids), np.bool_), encoder, tuple(ids), columns=columns
    )
    content = {"categories": categories, **{name: worlds.features(ids, name, width=5) for name in others}}
    return worlds.dataset(source, content, split="random")


def started(run: Run, data: Dataset, preset: str) -> tuple[Recommender, dict[str, Tensor], tuple[str, ...]]:
    """The model that starts from a run, what its parameters are without that, and what was said."""
    name = run.recipe.model
    kind, config, _ = resolve(name, preset, settings_of(name))
    seen = data.seen_by(features=kind.modal, knowledge=kind.knowledge)
    fresh, warm = (build(kind, config, seen.inputs(), 1, "float32") for _ in range(2))
    said = WarmStart.load(run.folder).apply(warm, seen)
    assert isinstance(warm, Recommender)
    return warm, fresh.state_dict(), said


def trained(name: str, preset: str, data: Dataset, folder: Path) -> Run:
    return fit(name, data, preset=preset, settings=settings_of(name), out=folder, quiet=True)


def scores(vectors: Any) -> Tensor:
    return vectors.user @ vectors.item.T


@pytest.mark.parametrize(("name", "preset"), MODAL)
def test_it_is_known_of_every_parameter_whether_it_goes_along_the_columns(name: str, preset: str) -> None:
    """A parameter whose shape goes with the width of features must be told: add it to `OF_ONE`."""
    kind, config, _ = resolve(name, preset, settings_of(name))

    def shapes(names: str, settings: Any) -> dict[str, torch.Size]:
        model = build(kind, settings, world(names, "text").inputs(), 0, "float32")
        return {key: value.shape for key, value in model.state_dict().items()}

    # MMGCN has such a parameter where it projects; what enters raw shapes the whole branch, which begins anew.
    changes = {"projection_width": {"categories": 3, "text": 3}} if name == "mmgcn" else {}
    narrow, wide = (shapes(names, config.override(changes)) for names in ("abcdefg", "abcdefghi"))
    model = build(kind, config, world("abcdefg", "text").inputs(), 0, "float32")
    along = {key for key in narrow if along_columns(model, key, "categories")}
    along |= {key for key in narrow if name == "alignrec" and re.fullmatch(OF_CONTENT, key)}
    assert along
    assert {key for key, shape in narrow.items() if wide[key] != shape} == along
    for key in along:
        assert wide[key][1] - narrow[key][1] == 2, key


@pytest.mark.parametrize(("name", "preset"), MODAL)
def test_columns_that_only_moved_leave_the_model_what_it_was(name: str, preset: str, tmp_path: Path) -> None:
    run = trained(name, preset, world("abcdefgh", "text", "image"), tmp_path / "run")
    warm, fresh, said = started(run, world("hcbadegf", "text", "image"), preset)
    if name == "mmgcn":
        # So few columns enter raw, and the whole branch goes along them.
        assert_begins_anew(run, warm, fresh, "categories")
        return
    assert said == ("features 'categories' have other columns than then: 8 of 8 are known by name",)
    torch.testing.assert_close(scores(warm.embed()), scores(run.model().embed()))


def assert_begins_anew(run: Run, warm: Recommender, fresh: dict[str, Tensor], modality: str) -> None:
    before, now = run.model().state_dict(), warm.state_dict()
    kept = 0
    for key, value in now.items():
        own = key_of(modality) in key.split(".")
        assert torch.equal(value, fresh[key] if own else before[key]), key
        kept += not own
    assert kept


@pytest.mark.parametrize(("name", "preset"), MODAL)
def test_new_columns_begin_as_usual_and_known_ones_go_on(name: str, preset: str, tmp_path: Path) -> None:
    run = trained(name, preset, world("abcdefg", "text"), tmp_path / "run")
    warm, fresh, said = started(run, world("zgfexdcba", "text"), preset)
    if name == "mmgcn":
        assert_begins_anew(run, warm, fresh, "categories")
        return
    expected = "features 'categories' have other columns than then: 7 of 9 are known by name, the others start anew"
    assert said == (expected,)
    before, carried = run.model().state_dict(), 0
    for key, value in warm.state_dict().items():
        if not (along_columns(warm, key, "categories") or (name == "alignrec" and re.fullmatch(OF_CONTENT, key))):
            assert torch.equal(value, before[key]), key
            continue
        carried += 1
        for place, letter in enumerate("zgfexdcba"):
            old = before[key][:, "abcdefg".index(letter)] if letter in "abcdefg" else fresh[key][:, place]
            assert torch.equal(value[:, place], old), (key, letter)
        # Where others stand beside them, as in AlignRec's content, those go on too.
        assert torch.equal(value[:, 9:], before[key][:, 7:])
    assert carried


@pytest.mark.parametrize("name", ["bm3", "mmgcn", "alignrec"])
def test_columns_without_names_begin_anew(name: str, tmp_path: Path) -> None:
    """Of runs of old, and of features that were encoded then, it is not known which column is which."""
    run = trained(name, "intended", world("abcdefg", "text", known=False), tmp_path / "run")
    assert COLUMNS not in read_tensors(run.folder / "model.safetensors")[1]
    warm, fresh, said = started(run, world("abcdefz", "text"), "intended")
    assert said == ("features 'categories' have other columns than then: what was learnt of them starts anew",)
    before = run.model().state_dict()
    for key, value in warm.state_dict().items():
        if name == "alignrec" and re.fullmatch(OF_CONTENT, key):
            assert torch.equal(value[:, :7], fresh[key][:, :7])
            assert torch.equal(value[:, 7:], before[key][:, 7:])
        elif name == "mmgcn" or along_columns(warm, key, "categories"):
            assert torch.equal(value, (fresh if "of_categories" in key else before)[key]), key
        else:
            assert torch.equal(value, before[key]), key


@pytest.mark.parametrize("name", ["bm3", "freedom", "lgmrec", "vbpr", "mmgcn"])
def test_a_modality_that_one_of_both_lacks_begins_anew_or_is_left_out(name: str, tmp_path: Path) -> None:
    run = trained(name, "intended", world("abcdefg", "text"), tmp_path / "run")
    warm, fresh, said = started(run, world("abcdefg", "text", "image"), "intended")
    assert said == ("features 'image' are new to it: what is learnt of them starts anew",)
    before = run.model().state_dict()
    for key, value in warm.state_dict().items():
        assert torch.equal(value, (fresh if "of_image" in key else before)[key]), key
    warm, _, said = started(run, world("abcdefg"), "intended")
    assert said == ("features 'text' are not read any more",)
    for key, value in warm.state_dict().items():
        assert torch.equal(value, before[key]), key


def test_alignrec_takes_a_new_modality_into_its_content_and_drops_no_unknown_one(tmp_path: Path) -> None:
    run = trained("alignrec", "intended", world("abcdefg", "text"), tmp_path / "run")
    warm, fresh, _ = started(run, world("abcdefg", "image", "text"), "intended")
    key = "feature.0.weight"
    before, now = run.model().state_dict()[key], warm.state_dict()[key]
    assert torch.equal(now[:, :7], before[:, :7])
    assert torch.equal(now[:, 7:12], fresh[key][:, 7:12])
    assert torch.equal(now[:, 12:], before[:, 7:])
    with pytest.raises(ConfigError, match=r"has other parameters than this model: feature\.0\.weight differ"):
        started(run, world("abcdefg"), "intended")


def test_what_cannot_be_told_is_refused(tmp_path: Path) -> None:
    """A model whose parameters do not say in their names which modality they belong to, as this one has none."""
    run = trained("lightgcn", "intended", world("abcdefg"), tmp_path / "run")
    start = dataclasses.replace(WarmStart.load(run.folder), encoders={"categories": f"{WAY} columns=7 vocabulary=x"})
    kind, config, _ = resolve("lightgcn", settings=settings_of("lightgcn"))
    data = world("abcdefz")
    with pytest.raises(ConfigError, match="cannot be told which parameters of this model go along them") as refused:
        start.apply(build(kind, config, data.inputs(), 1, "float32"), data)
    assert refused.value.do.startswith("train without --warm-start")
    with pytest.raises(ArtefactError, match="names of its columns are damaged"):
        names_of_columns({COLUMNS: "[1]"}, where="here")


def test_a_shop_that_grew_overnight_starts_from_yesterday(tmp_path: Path) -> None:
    """Through the catalogue and its encoder: what is stored of a category names it, whatever its column."""
    genres = ["Drama", "Comedy", "Action|Drama", "Action|Comedy", "Drama|Horror"]
    rows = worlds.interactions(users=30, items=25, least=4, seed=3)

    def shop(items: int, added: str) -> Dataset:
        cells = [genres[item % 5] if item < 25 else added for item in range(items)]
        goods = pl.DataFrame({"item_id": [f"i{item}" for item in range(items)], "genres": cells})
        folder = tmp_path / added
        Catalogue.of(rows, goods, name="shop").save(folder)
        encode_all(folder, ["categories"], quiet=True)
        return load(folder, split="user-time")

    yesterday, today = shop(25, "none"), shop(33, "Comedy|Western")
    assert yesterday.features["categories"].encoder != today.features["categories"].encoder
    settings = settings_of("vbpr")
    first = fit("vbpr", yesterday, settings=settings, out=tmp_path / "first", quiet=True)
    second = fit(
        "vbpr", today, settings={**settings, "epochs": 1}, out=tmp_path / "second", quiet=True, warm_start=first.folder
    )
    said = second.metrics["training"]["notes"]
    assert "25 of 33 items were known" in said[0]
    assert said[1].endswith("4 of 5 are known by name, the others start anew")
    again = fit("vbpr", today, settings=settings, out=tmp_path / "third", quiet=True, warm_start=second.folder)
    assert len(again.metrics["training"]["notes"]) == 1
