"""The one optimisation loop, for anything with `loss(batch, draws) -> named terms`.

Takes a module, a source of batches and an optional validation; gives the module with its best parameters. It shows
progress, keeps a history, checkpoints, goes on where it was with the same bits, stops on Ctrl-C after the step under
way, and refuses to go on from a loss that is not finite.
"""

from __future__ import annotations

import json
import math
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Protocol, Self, cast

import torch
from torch import Tensor, nn

from palate.core.artefact import write_text
from palate.core.errors import ConfigError, Interrupted, TrainingError
from palate.core.gradients import row_gradients
from palate.core.progress import Progress, progress
from palate.core.seeds import Draws
from palate.core.sources import place_of
from palate.optimise.adam import Adam
from palate.optimise.checkpoint import Position, read_checkpoint, write_checkpoint
from palate.optimise.memory import kept_memory
from palate.optimise.profile import Phase, Profile
from palate.optimise.settings import LoopConfig

GUARD_STEPS_ON_ACCELERATOR = 50


class Movable(Protocol):
    """A batch: anything that can be put on a device."""

    def to(self, device: torch.device) -> Self:
        """The batch on `device`."""
        ...


class Batches(Protocol):
    """The batches of each epoch; the same number gives the same batches."""

    @property
    def steps(self) -> int:
        """Batches in an epoch."""
        ...

    def epoch(self, number: int) -> Iterable[Any]:
        """The batches of epoch `number`, from 1."""
        ...


Validate = Callable[[], Mapping[str, float]]


@dataclass(frozen=True)
class Outcome:
    """How an optimisation ended.

    Attributes:
        epochs: epochs that were run.
        best_epoch: the epoch whose parameters the module now has.
        best_value: its validation value, None without validation.
        stopped: why it ended ("patience", "epochs").
        seconds: wall time, all sittings together.
        history: one entry for each epoch: loss terms, validation, seconds.
    """

    epochs: int
    best_epoch: int
    best_value: float | None
    stopped: str
    seconds: float
    history: list[dict[str, Any]]


