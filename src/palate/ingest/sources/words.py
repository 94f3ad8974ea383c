"""Words of the synthetic world: titles and descriptions of imaginary records, and names for the people behind them.

The words of topics, moods and occasions, and those that name what a sleeve shows, have none in common.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from palate.ingest.sources.drawing import BACKGROUNDS, COLOURS, COUNTS, SHAPES, STRIPES, Scene

# Every noun takes a plain s in the plural.
TOPICS: dict[str, tuple[str, ...]] = {
    "sea": ("harbour", "tide", "lighthouse", "gull", "sailor", "anchor", "island", "mermaid", "whale", "lagoon"),
    "forest": ("oak", "badger", "fern", "mushroom", "owl", "woodcutter", "bramble", "squirrel", "acorn", "thicket"),
    "mountains": (
        "summit",
        "glacier",
        "shepherd",
        "avalanche",
        "goat",
        "climber",
        "ridge",
        "valley",
        "marmot",
        "cairn",
    ),
    "kitchen": ("teapot", "pancake", "ladle", "oven", "pepper", "pudding", "spoon", "baker", "kettle", "onion"),
    "railway": ("train", "platform", "signal", "tunnel", "conductor", "ticket", "engine", "viaduct", "porter", "rail"),
    "heavens": (
        "planet",
        "comet",
        "telescope",
        "rocket",
        "astronaut",
        "meteor",
        "orbit",
        "quasar",
        "satellite",
        "crater",
    ),
    "winter": (
        "snowflake",
        "sledge",
        "icicle",
        "mitten",
        "skater",
        "blizzard",
        "penguin",
        "icebreaker",
        "parka",
        "hailstorm",
    ),
    "garden": ("bee", "hedge", "beetle", "gardener", "spade", "seed", "snail", "tulip", "wheelbarrow", "orchard"),
    "city": ("tram", "rooftop", "neighbour", "market", "pigeon", "balcony", "crowd", "lamppost", "alley", "taxi"),
    "desert": ("camel", "dune", "pyramid", "mirage", "caravan", "scorpion", "nomad", "well", "sandstorm", "lizard"),
    "castle": ("knight", "dragon", "tower", "banner", "jester", "drawbridge", "crown", "minstrel", "dungeon", "throne"),
    "workshop": ("hammer", "clock", "cog", "robot", "flywheel", "inventor", "spanner", "piston", "lever", "nail"),
}
MOODS: dict[str, tuple[str, ...]] = {
    "merry": ("merry", "cheerful", "jolly", "laughing"),
    "wistful": ("wistful", "longing", "homesick", "tearful"),
    "sleepy": ("sleepy", "drowsy", "dreamy", "hushed"),
    "brave": ("brave", "daring", "bold", "fearless"),
    "eerie": ("eerie", "ghostly", "haunted", "creeping"),
    "tender": ("tender", "gentle", "loving", "kind"),
    "silly": ("silly", "giggling", "clumsy", "topsy-turvy"),
    "grand": ("grand", "solemn", "stately", "majestic"),
}
OCCASIONS: dict[str, tuple[str, ...]] = {
    "rain": ("rainy evenings", "a wet afternoon", "stormy weather"),
    "morning": ("early mornings", "the first cup of coffee", "sunrise"),
    "journey": ("long journeys", "the open road", "packing a suitcase"),
    "chores": ("washing-up", "a pile of ironing", "sweeping the floor"),
    "dancing": ("dancing", "a crowded party", "tapping feet"),
    "study": ("quiet reading", "hard sums", "a long letter"),
}

TITLES = (
    "The {adjective} {noun}",
    "{noun} and {other}",
    "Letters from the {adjective} {noun}",
    "Return of the {noun}",
    "Every {adjective} {noun}",
    "My {noun}, My {other}",
    "The {noun} Sings to the {other}",
    "Where the {adjective} {others} Are",
)
KINDS = ("songs", "tunes", "melodies", "pieces")
SLEEVES = (
    "The sleeve shows {thing} on {ground}.",
    "On the sleeve: {thing} on {ground}.",
    "A sleeve with {thing} on {ground}.",
)

FIRST_NAMES = (
    "Ada", "Bruno", "Clara", "Dmitri", "Elif", "Farid", "Greta", "Hugo", "Ines", "Jonah", "Kamala", "Leo", "Mei",
    "Nils", "Olga", "Pablo", "Quentin", "Rosa", "Samir", "Tove", "Ulrike", "Victor", "Wanda", "Xavier", "Yara", "Zeno",
    "Aroha", "Bela", "Chike", "Dora", "Emeka", "Fumiko", "Gita", "Hana", "Idris", "Juno", "Kofi", "Lucia", "Milo",
    "Nadia",
)  # fmt: skip
SURNAMES = (
    "Quill", "Marsh", "Ferro", "Lindqvist", "Okafor", "Tanaka", "Bellamy", "Castellan", "Drummond", "Eastwick",
    "Fairweather", "Galloway", "Hollis", "Iwasaki", "Juarez", "Kestrel", "Lovelock", "Moreau", "Nightingale", "Oduya",
    "Pemberton", "Quickly", "Rasmussen", "Sokolova", "Thistle", "Underhill", "Vasquez", "Whitlock", "Yilmaz", "Zeller",
)  # fmt: skip

JITTER = 9
"""Numbers in [0, 1) that choose among words of the same meaning: see `title` and `description`."""


@dataclass(frozen=True)
class Theme:
    """What a record is about, as places in `TOPICS`, `MOODS` and `OCCASIONS`."""

    topic: int
    mood: int
    occasion: int


_TOPICS, _MOODS, _OCCASIONS = tuple(TOPICS.values()), tuple(MOODS.values()), tuple(OCCASIONS.values())
_SHAPES, _COLOURS, _BACKGROUNDS = tuple(SHAPES), tuple(COLOURS), tuple(BACKGROUNDS)


def _pick(words: tuple[str, ...], number: float) -> str:
    return words[int(number * len(words))]


def _nouns(theme: Theme, number: float, count: int) -> list[str]:
    words = _TOPICS[theme.topic]
    start = int(number * len(words))
    # Steps of three through ten words: no word twice, and neighbours in the list apart.
    return [words[(start + 3 * step) % len(words)] for step in range(count)]


def title(theme: Theme, jitter: NDArray[np.float64]) -> str:
    """The title of a record, from `JITTER` numbers in [0, 1)."""
    noun, other = (word.title() for word in _nouns(theme, float(jitter[1]), 2))
    adjective = _pick(_MOODS[theme.mood], float(jitter[2])).title()
    return _pick(TITLES, float(jitter[0])).format(noun=noun, other=other, others=f"{other}s", adjective=adjective)


def description(theme: Theme, jitter: NDArray[np.float64], scene: Scene | None) -> str:
    """Two sentences about a record: what its sleeve shows (left out without a scene), and what is on it.

    Args:
        jitter: `JITTER` numbers in [0, 1).
        scene: what the picture shows.
    """
    first, second, third = _nouns(theme, float(jitter[4]), 3)
    adjective = _pick(_MOODS[theme.mood], float(jitter[5])).capitalize()
    kind, occasion = _pick(KINDS, float(jitter[6])), _pick(_OCCASIONS[theme.occasion], float(jitter[7]))
    about = f"{adjective} {kind} about {first}s, {second}s and {third}s, made for {occasion}."
    return about if scene is None else f"{sleeve(scene, float(jitter[8]))} {about}"


def sleeve(scene: Scene, number: float) -> str:
    """The sentence that names shape, colour, count, background and stripes, in one of the ways of `SLEEVES`."""
    shape = _SHAPES[scene.shape] + ("s" if scene.count else "")
    if shape == "crosss":
        shape = "crosses"
    background, stripes = _BACKGROUNDS[scene.background], STRIPES[scene.stripes]
    ground = f"a plain {background} ground" if stripes == "plain" else f"a {background} ground with {stripes} stripes"
    return _pick(SLEEVES, number).format(thing=f"{COUNTS[scene.count]} {_COLOURS[scene.colour]} {shape}", ground=ground)


def people(count: int) -> Iterator[str]:
    """Different names of people; middle initials come in when the plain names are used up."""
    plain = len(FIRST_NAMES) * len(SURNAMES)
    for number in range(count):
        rounds, place = divmod(number, plain)
        # Neighbours shall share neither first name nor surname, and every pair comes up once a round.
        turn, first = divmod(place, len(FIRST_NAMES))
        surname = (first + turn) % len(SURNAMES)
        initials = "".join(f"{letter}. " for letter in _letters(rounds))
        yield f"{FIRST_NAMES[first]} {initials}{SURNAMES[surname]}"


def _letters(number: int) -> str:
    letters = ""
    while number > 0:
        number, letter = divmod(number - 1, 26)
        letters = chr(ord("A") + letter) + letters
    return letters
