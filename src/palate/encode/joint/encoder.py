"""A trained joint encoder as a folder that can be trusted, and the encoding of a catalogue with it.

Takes a folder of `pretrain_joint`; gives `joint` features, the [CLS] vector h_enc of every item that has words, a
picture or both.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from palate.core.artefact import (
    atomic_folder,
    read_json,
    read_manifest,
    read_tensors,
    tensor_digest,
    write_json,
    write_manifest,
    write_tensors,
)
from palate.core.errors import ArtefactError, ConfigError, DataError
from palate.core.lock import changing
from palate.encode.base import EncodeSummary, encode
from palate.encode.checkpoints import need_package
from palate.encode.joint.content import JointInput, joint_inputs, picture_bytes
from palate.encode.joint.model import JointNetwork, Sight
from palate.encode.joint.patches import read_pixels
from palate.encode.joint.settings import JointConfig
from palate.encode.joint.tokens import Vocabulary
from palate.encode.store import FeatureStore, RowCache
from palate.ingest.catalogue import Catalogue

if TYPE_CHECKING:
    from palate.encode.media import MediaFile

KIND = "joint-encoder"
VERSION = 1
NAME = "joint"
_SETTINGS, _WORDS, _WEIGHTS, _HISTORY = "settings.json", "vocabulary.json", "model.safetensors", "history.json"
SHOWN_PROBLEMS = 5


@dataclass(frozen=True)
class Ready:
    """An item that was read: its pixels (side × side × 3, None without a picture) and word ids (None without text)."""

    pixels: NDArray[np.uint8] | None
    words: NDArray[np.int64] | None


class JointEncoder:
    """An `Encoder` of items with words, a picture or both.

    Args:
        network: the trained network, on the processor.
        vocabulary: of its words.
    """

    modality = NAME
    batch_size = 32

    def __init__(self, network: JointNetwork, vocabulary: Vocabulary) -> None:
        self.network = network.eval()
        self.vocabulary = vocabulary
        self.problems: dict[str, str] = {}

    @property
    def config(self) -> JointConfig:
        """The settings that it was trained with."""
        return self.network.config

    @property
    def width(self) -> int:
        """Numbers of h_enc."""
        return self.config.width

    @cached_property
    def fingerprint(self) -> str:
        """Hex sha256 over weights, codebook, vocabulary, and the settings that give the network its shape."""
        digest = hashlib.sha256(tensor_digest(self.network.state_dict()).encode())
        digest.update("\x1f".join(self.vocabulary.words).encode())
        shape = {name: getattr(self.config, name) for name in ("layers", "fusion_layers", "heads", "side", "patch")}
        digest.update(repr(shape).encode())
        return digest.hexdigest()

    @property
    def identity(self) -> str:
        """The fingerprint, under a name."""
        return f"joint 1 fingerprint={self.fingerprint}"

    def save(self, folder: Path, *, replace: bool = False, history: Sequence[Mapping[str, Any]] = ()) -> None:
        """Store the encoder, all or nothing.

        Args:
            folder: where it goes.
            replace: take the place of what is there.
            history: of its training, kept beside it.

        Raises:
            ArtefactError: when `folder` exists and may not be replaced, or is no joint encoder.
        """
        self.check_target(folder, replace)
        with atomic_folder(folder, replace=replace) as into:
            write_json(into / _SETTINGS, self.config.model_dump(mode="json"))
            write_json(into / _WORDS, list(self.vocabulary.words))
            write_json(into / _HISTORY, list(history))
            write_tensors(into / _WEIGHTS, self.network.state_dict())
            write_manifest(into, KIND, VERSION, {"fingerprint": self.fingerprint, "width": self.width})

    @staticmethod
    def check_target(folder: Path, replace: bool) -> None:
        """Make sure that an encoder may be stored in `folder`.

        Raises:
            ArtefactError: when it exists and may not be replaced, or is no joint encoder.
        """
        if folder.exists() and not replace:
            raise ArtefactError(f"{folder} exists already", do="choose another folder, or replace it (--replace)")
        if folder.exists():
            read_manifest(folder, KIND, VERSION, verify=False)

    @classmethod
    def load(cls, folder: Path) -> JointEncoder:
        """Read a stored encoder.

        Raises:
            ArtefactError: when it is no joint encoder, or anything in it is not what was written.
        """
        manifest = read_manifest(folder, KIND, VERSION)
        words: object = read_json(folder / _WORDS)
        settings: object = read_json(folder / _SETTINGS)
        tensors, _ = read_tensors(folder / _WEIGHTS)
        if not isinstance(words, list) or not all(isinstance(word, str) for word in cast("list[object]", words)):
            raise ArtefactError("the vocabulary is damaged", where=str(folder / _WORDS), do="pre-train it again")
        if not isinstance(settings, dict):
            raise ArtefactError("the settings are damaged", where=str(folder / _SETTINGS), do="pre-train it again")
        try:
            config = JointConfig.parse(cast("dict[str, Any]", settings), where=str(folder / _SETTINGS))
        except ConfigError as error:
            raise ArtefactError(error.what, where=error.where, do="pre-train it again") from None
        vocabulary = Vocabulary(cast("list[str]", words))
        network = JointNetwork(config, len(vocabulary))
        wanted = {name: (tensor.shape, tensor.dtype) for name, tensor in network.state_dict().items()}
        if {name: (tensor.shape, tensor.dtype) for name, tensor in tensors.items()} != wanted:
            raise ArtefactError(
                "the weights do not fit the settings", where=str(folder / _WEIGHTS), do="pre-train it again"
            )
        network.load_state_dict(tensors)
        encoder = cls(network, vocabulary)
        if manifest.get("fingerprint") != encoder.fingerprint:
            raise ArtefactError(
                "the encoder's fingerprint is not that of its weights", where=str(folder), do="pre-train it again"
            )
        return encoder

    def content(self, value: JointInput) -> bytes:
        """The words, and a hash of the picture's bytes. A picture that is missing leaves an item with its words.

        Raises:
            DataError: when the picture cannot be read and there are no words.
        """
        data = b""
        if value.picture is not None:
            try:
                data = hashlib.sha256(picture_bytes(value.picture, self.config)).digest()
            except DataError as error:
                self._excuse(value, value.picture, error)
        words = (value.text or "").encode("utf-8", "replace")
        return words + b"\x1f" + data if words or data else b""

    def size(self, value: JointInput) -> int:
        """Its length in characters."""
        return len(value.text or "")

    def prepare(self, value: JointInput) -> Ready:
        """Read one item.

        Raises:
            DataError: when the picture cannot be read and there are no words.
        """
        pixels = None
        if value.picture is not None:
            try:
                data = picture_bytes(value.picture, self.config)
                pixels = read_pixels(data, self.config.side, self.config.max_pixels)
            except DataError as error:
                self._excuse(value, value.picture, error)
        words = None if value.text is None else self.vocabulary.encode(value.text, self.config.tokens)
        return Ready(pixels, words)

    def encode_batch(self, values: Sequence[JointInput]) -> NDArray[np.float32]:
        """h_enc of items, float32, items × width."""
        return self.encode_ready([self.prepare(value) for value in values])

    @torch.inference_mode()
    def encode_ready(self, ready: Sequence[Ready]) -> NDArray[np.float32]:
        """h_enc of items that were read, float32, items × width."""
        config = self.config
        pixels = torch.zeros(len(ready), config.side, config.side, 3, dtype=torch.uint8)
        words = torch.zeros(len(ready), config.tokens, dtype=torch.int64)
        for row, item in enumerate(ready):
            if item.pixels is not None:
                pixels[row] = torch.tensor(item.pixels)
            if item.words is not None:
                words[row] = torch.from_numpy(item.words)
        picture = torch.tensor([item.pixels is not None for item in ready])
        text = torch.tensor([item.words is not None for item in ready])
        longest = max(1, int((words != 0).sum(1).max()))
        return self._summary(pixels, words[:, :longest], picture, text).float().numpy()

    def _summary(self, pixels: Tensor, words: Tensor, picture: Tensor, text: Tensor) -> Tensor:
        return self.network.summary(Sight(self.network.patches_of(pixels), words, picture, text))

    def _excuse(self, value: JointInput, picture: MediaFile, error: DataError) -> None:
        """Go on with the words of an item whose picture is bad."""
        if value.text is None:
            raise error
        self.problems[picture.cell] = error.what


def encode_joint(catalogue_folder: Path, encoder_folder: Path, quiet: bool = False) -> EncodeSummary:
    """Encode every item of a catalogue with a joint encoder and store the rows as features `joint`.

    An item whose picture cannot be read is encoded by its words; the summary's notes say so.

    Args:
        catalogue_folder: the catalogue.
        encoder_folder: of `pretrain_joint`.
        quiet: show no progress.

    Raises:
        ArtefactError: when one of the folders is damaged or of another kind.
        DataError: when no item could be encoded.
        MissingDependency: without the `image` extra, where there are pictures.
        Interrupted: on Ctrl-C; what was encoded until then is kept.
    """
    with changing(catalogue_folder, "encoding it", shared=True):
        encoder = JointEncoder.load(encoder_folder)
        catalogue = Catalogue.load(catalogue_folder)
        inputs = joint_inputs(catalogue)
        if any(value is not None and value.picture is not None for value in inputs):
            need_package("PIL", "reading pictures", "image")
        ids = catalogue.items["item_id"].to_list()
        features, summary = encode(
            inputs, encoder, ids=ids, cache=RowCache(None, encoder.identity), name=NAME, quiet=quiet
        )
        if not features.present.any():
            item, reason = summary.failed[0]
            raise DataError(f"no item could be encoded; item '{item}': {reason}", where=str(catalogue_folder))
        FeatureStore(catalogue_folder).save(features)
        reasons = list(encoder.problems.values())
        notes = [f"an item is encoded by its words alone: {reason}" for reason in reasons[:SHOWN_PROBLEMS]]
        if len(reasons) > SHOWN_PROBLEMS:
            notes.append(f"{len(reasons) - SHOWN_PROBLEMS:,} more items are encoded by their words alone")
        return dataclasses.replace(summary, notes=(*summary.notes, *notes))
