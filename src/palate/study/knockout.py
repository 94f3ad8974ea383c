"""Knocking out a modality: the same data set with one modality absent, made of noise, or with its rows shuffled.

A model that is trained again on each variant shows what the modality brought: what is lost without its true rows.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np

from palate.core.errors import ConfigError, unknown_name
from palate.core.seeds import numpy_generator
from palate.dataset.dataset import Dataset
from palate.encode.features import Features

How = Literal["absent", "noise", "shuffled"]
WAYS: tuple[How, ...] = ("absent", "noise", "shuffled")


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
    changed = dict(data.features)
    true = changed.pop(modality)
    if how != "absent":
        generator = numpy_generator(seed, "knock-out", how, modality)
        present = np.flatnonzero(true.present)
        rows = true.matrix[present]
        if how == "shuffled":
            rows = rows[generator.permutation(len(present))]
        elif len(rows):
            rows = generator.normal(rows.mean(0), rows.std(0), rows.shape)
        matrix = np.zeros_like(true.matrix)
        matrix[present] = rows
        changed[modality] = Features(modality, matrix, true.present, f"{how} rows of {true.encoder}", true.ids)
    return dataclasses.replace(data, features=dict(sorted(changed.items())))