class Loop:
    """Optimise a module.

    Args:
        module: what is optimised.
        loss: of a batch and its draws, named scalar terms; their sum is minimised.
        batches: see `Batches`.
        settings: see `LoopConfig`.
        seed: of the draws inside the loss.
        identity: what is optimised (settings and data, as a fingerprint); guards the checkpoint.
        folder: where checkpoint and `history.jsonl` go; None keeps nothing.
        validate: called after an epoch with the module in evaluation mode; gives named values.
        metric: which of them decides; higher is better.
        quiet: show no progress.
        profile: is told the phases of each epoch.
    """

    def __init__(
        self,
        module: nn.Module,
        loss: Callable[[Any, Draws], Mapping[str, Tensor]],
        batches: Batches,
        settings: LoopConfig,
        *,
        seed: int,
        identity: str = "",
        folder: Path | None = None,
        validate: Validate | None = None,
        metric: str = "",
        quiet: bool = False,
        profile: Profile | None = None,
    ) -> None:
        self.device = choose_device(settings.device)
        self.module = module.to(self.device, torch.float64 if settings.precision == "float64" else torch.float32)
        self.loss = loss
        self.batches = batches
        self.settings = settings
        self.seed = seed
        self.identity = identity
        self.folder = folder
        self.validate = validate
        self.metric = metric
        self.quiet = quiet
        self.profile = profile
        parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
        self.optimiser = Adam(parameters, settings.learning_rate, settings.weight_decay)
        self.position = Position()
        self.clock = self.saved = time.monotonic()
        self.best: dict[str, Tensor] = {}
        self.sums: Tensor | None = None

    def run(self) -> Outcome:
        """Optimise until patience or epochs run out, from the checkpoint if there is one.

        Raises:
            Interrupted: after Ctrl-C; the state up to the last finished step is stored.
            TrainingError: when a loss term is not finite.
            ArtefactError: when the checkpoint is damaged or belongs to something else.
        """
        self._restore()
        self.optimiser.prepare()
        position, settings = self.position, self.settings
        total = settings.epochs * self.batches.steps
        bar = progress("training", total, "steps", done=position.steps, quiet=self.quiet)
        with bar as shown, _interruptible() as interrupted, kept_memory():
            if position.threads not in (0, torch.get_num_threads()):
                shown.say(
                    f"this run was started with {position.threads} threads and goes on with {torch.get_num_threads()}: "
                    "its last bits may differ from an uninterrupted one"
                )
            self.clock = self.saved = time.monotonic()
            while not position.finished:
                self._epoch(shown, interrupted)
        if self.best:
            self.module.load_state_dict(self.best)
        self.module.eval()
        return Outcome(
            epochs=len(position.history),
            best_epoch=position.best_epoch or len(position.history),
            best_value=position.best_value,
            stopped=position.finished,
            seconds=position.seconds,
            history=position.history,
        )

    def _epoch(self, shown: Progress, interrupted: threading.Event) -> None:
        position = self.position
        self.module.train()
        self._enter("batches")
        for number, batch in enumerate(self.batches.epoch(position.epoch)):
            if number < position.step:
                continue
            self._step(batch)
            self._enter("other")
            position.step += 1
            position.steps += 1
            shown.advance(1, self._note())
            if interrupted.is_set():
                self._save()
                raise Interrupted(
                    f"stopped in epoch {position.epoch} after {position.steps:,} steps; nothing is lost"
                    if self.folder
                    else f"stopped in epoch {position.epoch}; without a folder nothing was stored",
                    do="run the same command again to go on" if self.folder else "",
                )
            if self.settings.checkpoint_seconds and self._due():
                self._save()
            self._enter("batches")
        self._enter("other")
        self._finish_epoch()
        if position.finished or self._due():
            self._save()
        if self.profile is not None:
            self.profile.end_epoch()

    def _enter(self, phase: Phase) -> None:
        if self.profile is not None:
            self.profile.enter(phase)

    def _step(self, batch: Movable) -> None:
        self._enter("loss")
        terms = self.loss(batch.to(self.device), Draws(self.seed, self.position.steps))
        self._enter("other")
        _check_terms(terms, self.loss)
        names = list(terms) if self.sums is None else self.position.terms
        if set(names) != set(terms):
            raise TrainingError(
                f"the loss has other terms than in earlier steps: {', '.join(terms)}; there: {', '.join(names)}",
                where=f"epoch {self.position.epoch}, step {self.position.step + 1}",
                do="give the same names at each step; a term that does not apply is zero",
            )
        values = torch.stack([terms[name].detach().double() for name in names])
        guard = self.device.type == "cpu" or self.position.steps % GUARD_STEPS_ON_ACCELERATOR == 0
        if guard and not bool(torch.isfinite(values).all()):
            self._refuse(names, values)
        self._enter("backward")
        # What a loss or a validation has left there is none of this step's.
        self.optimiser.zero_grad()
        with row_gradients(self.optimiser.by_row):
            torch.stack(list(terms.values())).sum().backward()
        self._enter("optimiser")
        self.optimiser.step()
        # Now, so that the next loss has their memory.
        self.optimiser.zero_grad()
        self._enter("other")
        self.position.terms = names
        self.sums = values if self.sums is None else self.sums + values

    def _refuse(self, names: list[str], values: Tensor) -> None:
        wrong = [
            name for name, value in zip(names, values.tolist(), strict=True) if value != value or abs(value) > 1e300
        ]
        raise TrainingError(
            f"the loss is not finite any more: {', '.join(wrong)}",
            where=f"epoch {self.position.epoch}, step {self.position.step + 1}",
            do=f"lower the learning rate ({self.settings.learning_rate:g}), or look for extreme values in the features",
        )

    def _finish_epoch(self) -> None:
        position, settings = self.position, self.settings
        if self.sums is None:
            raise TrainingError("an epoch without a batch: there is nothing to learn from")
        means = (self.sums / self.batches.steps).tolist()
        if not all(map(math.isfinite, means)):
            self._refuse(position.terms, self.sums)
        self._check_parameters()
        entry: dict[str, Any] = {
            "epoch": position.epoch,
            "loss": sum(means),
            "terms": dict(zip(position.terms, means, strict=True)),
        }
        # A checkpoint may be ahead of settings that ask for fewer epochs now.
        last = position.epoch >= settings.epochs
        if self.validate and (position.epoch % settings.evaluate_every == 0 or last):
            self.module.eval()
            self._enter("validation")
            values = dict(self.validate())
            self._enter("other")
            self._check(values)
            entry["validation"] = values
            self._judge(values[self.metric])
        self.sums, position.step = None, 0
        self._tick()
        entry["seconds"] = round(position.seconds, 3)
        position.history.append(entry)
        if self.validate and position.stale >= settings.patience:
            position.finished = "patience"
        elif last:
            position.finished = "epochs"
        position.epoch += 1
        if self.folder:
            write_history(self.folder, position.history)

    def _check_parameters(self) -> None:
        # A finite loss may still have had a gradient that was not. The extremes show every NaN and infinity, and need
        # no memory of the table's size.
        for name, parameter in self.module.named_parameters():
            if parameter.numel() and not bool(torch.isfinite(torch.stack(torch.aminmax(parameter.detach()))).all()):
                raise TrainingError(
                    f"the parameters '{name}' are not finite any more",
                    where=f"epoch {self.position.epoch}",
                    do=f"lower the learning rate ({self.settings.learning_rate:g}), or look for extreme features",
                )

    def _check(self, values: Mapping[str, float]) -> None:
        if self.metric not in values:
            raise ConfigError(f"there is no validation metric '{self.metric}'", do=f"choose one of {', '.join(values)}")
        wrong = [name for name, value in values.items() if not math.isfinite(value)]
        if wrong:
            raise TrainingError(f"validation is not finite: {', '.join(wrong)}", where=f"epoch {self.position.epoch}")

    def _judge(self, value: float) -> None:
        position = self.position
        if position.best_value is None or value > position.best_value:
            position.best_value, position.best_epoch, position.stale = value, position.epoch, 0
            self.best = {name: tensor.detach().clone() for name, tensor in self.module.state_dict().items()}
        else:
            position.stale += 1

    def _restore(self) -> None:
        if self.folder is None:
            return
        stored = read_checkpoint(self.folder / "checkpoint", self.identity, self.module, self.optimiser)
        if stored is not None:
            self.position, self.best, sums = stored
            self.sums = None if sums is None else sums.to(self.device)
            write_history(self.folder, self.position.history)

    def _due(self) -> bool:
        return time.monotonic() - self.saved >= self.settings.checkpoint_seconds

    def _save(self) -> None:
        self._tick()
        if self.sums is not None and not bool(torch.isfinite(self.sums).all()):
            self._refuse(self.position.terms, self.sums)
        if self.folder:
            folder = self.folder / "checkpoint"
            with nullcontext() if self.profile is None else self.profile.within("checkpoints"):
                write_checkpoint(
                    folder, self.identity, self.position, self.module, self.optimiser, self.best, self.sums
                )
        self.saved = time.monotonic()

    def _tick(self) -> None:
        now = time.monotonic()
        self.position.seconds += now - self.clock
        self.clock = now

    def _note(self) -> str:
        position = self.position
        best = f", best {self.metric} {position.best_value:.4f}" if position.best_value is not None else ""
        loss = f", loss {position.history[-1]['loss']:.4f}" if position.history else ""
        return f"epoch {position.epoch}{loss}{best}"


