"""MovieLens-100K as a catalogue: from its official place, else from the example data in a published package.

Both give the same tables of interactions and items; the package adds knowledge and each film's entity. Files are
checked against their published hashes and kept in the cache. For research use; the data may not be redistributed.
"""

from __future__ import annotations

import hashlib
import http.client
import io
import subprocess
import sys
import tempfile
import time
import urllib.request
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from palate.core.errors import DataError
from palate.core.places import cache_folder
from palate.ingest.catalogue import Catalogue
from palate.ingest.importing import build_catalogue
from palate.ingest.naming import ColumnNames
from palate.ingest.report import Report
from palate.ingest.tables import ROW, Table, read_text

OFFICIAL_URL = "https://files.grouplens.org/datasets/movielens/ml-100k.zip"
PACKAGE = "recbole==1.2.1"
SECONDS_TO_CONNECT = 10
SECONDS_TO_FETCH = 120
MAX_BYTES = 64 * 1024 * 1024

GENRES = (
    "unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama", "Fantasy",
    "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western",
)  # fmt: skip

# "(V)" marks films that went straight to video.
TITLE_AND_YEAR = r"^(.*?)\s*\((\d{4})\)(?:\s*\(V\))?$"


class CannotFetch(Exception):
    """A source that did not deliver; the text says why."""


@dataclass(frozen=True)
class Source:
    """One place that the data can come from.

    Args:
        place: its name in messages.
        file: name of the file in the cache.
        algorithm: name of the hash.
        digest: the file's hash, hex.
        fetch: gives the file's bytes, or raises `CannotFetch`.
        read: gives the interactions, items and knowledge of the file.
    """

    place: str
    file: str
    algorithm: str
    digest: str
    fetch: Callable[[], bytes]
    read: Callable[[bytes, Report], tuple[Table | None, Table | None, Table | None]]

    def is_intact(self, data: bytes) -> bool:
        """Whether these are the published bytes."""
        return hashlib.new(self.algorithm, data, usedforsecurity=False).hexdigest() == self.digest


def get_movielens_100k(
    folder: Path, cache: Path | None = None, *, replace: bool = False, sources: Sequence[Source] | None = None
) -> Catalogue:
    """Fetch MovieLens-100K and store it as a catalogue.

    Items have `title` (as MovieLens writes it, "Usual Suspects, The"), `year` and `genres` ("Animation|Comedy"), all
    strings, null where MovieLens does not know them. What is in the cache is used before anything is fetched.

    Args:
        folder: where the catalogue goes.
        cache: where the fetched file is kept; by default `movielens-100k` in the cache folder.
        replace: take the place of a catalogue that is there.
        sources: where to look, in this order; by default `SOURCES`.

    Raises:
        DataError: when no source delivers: what was tried, and how to go on without it.
        ArtefactError: when `folder` exists and may not be replaced.
    """
    places = SOURCES if sources is None else sources
    source, data = _obtain(places, cache or cache_folder() / "movielens-100k")
    report = Report()
    tables = source.read(data, report)
    catalogue = build_catalogue(*tables, ColumnNames(), report, strict=True, name="movielens-100k")
    return catalogue.save(folder, replace=replace)


def _obtain(sources: Sequence[Source], cache: Path) -> tuple[Source, bytes]:
    from palate.core.artefact import atomic_path

    tried: list[str] = []
    for source in sources:
        path = cache / source.file
        try:
            if path.stat().st_size <= MAX_BYTES and source.is_intact(data := path.read_bytes()):
                return source, data
            tried.append(f"{path}: damaged")
        except FileNotFoundError:
            tried.append(f"{path}: not there")
        except OSError as error:
            tried.append(f"{path}: {error}")
    for source in sources:
        try:
            data = source.fetch()
        except CannotFetch as error:
            tried.append(f"{source.place}: {error}")
            continue
        if not source.is_intact(data):
            tried.append(f"{source.place}: the file's {source.algorithm} is not the published {source.digest}")
            continue
        try:
            with atomic_path(cache / source.file) as temporary:
                temporary.write_bytes(data)
        except OSError as error:
            raise DataError(
                f"the cache cannot be written: {error}", where=str(cache), do="set PALATE_CACHE to another folder"
            ) from None
        return source, data
    raise DataError(
        "MovieLens-100K could not be fetched\n" + "\n".join(f"  tried: {line}" for line in tried),
        do="connect to the network once (it is cached then), or put one of these files there yourself; "
        "or use your own data: palate data import --interactions F --items F -o CAT",
    )


def _fetch_official() -> bytes:
    deadline = time.monotonic() + SECONDS_TO_FETCH
    parts: list[bytes] = []
    size = 0
    try:
        with urllib.request.urlopen(OFFICIAL_URL, timeout=SECONDS_TO_CONNECT) as answer:
            while part := answer.read(1 << 18):
                parts.append(part)
                size += len(part)
                if size > MAX_BYTES:
                    raise CannotFetch("the answer is far larger than the data set")
                if time.monotonic() > deadline:
                    raise CannotFetch(f"not complete within {SECONDS_TO_FETCH} s")
    except (OSError, http.client.HTTPException) as error:
        raise CannotFetch(str(error)) from None
    return b"".join(parts)


