"""Which column of a file is which column of the catalogue: the user's own names, else a short list of usual ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import ConfigDict

from palate.core.config import Config
from palate.core.errors import nearest
from palate.ingest.report import Report
from palate.ingest.tables import Table


class ColumnNames(Config):
    """Names of the columns in the user's files, by their names in the catalogue.

    None: look for the same name, then for the usual other ones. An empty string: leave that column out.
    """

    # A column whose name is a number reaches us as that number.
    model_config = ConfigDict(coerce_numbers_to_str=True)

    user_id: str | None = None
    """Interactions: who."""
    item_id: str | None = None
    """Interactions and items: which item. May be the name in either file, or in both."""
    rating: str | None = None
    """Interactions: how much it was liked; a plain number."""
    timestamp: str | None = None
    """Interactions: when; whole seconds since 1970, or ISO 8601."""
    event: str | None = None
    """Interactions: what was done, such as view or buy."""
    split: str | None = None
    """Interactions: train, valid or test."""
    title: str | None = None
    """Items: a short name."""
    description: str | None = None
    """Items: a text."""
    image: str | None = None
    """Items: a path, relative to the items file."""
    audio: str | None = None
    """Items: a path, relative to the items file."""
    entity: str | None = None
    """Items: the item's node in the knowledge."""
    head: str | None = None
    """Knowledge: what a triple is about."""
    relation: str | None = None
    """Knowledge: how head and tail are related."""
    tail: str | None = None
    """Knowledge: what the head is related to."""


# Compared without regard to case, underscores, hyphens and blanks: "movieId" is "movieid", "uid" is "UID".
ALIASES: dict[str, tuple[str, ...]] = {
    "user_id": ("user", "uid", "reviewerid"),
    "item_id": ("item", "iid", "movieid", "movie", "asin", "parentasin", "productid"),
    "rating": ("score", "stars", "overall"),
    "timestamp": ("time", "ts", "date", "datetime", "unixreviewtime"),
    "event": ("eventtype", "action", "behavior", "behaviour"),
    "split": ("xlabel",),
    "title": ("name", "movietitle", "itemname"),
    "description": ("abstract", "overview", "plot"),
    "image": ("imagepath", "poster", "picture"),
    "audio": ("audiopath", "sound"),
    "entity": ("entityid",),
    "head": ("headid", "subject"),
    "relation": ("relationid", "predicate"),
    "tail": ("tailid", "object"),
}

