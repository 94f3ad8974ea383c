"""What the columns of a catalogue are called in other people's files."""

from __future__ import annotations

# Compared without regard to case, underscores, hyphens and blanks: "movieId" is "movieid", "uid" is "UID".
ALIASES: dict[str, tuple[str, ...]] = {
    "user_id": ("user", "uid", "reviewerid"),
    "item_id": ("item", "iid", "movieid", "movie", "asin", "parentasin", "productid"),
    "rating": ("score", "stars", "overall", "bookrating", "starrating", "userrating", "reviewrating"),
    "timestamp": ("time", "ts", "date", "datetime", "unixreviewtime", "eventtime", "unixtime", "unixtimestamp"),
    "event": (
        "eventtype", "eventname", "action", "actiontype", "behavior", "behaviour", "behaviortype", "interactiontype",
    ),
    "split": ("xlabel",),
    "title": (
        "name", "movietitle", "itemname", "itemtitle", "booktitle", "bookname", "newstitle", "headline", "producttitle",
        "productname", "prodname", "songtitle", "songname", "tracktitle", "trackname", "recipename", "gamename",
        "appname",
    ),
    "description": (
        "abstract", "overview", "plot", "synopsis", "detaildesc", "itemdescription", "productdescription",
    ),
    "image": ("imagepath", "poster", "picture"),
    "audio": ("audiopath", "sound"),
    "entity": ("entityid",),
    "head": ("headid", "subject"),
    "relation": ("relationid", "predicate"),
    "tail": ("tailid", "object"),
}  # fmt: skip

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


def plain(name: str) -> str:
    """A name as names are compared: without case, underscores, hyphens and blanks."""
    return "".join(letter for letter in name.casefold() if letter not in "_- ")


def stem(name: str) -> str:
    """The plain name without "id" at its end."""
    bare = plain(name)
    return bare.removesuffix("id") or bare
