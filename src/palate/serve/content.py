"""Raw queries: a description or a picture as a row of features, by the encoder that made those of the known items.

An encoder is known by its identity alone; it is built again from that, and refused where it is not the very same.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from palate.core.config import read_yaml
from palate.core.errors import PalateError
from palate.encode.base import ENCODERS, Encoder, build_encoder
from palate.encode.features import Features
from palate.encode.media import MediaFile
from palate.encode.pictures import PictureTooLarge
from palate.recommend.bundle import Bundle
from palate.serve.limits import Limits
from palate.serve.refusals import Refusal
from palate.serve.state import Shelf

Kind = Literal["text", "image"]
NEW = "the new item"
# A word, and a picture of one pixel.
SOMETHING: dict[Kind, str] = {"text": "film", "image": "R0lGODlhAQABAIAAAP///wAAACwAAAAAAQABAAACAkQBADs="}


@dataclass(frozen=True, slots=True)
class Upload(MediaFile):
    """A picture that came with a request.

    Args:
        data: the whole file.
    """

    data: bytes = b""

    def read(self, *, most: int, anywhere: bool = False) -> bytes:
        """The bytes that came."""
        return self.data


@dataclass(frozen=True)
class Reader:
    """A modality of a bundle that raw content of one kind can be turned into.

    Attributes:
        modality: its name.
        encoder: what made the rows of the known items.
    """

    modality: str
    encoder: Encoder[Any]


class Readers:
    """Encoders of raw queries, each built once; all models share them.

    Args:
        limits: of pictures.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._known: dict[str, Encoder[Any] | PalateError] = {}
        self._lock = threading.Lock()
        # Who only asks what can be read does not wait until something is.
        self._reading = threading.Lock()

    def find(self, kind: Kind, modalities: Mapping[str, str], others: Mapping[str, str] | None = None) -> Reader:
        """What turns content of a kind into one of these modalities.

        Args:
            modalities: name → identity of the encoder.
            others: likewise, those that could be asked for in their place.

        Raises:
            Refusal: when none of them is made of such content, or its encoder cannot be run here.
        """
        what = {"text": "a description", "image": "a picture"}[kind]
        fitting = _made_of(kind, modalities)
        if not fitting:
            why = "none of the modalities that count here is made of such content"
            instead = " or ".join(f'"by": "{name}"' for name in _made_of(kind, others or {}))
            raise Refusal(
                422,
                f"this model cannot be asked by {what}: {why if modalities else 'it places no new items'}",
                do=f"ask with {instead}, or choose another model" if instead else "choose another model",
            )
        reasons: list[PalateError] = []
        for name, identity in sorted(fitting.items()):
            encoder = self._built(kind, identity)
            if not isinstance(encoder, PalateError):
                return Reader(name, encoder)
            reasons.append(encoder)
        raise Refusal(422, f"{what} cannot be read here: {reasons[0].what}", do=reasons[0].do)

    def takes(self, kind: Kind, bundle: Bundle) -> bool:
        """Whether a bundle can be asked by content of a kind, for recommendations or for similar items."""
        try:
            self.find(kind, placed_by(bundle) | kept_by(bundle))
        except Refusal:
            return False
        return True

    def read(self, reader: Reader, value: str) -> Features:
        """The features of a new item, one row.

        Args:
            value: a description; or a picture in base64.

        Raises:
            Refusal: when it is no picture, too large, or cannot be encoded.
        """
        encoder = reader.encoder
        content = value if encoder.modality == "text" else self._picture(value)
        try:
            # One at a time: encoders fetch their weights when they first need them.
            with self._reading:
                rows = encoder.encode_batch([content])
        except PictureTooLarge as error:
            # What it advises is for who encodes a catalogue.
            shown = f"{error.width:,} × {error.height:,} pixels; it may have up to {error.most:,} in all"
            raise Refusal(413, f"the picture has {shown}", where="image", do="send a smaller one") from None
        except PalateError as error:
            raise Refusal(422, error.what, where="image" if encoder.modality == "image" else "text") from None
        if not np.isfinite(rows).all():
            raise Refusal(422, "the encoder gave values that are not finite")
        return Features(reader.modality, rows, np.ones(1, np.bool_), encoder.identity, (NEW,))

    def warm(self, shelf: Shelf) -> None:
        """Encode something with every encoder that a model can be asked by, which makes them fetch their weights."""
        for _, served in shelf.all():
            known = placed_by(served.bundle) | kept_by(served.bundle)
            for kind, value in SOMETHING.items():
                # What cannot be done here is told to whoever asks for it.
                with contextlib.suppress(PalateError):
                    self.read(self.find(kind, known), value)

    def _built(self, kind: Kind, identity: str) -> Encoder[Any] | PalateError:
        with self._lock:
            if identity not in self._known:
                try:
                    self._known[identity] = self._build(kind, identity)
                except PalateError as reason:
                    self._known[identity] = reason
            return self._known[identity]

    def _build(self, kind: Kind, identity: str) -> Encoder[Any]:
        # KIND VERSION NAME setting=value …; what is no setting of the encoder (hashes of files) is compared afterwards.
        name, *words = identity.split(" ")[2:] or [""]
        if name not in ENCODERS or ENCODERS[name].modality != kind:
            raise Refusal(422, f"the features were made by '{identity}', which cannot be run here")
        known = ENCODERS[name].config.model_fields
        pairs = [word.partition("=") for word in words]
        settings = {key: read_yaml(value, where=identity) for key, _, value in pairs if key in known}
        limits = {"max_pixels": self.limits.picture_pixels, "max_bytes": self.limits.picture_bytes}
        encoder = build_encoder(name, settings | {key: value for key, value in limits.items() if key in known})
        if encoder.identity != identity:
            raise Refusal(
                422,
                "the encoder that is installed is another one than made the features of the known items",
                where=f"installed: {encoder.identity}; wanted: {identity}",
            )
        return encoder

    def _picture(self, value: str) -> Upload:
        head, comma, rest = value.partition(",")
        if comma and head.startswith("data:") and head.endswith(";base64"):
            value = rest
        try:
            data = base64.b64decode("".join(value.split()), validate=True)
        except (binascii.Error, ValueError):
            raise Refusal(
                422, "the picture is no base64", where="image", do="send the file's bytes in base64"
            ) from None
        if not data or len(data) > self.limits.picture_bytes:
            most = f"it may have up to {self.limits.picture_bytes:,}"
            raise Refusal(
                413 if data else 422,
                f"the picture has {len(data):,} bytes; {most}",
                where="image",
                do="send a smaller one" if data else "",
            )
        return Upload(cell="the picture", root=None, data=data)


def _made_of(kind: Kind, modalities: Mapping[str, str]) -> dict[str, str]:
    """Those whose encoder reads content of a kind."""
    return {name: identity for name, identity in modalities.items() if identity.split(" ")[0] == kind}


def placed_by(bundle: Bundle) -> dict[str, str]:
    """The modalities that place a new item, with the identities of their encoders."""
    return {} if bundle.content is None else {name: like.encoder for name, like in bundle.content.modalities.items()}


def kept_by(bundle: Bundle) -> dict[str, str]:
    """The modalities by which the items of a bundle can be compared, with the identities of their encoders."""
    return {name: features.encoder for name, features in bundle.features.items()}
