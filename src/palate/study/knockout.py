"""Knocking out a modality: the same data set with one modality absent, made of noise, or with its rows shuffled.

A model that is trained again on each variant shows what the modality brought: what is lost without its true rows.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from typing import Literal

import numpy as np

from palate.core.config import Config
from palate.core.errors import ConfigError, unknown_name
from palate.core.seeds import numpy_generator
from palate.dataset.dataset import Dataset
from palate.encode.features import Features
from palate.encode.joint.encoder import NAME as JOINT
from palate.study.masking import READ_BY_JOINT

How = Literal["absent", "noise", "shuffled"]
WAYS: tuple[How, ...] = ("absent", "noise", "shuffled")


def knock_outs_of(config: Config, modalities: Collection[str]) -> list[tuple[str, How]]:
    """The knock-outs that a model of this config can tell from the true rows.

    A model whose setting `content` chooses one of the modalities reads no other, and cannot do without that one.

    Args:
        config: of the model.
        modalities: those it is given.
    """
    choice = getattr(config, "content", None)
    if choice == "auto" and JOINT in modalities:
        read, needed = [JOINT], len(modalities) == 1
    elif isinstance(choice, str) and choice in modalities:
        read, needed = [choice], True
    else:
        read, needed = list(modalities), len(modalities) == 1
    return [(modality, how) for modality in read for how in WAYS if not (how == "absent" and needed)]


def remark(modality: str, modalities: Collection[str]) -> str:
    """What a knock-out of `modality` leaves of it in the other modalities; empty when nothing."""
    if JOINT not in modalities or modality not in READ_BY_JOINT:
        return ""
    return f"'{JOINT}' was made from {modality} too and kept its rows, so this is less than all that {modality} brings"


def knock_out(data: Dataset, modality: str, how: How, seed: int = 0) -> Dataset:
    """The data set without the true rows of `modality`; the split and everything else stay.

    Args:
        data: with at least this modality.
        how: "absent": the modality is not there at all; "noise": rows of the same presence whose columns are normal
            with the columns' own mean and deviation; "shuffled": the true rows, dealt out at random among the items
            that have one.
        seed: of noise and shuffling.

    Raises:
        ConfigError: for an unknown modality, or when it is the only one and would be absent.
    """
    if modality not in data.features:
        raise ConfigError(unknown_name("modality", modality, data.features), do=f"one of {', '.join(data.features)}")
    if how == "absent" and len(data.features) == 1:
        raise ConfigError(
            f"'{modality}' is the only modality; without it nothing is left to learn from",
            do="knock it out as noise or shuffled",
        )
    if how == "absent":
        return data.with_features([name for name in data.features if name != modality])
    true = data.features[modality]
    generator = numpy_generator(seed, "knock-out", how, modality)
    present = np.flatnonzero(true.present)
    rows = true.matrix[present]
    if how == "shuffled":
        rows = rows[generator.permutation(len(present))]
    elif len(rows):
        rows = generator.normal(rows.mean(0), rows.std(0), rows.shape)
    matrix = np.zeros_like(true.matrix)
    matrix[present] = rows
    false = Features(modality, matrix, true.present, f"{how} rows of {true.encoder}", true.ids)
    return dataclasses.replace(data, features={**data.features, modality: false})
