"""A service of three models with pictures, and a client of it."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from serve import shop


@pytest.fixture
def media(tmp_path: Path) -> Path:
    return shop.pictures(tmp_path / "media")


@pytest.fixture
def client(media: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[TestClient]:
    shop.plant(monkeypatch)
    models = [shop.served(name, media) for name in ("vbpr", "contentknn", "popularity")]
    with shop.client(*models) as made:
        yield made
