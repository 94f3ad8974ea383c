"""Knock-outs: one modality changes, nothing else does."""

from __future__ import annotations

import numpy as np
import pytest

import worlds
from palate.core.errors import ConfigError
from palate.dataset.dataset import Dataset
from palate.models.alignrec import AlignRecConfig
from palate.models.bm3 import BM3Config
from palate.study.knockout import WAYS, How, knock_out, knock_outs_of, remark


def world() -> Dataset:
    source = worlds.catalogue()
    ids = source.items["item_id"].to_list()
    modalities = {
        "text": worlds.features(ids, "text", missing=ids[:5]),
        "image": worlds.features(ids, "image", width=4),
    }
    return worlds.dataset(source, modalities, split="random")


@pytest.mark.parametrize("how", WAYS)
def test_one_modality_changes_and_nothing_else(how: How) -> None:
    data = world()
    changed = knock_out(data, "text", how, seed=3)
    assert changed.split_fingerprint == data.split_fingerprint
    assert changed.fingerprint != data.fingerprint
    assert changed.features["image"] is data.features["image"]
    assert knock_out(data, "text", how, seed=3).fingerprint == changed.fingerprint
    if how == "absent":
        assert list(changed.features) == ["image"]
        return
    true, false = data.features["text"], changed.features["text"]
    np.testing.assert_array_equal(false.present, true.present)
    assert not (false.matrix == true.matrix)[true.present].all()
    assert not false.matrix[~true.present].any()
    assert knock_out(data, "text", how, seed=4).fingerprint != changed.fingerprint


def test_shuffled_rows_are_the_same_rows_of_other_items() -> None:
    data = world()
    true, false = data.features["text"], knock_out(data, "text", "shuffled").features["text"]
    there = true.present
    np.testing.assert_array_equal(np.sort(false.matrix[there], axis=0), np.sort(true.matrix[there], axis=0))
    rows = {row.tobytes() for row in true.matrix[there]}
    assert {row.tobytes() for row in false.matrix[there]} == rows


def test_mistakes_are_named() -> None:
    with pytest.raises(ConfigError, match="'text'"):
        knock_out(world(), "txt", "noise")
    with pytest.raises(ConfigError, match="only modality"):
        knock_out(worlds.dataset(split="random"), "text", "absent")


def test_what_is_left_out_is_not_filled_in_either() -> None:
    data = world().imputed("mean")
    assert set(knock_out(data, "text", "absent").imputation) == {"image"}
    np.testing.assert_array_equal(knock_out(data, "text", "noise").missing["text"], data.missing["text"])


def test_what_joint_rows_keep_of_a_modality_is_said() -> None:
    assert "joint" in remark("image", ["image", "joint", "text"])
    assert remark("image", ["image", "text"]) == ""
    assert remark("joint", ["image", "joint", "text"]) == ""


def test_only_what_a_model_reads_is_knocked_out() -> None:
    names = ["image", "joint", "text"]
    assert knock_outs_of(BM3Config(), names) == [(name, how) for name in names for how in WAYS]
    assert knock_outs_of(BM3Config(), ["text"]) == [("text", "noise"), ("text", "shuffled")]
    auto, text = AlignRecConfig(content="auto"), AlignRecConfig(content="text")
    assert knock_outs_of(auto, names) == [("joint", how) for how in WAYS]
    assert knock_outs_of(auto, ["image", "text"]) == [(name, how) for name in ("image", "text") for how in WAYS]
    assert knock_outs_of(text, names) == [("text", "noise"), ("text", "shuffled")]
