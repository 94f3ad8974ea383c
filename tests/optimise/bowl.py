"""A small optimisation with a known optimum and draws in its loss; run as a script, it kills itself at some step."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from palate.core.seeds import Draws, numpy_generator, torch_generator
from palate.optimise.loop import Loop
from palate.optimise.settings import LoopConfig

ROWS, WIDTH, BATCH = 10, 3, 2
STEPS = ROWS // BATCH


def targets() -> Tensor:
    """The points that the bowl's centre is drawn to."""
    return torch.randn(ROWS, WIDTH, generator=torch_generator(0, "targets"), dtype=torch.float64)


class Bowl(nn.Module):
    """mean ‖x - target‖², least where x is the mean of the targets; `idle` gets no gradient, `fixed` takes none."""

    def __init__(self) -> None:
        super().__init__()
        self.centre = nn.Parameter(torch.full((WIDTH,), 4.0))
        self.idle = nn.Parameter(torch.ones(2))
        self.fixed = nn.Parameter(torch.ones(2), requires_grad=False)
        self.register_buffer("targets", targets())

    def loss(self, rows: Tensor, draws: Draws) -> dict[str, Tensor]:
        """The bowl, and a term with draws so that each step matters."""
        near = self.get_buffer("targets").index_select(0, rows)
        difference = self.centre - near
        return {
            "bowl": difference.square().sum(1).mean(),
            "draws": 0.1 * draws.dropout("rows", difference, 0.5, rows).square().mean(),
        }


class Batches:
    """Rows in an order that depends on the epoch alone.

    Args:
        size: rows of a batch.
    """

    def __init__(self, size: int = BATCH) -> None:
        self.size = size

    @property
    def steps(self) -> int:
        """Batches in an epoch."""
        return ROWS // self.size

    def epoch(self, number: int) -> Iterator[Tensor]:
        """The batches of epoch `number`."""
        order = numpy_generator(0, "order", number).permutation(ROWS)
        for start in range(0, ROWS, self.size):
            yield torch.from_numpy(order[start : start + self.size])


def closeness(module: Bowl) -> dict[str, float]:
    """A validation that grows towards the optimum."""
    middle = module.get_buffer("targets").mean(0)
    return {"closeness": -float((module.centre.detach() - middle).square().sum())}


def bowl_loop(
    folder: Path | None,
    *,
    before_step: Callable[[int], None] = lambda step: None,
    module: Bowl | None = None,
    identity: str = "bowl",
    validate: bool = True,
    quiet: bool = True,
    **settings: Any,
) -> Loop:
    """A loop over a bowl of 4 epochs of 5 steps.

    Args:
        before_step: called with the number of the step, from 1, before its loss is computed.
    """
    bowl = module or Bowl()

    def loss(rows: Tensor, draws: Draws) -> dict[str, Tensor]:
        before_step(draws.step + 1)
        return bowl.loss(rows, draws)

    chosen = {"epochs": 4, "learning_rate": 0.3, "checkpoint_seconds": 0, "device": "cpu", **settings}
    return Loop(
        bowl,
        loss,
        Batches(),
        LoopConfig.parse(chosen),
        seed=7,
        identity=identity,
        folder=folder,
        validate=(lambda: closeness(bowl)) if validate else None,
        metric="closeness",
        quiet=quiet,
    )


def kill_at(step: int) -> Callable[[int], None]:
    """SIGKILL to this process, before `step`."""

    def before_step(number: int) -> None:
        if number == step:
            os.kill(os.getpid(), signal.SIGKILL)

    return before_step


def main(folder: str, seconds: str, step: str) -> None:
    """Optimise until killed before `step`."""
    torch.set_num_threads(1)
    bowl_loop(Path(folder), before_step=kill_at(int(step)), checkpoint_seconds=float(seconds)).run()


if __name__ == "__main__":
    main(*sys.argv[1:])
