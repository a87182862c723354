"""The last pictures that any viewer was sent, for exact pixels and for panes that stay at one; bounded in bytes.

No viewer holds a picture itself: who stays at one and wants it after it has left here has it fetched again.
"""

from __future__ import annotations

from collections import OrderedDict

from beamstream_consumers.monitor.pictures.picture import Kind, Picture

MAX_RECENT_BYTES = 256 << 20
"""Room for them [bytes]: the last 12 of 4.5 Mpixel with 16 bits; the last one of any size."""

BYTES_PER_IMAGE_BYTE = 2.4
"""What a picture holds of its image's bytes: the image, what is left of it by the mask, and the smaller levels."""

Key = tuple[str, Kind, str, int]
"""Data source, kind, stream and id."""


def key_of(picture: Picture) -> Key:
    """Return the key of a picture."""
    return picture.source, picture.kind, picture.stream, picture.message_id


class Recent:
    """Keeps pictures; used from one event loop.

    Parameters
    ----------
    max_bytes : int
        Room for them [bytes]; the newest one is kept anyway.
    """

    def __init__(self, max_bytes: int = MAX_RECENT_BYTES) -> None:
        self._pictures: OrderedDict[Key, Picture] = OrderedDict()
        self._max_bytes = max_bytes
        self.kept_bytes = 0

    def keep(self, key: Key, picture: Picture) -> None:
        """Keep a picture as long as there is room; it takes the place of an older one of the same messages."""
        before = self._pictures.pop(key, None)
        self.kept_bytes += _cost(picture) - (0 if before is None else _cost(before))
        self._pictures[key] = picture
        while self.kept_bytes > self._max_bytes and len(self._pictures) > 1:
            _, oldest = self._pictures.popitem(last=False)
            self.kept_bytes -= _cost(oldest)

    def find(self, key: Key) -> Picture | None:
        """Return a picture; None if it is not here any more."""
        if key in self._pictures:
            self._pictures.move_to_end(key)
        return self._pictures.get(key)


def _cost(picture: Picture) -> int:
    return int(picture.image.nbytes * BYTES_PER_IMAGE_BYTE)
