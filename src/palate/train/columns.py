"""Columns of features in two runs: which of them are the same, and which parameters have one entry for each.

Categories have a column each, by how frequent they are; so columns move, come and go as a shop grows. They are matched
by name. Columns of any other features are only places, and mean the same as long as the same encoder makes them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from palate.core.errors import ArtefactError
from palate.dataset.dataset import Dataset
from palate.encode.concat import CONCAT
from palate.encode.features import Features
from palate.graph.rows import IntArray
from palate.models.base import Model
from palate.models.content import choose_content
from palate.models.layers import key_of

NONE: IntArray = np.empty(0, np.int64)
# The name under which those of a run's features are stored with its parameters.
COLUMNS = "columns"

# Parameters of Palate's models whose second axis goes along the columns of one modality, whose key stands for KEY, or
# along those of AlignRec's content; a contract test keeps this complete.
OF_ONE = (
    r"features\.KEY\.matrix",
    r"projections\.KEY(\.0\.weight)?",
    r"kernels\.KEY",
    r"content\.KEY\.(weight|hyperedge)",
    r"branches\.KEY\.projection\.weight",
)
OF_CONTENT = r"content\.matrix|feature\.0\.weight"


@dataclass(frozen=True)
class Pairing:
    """Columns that two runs have in common.

    Attributes:
        widths: how many the earlier run has, and how many there are now.
        before, now: the places of the common ones in the two.
        changed: they are not the same ones at the same places, or only one of the runs has the modality.
        said: what a person should know of that.
    """

    widths: tuple[int, int]
    before: IntArray
    now: IntArray
    changed: bool = False
    said: str = ""


def tell_columns(dataset: Dataset) -> dict[str, str]:
    """What a run stores of the columns of its features: modality → their names, where they have any."""
    named = {name: list(value.columns) for name, value in dataset.features.items() if value.columns}
    return {COLUMNS: json.dumps(named)} if named else {}


def names_of_columns(metadata: Mapping[str, str], *, where: str) -> dict[str, list[str]]:
    """What `tell_columns` stored.

    Args:
        metadata: of the stored parameters.
        where: they are stored, for messages.

    Raises:
        ArtefactError: when it is damaged.
    """
    try:
        found: Any = json.loads(metadata.get(COLUMNS, "{}"))
        return {str(name): [str(column) for column in columns] for name, columns in found.items()}
    except (AttributeError, TypeError, ValueError):
        raise ArtefactError("the names of its columns are damaged", where=where, do="train it again") from None


def way_of(identity: str) -> str:
    """What is the same of an encoder when the catalogue has grown, or its rows came in another file."""
    if identity.startswith("precomputed "):
        return "precomputed"
    passing = ("graph=", "shared>", *(("columns=", "vocabulary=") if _of_names(identity) else ()))
    return " ".join(word for word in identity.split() if not word.startswith(passing))


def _of_names(identity: str) -> bool:
    return identity.startswith("categories ") and " vocabulary=" in identity


def pair_columns(name: str, encoder: str | None, named: Sequence[str], features: Features | None) -> Pairing:
    """The columns of a modality that two runs have in common; one way of encoding made them (`way_of`).

    Args:
        name: of the modality.
        encoder: that made the rows of the earlier run, by its identity; None where that run lacks the modality.
        named: the names of its columns in the earlier run, where that is stored.
        features: those of now; None where there are none.
    """
    counted = re.search(r" columns=(\d+)", encoder) if encoder and _of_names(encoder) else None
    wide = int(counted[1]) if counted else 0
    if features is None:
        # How wide any others were is stored nowhere; it matters only where they stand side by side.
        return Pairing((wide, 0), NONE, NONE, True, f"features '{name}' are not read any more")
    width = features.width
    if encoder is None:
        said = f"features '{name}' are new to it: what is learnt of them starts anew"
        return Pairing((0, width), NONE, NONE, True, said)
    if encoder == features.encoder or not _of_names(encoder):
        return Pairing((width, width), np.arange(width), np.arange(width))
    said = f"features '{name}' have other columns than then"
    widths = (len(named) or wide, width)
    place = {column: number for number, column in enumerate(features.columns)}
    pairs = [(number, place[column]) for number, column in enumerate(named) if column in place]
    if not pairs:
        return Pairing(widths, NONE, NONE, True, f"{said}: what was learnt of them starts anew")
    before, now = np.array(pairs, np.int64).T
    said += f": {len(pairs):,} of {width:,} are known by name" + (", the others start anew" if len(now) < width else "")
    return Pairing(widths, before, now, True, said)


def pair_content(choice: str, pairings: Mapping[str, Pairing]) -> Pairing:
    """The columns of AlignRec's content that two runs have in common.

    Args:
        choice: the setting `content` of both runs.
        pairings: of the modalities that either of them has.
    """
    starts: list[dict[str, int]] = []
    widths: list[int] = []
    for run in (0, 1):
        width = {name: pairing.widths[run] for name, pairing in sorted(pairings.items()) if pairing.widths[run]}
        chosen = choose_content(width, choice)
        parts = width if chosen == CONCAT else {chosen: width.get(chosen, 0)}
        starts.append({name: sum(list(parts.values())[:place]) for place, name in enumerate(parts)})
        widths.append(sum(parts.values()))
    both = [name for name in starts[1] if name in starts[0] and name in pairings]
    before = [starts[0][name] + pairings[name].before for name in both]
    now = [starts[1][name] + pairings[name].now for name in both]
    return Pairing((widths[0], widths[1]), np.concatenate([NONE, *before]), np.concatenate([NONE, *now]))


def modality_of(parameter: str, modalities: Sequence[str]) -> str | None:
    """The one of `modalities` that the parameter belongs to alone, by the key in its name."""
    return next((name for name in modalities if key_of(name) in parameter.split(".")), None)


def along_columns(model: Model, parameter: str, modality: str) -> bool:
    """Whether the parameter is known to have an entry for each column of the modality, on its second axis."""
    if not type(model).__module__.startswith("palate."):
        return False
    key = re.escape(key_of(modality))
    return any(re.fullmatch(pattern.replace("KEY", key), parameter) for pattern in OF_ONE)
