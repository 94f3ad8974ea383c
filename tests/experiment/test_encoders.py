"""A run knows the encoder of its features: it is in the recipe, and features of another one are refused by name."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import polars as pl
import pytest

import worlds
from palate.core.errors import ArtefactError, ConfigError, DataError
from palate.encode.catalogue import encode_all
from palate.encode.store import FeatureStore
from palate.experiment import Run, fit, load
from palate.ingest.catalogue import Catalogue
from palate.recommend.forgetting import forget

SMALL = {"dim": 4, "epochs": 1, "batch_size": 64}
OURS, OTHER = "ab" * 32, "cd" * 32


def encoded(folder: Path, fingerprint: str, seed: int = 0) -> Path:
    """The catalogue, with `joint` rows as the encoder of that fingerprint would store them."""
    ids = Catalogue.load(folder).items["item_id"].to_list()
    rows = worlds.features(ids, "joint", seed=seed)
    FeatureStore(folder).save(dataclasses.replace(rows, encoder=f"joint 1 fingerprint={fingerprint}", fingerprint=""))
    return folder


@pytest.mark.parametrize("model", ["alignrec", "bm3"])
def test_the_recipe_names_the_encoder_and_rows_of_another_are_refused(
    model: str, catalogue: Path, tmp_path: Path
) -> None:
    data = load(encoded(catalogue, OURS), features=["joint"], split="random")
    run = fit(model, data, settings=SMALL, out=tmp_path / "run", quiet=True)
    assert run.recipe.data.encoders == {"joint": f"joint 1 fingerprint={OURS}"}
    assert Run.load(run.folder).recipe == run.recipe
    encoded(catalogue, OTHER)
    with pytest.raises(DataError, match="features 'joint' were made by another encoder") as caught:
        Run.load(run.folder)
    assert OURS in caught.value.where
    assert OTHER in caught.value.where
    with pytest.raises(ArtefactError, match=r"differ in: data\.encoders\.joint"):
        fit(model, load(catalogue, features=["joint"], split="random"), settings=SMALL, out=run.folder, quiet=True)
    # Other rows of the same encoder are other data, and the encoder is not blamed.
    encoded(catalogue, OURS, seed=1)
    with pytest.raises(DataError, match=r"not the data this run was trained on \(the catalogue"):
        Run.load(run.folder)
    assert Run.load(run.folder, data=load(encoded(catalogue, OURS), features=["joint"], split="random")).folder


def test_categories_that_shifted_are_not_blamed_on_an_encoder(tmp_path: Path) -> None:
    """No command makes the old columns of what is there now; what helps is to train again."""
    genres = [f"{'Drama' if item % 2 else 'Comedy'}{'|Horror' if item in (3, 4) else ''}" for item in range(25)]
    source = worlds.catalogue(genres=pl.Series(genres))
    folder = tmp_path / "catalogue"
    source.save(folder)
    encode_all(folder, ["categories"], quiet=True)
    runs = {
        model: fit(model, load(folder, split="random"), settings=settings, out=tmp_path / model, quiet=True).folder
        for model, settings in (("vbpr", {"epochs": 1}), ("itemknn", {}))
    }

    def refused(model: str) -> DataError:
        with pytest.raises(DataError, match="not the data this run was trained on") as caught:
            Run.load(runs[model])
        return caught.value

    horror = source.items.filter(pl.col("genres").str.contains("Horror"))["item_id"][0]
    forget([folder], items=[horror])
    encode_all(folder, ["categories"], quiet=True)
    error = refused("vbpr")
    # So is a user who met nothing else.
    assert error.what.endswith(": 1 user is gone, 1 item is gone")
    assert f"--warm-start {runs['vbpr']} begins where it ended" in error.do
    assert "warm-start" not in refused("itemknn").do
    again = fit("vbpr", load(folder, split="random"), out=tmp_path / "again", quiet=True, warm_start=runs["vbpr"])
    assert "2 of 2 are known by name" in again.metrics["training"]["notes"][1]
    # The same items in other categories: one more is a horror film, and that is a column again.
    changed = Catalogue.load(folder)
    items = changed.items.with_columns(genres=pl.col("genres").str.replace("Comedy$", "Comedy|Horror"))
    runs["vbpr"] = again.folder
    dataclasses.replace(changed, items=items, folder=None).save(folder, replace=True)
    encode_all(folder, ["categories"], quiet=True)
    error = refused("vbpr")
    assert error.what.endswith(": features 'categories' have other columns than then")
    assert error.do.startswith("train again on the present data (--warm-start")


def test_a_run_may_be_tied_to_an_encoder_before_it_begins(catalogue: Path, tmp_path: Path) -> None:
    tied = {**SMALL, "encoder_fingerprint": OURS}
    data = load(encoded(catalogue, OURS), split="random")
    run = fit("alignrec", data, settings=tied, out=tmp_path / "run", quiet=True)
    assert Run.load(run.folder).recipe.settings["encoder_fingerprint"] == OURS
    again = load(encoded(catalogue, OTHER), split="random")
    with pytest.raises(ConfigError, match="not of the joint encoder that the settings name"):
        fit("alignrec", again, settings=tied, out=tmp_path / "other", quiet=True)
