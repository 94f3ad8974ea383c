"""One new item's raw content → features, by the encoders that made the rows of the items it is to stand among.

Takes a text, a picture or a sound, and the identity of the encoder that is wanted; gives one row, or refuses: numbers
of another encoder mean something else.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from palate.core.config import read_assignments
from palate.core.errors import ConfigError, DataError, PalateError
from palate.encode import base
from palate.encode.features import Features
from palate.encode.joint.content import JointInput
from palate.encode.joint.encoder import JointEncoder
from palate.encode.media import MediaFile

# Encoders whose identity says all that is needed to build them again.
DEFAULTS = {"text 1 minilm": "minilm", "image 1 efficientnet-lite0": "efficientnet-lite0", "audio 1 logmel": "logmel"}


def encode_item(
    wanted: Mapping[str, str],
    *,
    text: str | None = None,
    image: Path | bytes | None = None,
    audio: Path | bytes | None = None,
    item: str = "new",
    encoders: Mapping[str, base.Encoder[Any]] | None = None,
) -> dict[str, Features]:
    """The features of one new item, by modality.

    Args:
        wanted: modality → identity of the encoder that made the known items' rows (`Features.encoder`; a bundle has
            them in `facts.features` and `content.modalities`).
        text: its words, as one text; `item_texts` joins columns as the catalogue's were.
        image, audio: a file, or its bytes.
        item: its id.
        encoders: modality → encoder, for those that are not built in: any `transformers` model, or the joint encoder
            (`JointEncoder.load`), which reads text and image together.

    Returns:
        One row for each wanted modality that can be made of what was given; categories and knowledge come of tables
        and are never made here.

    Raises:
        DataError: when nothing that is wanted can be made of what was given, or a file cannot be read.
        ConfigError: when an encoder is not the one that is wanted, or must be given and was not.
        MissingDependency: when it needs an optional package.
    """
    given = {name: value for name, value in (("text", text), ("image", image), ("audio", audio)) if value is not None}
    found: dict[str, Features] = {}
    problems: list[PalateError] = []
    with tempfile.TemporaryDirectory(prefix="palate-item-") as folder:
        raw = {name: value if name == "text" else _file(value, Path(folder), name) for name, value in given.items()}
        for name, identity in wanted.items():
            encoder = (encoders or {}).get(name)
            if encoder is None and not set(given) & _readable(identity):
                continue
            try:
                encoder = encoder if encoder is not None else _built(name, identity)
            except ConfigError as problem:
                problems.append(problem)
                continue
            if encoder.identity != identity:
                raise ConfigError(
                    f"the encoder of '{name}' is not the one that made the known items' rows",
                    where=f"it is: {encoder.identity}; wanted: {identity}",
                    do="use that encoder, or encode the catalogue again with this one and train on it",
                )
            content = _input(encoder, raw)
            if content is not None and encoder.content(content):
                row = encoder.encode_batch([content])
                found[name] = Features(name, row, np.ones(1, dtype=np.bool_), identity, (item,))
    if not found:
        if problems:
            raise problems[0]
        raise DataError(
            f"nothing that was given ({', '.join(given) or 'nothing at all'}) makes a row of {', '.join(wanted)}",
            do="give a text or a picture that these modalities are made of",
        )
    return found


def _readable(identity: str) -> set[str]:
    kind = identity.split(" ", 1)[0].removesuffix("-transformers")
    return {"text", "image"} if kind == "joint" else {kind}


def _file(value: Path | bytes | str, folder: Path, name: str) -> MediaFile:
    if isinstance(value, bytes):
        (folder / name).write_bytes(value)
        return MediaFile(name, folder)
    path = Path(value)
    return MediaFile(path.name, path.parent)


def _input(encoder: base.Encoder[Any], raw: Mapping[str, Any]) -> Any:
    if isinstance(encoder, JointEncoder):
        return JointInput(raw.get("text"), raw.get("image")) if {"text", "image"} & set(raw) else None
    return raw.get(encoder.modality)


def _built(modality: str, identity: str) -> base.Encoder[Any]:
    name = next((name for start, name in DEFAULTS.items() if identity.startswith(start + " ")), None)
    if name is None:
        raise ConfigError(
            f"the encoder of '{modality}' cannot be built from its name alone",
            where=identity,
            do=f"give it: encoders={{'{modality}': …}} (a joint encoder by JointEncoder.load)",
        )
    return _encoder(name, identity)


@lru_cache(maxsize=8)
def _encoder(name: str, identity: str) -> base.Encoder[Any]:
    # The weights are loaded once for all items.
    fields = base.ENCODERS[name].config.model_fields
    words = [word for word in identity.split() if word.partition("=")[0] in fields]
    return base.build_encoder(name, read_assignments(words))
