"""A profile adds up what the loop tells it, and changes nothing of what the loop does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from optimise.bowl import STEPS, Bowl, bowl_loop
from palate.optimise.profile import PHASES, Phase, Profile


def ticking(*moments: float) -> Profile:
    """A profile whose clock shows these moments, one after the other."""
    return Profile(iter(moments).__next__)


def phases(profile: Profile) -> dict[Phase, float]:
    return {each.phase: each.seconds for each in profile.shares()}


def test_seconds_go_to_the_phase_under_way() -> None:
    profile = ticking(0, 2, 5, 6)
    for phase in ("batches", "loss", "batches"):
        profile.enter(phase)
    profile.end_epoch()
    assert profile.epochs == [{"batches": 3, "loss": 3}]


def test_a_phase_within_another_is_taken_out_of_it() -> None:
    profile = ticking(0, 1, 5, 7)
    profile.enter("other")
    with profile.within("checkpoints"):
        pass
    profile.end_epoch()
    assert profile.epochs == [{"other": 3, "checkpoints": 4}]


def test_what_fails_within_a_phase_ends_it() -> None:
    profile = ticking(0, 1, 5, 7)
    profile.enter("other")
    with pytest.raises(OSError, match="full"), profile.within("checkpoints"):
        raise OSError("full")
    assert profile.phase == "other"


def test_an_epoch_is_the_median_and_shares_are_of_the_sum() -> None:
    profile = Profile()
    profile.epochs = [
        {"loss": 1, "backward": 1},
        {"loss": 2, "backward": 2},
        {"loss": 6, "backward": 3, "validation": 5},
    ]
    found = {each.phase: each for each in profile.shares()}
    assert phases(profile) == {"loss": 2, "backward": 2, "validation": 5}
    assert found["loss"].share == pytest.approx(9 / 20)
    assert sum(each.share for each in found.values()) == pytest.approx(1)
    lines = profile.text().splitlines()
    assert lines[0].split()[:4] == ["an", "epoch", "4.0000", "s"]
    assert [line.split()[0] for line in lines[1:]] == ["loss", "backward", "validation"]
    assert lines[-1].endswith("in 1 of 3 epochs")
    assert "epochs" not in lines[1]


def test_without_an_epoch_it_says_so() -> None:
    assert "no epoch was run" in Profile().text()


def test_the_loop_names_every_phase_and_all_time_is_in_one(tmp_path: Path) -> None:
    moments = iter(range(10**6))
    profile = Profile(lambda: float(next(moments)))
    loop = bowl_loop(tmp_path)
    loop.profile = profile
    loop.run()
    assert len(profile.epochs) == 4
    for epoch in profile.epochs:
        assert set(epoch) == set(PHASES)
        # The clock goes on by one at each reading: as many seconds as phases were entered.
        assert epoch["loss"] == epoch["backward"] == epoch["optimiser"] == STEPS
        assert epoch["batches"] == STEPS + 1
        assert epoch["validation"] == 1


def test_without_validation_and_folder_there_is_no_such_phase() -> None:
    profile = Profile()
    loop = bowl_loop(None, validate=False)
    loop.profile = profile
    loop.run()
    assert set(PHASES) - {each.phase for each in profile.shares()} == {"validation", "checkpoints"}


def results(profile: Profile | None, folder: Path) -> Iterator[object]:
    loop = bowl_loop(folder, checkpoint_seconds=1000)
    loop.profile = profile
    outcome = loop.run()
    yield from ({**entry, "seconds": 0} for entry in outcome.history)
    yield outcome.best_epoch
    assert isinstance(loop.module, Bowl)
    yield loop.module.centre.detach().numpy().tobytes()


def test_the_same_bits_come_out_with_and_without(tmp_path: Path) -> None:
    assert list(results(Profile(), tmp_path / "with")) == list(results(None, tmp_path / "without"))