# What people and items are called in other trades: too vague to be read so unasked, good enough to be advised.
LIKELY: dict[str, tuple[str, ...]] = {
    "user_id": (
        "account", "author", "buyer", "client", "consumer", "customer", "listener", "member", "patron", "person",
        "player", "profile", "reader", "reviewer", "shopper", "student", "subscriber", "userid", "username", "viewer",
        "visitor",
    ),
    "item_id": (
        "album", "app", "article", "artist", "book", "business", "content", "course", "episode", "film", "game",
        "hotel", "itemid", "job", "news", "place", "podcast", "product", "recipe", "restaurant", "show", "sku", "song",
        "track", "video",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Wanted:
    """What a table should have.

    Args:
        name: the table's name in messages.
        required: columns that it must have.
        optional: columns that it may have.
    """

    name: str
    required: tuple[str, ...]
    optional: tuple[str, ...] = ()


INTERACTIONS = Wanted("interactions", ("user_id", "item_id"), ("rating", "timestamp", "event", "split"))
ITEMS = Wanted("items", ("item_id",), ("title", "description", "image", "audio", "entity"))
# Of files that each hold one split, no column says the split.
UNDIVIDED = Wanted("interactions", INTERACTIONS.required, ("rating", "timestamp", "event"))
KNOWLEDGE = Wanted("knowledge", ("head", "relation", "tail"))
LINKS = Wanted("item_entities", ("item_id", "entity"))


def resolve(
    table: Table, wanted: Wanted, names: ColumnNames, report: Report, *, elsewhere: frozenset[str] = frozenset()
) -> dict[str, str]:
    """The file's column of each column of the catalogue that the table has.

    Args:
        table: the rows that were read.
        wanted: the columns to look for.
        names: the user's own names.
        report: takes what is missing or ambiguous, and each alias that was used.
        elsewhere: columns of the other tables; a name of the user's that is one of them need not be in this one.
    """
    present = table.columns
    given = {key: value for key, value in names.model_dump().items() if value is not None}
    found: dict[str, str] = {}
    advised: list[str] = []
    for key in (*wanted.required, *wanted.optional):
        own: str | None = given.get(key)
        if own == "" and key not in wanted.required:
            continue
        if own and own in present:
            found[key] = own
        elif own and not (key in wanted.required and own in elsewhere):
            guess = nearest(own, present)
            report.add(
                "fatal",
                table.file,
                f"there is no column '{own}' to read as {key}" + (f"; did you mean '{guess}'?" if guess else ""),
                do=f"the columns here are: {', '.join(present)}",
            )
        elif key in present:
            found[key] = key
        else:
            _by_alias(table, wanted, key, found, advised, report)
    _refuse_double_use(table, found, report)
    for key in (*wanted.required, "rating", "timestamp", "event", "split"):
        if found.get(key) in table.lists:
            report.add(
                "fatal", table.file, f"{key} is one value, and the cells here are lists", column=found[key],
                do="write a row for each value",
            )  # fmt: skip
    return found


def refuse_unused(names: ColumnNames, wanted: Wanted, file: str, report: Report, *, but: tuple[str, ...] = ()) -> None:
    """Report names that the user gave for a table that was not given; `but`: those that another table uses."""
    for key in (*wanted.required, *wanted.optional):
        if key not in ("item_id", *but) and getattr(names, key):
            report.add(
                "fatal",
                file,
                f"'{getattr(names, key)}' is to be read as {key}, but there is no {wanted.name} file",
                do=f"give the {wanted.name} file too, or leave {key} out of --columns",
            )


def _by_alias(
    table: Table, wanted: Wanted, key: str, found: dict[str, str], advised: list[str], report: Report
) -> None:
    free = [name for name in table.columns if name not in found.values() and name not in ALIASES]
    like = [name for name in free if _plain(name) in (_plain(key), *ALIASES[key])]
    if len(like) == 1:
        found[key] = like[0]
        report.add("note", table.file, f"read as {key}", column=like[0])
    elif like:
        report.add(
            "fatal" if key in wanted.required else "note",
            table.file,
            f"each of these columns could be {key}, so none of them is used: {', '.join(like)}",
            do=f"choose one: --columns {key}={like[0]}",
        )
    elif key in wanted.required:
        guess = _guess(key, [name for name in free if name not in advised])
        advised += [guess] if guess else []
        report.add(
            "fatal",
            table.file,
            f"there is no column {key}" + (f"; did you mean '{guess}'?" if guess else ""),
            do=f"name it: --columns {key}={guess or 'NAME'}; the columns here are: {', '.join(table.columns)}",
        )


def _guess(key: str, free: Sequence[str]) -> str | None:
    """The column that is probably meant; none that another key of `ALIASES` or `LIKELY` fits better."""
    for name in free:
        if _stem(name) in LIKELY.get(key, ()):
            return name
    usual = sum((*ALIASES.values(), *(words for other, words in LIKELY.items() if other != key)), ())
    open_ = [name for name in free if _plain(name) not in usual and _stem(name) not in usual]
    # An ending that both have in common makes no likeness: track_id is no user_id.
    stems = {_stem(name): name for name in reversed(open_)}
    found = nearest(_stem(key), stems)
    return None if found is None else stems[found]


def _stem(name: str) -> str:
    plain = _plain(name)
    return plain.removesuffix("id") or plain


def _refuse_double_use(table: Table, found: dict[str, str], report: Report) -> None:
    for column in dict.fromkeys(found.values()):
        keys = [key for key, name in found.items() if name == column]
        if len(keys) > 1:
            report.add(
                "fatal",
                table.file,
                f"the column is to be read as {' and as '.join(keys)}",
                column=column,
                do="give each its own column",
            )


def _plain(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter not in "_- ")
