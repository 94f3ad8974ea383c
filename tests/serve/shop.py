"""A small shop that is served: films with titles, genres and coloured pictures, and models trained on it for a moment.

Two encoders are planted whose rows can be told by hand: a text is its letters, a picture is its mean colour.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from numpy.typing import NDArray
from PIL import Image

import worlds
from palate.core.config import Config
from palate.dataset.dataset import Dataset
from palate.encode.base import ENCODERS, EncoderEntry
from palate.encode.features import Features
from palate.encode.media import MediaFile
from palate.encode.pictures import read_picture
from palate.models import MODELS, Model, Recommender
from palate.recipe import resolve
from palate.recommend.bundle import Bundle
from palate.recommend.bundling import bundle_of
from palate.serve.app import create_app
from palate.serve.state import Served, Shelf
from palate.train.fitting import TrainConfig, fit_model

ITEMS, USERS = 25, 40
NOUNS = ("Robot", "Garden", "Ocean", "Winter", "Métro")
GENRES = ("Comedy", "Drama", "Comedy|Drama", None)
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
SMALL = {"dim": 8, "epochs": 2, "batch_size": 64, "neighbours": 5}


def title(item: int) -> str:
    return f"{NOUNS[item % len(NOUNS)]} {item}"


def colour(item: int) -> tuple[int, int, int]:
    return (10 * item, 250 - 9 * item, 40 + 5 * (item % 7))


def letters(text: str) -> NDArray[np.float32]:
    return np.array([text.lower().count(letter) for letter in LETTERS], dtype=np.float32)


class LetterEncoder:
    """How often each letter occurs."""

    modality, identity, width, batch_size = "text", "text 1 letters", len(LETTERS), 8

    def encode_batch(self, values: Sequence[str]) -> NDArray[np.float32]:
        return np.stack([letters(value) for value in values])


class ColourConfig(Config):
    """Limits as encoders of pictures have them."""

    max_pixels: int = 10_000
    max_bytes: int = 10_000


class ColourEncoder:
    """The mean colour."""

    modality, identity, width, batch_size = "image", "image 1 colours", 3, 8

    def __init__(self, config: ColourConfig) -> None:
        self.config = config

    def encode_batch(self, values: Sequence[MediaFile]) -> NDArray[np.float32]:
        pictures = [
            read_picture(each.read(most=self.config.max_bytes), most_pixels=self.config.max_pixels) for each in values
        ]
        return np.stack([np.asarray(each, dtype=np.float32).mean((0, 1)) for each in pictures])


def plant(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the two encoders known for the time of a test."""
    planted: dict[str, Any] = {
        "letters": EncoderEntry("text", "letters", Config, lambda _: LetterEncoder()),  # pyright: ignore[reportArgumentType]
        "colours": EncoderEntry("image", "colours", ColourConfig, ColourEncoder),  # pyright: ignore[reportArgumentType]
    }
    for name, entry in planted.items():
        monkeypatch.setitem(ENCODERS._entries, name, entry)


def png(rgb: tuple[int, int, int], side: int = 6) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (side, side), rgb).save(stream, "PNG")
    return stream.getvalue()


def picture(item: int) -> str:
    return base64.b64encode(png(colour(item))).decode()


def pictures(folder: Path) -> Path:
    """The media folder: a picture of every item but i3."""
    (folder / "p").mkdir(parents=True)
    for item in range(ITEMS):
        if item != 3:
            (folder / "p" / f"{item}.png").write_bytes(png(colour(item)))
    return folder


@cache
def data() -> Dataset:
    source = worlds.catalogue(worlds.interactions(users=USERS, least=4))
    order = [int(name[1:]) for name in source.items["item_id"]]
    goods = source.items.with_columns(
        title=np.array([title(item) for item in order]),
        description=np.array([f"a quiet story, number {item}" for item in order]),
        image=np.array([f"p/{item}.png" for item in order]),
        genres=np.array([GENRES[item % len(GENRES)] for item in order]),
        year=np.array([1980 + item for item in order]),
    )
    source = type(source).of(source.interactions, goods, name="shop")
    ids = source.items["item_id"].to_list()
    seen = np.array([item != 3 for item in order])
    colours = np.array([colour(item) for item in order], dtype=np.float32) * seen[:, None]
    content = {
        "image": Features("image", colours.astype(np.float32), seen, ColourEncoder.identity, tuple(ids)),
        "text": Features(
            "text",
            np.stack([letters(title(item)) for item in order]),
            np.ones(ITEMS, np.bool_),
            LetterEncoder.identity,
            tuple(ids),
        ),
    }
    return worlds.dataset(source, content, split="user-time")


@cache
def model(name: str, seed: int = 0) -> Model:
    learner = issubclass(MODELS[name], Recommender)
    known = {**MODELS[name].Config.model_fields, **(TrainConfig.model_fields if learner else {})}
    kind, config, training = resolve(name, settings={key: value for key, value in SMALL.items() if key in known})
    return fit_model(kind, config, data(), training, seed=seed, quiet=True).model


@cache
def bundle(name: str, seed: int = 0) -> Bundle:
    trained = model(name, seed)
    seen = data().seen_by(features=MODELS[name].modal, knowledge=MODELS[name].knowledge)
    return bundle_of(
        name, trained, trained.scorer(), seen, content=data().features, keep="float32", recipe={"seed": seed}
    )


def served(name: str, media: Path | None = None, *, called: str = "", seed: int = 0) -> Served:
    trained = model(name, seed)
    parts = trained.score_parts() if isinstance(trained, Recommender) else {}
    return Served(called or name, bundle(name, seed), source="run", parts=parts, media=media)


def client(*models: Served, **settings: Any) -> TestClient:
    """A client of a service of some models; the names of the test client are let in unless said otherwise."""
    return TestClient(create_app(Shelf.of(*models), **settings))


def met(user: str) -> set[str]:
    rows = data().catalogue.interactions
    return set(rows.filter(rows["user_id"] == user)["item_id"])
