"""The synthetic world as a catalogue: an imaginary record shop with pictures, words, sounds and knowledge on disk.

Takes a `SyntheticConfig`; gives a stored catalogue. Nothing is fetched, and the same config gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from palate.core.progress import Progress, progress
from palate.ingest.catalogue import Catalogue
from palate.ingest.sources import drawing, sounds, words
from palate.ingest.sources.drawing import Scene
from palate.ingest.sources.factors import FACTORS, PUBLISHERS, STYLES, TOWNS, Medium, SyntheticConfig
from palate.ingest.sources.sounds import Tune
from palate.ingest.sources.words import Theme
from palate.ingest.sources.world import World, plan, world_features

__all__ = ["FACTORS", "SyntheticConfig", "World", "make_synthetic", "plan", "tables", "world_features"]

MEDIA_IN_A_FOLDER = 1000
FILES: dict[Medium, tuple[str, str]] = {"image": ("pictures", "png"), "audio": ("sounds", "wav")}
INVERSES = {"performed_by": "performed", "published_by": "published", "comes_from": "home_of"}
"""Relations that are stored in both directions; `has_style`, `composed_by` and `kind_of` have one."""


def make_synthetic(
    folder: Path, config: SyntheticConfig | None = None, *, replace: bool = False, quiet: bool = False
) -> Catalogue:
    """Make a synthetic world and store it, all or nothing.

    Pictures are in `media/pictures` and sounds in `media/sounds` of the catalogue, a thousand to a folder; items name
    them by paths relative to the catalogue.

    Args:
        folder: where the catalogue goes.
        config: the world's settings; by default 1,000 people and 1,000 records.
        replace: take the place of a catalogue that is there.
        quiet: show no progress.

    Raises:
        ArtefactError: when `folder` exists and may not be replaced, or the disk refuses.
    """
    world = plan(config, quiet=quiet)
    catalogue = tables(world)

    def write(into: Path) -> None:
        total = sum(int(world.present[medium].sum()) for medium in world.config.written)
        with progress("synthetic world: media", total, "files", quiet=quiet) as shown:
            _write_media(world, into, shown)

    return catalogue.save(folder, replace=replace, media=write)


def tables(world: World) -> Catalogue:
    """The catalogue of a world, not stored: interactions, items, knowledge and the items' nodes in it.

    Besides words and media, items have `styles` ("waltz|dance music") and `publisher`, which say in columns a part of
    what the knowledge says, and `released` in seconds. Media that are not written have no paths.
    """
    config, visits = world.config, world.visits
    items, people = _ids("i", config.items), _ids("u", config.users)
    titles, descriptions = _words(world)
    known = world.present["knowledge"]
    style, publisher = world.factors["knowledge"][:, 0], world.factors["knowledge"][:, 2]
    styles = pl.Series([f"{name}|{family}" for name, family in STYLES.items()])
    goods = pl.DataFrame(
        {
            "item_id": items,
            "title": titles,
            "description": descriptions,
            **{medium: _paths(world, medium, items) for medium in FILES},
            "styles": _where(known, styles.gather(style)),
            "publisher": _where(known, pl.Series(PUBLISHERS).gather(publisher)),
            "released": world.released,
        }
    )
    interactions = pl.DataFrame(
        {
            "user_id": people.gather(visits.user),
            "item_id": items.gather(visits.item),
            "rating": world.rating.astype(np.float64),
            "timestamp": visits.timestamp,
        }
    )
    records = "record:" + items
    entities = pl.DataFrame({"item_id": items, "entity": records}).filter(pl.Series(known))
    return Catalogue.of(interactions, goods, _knowledge(world, records), entities, name="synthetic")


def _ids(letter: str, count: int) -> pl.Series:
    """Ids of one width, so that their order as text is that of their numbers."""
    width = len(str(count - 1))
    numbers = pl.int_range(count, eager=True).cast(pl.String).str.zfill(width)
    return letter + numbers


def _where(present: NDArray[np.bool_], values: pl.Series) -> pl.Series:
    return values.set(~pl.Series(present), None)


def _paths(world: World, medium: Medium, items: pl.Series) -> pl.Series:
    if medium not in world.config.written:
        return pl.Series([None] * len(items), dtype=pl.String)
    place, ending = FILES[medium]
    shard = (pl.int_range(len(items), eager=True) // MEDIA_IN_A_FOLDER).cast(pl.String).str.zfill(3)
    return _where(world.present[medium], f"media/{place}/" + shard + "/" + items + f".{ending}")


def _words(world: World) -> tuple[list[str | None], list[str | None]]:
    from palate.core.seeds import numpy_generator

    jitter = numpy_generator(world.config.seed, "synthetic", "words").random((world.config.items, words.JITTER))
    names = world.config.words_name_pictures
    titles: list[str | None] = []
    descriptions: list[str | None] = []
    often: dict[str, int] = {}
    for item, present in enumerate(world.present["text"].tolist()):
        if not present:
            titles.append(None)
            descriptions.append(None)
            continue
        theme = Theme(*world.factors["text"][item].tolist())
        scene = Scene(*world.factors["image"][item].tolist()) if names else None
        title = words.title(theme, jitter[item])
        often[title] = often.get(title, 0) + 1
        titles.append(title if often[title] == 1 else f"{title}, No. {often[title]}")
        descriptions.append(words.description(theme, jitter[item], scene))
    return titles, descriptions


def _knowledge(world: World, records: pl.Series) -> pl.DataFrame:
    """Triples about the records that have knowledge, their people, and what those belong to; no triple twice."""
    known = np.flatnonzero(world.present["knowledge"])
    performers = len(world.town)
    everyone = pl.Series([f"person:{name}" for name in words.people(max(performers, int(world.composer.max()) + 1))])
    styles = pl.Series([f"style:{name}" for name in STYLES])
    families = pl.Series([f"style:{name}" for name in STYLES.values()])
    style, publisher = world.factors["knowledge"][known, 0], world.factors["knowledge"][known, 2]
    heard = np.unique(world.performer[known])
    facts: Iterable[tuple[pl.Series, str, pl.Series]] = (
        (records.gather(known), "performed_by", everyone.gather(world.performer[known])),
        (records.gather(known), "composed_by", everyone.gather(world.composer[known])),
        (records.gather(known), "has_style", styles.gather(style)),
        (records.gather(known), "published_by", pl.Series([f"publisher:{x}" for x in PUBLISHERS]).gather(publisher)),
        (everyone.gather(heard), "comes_from", pl.Series([f"town:{x}" for x in TOWNS]).gather(world.town[heard])),
        (styles, "kind_of", families),
    )
    triples: list[pl.DataFrame] = []
    for head, relation, tail in facts:
        triples.append(_triples(head, relation, tail))
        if relation in INVERSES:
            triples.append(_triples(tail, INVERSES[relation], head))
    return pl.concat(triples)


def _triples(head: pl.Series, relation: str, tail: pl.Series) -> pl.DataFrame:
    return pl.DataFrame({"head": head, "tail": tail}).select("head", pl.lit(relation).alias("relation"), "tail")


def _write_media(world: World, folder: Path, shown: Progress) -> None:
    items = _ids("i", world.config.items)
    for medium in world.config.written:
        paths = _paths(world, medium, items).to_list()
        for first in range(0, len(paths), MEDIA_IN_A_FOLDER):
            chosen = {
                first + place: folder / path
                for place, path in enumerate(paths[first : first + MEDIA_IN_A_FOLDER])
                if path is not None
            }
            if chosen:
                next(iter(chosen.values())).parent.mkdir(parents=True)
            write = _write_pictures if medium == "image" else _write_sounds
            write(world, first, chosen)
            shown.advance(len(chosen))


def _write_pictures(world: World, first: int, chosen: dict[int, Path]) -> None:
    from palate.core.seeds import numpy_generator

    jitter = numpy_generator(world.config.seed, "synthetic", "pictures", first).random(
        (MEDIA_IN_A_FOLDER, drawing.JITTER)
    )
    for item, path in chosen.items():
        scene = Scene(*world.factors["image"][item].tolist())
        pixels = drawing.draw(scene, jitter[item - first], world.config.picture_size)
        path.write_bytes(drawing.png_bytes(pixels))


def _write_sounds(world: World, first: int, chosen: dict[int, Path]) -> None:
    from palate.core.seeds import numpy_generator

    generator = numpy_generator(world.config.seed, "synthetic", "sounds", first)
    loudness = 0.4 + 0.5 * generator.random(MEDIA_IN_A_FOLDER)
    samples = round(world.config.seconds * sounds.SAMPLE_RATE)
    for item, path in chosen.items():
        hiss = generator.standard_normal(samples, dtype=np.float32)
        tune = Tune(*world.factors["audio"][item].tolist())
        path.write_bytes(sounds.wav_bytes(sounds.play(tune, float(loudness[item - first]), hiss)))