def write_history(folder: Path, history: list[dict[str, Any]]) -> None:
    """`history.jsonl`: one line for each epoch."""
    write_text(folder / "history.jsonl", "".join(json.dumps(entry, allow_nan=False) + "\n" for entry in history))


def choose_device(name: str) -> torch.device:
    """The device of that name; `auto` is CUDA when there is one, else the CPU.

    Raises:
        ConfigError: when this machine has no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"this machine has no '{name}' device", do="use device=cpu, or device=auto")
    return torch.device(name)


@contextmanager
def _interruptible() -> Generator[threading.Event, None, None]:
    """Turn the first Ctrl-C into an event, to be met after the step under way; the second one acts at once."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return

    def note(number: int, frame: FrameType | None) -> None:
        event.set()
        signal.signal(number, signal.default_int_handler)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield event
    finally:
        signal.signal(signal.SIGINT, before)


def _check_terms(terms: object, loss: object) -> None:
    """Refuse what a loss must not give; its author may not have known."""
    if isinstance(terms, Mapping) and terms:
        values = cast("Mapping[object, object]", terms).values()
        if all(isinstance(term, Tensor) and term.ndim == 0 for term in values):
            if any(isinstance(term, Tensor) and term.requires_grad for term in values):
                return
            raise TrainingError(
                f"no term of the loss has a gradient: {', '.join(map(str, cast('Mapping[object, object]', terms)))}",
                where=place_of(loss),
                do="compute it from the parameters, without detach(), item() or inference_mode()",
            )
    raise TrainingError(
        "the loss gives no named scalar terms",
        where=place_of(loss),
        do='return one or more by name, as {"bpr": tensor}, each a single number',
    )
