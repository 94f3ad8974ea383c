"""The loop: it finds what is known to be best, keeps it, knows when to stop and refuses what is not finite."""

from __future__ import annotations

import json
import math
import signal
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from optimise.bowl import STEPS, Batches, Bowl, bowl_loop, targets
from palate.core.artefact import tensor_digest
from palate.core.errors import ConfigError, TrainingError
from palate.core.seeds import Draws
from palate.optimise.checkpoint import read_checkpoint
from palate.optimise.loop import Loop, choose_device
from palate.optimise.settings import LoopConfig


def quadratic(epochs: int, learning_rate: float, **settings: Any) -> tuple[Bowl, Loop]:
    """The bowl without draws, all rows in each step."""
    bowl = Bowl()

    def loss(rows: Tensor, draws: Draws) -> dict[str, Tensor]:
        return {"bowl": bowl.loss(rows, draws)["bowl"]}

    chosen = LoopConfig.parse({"epochs": epochs, "learning_rate": learning_rate, "device": "cpu", **settings})
    return bowl, Loop(bowl, loss, Batches(10), chosen, seed=0, quiet=True)


def test_gradients_of_others_do_not_count() -> None:
    (bowl, loop), (alone, other) = quadratic(3, 0.1), quadratic(3, 0.1)
    plain = loop.loss

    def stray() -> dict[str, float]:
        with torch.enable_grad():
            bowl.centre.square().sum().backward()
        return {"closeness": loop.position.epoch}

    def loss(rows: Tensor, draws: Draws) -> Mapping[str, Tensor]:
        stray()
        return plain(rows, draws)

    stray()
    loop.loss, loop.validate, loop.metric = loss, stray, "closeness"
    loop.run()
    other.run()
    assert torch.equal(bowl.centre, alone.centre)


def test_no_gradient_outlives_its_step() -> None:
    bowl, loop = quadratic(3, 0.1)
    loop.run()
    assert bowl.centre.grad is None


def test_a_convex_loss_ends_at_its_optimum() -> None:
    bowl, loop = quadratic(600, 0.05, precision="float64")
    outcome = loop.run()
    middle = targets().mean(0)
    torch.testing.assert_close(bowl.centre.detach(), middle, rtol=0, atol=1e-6)
    least = float((targets() - middle).square().sum(1).mean())
    assert outcome.history[-1]["loss"] == pytest.approx(least, abs=1e-9)
    assert (outcome.epochs, outcome.best_epoch, outcome.best_value, outcome.stopped) == (600, 600, None, "epochs")
    assert not bowl.training


def test_steps_are_those_of_adam() -> None:
    bowl, loop = quadratic(5, 0.1, precision="float64", weight_decay=0.01)
    loop.run()
    other = Bowl().double()
    adam = torch.optim.Adam([other.centre], lr=0.1, weight_decay=0.01)
    for _ in range(5):
        adam.zero_grad()
        other.loss(torch.arange(10), Draws(0))["bowl"].backward()
        adam.step()
    torch.testing.assert_close(bowl.centre, other.centre, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("precision", "dtype"), [("float32", torch.float32), ("float64", torch.float64)])
def test_precision_is_that_of_parameters_and_losses(precision: str, dtype: torch.dtype) -> None:
    bowl, loop = quadratic(1, 0.1, precision=precision)
    assert {value.dtype for value in bowl.state_dict().values()} == {dtype}
    assert bowl.loss(torch.arange(4), Draws(0))["bowl"].dtype == dtype
    loop.run()
    assert bowl.centre.dtype == dtype


def test_parameters_without_a_gradient_stay_as_they_are(tmp_path: Path) -> None:
    loop = bowl_loop(tmp_path)
    loop.run()
    assert torch.equal(loop.module.get_parameter("idle"), torch.ones(2))
    assert torch.equal(loop.module.get_parameter("fixed"), torch.ones(2))
    assert not torch.equal(loop.module.get_parameter("centre"), torch.full((3,), 4.0))


