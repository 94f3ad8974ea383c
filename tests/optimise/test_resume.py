"""Whatever stops a loop, the next sitting ends with the bits and the history of one that was never stopped."""

from __future__ import annotations

import functools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from optimise import bowl
from optimise.bowl import STEPS, Bowl, bowl_loop
from palate.core.artefact import read_tensors, tensor_digest, write_tensors
from palate.core.errors import ArtefactError, Interrupted
from palate.optimise.checkpoint import STATE
from palate.optimise.loop import Loop

ALL_STEPS = 4 * STEPS


def history_of(folder: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


@functools.cache
def uninterrupted(validate: bool = True) -> tuple[str, list[dict[str, Any]]]:
    """Digest and history of a loop that nothing stops."""
    loop = bowl_loop(None, validate=validate)
    history = loop.run().history
    plain = [{key: value for key, value in entry.items() if key != "seconds"} for entry in history]
    return tensor_digest(loop.module.state_dict()), plain


def assert_as_uninterrupted(loop: Loop, folder: Path, validate: bool = True) -> None:
    digest, history = uninterrupted(validate)
    assert tensor_digest(loop.module.state_dict()) == digest
    assert history_of(folder) == history


def signal_at(*steps: int, times: int = 1) -> Callable[[int], None]:
    """Ctrl-C while one of `steps` is under way."""

    def before_step(number: int) -> None:
        if number in steps:
            for _ in range(times):
                os.kill(os.getpid(), signal.SIGINT)

    return before_step


@given(st.sets(st.integers(1, ALL_STEPS), min_size=1, max_size=3), st.booleans(), st.sampled_from([0.0, 1e-9, 30.0]))
def test_a_loop_stopped_by_ctrl_c_at_any_steps_ends_with_the_same_bits(
    tmp_path_factory: pytest.TempPathFactory, steps: set[int], validate: bool, seconds: float
) -> None:
    folder = tmp_path_factory.mktemp("run")
    handler = signal.getsignal(signal.SIGINT)
    options: dict[str, Any] = {"validate": validate, "checkpoint_seconds": seconds}
    for step in sorted(steps):
        loop = bowl_loop(folder, before_step=signal_at(step), **options)
        with pytest.raises(Interrupted, match=f"after {step} steps; nothing is lost") as caught:
            loop.run()
        assert "run the same command again" in caught.value.do
        assert signal.getsignal(signal.SIGINT) is handler
    last = bowl_loop(folder, **options)
    outcome = last.run()
    assert_as_uninterrupted(last, folder, validate)
    assert (outcome.epochs, outcome.stopped) == (4, "epochs")


@pytest.mark.parametrize("after", [1, 3])
def test_going_on_with_another_number_of_threads_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    with pytest.raises(Interrupted):
        bowl_loop(tmp_path, before_step=signal_at(7), quiet=False).run()
    assert "threads" not in capsys.readouterr().err, "a new run has nothing to go on from"
    facts = json.loads(read_tensors(tmp_path / "checkpoint" / STATE)[1]["palate"])
    assert facts["position"]["threads"] == 3
    monkeypatch.setattr(torch, "get_num_threads", lambda: after)
    bowl_loop(tmp_path, quiet=False).run()
    said = capsys.readouterr().err
    assert ("started with 3 threads and goes on with 1" in said) == (after == 1)
    assert ("threads" in said) == (after == 1)


@pytest.mark.parametrize("step", [STEPS, ALL_STEPS])
def test_a_loop_stopped_after_the_last_step_of_an_epoch_still_finishes_that_epoch(tmp_path: Path, step: int) -> None:
    with pytest.raises(Interrupted):
        bowl_loop(tmp_path, before_step=signal_at(step)).run()
    loop = bowl_loop(tmp_path)
    loop.run()
    assert_as_uninterrupted(loop, tmp_path)


def test_without_a_folder_ctrl_c_says_that_nothing_was_stored() -> None:
    with pytest.raises(Interrupted, match="without a folder nothing was stored") as caught:
        bowl_loop(None, before_step=signal_at(3)).run()
    assert caught.value.do == ""


def test_a_second_ctrl_c_acts_at_once_and_the_handler_comes_back(tmp_path: Path) -> None:
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        bowl_loop(tmp_path, before_step=signal_at(8, times=2)).run()
    assert signal.getsignal(signal.SIGINT) is handler
    loop = bowl_loop(tmp_path)
    loop.run()
    assert_as_uninterrupted(loop, tmp_path)


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_error_inside_the_loss_leaves_the_last_checkpoint_to_go_on_from(
    tmp_path: Path, error: type[BaseException]
) -> None:
    def fail(step: int) -> None:
        if step == 14:
            raise error

    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(error):
        bowl_loop(tmp_path, before_step=fail).run()
    assert signal.getsignal(signal.SIGINT) is handler
    loop = bowl_loop(tmp_path)
    loop.run()
    assert_as_uninterrupted(loop, tmp_path)


@pytest.mark.parametrize(("seconds", "moments"), [(0.0, (3, 8, 20)), (1e-9, (3, 11, 16))])
def test_a_killed_process_goes_on_with_the_same_bits(tmp_path: Path, seconds: float, moments: tuple[int, ...]) -> None:
    command = [sys.executable, str(Path(bowl.__file__)), str(tmp_path), str(seconds)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for moment in moments:
        ended = subprocess.run([*command, str(moment)], check=False, timeout=60, env=environment)
        assert ended.returncode == -signal.SIGKILL
        done = moment - 1 if seconds else (moment - 1) // STEPS * STEPS
        stored = tmp_path / "checkpoint" / STATE
        assert stored.exists() == (done > 0)
        if done:
            facts = json.loads(read_tensors(stored)[1]["palate"])
            assert facts["position"]["steps"] == done
    loop = bowl_loop(tmp_path, checkpoint_seconds=seconds)
    loop.run()
    assert_as_uninterrupted(loop, tmp_path)


def test_a_finished_loop_is_not_run_again(tmp_path: Path) -> None:
    first = bowl_loop(tmp_path).run()

    def never(step: int) -> None:
        raise AssertionError(step)

    loop = bowl_loop(tmp_path, before_step=never)
    second = loop.run()
    assert second == first
    assert_as_uninterrupted(loop, tmp_path)


def test_patience_goes_on_counting_where_it_was(tmp_path: Path) -> None:
    def losing(folder: Path | None, stop: Callable[[int], None] = lambda step: None) -> Loop:
        loop = bowl_loop(folder, before_step=stop, epochs=50, patience=5)
        loop.validate = lambda: {"closeness": -float(loop.position.epoch)}
        return loop

    with pytest.raises(Interrupted):
        losing(tmp_path, signal_at(3 * STEPS + 2)).run()
    again, plain = losing(tmp_path), losing(None)
    outcome = again.run()
    assert (outcome.stopped, outcome.epochs, outcome.best_epoch) == ("patience", 6, 1)
    assert plain.run().epochs == 6
    assert tensor_digest(again.module.state_dict()) == tensor_digest(plain.module.state_dict())


def test_seconds_of_all_sittings_are_added(tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        bowl_loop(tmp_path, before_step=signal_at(7)).run()
    path = tmp_path / "checkpoint" / STATE
    tensors, metadata = read_tensors(path)
    facts = json.loads(metadata["palate"])
    facts["position"]["seconds"] = 1000.0
    write_tensors(path, tensors, {"palate": json.dumps(facts)})
    assert 1000.0 < bowl_loop(tmp_path).run().seconds < 1100.0


def test_fewer_epochs_than_are_done_end_the_loop(tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        bowl_loop(tmp_path, before_step=signal_at(3 * STEPS + 1)).run()
    outcome = bowl_loop(tmp_path, epochs=2).run()
    assert (outcome.stopped, outcome.epochs) == ("epochs", 4)


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    with pytest.raises(Interrupted):
        bowl_loop(tmp_path, before_step=signal_at(7)).run()
    return tmp_path / "checkpoint" / STATE


def test_a_checkpoint_of_something_else_is_refused_and_kept(stored: Path) -> None:
    before = stored.read_bytes()
    with pytest.raises(ArtefactError, match="belongs to other settings or other data") as caught:
        bowl_loop(stored.parent.parent, identity="another bowl").run()
    assert caught.value.where == str(stored)
    assert stored.read_bytes() == before


@pytest.mark.parametrize("keep", [0, 7, 100, -1])
def test_a_checkpoint_cut_short_is_refused(stored: Path, keep: int) -> None:
    stored.write_bytes(stored.read_bytes()[:keep])
    with pytest.raises(ArtefactError) as caught:
        bowl_loop(stored.parent.parent).run()
    assert caught.value.where == str(stored)


def test_a_checkpoint_of_another_shape_is_refused(stored: Path) -> None:
    class Wider(Bowl):
        def __init__(self) -> None:
            super().__init__()
            self.idle = torch.nn.Parameter(torch.ones(3))

    with pytest.raises(ArtefactError, match="does not fit"):
        bowl_loop(stored.parent.parent, module=Wider()).run()


@pytest.mark.parametrize(
    "facts",
    [
        "",
        "[]",
        "{}",
        '{"version": 1, "identity": "bowl"}',
        '{"version": 1, "identity": "bowl", "position": {"x": 1}}',
        '{"version": 2, "identity": "bowl", "position": {}}',
    ],
)
def test_a_checkpoint_with_damaged_facts_is_refused(stored: Path, facts: str) -> None:
    tensors, _ = read_tensors(stored)
    write_tensors(stored, tensors, {"palate": facts})
    with pytest.raises(ArtefactError, match=r"does not fit|other settings"):
        bowl_loop(stored.parent.parent).run()
