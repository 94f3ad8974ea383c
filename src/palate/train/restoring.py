"""A model as a run stored it: its class builds it anew, and a note says where the class is not what it was."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from palate.core.errors import ArtefactError
from palate.core.extensions import UNTOLD, code_of
from palate.core.progress import tell
from palate.core.sources import is_own, place_of
from palate.dataset.inputs import ModelInputs
from palate.models.base import Classical, Model
from palate.train.fitting import build


def restored(
    kind: type[Model],
    settings: Mapping[str, Any],
    inputs: ModelInputs,
    seed: int,
    precision: str,
    tensors: Mapping[str, Tensor],
    folder: Path,
) -> Model:
    """A trained model.

    Args:
        settings: of the model, as they are stored.
        tensors: its parameters and buffers.
        folder: its run, for messages.

    Raises:
        ConfigError: when the class does not know these settings.
        ArtefactError: when the parameters are not those of this class.
    """
    config = kind.Config.parse(settings, where=str(folder / "recipe.yaml"))
    return filled(build(kind, config, inputs, seed, precision), tensors, folder)


def filled(model: Model, tensors: Mapping[str, Tensor], folder: Path) -> Model:
    """`model` with these parameters and buffers.

    Raises:
        ArtefactError: when it has others, because its code is not what it was.
    """
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        state = model.state_dict()
        found = {
            "has no": [name for name in tensors if name not in state],
            "has besides": [name for name in state if name not in tensors],
            "has in another shape": [
                name for name in state if name in tensors and state[name].shape != tensors[name].shape
            ],
        }
        wrong = [f"{what} {', '.join(names[:5])}" for what, names in found.items() if names]
        raise ArtefactError(
            f"the parameters of this run do not fit its model: {place_of(type(model))} "
            f"{'; '.join(wrong) or 'cannot take them'}",
            where=str(folder),
            do="open it with the code that it was trained with, or train again",
        ) from error
    return model


def tell_other_code(name: str, kind: type[Model], code: str | None, folder: Path) -> None:
    """Say that a run was made with other code than its model has now.

    Args:
        name: of the model.
        code: the digest that the run stored.
        folder: the run.
    """
    now = code_of(kind)
    if not is_own(kind) or code == now:
        return
    unknown = code is None or code.startswith(UNTOLD) or (now or "").startswith(UNTOLD)
    said = "may have been" if unknown else "was"
    follows = "the code of now computes its scores" if issubclass(kind, Classical) else "its vectors are those of then"
    tell(f"{folder} {said} trained with other code of {name} than {place_of(kind)} has now; {follows}")
