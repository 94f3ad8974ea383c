"""Hiding one modality for some of the items: their rows are marked absent, or encoded again without it.

Takes a data set; gives the features that it would have had, had these items lacked the modality.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from palate.core.errors import ConfigError, DataError
from palate.core.seeds import numpy_generator
from palate.dataset.dataset import Dataset
from palate.encode.base import encode
from palate.encode.checkpoints import need_package
from palate.encode.features import Features
from palate.encode.joint.content import JointInput, joint_inputs
from palate.encode.joint.encoder import NAME as JOINT
from palate.encode.joint.encoder import JointEncoder
from palate.encode.store import RowCache

# What a joint encoder reads, as `JointInput` names it.
READ_BY_JOINT = {"image": "picture", "text": "text"}


def items_to_hide(data: Dataset, hide: str, share: float, seed: int) -> NDArray[np.bool_]:
    """A random share of the items that have a modality, and not merely a filled-in row: bool, one per item row.

    Args:
        data: with features `hide`, or `joint` ones that depend on it.
        hide: the modality.
        share: in (0, 1]; at least one item.
        seed: of the choice.

    Raises:
        ConfigError: for a share out of range, or a modality that nothing depends on.
        DataError: when no item has it.
    """
    if not 0 < share <= 1:
        raise ConfigError(f"the share of items must lie in (0, 1], not {share:g}")
    if hide in data.features:
        there = data.features[hide].present & ~data.missing[hide]
    elif JOINT in data.features and hide in READ_BY_JOINT:
        contents = _contents(data)
        there = np.array([getattr(value, READ_BY_JOINT[hide], None) is not None for value in contents])
    else:
        raise ConfigError(
            f"none of the features depends on '{hide}'", do=f"hide one of these: {', '.join(data.features)}"
        )
    rows = np.flatnonzero(there)
    if len(rows) == 0:
        raise DataError(f"no item has '{hide}'", do="hide another modality")
    order = numpy_generator(seed, "mask modality", hide).permutation(rows)
    hidden = np.zeros(len(there), dtype=np.bool_)
    hidden[order[: max(1, round(share * len(rows)))]] = True
    return hidden


def hide_in(
    data: Dataset, hide: str, hidden: NDArray[np.bool_], encoder: Path | None, *, quiet: bool = True
) -> dict[str, Features]:
    """The features of a data set where the items `hidden` lack the modality `hide`.

    Args:
        hidden: bool, one per item row.
        encoder: folder of the encoder that made the `joint` features, when these depend on `hide`.
        quiet: show no progress.

    Raises:
        ConfigError: without that encoder, or with another one.
        MissingDependency: without the `image` extra, where pictures must be read again.
    """
    features = dict(data.features)
    if hide in features:
        features[hide] = _absent(features[hide], hidden)
    if JOINT in features and hide != JOINT and hide in READ_BY_JOINT:
        if encoder is None:
            raise ConfigError(
                f"rows of '{JOINT}' mix words and pictures: without '{hide}' they must be encoded again",
                do="say which encoder made them (--encoder ENC), or leave joint out (--features)",
            )
        features[JOINT] = _encoded_without(data, hide, hidden, JointEncoder.load(encoder), quiet=quiet)
    return features


def _absent(features: Features, hidden: NDArray[np.bool_]) -> Features:
    matrix = np.where(hidden[:, None], np.float32(0), features.matrix)
    return Features(features.name, matrix, features.present & ~hidden, features.encoder, features.ids)


def _encoded_without(
    data: Dataset, hide: str, hidden: NDArray[np.bool_], encoder: JointEncoder, *, quiet: bool
) -> Features:
    joint = data.features[JOINT]
    if joint.encoder != encoder.identity:
        raise ConfigError(
            "these joint features were not made by this encoder",
            where=f"features: {joint.encoder}; encoder: {encoder.identity}",
            do="name the encoder that made them, or encode the catalogue with this one",
        )
    rows = np.flatnonzero(hidden)
    contents = _contents(data)
    left = [_without(contents[row], READ_BY_JOINT[hide]) for row in rows]
    if any(value is not None and value.picture is not None for value in left):
        need_package("PIL", "reading pictures", "image")
    ids = [joint.ids[row] for row in rows]
    again, _ = encode(left, encoder, ids=ids, cache=RowCache(None, encoder.identity), name=JOINT, quiet=quiet)
    matrix, present = np.array(joint.matrix), np.array(joint.present)
    matrix[rows], present[rows] = again.matrix, again.present
    return Features(JOINT, matrix, present, joint.encoder, joint.ids)


def _without(value: JointInput | None, part: str) -> JointInput | None:
    if value is None:
        return None
    left = replace(value, **{part: None})
    return left if left.text is not None or left.picture is not None else None


def _contents(data: Dataset) -> list[JointInput | None]:
    """What the joint encoder reads of each item, by item row."""
    ids = data.catalogue.items["item_id"].to_list()
    by_id = dict(zip(ids, joint_inputs(data.catalogue), strict=True))
    return [by_id[item] for item in data.items.ids]