def scripted(values: list[float], folder: Path | None = None, **settings: Any) -> tuple[Loop, list[Tensor]]:
    """A loop whose validations have the given values; and the parameters at each of them."""
    loop = bowl_loop(folder, epochs=len(values), **settings)
    seen: list[Tensor] = []

    def validate() -> dict[str, float]:
        assert not loop.module.training
        seen.append(loop.module.get_parameter("centre").detach().clone())
        return {"other": 0.0, "closeness": values[len(seen) - 1]}

    loop.validate = validate
    return loop, seen


def test_validation_decides_which_parameters_are_kept(tmp_path: Path) -> None:
    loop, seen = scripted([0.1, 0.7, 0.3, 0.7, 0.2], tmp_path)
    outcome = loop.run()
    assert (outcome.best_epoch, outcome.best_value, outcome.epochs) == (2, 0.7, 5)
    assert torch.equal(loop.module.get_parameter("centre"), seen[1])
    assert not torch.equal(seen[1], seen[4])
    assert [entry["validation"]["closeness"] for entry in outcome.history] == [0.1, 0.7, 0.3, 0.7, 0.2]


def test_patience_counts_validations_without_a_new_best() -> None:
    loop, _ = scripted([0.1, 0.5, 0.4, 0.3, 0.6, 0.6, 0.5, 0.4, 0.9, 0.9], patience=3)
    outcome = loop.run()
    assert (outcome.stopped, outcome.epochs, outcome.best_epoch) == ("patience", 8, 5)


def test_patience_counts_validations_not_epochs() -> None:
    values = [0.5, 0.4, 0.3]
    loop, seen = scripted([*values, *[9.0] * 20], patience=2, evaluate_every=4)
    outcome = loop.run()
    assert (outcome.stopped, outcome.epochs, outcome.best_epoch, len(seen)) == ("patience", 12, 4, 3)


def test_validation_comes_every_so_many_epochs_and_after_the_last() -> None:
    loop, _ = scripted([0.1] * 8, evaluate_every=3)
    history = loop.run().history
    assert [entry["epoch"] for entry in history if "validation" in entry] == [3, 6, 8]


def test_history_holds_the_mean_of_each_term_and_is_written_line_by_line(tmp_path: Path) -> None:
    bowl = Bowl()
    losses: list[dict[str, float]] = []
    loop = bowl_loop(tmp_path, module=bowl)
    plain = loop.loss

    def noted(rows: Any, draws: Draws) -> Any:
        terms = plain(rows, draws)
        losses.append({name: float(term.detach()) for name, term in terms.items()})
        return terms

    loop.loss = noted
    outcome = loop.run()
    lines = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    assert lines == outcome.history
    assert [line["epoch"] for line in lines] == [1, 2, 3, 4]
    for number, line in enumerate(lines):
        own = losses[number * STEPS : (number + 1) * STEPS]
        for name in ("bowl", "draws"):
            assert line["terms"][name] == pytest.approx(sum(step[name] for step in own) / STEPS)
        assert line["loss"] == pytest.approx(sum(line["terms"].values()))
    seconds = [line["seconds"] for line in lines]
    assert seconds == sorted(seconds)
    assert outcome.seconds >= seconds[-1] - 0.001


def test_terms_are_summed_by_name_in_whatever_order_they_come() -> None:
    loop = bowl_loop(None)
    plain, whole = loop.loss, bowl_loop(None).run().history
    loop.loss = lambda rows, draws: dict(sorted(plain(rows, draws).items(), reverse=bool(draws.step % 2)))
    assert [entry["terms"] for entry in loop.run().history] == [entry["terms"] for entry in whole]


def test_a_term_that_only_some_steps_have_is_refused_where_it_lacks() -> None:
    loop = bowl_loop(None)
    plain = loop.loss
    loop.loss = lambda rows, draws: plain(rows, draws) | ({} if draws.step % STEPS else {"extra": torch.ones(())})
    with pytest.raises(TrainingError, match="other terms than in earlier steps: bowl, draws; there") as met:
        loop.run()
    assert met.value.where == "epoch 1, step 2"


