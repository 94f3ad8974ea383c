"""Items as answers show them: in short, and with all that is known."""

from __future__ import annotations

import datetime
import math
from typing import TypedDict
from urllib.parse import quote, urlencode

import polars as pl

from palate.graph.rows import IntArray
from palate.serve.refusals import plain
from palate.serve.schema import MOST_ID, ItemAnswer, Scalar
from palate.serve.state import SHORT, Served

SHOWN = 20_000


class Short(TypedDict):
    """The fields of an item in short."""

    id: str
    title: str | None
    image: str | None


def short_items(served: Served, items: IntArray) -> list[Short]:
    """Items by row number, in short."""
    # One by one: a table's own way to take rows hands the work to threads, and waits for them.
    ids, titles, images = (served.short[name] for name in SHORT)
    return [
        Short(id=(name := ids[item]), title=titles[item], image=_address(served, name, images[item]))
        for item in items.tolist()
    ]


def whole_item(served: Served, item: int) -> ItemAnswer:
    """All that is known of an item."""
    row = served.bundle.table.row(item, named=True)
    further = {
        name: shown
        for name, value in row.items()
        if name not in (*SHORT, "description", "audio") and (shown := _shown(value)) is not None
    }
    present = [name for name, features in served.bundle.features.items() if features.present[item]]
    name, description = str(row["item_id"]), row.get("description")
    return ItemAnswer(
        id=name,
        title=row.get("title"),
        image=_address(served, name, row.get("image")),
        description=None if description is None else plain(str(description), SHOWN),
        attributes=further,
        modalities=present,
    )


def _address(served: Served, name: str, image: str | None) -> str | None:
    """Where the picture is, if there is one that can be asked for; ids are those of a model's own catalogue."""
    if not image or served.media is None or len(name) > MOST_ID:
        return None
    # Browsers take these two out of a path, however they are written there.
    apart = {"id": name} if name in (".", "..") else {}
    query = urlencode(apart if served.default else apart | {"model": served.name}, quote_via=quote, safe="")
    return f"/media/{'' if apart else quote(name, safe='')}{f'?{query}' if query else ''}"


def _shown(value: object) -> Scalar | list[str] | None:
    if isinstance(value, str):
        return plain(value, SHOWN)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, bool | int) or value is None:
        return value
    if isinstance(value, pl.Series | list | tuple):
        return [plain(str(each)) for each in value if each is not None]
    if isinstance(value, datetime.date | datetime.datetime):
        return value.isoformat()
    return plain(str(value))
