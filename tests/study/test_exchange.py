"""What is written for other toolkits comes back as the same split and features, and TREC's tools find our figures."""

from __future__ import annotations

from pathlib import Path

import ir_measures
import numpy as np
import polars as pl
import pytest
from ir_measures import nDCG

import worlds
from palate.core.errors import ArtefactError, ConfigError, DataError
from palate.dataset.dataset import Dataset
from palate.encode.catalogue import take_file
from palate.experiment import fit
from palate.ingest.folders import import_data
from palate.study.exchange import PARTS, export_data, export_trec


def world() -> Dataset:
    source = worlds.catalogue()
    ids = source.items["item_id"].to_list()
    modalities = {name: worlds.features(ids, name, missing=ids[:2]) for name in ("image", "text")}
    return worlds.dataset(source, modalities, split="random")


def pairs(data: Dataset, part: str) -> set[tuple[str, str]]:
    rows = data.positives[part]
    users, items = data.users.ids.gather(rows.row_of_entry()), data.items.ids.gather(rows.columns)
    return set(zip(users, items, strict=True))


def test_recbole_files_hold_the_same_parts_and_vectors(tmp_path: Path) -> None:
    data = world()
    names = export_data(data, "recbole", tmp_path / "out")
    assert names == [
        "world.image",
        "world.item",
        "world.test.inter",
        "world.text",
        "world.train.inter",
        "world.valid.inter",
    ]
    found = import_data(tmp_path / "out")
    back = Dataset.make(found.catalogue, data.settings.override({"split": "given", "positive": "all", "dislike": None}))
    for part in PARTS:
        assert pairs(back, part) == pairs(data, part)
    assert set(back.items.ids) == set(data.items.ids)
    lines = (tmp_path / "out" / "world.text").read_text().splitlines()
    assert lines[0] == "item_id:token\ttext:float_seq"
    features = data.features["text"]
    assert len(lines) == 1 + int(features.present.sum())
    for line in lines[1:]:
        item, vector = line.split("\t")
        expected = features.matrix[data.items.row(item)]
        np.testing.assert_array_equal(np.array(vector.split(), np.float32), expected)


def test_mmrec_files_hold_the_same_parts_and_features_under_their_numbers(tmp_path: Path) -> None:
    data = world()
    names = export_data(data, "mmrec", tmp_path / "out")
    assert names == ["i_id_mapping.csv", "image_feat.npy", "text_feat.npy", "u_id_mapping.csv", "world.inter"]
    found = import_data(tmp_path / "out")
    found.save(tmp_path / "CAT", take_file)
    settings = data.settings.override({"split": "given", "positive": "all", "dislike": None})
    back = Dataset.load(tmp_path / "CAT", settings)
    for part in PARTS:
        renamed = {(data.users.ids[int(user)], data.items.ids[int(item)]) for user, item in pairs(back, part)}
        assert renamed == pairs(data, part)
    for item in range(len(data.items)):
        row = back.items.row(str(item))
        np.testing.assert_array_equal(back.features["image"].matrix[row], data.features["image"].matrix[item])


def test_trec_tools_find_the_figures_of_a_run(tmp_path: Path) -> None:
    run = fit("ease", world(), out=tmp_path / "run", quiet=True)
    metrics = run.evaluate()
    export_trec(run, tmp_path / "trec")
    qrels = list(ir_measures.read_trec_qrels(str(tmp_path / "trec" / "qrels.txt")))
    ranked = list(ir_measures.read_trec_run(str(tmp_path / "trec" / "run.txt")))
    found = ir_measures.calc_aggregate([nDCG @ 10, ir_measures.R @ 20], qrels, ranked)
    assert found[nDCG @ 10] == pytest.approx(metrics["ndcg@10"])
    assert found[ir_measures.R @ 20] == pytest.approx(metrics["recall@20"])


def test_mistakes_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="mmrec"):
        export_data(world(), "mmrek", tmp_path / "out")
    (tmp_path / "out").mkdir()
    with pytest.raises(ArtefactError, match="exists already"):
        export_data(world(), "mmrec", tmp_path / "out")


@pytest.mark.parametrize(("name", "form"), [("u\t1", "recbole"), ("u\n1", "mmrec")])
def test_ids_that_would_break_a_file_are_refused_by_name(tmp_path: Path, name: str, form: str) -> None:
    rows = worlds.interactions().with_columns(pl.col("user_id").replace("u1", name))
    with pytest.raises(DataError, match="separates columns"):
        export_data(worlds.dataset(worlds.catalogue(rows), split="random"), form, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_trec_refuses_ids_with_spaces(tmp_path: Path) -> None:
    rows = worlds.interactions().with_columns(pl.col("user_id").replace("u1", "u 1"))
    run = fit("popularity", worlds.dataset(worlds.catalogue(rows), split="random"), out=tmp_path / "run", quiet=True)
    with pytest.raises(DataError, match="white space"):
        export_trec(run, tmp_path / "trec")