@pytest.mark.parametrize("validate", [True, False])
def test_a_loop_without_a_folder_computes_the_same_and_keeps_nothing(tmp_path: Path, validate: bool) -> None:
    with_folder = bowl_loop(tmp_path / "run", validate=validate)
    with_folder.run()
    without = bowl_loop(None, validate=validate)
    assert without.run().stopped == "epochs"
    assert tensor_digest(with_folder.module.state_dict()) == tensor_digest(without.module.state_dict())
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("seconds", [0.0, 1e-9])
def test_a_loss_that_is_not_finite_names_term_and_place_and_leaves_the_last_good_state(
    tmp_path: Path, value: float, seconds: float
) -> None:
    loop = bowl_loop(tmp_path, checkpoint_seconds=seconds)
    plain = loop.loss

    def failing(rows: Any, draws: Draws) -> Any:
        terms = dict(plain(rows, draws))
        return terms | {"draws": terms["draws"] * value} if draws.step == 12 else terms

    loop.loss = failing
    with pytest.raises(TrainingError, match=r"not finite any more: draws\n") as caught:
        loop.run()
    assert caught.value.where == "epoch 3, step 3"
    again = bowl_loop(tmp_path, checkpoint_seconds=seconds)
    found = read_checkpoint(tmp_path / "checkpoint", "bowl", again.module, again.optimiser)
    assert found is not None
    assert found[0].steps == (12 if seconds else 10)
    assert torch.isfinite(again.module.get_parameter("centre")).all()
    uninterrupted = bowl_loop(None)
    uninterrupted.run()
    again = bowl_loop(tmp_path, checkpoint_seconds=seconds)
    again.run()
    assert tensor_digest(again.module.state_dict()) == tensor_digest(uninterrupted.module.state_dict())


@pytest.mark.parametrize("folder", [True, False])
def test_a_validation_that_is_not_finite_is_refused(tmp_path: Path, folder: bool) -> None:
    loop, _ = scripted([0.1, math.nan, 0.3], tmp_path if folder else None)
    with pytest.raises(TrainingError, match="validation is not finite: closeness") as caught:
        loop.run()
    assert caught.value.where == "epoch 2"


def test_a_validation_without_the_deciding_metric_is_refused_with_the_names_there_are() -> None:
    loop = bowl_loop(None)
    loop.metric = "recall@20"
    with pytest.raises(ConfigError, match="no validation metric 'recall@20'") as caught:
        loop.run()
    assert caught.value.do == "choose one of closeness"


def test_an_epoch_without_a_batch_is_refused() -> None:
    class Nothing(Batches):
        def epoch(self, number: int) -> Any:
            return iter(())

    loop = bowl_loop(None)
    loop.batches = Nothing()
    with pytest.raises(TrainingError, match="nothing to learn from"):
        loop.run()


def test_a_device_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto") == torch.device("cpu")
    with pytest.raises(ConfigError, match="no 'cuda' device"):
        bowl_loop(None, device="cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device("auto") == torch.device("cuda")
    with pytest.raises(ConfigError, match="device"):
        LoopConfig.parse({"device": "tpu"})


@pytest.mark.parametrize(
    "settings",
    [
        {"epochs": 0},
        {"learning_rate": 0},
        {"weight_decay": -1},
        {"evaluate_every": 0},
        {"patience": 0},
        {"checkpoint_seconds": -1},
        {"precision": "float16"},
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(settings))):
        LoopConfig.parse(settings)


def test_tied_parameters_are_optimised_and_stored(tmp_path: Path) -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one = nn.Parameter(torch.ones(2))
            self.other = self.one

    tied = Tied()
    settings = LoopConfig.parse({"epochs": 2, "device": "cpu"})

    def loss(rows: Tensor, draws: Draws) -> dict[str, Tensor]:
        return {"sum": (tied.one * tied.other).sum()}

    Loop(tied, loss, Batches(), settings, seed=0, folder=tmp_path, quiet=True).run()
    assert tied.one is tied.other
    assert (tied.one < 1).all()


def test_it_runs_outside_the_main_thread_where_no_signal_can_be_caught() -> None:
    handler = signal.getsignal(signal.SIGINT)
    stopped: list[str] = []
    thread = threading.Thread(target=lambda: stopped.append(bowl_loop(None).run().stopped))
    thread.start()
    thread.join()
    assert stopped == ["epochs"]
    assert signal.getsignal(signal.SIGINT) is handler