def _fetch_package() -> bytes:
    with tempfile.TemporaryDirectory(prefix="palate-") as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check"]
        command += ["--no-deps", "--only-binary=:all:", "--timeout", str(SECONDS_TO_CONNECT), "--retries", "1"]
        try:
            done = subprocess.run(
                [*command, PACKAGE, "-d", folder],
                capture_output=True,
                text=True,
                errors="replace",
                timeout=SECONDS_TO_FETCH,
                check=False,
                stdin=subprocess.DEVNULL,
            )
        except subprocess.TimeoutExpired:
            raise CannotFetch(f"pip was not done within {SECONDS_TO_FETCH} s") from None
        except OSError as error:
            raise CannotFetch(f"pip cannot be started: {error}") from None
        wheel = next(Path(folder).glob("*.whl"), None)
        if done.returncode != 0 or wheel is None:
            said = done.stderr.strip().splitlines()
            raise CannotFetch(f"pip download {PACKAGE} failed: {said[-1] if said else 'no reason given'}")
        if wheel.stat().st_size > MAX_BYTES:
            raise CannotFetch("the package is far larger than the one that is wanted")
        return wheel.read_bytes()


def _read_official(data: bytes, report: Report) -> tuple[Table | None, Table | None, Table | None]:
    header = "\t".join(("user_id", "item_id", "rating", "timestamp"))
    interactions = _text(f"{header}\n" + _member(data, "ml-100k/u.data", "latin-1"), "u.data", report)
    header = "|".join(("item_id", "film", "released", "video_released", "address", *GENRES))
    raw = _text(f"{header}\n" + _member(data, "ml-100k/u.item", "latin-1"), "u.item", report, delimiter="|")
    if raw is None:
        return interactions, None, None
    flags = [pl.when(pl.col(genre) == "1").then(pl.lit(genre)) for genre in GENRES]
    genres = pl.concat_str(flags, separator="|", ignore_nulls=True)
    return interactions, _films(raw, pl.col("film"), genres), None


def _read_package(data: bytes, report: Report) -> tuple[Table | None, Table | None, Table | None]:
    interactions, raw, knowledge, links = (
        _text(_member(data, f"recbole/dataset_example/ml-100k/ml-100k.{kind}", "utf-8"), f"ml-100k.{kind}", report)
        for kind in ("inter", "item", "kg", "link")
    )
    if raw is None or links is None:
        return interactions, None, knowledge
    # The package cut the year out of the title; put back, both sources are parsed by one rule.
    year = pl.col("release_year")
    film = pl.col("movie_title") + pl.when(year.str.contains(r"^\d{4}$")).then(" (" + year + ")").otherwise(
        pl.when(year == "V").then(pl.lit(" (V)")).otherwise(pl.lit(""))
    )
    films = _films(raw, film, pl.col("class").str.replace_all(" ", "|"))
    entities = links.frame.select("item_id", pl.col("entity_id").alias("entity")).unique(
        "item_id", keep="first", maintain_order=True
    )
    joined = films.frame.join(entities, on="item_id", how="left", maintain_order="left")
    return interactions, Table(films.file, joined, films.layout), knowledge


def _films(raw: Table, film: pl.Expr, genres: pl.Expr) -> Table:
    """Items of a table whose `film` is a title with its year in brackets; what MovieLens does not know is null."""
    title = film.str.strip_chars()
    unknown = title.str.to_lowercase().str.replace(r"\s*\(.*\)$", "").is_in(["unknown", "unkonwn"])
    frame = raw.frame.select(
        ROW,
        "item_id",
        pl.when(~unknown).then(title.str.extract(TITLE_AND_YEAR, 1).fill_null(title)).alias("title"),
        title.str.extract(TITLE_AND_YEAR, 2).alias("year"),
        pl.when(~genres.is_in(["unknown", ""])).then(genres).alias("genres"),
    )
    return Table(raw.file, frame, raw.layout)


def _text(text: str, file: str, report: Report, *, delimiter: str = "\t") -> Table | None:
    return read_text(text.encode(), file, report, delimiters=delimiter)


def _member(data: bytes, name: str, encoding: str) -> str:
    """A text of a zip file, read without writing anything to disk."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive, archive.open(name) as stream:
        return stream.read(MAX_BYTES).decode(encoding)


SOURCES = (
    Source(
        OFFICIAL_URL,
        "ml-100k.zip",
        "md5",
        "0e33842e24a9c977be4e0107933c0723",
        _fetch_official,
        _read_official,
    ),
    Source(
        f"the package {PACKAGE}",
        "recbole-1.2.1-py3-none-any.whl",
        "sha256",
        "9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407",
        _fetch_package,
        _read_package,
    ),
)
