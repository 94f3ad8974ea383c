"""What the joint encoder reads of a catalogue: each item's words and picture, either of which may be missing.

Takes a catalogue; gives one `JointInput` per item, and for pre-training the words and pixels of items as tensors.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from palate.core.errors import DataError
from palate.core.progress import progress
from palate.core.seeds import torch_generator
from palate.encode.ahead import prepared_ahead
from palate.encode.checkpoints import need_package
from palate.encode.joint.patches import read_pixels
from palate.encode.joint.settings import JointConfig
from palate.encode.joint.tokens import Vocabulary, words_of
from palate.encode.media import MediaFile, media_files
from palate.encode.text import TEXT_COLUMNS, item_texts
from palate.ingest.catalogue import Catalogue

_AT_ONCE = 64


@dataclass(frozen=True)
class JointInput:
    """One item's content; at least one of the two is there.

    Attributes:
        text: its words, None for an item without.
        picture: its picture file, None for an item without.
    """

    text: str | None
    picture: MediaFile | None


def joint_inputs(catalogue: Catalogue) -> list[JointInput | None]:
    """One input per item, from the text columns and the picture column that there are; None for items with neither.

    Raises:
        DataError: when the catalogue has neither words nor pictures.
    """
    items = catalogue.items
    texts: list[str | None] = [None] * items.height
    if any(name in items.columns for name in TEXT_COLUMNS):
        texts = [text if text and words_of(text) else None for text in item_texts(items)]
    pictures: list[MediaFile | None] = [None] * items.height
    if "image" in items.columns:
        pictures = media_files(items, "image", catalogue.media_folder)
    found = [
        JointInput(text, picture) if text or picture else None for text, picture in zip(texts, pictures, strict=True)
    ]
    if not any(found):
        raise DataError(
            "no item has words or a picture for the joint encoder",
            where=str(catalogue.folder or catalogue.name),
            do="import items with a title, a description, or paths of pictures",
        )
    return found


@dataclass(frozen=True)
class ContentBatch:
    """The content of some items.

    Attributes:
        items: int64, B: the items' rows, to which masks belong.
        pixels: uint8, B × S × S × 3; zeros where there is no picture.
        words: int64, B × T; padding where there is no text.
        picture, text: bool, B: what each item has.
    """

    items: Tensor
    pixels: Tensor
    words: Tensor
    picture: Tensor
    text: Tensor

    def to(self, device: torch.device) -> ContentBatch:
        """The batch on `device`."""
        return ContentBatch(*(getattr(self, name).to(device) for name in self.__dataclass_fields__))

    def take(self, rows: Tensor) -> ContentBatch:
        """The items in `rows` (int64), words cut to the longest text among them."""
        words = self.words.index_select(0, rows)
        longest = int((words != 0).sum(1).max().clamp_min(1)) if len(rows) else 1
        return ContentBatch(
            self.items.index_select(0, rows),
            self.pixels.index_select(0, rows),
            words[:, :longest],
            self.picture.index_select(0, rows),
            self.text.index_select(0, rows),
        )

    @property
    def pairs(self) -> Tensor:
        """Rows of the items that have both: int64."""
        return torch.nonzero(self.picture & self.text).flatten()

    def shown(self, *, picture: bool, text: bool) -> ContentBatch:
        """The batch with a modality hidden."""
        return replace(self, picture=self.picture & picture, text=self.text & text)

    @property
    def digest(self) -> str:
        """Hex sha256 over words, pixels and what there is."""
        digest = hashlib.sha256()
        for tensor in (self.pixels, self.words, self.picture, self.text):
            digest.update(f"{tuple(tensor.shape)}|".encode())
            digest.update(tensor.numpy().tobytes())
        return digest.hexdigest()


def picture_bytes(picture: MediaFile, config: JointConfig) -> bytes:
    """A picture file's bytes, within the limits of the settings.

    Raises:
        DataError: when it cannot be read.
    """
    return picture.read(most=config.max_bytes, anywhere=config.anywhere)


def read_pictures(
    pictures: Sequence[MediaFile | None], config: JointConfig, *, quiet: bool = False
) -> tuple[Tensor, Tensor, dict[int, str]]:
    """Read picture files; one that cannot be read is a reason for its item and nothing more.

    Returns:
        Pixels (uint8, N × side × side × 3), which of them are there (bool, N), and by row why one is not.
    """
    side = config.side
    pixels = torch.zeros(len(pictures), side, side, 3, dtype=torch.uint8)
    there = torch.zeros(len(pictures), dtype=torch.bool)
    problems: dict[int, str] = {}
    rows = [row for row, picture in enumerate(pictures) if picture is not None]
    batches = [rows[start : start + _AT_ONCE] for start in range(0, len(rows), _AT_ONCE)]

    def prepare(row: int) -> Tensor:
        picture = pictures[row]
        assert picture is not None
        return torch.tensor(read_pixels(picture_bytes(picture, config), side, config.max_pixels))

    wanted: Iterable[Sequence[int]] = iter(batches)
    with (
        progress("reading pictures", len(rows), quiet=quiet or not rows) as shown,
        prepared_ahead(prepare, wanted) as outcomes,
    ):
        for batch, ready in zip(batches, outcomes, strict=True):
            for row, outcome in zip(batch, ready, strict=True):
                if isinstance(outcome, DataError):
                    problems[row] = outcome.what
                else:
                    pixels[row] = outcome
                    there[row] = True
            shown.advance(len(batch))
    return pixels, there, problems


def read_content(
    catalogue: Catalogue, config: JointConfig, seed: int, *, quiet: bool = False
) -> tuple[ContentBatch, Vocabulary, tuple[tuple[str, str], ...]]:
    """The content of a catalogue's items as tensors, the vocabulary of their words, and the pictures that failed.

    Raises:
        DataError: when the catalogue has neither words nor pictures.
        MissingDependency: without the `image` extra, where there are pictures.
    """
    inputs = joint_inputs(catalogue)
    rows = [row for row, value in enumerate(inputs) if value is not None]
    if len(rows) > config.most_items:
        order = torch.randperm(len(rows), generator=torch_generator(seed, "joint", "sample"))
        rows = sorted(rows[place] for place in order[: config.most_items].tolist())
    chosen = [value for row in rows if (value := inputs[row]) is not None]
    if any(value.picture is not None for value in chosen):
        need_package("PIL", "reading pictures", "image")
    texts = [value.text for value in chosen]
    vocabulary = Vocabulary.of(texts, config.vocabulary)
    words = torch.from_numpy(vocabulary.encode_all(texts, config.tokens))
    pixels, there, problems = read_pictures([value.picture for value in chosen], config, quiet=quiet)
    ids = catalogue.items["item_id"].gather(rows).to_list()
    failed = tuple((ids[row], reason) for row, reason in sorted(problems.items()))
    text = torch.tensor([text is not None for text in texts], dtype=torch.bool)
    return ContentBatch(torch.arange(len(rows)), pixels, words, there, text), vocabulary, failed
