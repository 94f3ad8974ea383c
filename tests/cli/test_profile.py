"""`palate train --profile`: a table of where an epoch's time went, and the same run as without."""

from __future__ import annotations

from pathlib import Path

import pytest

import worlds
from cli.settings import SMALL
from palate.optimise.profile import PHASES


def test_a_profile_names_the_phases_and_leaves_the_run_as_it_is(catalogue: Path, tmp_path: Path) -> None:
    with_it = worlds.palate("train", "bm3", "--data", catalogue, "-o", tmp_path / "with", "--profile", *SMALL)
    without = worlds.palate("train", "bm3", "--data", catalogue, "-o", tmp_path / "without", *SMALL)
    assert with_it.code == without.code == 0, with_it.text
    table = {words[0]: words for words in map(str.split, with_it.out.splitlines()) if words}
    assert {"batches", "loss", "backward", "optimiser", "validation", "other"} <= table.keys() & PHASES.keys()
    assert table["an"][-1] == "2"
    assert "an epoch" not in without.out
    for name in ("recipe.yaml", "model.safetensors", "embeddings.safetensors"):
        assert (tmp_path / "with" / name).read_bytes() == (tmp_path / "without" / name).read_bytes()


@pytest.mark.parametrize(("model", "settings"), [("popularity", ("--quiet",)), ("bm3", SMALL)])
def test_what_runs_no_epoch_has_no_profile(
    catalogue: Path, tmp_path: Path, model: str, settings: tuple[str, ...]
) -> None:
    words = ("train", model, "--data", catalogue, "-o", tmp_path / "run", "--profile", *settings)
    first, again = worlds.palate(*words), worlds.palate(*words)
    assert first.code == again.code == 0, first.text
    # A classical model is fitted in one go, and a finished run is not run again.
    assert ("no epoch was run" in first.out) == (model == "popularity")
    assert "no epoch was run" in again.out
