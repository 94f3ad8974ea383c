"""What a synthetic world is made of: the hidden factors of its items, and the settings of `SyntheticConfig`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from palate.core.config import Config
from palate.core.errors import unknown_name
from palate.ingest.sources.drawing import BACKGROUNDS, COLOURS, COUNTS, SHAPES, STRIPES
from palate.ingest.sources.sounds import MELODIES, PITCHES, RHYTHMS, TIMBRES
from palate.ingest.sources.words import MOODS, OCCASIONS, TOPICS

Medium = Literal["image", "audio"]

STYLES: dict[str, str] = {
    "lullaby": "quiet music", "ballad": "quiet music", "chorale": "quiet music", "nocturne": "quiet music",
    "waltz": "dance music", "polka": "dance music", "tango": "dance music",
    "march": "loud music", "fanfare": "loud music", "shanty": "loud music",
}  # fmt: skip
TOWNS = ("Oldmere", "Saltby", "Upper Thrum", "Fennigan", "Port Amble", "Larkhaven", "Dunmoor", "Kettlewick")
PUBLISHERS = ("Moth Records", "Tin Whistle", "Left Hand Press", "Paper Boat", "Good Evening Discs", "Attic & Sons")


@dataclass(frozen=True)
class Factor:
    """One thing in which the items of a modality differ.

    Args:
        name: what it is.
        values: the names of its values.
        share: of the taste in this modality that this factor explains; the factors of a modality sum to one.
    """

    name: str
    values: tuple[str, ...]
    share: float


FACTORS: dict[str, tuple[Factor, ...]] = {
    "image": (
        Factor("shape", tuple(SHAPES), 0.3),
        Factor("colour", tuple(COLOURS), 0.3),
        Factor("background", tuple(BACKGROUNDS), 0.2),
        Factor("count", COUNTS, 0.1),
        Factor("stripes", STRIPES, 0.1),
    ),
    "text": (
        Factor("topic", tuple(TOPICS), 0.6),
        Factor("mood", tuple(MOODS), 0.25),
        Factor("occasion", tuple(OCCASIONS), 0.15),
    ),
    "audio": (
        Factor("pitch", tuple(PITCHES), 0.3),
        Factor("timbre", tuple(TIMBRES), 0.3),
        Factor("rhythm", tuple(RHYTHMS), 0.25),
        Factor("melody", tuple(MELODIES), 0.15),
    ),
    "knowledge": (
        Factor("style", tuple(STYLES), 0.5),
        Factor("town", TOWNS, 0.3),
        Factor("publisher", PUBLISHERS, 0.2),
    ),
}
SOURCES_OF_TASTE = (*FACTORS, "popularity", "chance")

MOST_INTERACTIONS = 500


class SyntheticConfig(Config):
    """How large a synthetic world is, and what people's taste in it depends on."""

    users: int = Field(default=1000, ge=1, description="people")
    items: int = Field(default=1000, ge=20, description="records")
    interactions: float = Field(
        default=30, ge=1, description="mean per user, at most items/4 and 500; activity has a long tail"
    )
    taste: dict[str, float] = Field(
        default={"image": 0.3, "text": 0.2, "audio": 0.1, "knowledge": 0.2, "popularity": 0.1, "chance": 0.1},
        description="weights of image, text, audio, knowledge, popularity and chance: shares of the variance of "
        "utility, after division by their sum; what is not named has none",
    )
    choosiness: float = Field(
        default=3.0, ge=0, description="how strongly utility (of variance one) decides what is chosen; 0: not at all"
    )
    missing: dict[str, float] = Field(
        default={}, description="share of items that lack image, text, audio or knowledge, exact to the item"
    )
    new_items: float = Field(
        default=0.0, ge=0, le=0.5, description="share of items released in the last fifth of time; some meet nobody"
    )
    words_name_pictures: bool = Field(
        default=True,
        description="descriptions name the picture's shape, colour, ground, count and stripes; words then carry the "
        "picture's factors too, so switch it off where taste depends on one of the two and the other must be noise",
    )
    media: bool | tuple[Medium, ...] = Field(
        default=True, description="which media to write: true, false, or image and audio by name"
    )
    picture_size: int = Field(default=96, ge=16, le=2048, description="width and height in pixels")
    seconds: float = Field(default=1.0, ge=0.1, le=60, description="of sound, at 8,000 samples a second")
    seed: int = Field(default=0, ge=0, description="of everything")

    @field_validator("taste", "missing")
    @classmethod
    def _known(cls, values: dict[str, float], info: ValidationInfo) -> dict[str, float]:
        valid = SOURCES_OF_TASTE if info.field_name == "taste" else tuple(FACTORS)
        for name, value in values.items():
            if name not in valid:
                raise ValueError(f"{unknown_name('name', name, valid)} (valid: {', '.join(valid)})")
            if value < 0:
                raise ValueError(f"{name} must not be negative")
        return values

    @model_validator(mode="after")
    def _possible(self) -> SyntheticConfig:
        if not sum(self.taste.values()) > 0:
            raise ValueError("taste must depend on something: give at least one positive weight")
        for name, share in self.missing.items():
            if share > 1:
                raise ValueError(f"missing: {name} is a share, at most 1")
        most = min(self.items / 4, MOST_INTERACTIONS)
        if self.interactions > most:
            raise ValueError(f"interactions must be at most {most:g} with {self.items:,} items")
        return self

    @property
    def shares(self) -> dict[str, float]:
        """The share of the variance of utility that each source of taste explains; they sum to one."""
        total = sum(self.taste.values())
        return {name: self.taste.get(name, 0.0) / total for name in SOURCES_OF_TASTE}

    @property
    def written(self) -> tuple[Medium, ...]:
        """The media that go to disk."""
        if isinstance(self.media, bool):
            return ("image", "audio") if self.media else ()
        return tuple(dict.fromkeys(self.media))
