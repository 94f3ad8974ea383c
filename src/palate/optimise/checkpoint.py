"""The state of an unfinished optimisation as one safetensors file, so that it goes on with the same bits."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from palate.core.artefact import read_tensors, write_tensors
from palate.core.errors import ArtefactError
from palate.optimise.adam import Adam

STATE = "state.safetensors"
VERSION = 1


@dataclass
class Position:
    """Where the loop stands.

    Attributes:
        epoch: number of the epoch under way, from 1.
        step: steps of it that are done.
        steps: steps done in all.
        best_epoch, best_value: of the best validation; epoch 0 before the first.
        stale: validations since then.
        terms: names of the loss terms, in the order of their running sums.
        seconds: spent so far, all sittings together.
        finished: why the loop ended; empty while it has not.
        history: one entry for each finished epoch.
        threads: of the arithmetic when this was stored; another number may move the last bits.
    """

    epoch: int = 1
    step: int = 0
    steps: int = 0
    best_epoch: int = 0
    best_value: float | None = None
    stale: int = 0
    seconds: float = 0.0
    finished: str = ""
    terms: list[str] = field(default_factory=list[str])
    history: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    threads: int = 0


def write_checkpoint(
    folder: Path,
    identity: str,
    position: Position,
    module: nn.Module,
    optimiser: Adam,
    best: dict[str, Tensor],
    sums: Tensor | None,
) -> None:
    """Store everything the loop needs to go on.

    Args:
        identity: what is being optimised; going on with another identity is refused.
        best: state dict of the best validation, empty before the first.
        sums: running sums of the loss terms of the epoch under way.
    """
    tensors = {f"module/{name}": value for name, value in module.state_dict().items()}
    tensors |= {f"best/{name}": value for name, value in best.items()}
    for index, state in optimiser.state.items():
        tensors |= {f"optimiser/{index}/{key}": value for key, value in state.items()}
    if sums is not None:
        tensors["sums"] = sums
    position.threads = torch.get_num_threads()
    facts = {"version": VERSION, "identity": identity, "position": asdict(position)}
    write_tensors(folder / STATE, tensors, {"palate": json.dumps(facts)})


def read_checkpoint(
    folder: Path, identity: str, module: nn.Module, optimiser: Adam
) -> tuple[Position, dict[str, Tensor], Tensor | None] | None:
    """Load the stored state into `module` and `optimiser`; None when nothing was stored.

    Raises:
        ArtefactError: when the file is damaged or belongs to another optimisation.
    """
    path = folder / STATE
    if not path.exists():
        return None
    tensors, metadata = read_tensors(path)
    try:
        facts: dict[str, Any] = json.loads(metadata.get("palate", ""))
        position = Position(**facts["position"])
        if facts["version"] != VERSION or facts["identity"] != identity:
            raise ArtefactError(
                "this checkpoint belongs to other settings or other data",
                where=str(path),
                do="go on with the settings it was started with, or choose another folder",
            )
        module.load_state_dict(_under(tensors, "module/"))
        _load_optimiser(optimiser, _under(tensors, "optimiser/"))
    except (ValueError, KeyError, TypeError, RuntimeError) as error:
        raise ArtefactError(
            f"this checkpoint does not fit: {error}", where=str(path), do="remove it to start again"
        ) from None
    return position, _under(tensors, "best/"), tensors.get("sums")


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _load_optimiser(optimiser: Adam, stored: dict[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in stored.items():
        index, _, key = name.partition("/")
        state.setdefault(int(index), {})[key] = value
    optimiser.load(state)
