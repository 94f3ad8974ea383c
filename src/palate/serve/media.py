"""The pictures of items: files inside the media folder and nothing else, of the kinds that their first bytes say."""

from __future__ import annotations

import hashlib

from starlette.responses import Response

from palate.core.errors import DataError
from palate.encode.media import MediaFile
from palate.encode.pictures import picture_kind
from palate.serve.refusals import Refusal
from palate.serve.state import Served

TYPES = {
    "JPEG": "image/jpeg",
    "PNG": "image/png",
    "GIF": "image/gif",
    "WebP": "image/webp",
    "BMP": "image/bmp",
    "TIFF": "image/tiff",
}
KEPT = {"Cache-Control": "private, max-age=3600"}


def picture_of(served: Served, item: int, known: str | None, *, most: int) -> Response:
    """The picture of an item.

    Args:
        known: the picture's tag, as a browser that has it sends it along.
        most: bytes of the largest file that is read.

    Raises:
        Refusal: 404 when there is none, or the file is no picture or outside the media folder.
    """
    cell = served.short["image"][item]
    name = served.short["item_id"][item]
    if not cell or served.media is None:
        raise Refusal(404, f"the item '{name}' has no picture")
    try:
        data = MediaFile(str(cell), served.media).read(most=most)
    except DataError:
        # What the disk holds is nobody's business.
        raise Refusal(404, f"the picture of the item '{name}' cannot be read") from None
    kind = picture_kind(data)
    if kind is None:
        raise Refusal(404, f"the file of the item '{name}' is no picture")
    headers = {**KEPT, "ETag": f'"{hashlib.sha256(data).hexdigest()[:32]}"'}
    if known is not None and headers["ETag"] in known:
        return Response(status_code=304, headers=headers)
    return Response(data, headers=headers, media_type=TYPES[kind])
