"""Where the cache and the data lie: environment variables first."""

from __future__ import annotations

from pathlib import Path

import pytest

from palate.core.places import cache_folder, data_folder


def test_environment_variables_decide(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PALATE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PALATE_DATA", "~/data")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "cache"
    assert data_folder() == tmp_path / "data"


@pytest.mark.parametrize("unset", [True, False])
def test_without_them_the_cache_is_in_the_home_and_data_are_nowhere(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, unset: bool
) -> None:
    for name in ("PALATE_CACHE", "PALATE_DATA"):
        monkeypatch.setenv(name, "")
        if unset:
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "palate"
    assert data_folder() is None
    assert not (tmp_path / ".cache").exists()
