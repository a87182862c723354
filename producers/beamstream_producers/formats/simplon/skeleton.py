"""The structure of a CBOR message, checked before any library sees it, and its large byte strings in place.

`cbor2` recurses as deep as a message says and gives tags like 28, 35 or 256 a meaning of their own; it also
copies byte strings. So one pass over the heads of all items checks nesting, counts and lengths against the
bytes that are really there, and writes a skeleton: the same message with each large byte string replaced by a
tag and its index, and with those tags left out that mean nothing here. What reaches `cbor2` is small,
complete and shallow, and pixels stay where they came. Messages of a layout that came before match a pattern of it
(see `mould`), and need no such pass.

References
----------
RFC 8949, section 3 (heads, indefinite lengths) and section 3.4 (tags).
"""

from __future__ import annotations

from .errors import CborError, LimitError
from .fields import MAX_DEPTH
from .mould import LARGE_BYTES, Mould

MAX_SKELETON_BYTES = 4 * 2**20
"""Most bytes of a message beside its large byte strings; a captured start has 957 in all."""

MAX_ITEMS = 50_000
"""Most items in a message; a captured start has about 100. Bounds the time of one pass to some 50 ms."""

LARGE_TAG = 0x62656D73
"""Stands for a large byte string in the skeleton; in a message it would be left out like any other tag."""

LEARN_AFTER = 4
"""After so many messages of no known layout one is learnt."""

MAX_MOULDS = 4
"""How many layouts are known at a time: detectors send one, and a few more where several are told apart."""

MULTI_DIM_TAG = 40
COMPRESSED_TAG = 56500
KEPT_TAGS = frozenset({MULTI_DIM_TAG, COMPRESSED_TAG, *range(64, 88)})
"""RFC 8746's arrays and DECTRIS's compression; others are left out, their content stands for itself."""

_BYTES, _TEXT, _ARRAY, _MAP, _TAG = 2, 3, 4, 5, 6
_INDEFINITE = 31
_BREAK = 0xFF
_OPEN_ARRAY, _OPEN_MAP, _OPEN_MAP_VALUE = -1, -2, -3
"""In `open`: no count, ends with a break; a map only where no value is missing."""


def _leaf_bytes(initial: int) -> int:
    """Return how many bytes follow an initial byte that says so by itself and has no items inside, else -1."""
    major, info = initial >> 5, initial & 0x1F
    if major in (0, 1, 7) and info < 28:
        return 0 if info < 24 else 1 << (info - 24)
    return info if major in (_BYTES, _TEXT) and info < 24 else -1


_LEAF_BYTES = tuple(_leaf_bytes(initial) for initial in range(256))
"""Nearly all items of a message are such, so this look-up is where the pass saves its time."""


class _Scan:
    """One pass over a message; `open` holds the items still missing in each container around the position.

    What stays is copied in spans: `copied` is where the next one begins.
    """

    __slots__ = ("copied", "large", "message", "n_items", "open", "out", "position")

    def __init__(self, message: memoryview) -> None:
        self.message = message
        self.position = 0
        self.copied = 0
        self.out = bytearray()
        self.large: list[memoryview] = []
        self.open: list[int] = [1]
        self.n_items = 0

    def run(self) -> None:
        open_, message = self.open, self.message
        while open_:
            leaf_bytes = _LEAF_BYTES[self._initial()]
            if leaf_bytes < 0:
                self._item()
            else:
                self.position += 1 + leaf_bytes
                self._count()
            while open_ and open_[-1] == 0:
                open_.pop()
        if self.position > len(message):
            raise CborError("message", "breaks off")
        if self.position < len(message):
            raise CborError("message", f"{len(message) - self.position} bytes follow its end")
        self._keep_until(self.position)

    def _initial(self) -> int:
        """Return the first byte of the next item or chunk, unless there are too many."""
        self.n_items += 1
        if self.n_items > MAX_ITEMS or len(self.open) > MAX_DEPTH:
            raise LimitError("message", f"over the limit of {MAX_ITEMS} items or of {MAX_DEPTH} levels")
        if self.position >= len(self.message):
            raise CborError("message", "breaks off")
        return self.message[self.position]

    def _count(self) -> None:
        """Note in the innermost container that an item of it begins."""
        missing = self.open[-1]
        if missing > 0:
            self.open[-1] = missing - 1
        elif missing != _OPEN_ARRAY:
            self.open[-1] = _OPEN_MAP if missing == _OPEN_MAP_VALUE else _OPEN_MAP_VALUE

    def _item(self) -> None:
        """Go over an item with items inside, or a long or indefinite string, or a break."""
        begin = self.position
        initial = self.message[begin]
        self.position += 1
        if initial == _BREAK:
            if self.open[-1] not in (_OPEN_ARRAY, _OPEN_MAP):
                raise CborError("message", "a break where none can be")
            self.open[-1] = 0
            return
        self._count()
        major, info = initial >> 5, initial & 0x1F
        if info == _INDEFINITE:
            self._indefinite(major)
            return
        value = self._argument(info)
        if major in (_ARRAY, _MAP):
            self.open.append(value if major == _ARRAY else 2 * value)
        elif major == _TAG:
            self._tag(begin, value)
        else:
            self._string(begin, value, may_stay=major == _BYTES)

    def _tag(self, begin: int, number: int) -> None:
        if number not in KEPT_TAGS:
            self._keep_until(begin)
            self.copied = self.position
        self.open.append(1)

    def _string(self, begin: int, size: int, *, may_stay: bool) -> None:
        """Skip a string; a large one that may stay in the message is replaced by its index."""
        content = self._take(size)
        if may_stay and size >= LARGE_BYTES:
            self._keep_until(begin)
            self.out += _head(_TAG, LARGE_TAG) + _head(0, len(self.large))
            self.large.append(content)
            self.copied = self.position

    def _indefinite(self, major: int) -> None:
        """Open a container without length, or go over the chunks of a string up to its break."""
        if major in (_ARRAY, _MAP):
            self.open.append(_OPEN_ARRAY if major == _ARRAY else _OPEN_MAP)
            return
        if major not in (_BYTES, _TEXT):
            raise CborError("message", "an indefinite length where none can be")
        while (chunk := self._initial()) != _BREAK:
            self.position += 1
            if chunk >> 5 != major or chunk & 0x1F == _INDEFINITE:
                raise CborError("message", "a chunk of another type")
            self._take(self._argument(chunk & 0x1F))
        self.position += 1

    def _argument(self, info: int) -> int:
        if info < 24:
            return info
        if info > 27:
            raise CborError("message", "a head that CBOR does not have", info)
        return int.from_bytes(self._take(1 << (info - 24)), "big")

    def _take(self, size: int) -> memoryview:
        """Return the next `size` bytes as a view, after checking that they are there."""
        left = len(self.message) - self.position
        if size > left:
            raise CborError("message", f"breaks off: {size} bytes are announced, {left} are left")
        self.position += size
        return self.message[self.position - size : self.position]

    def _keep_until(self, end: int) -> None:
        """Copy what is not copied yet of the message up to `end` into the skeleton."""
        kept_bytes = len(self.out) + end - self.copied
        if kept_bytes > MAX_SKELETON_BYTES:
            what = f"{kept_bytes} bytes beside its large byte strings, the limit is {MAX_SKELETON_BYTES} bytes"
            raise LimitError("message", what)
        self.out += self.message[self.copied : end]


def _head(major: int, value: int) -> bytes:
    if value < 24:
        return bytes([major << 5 | value])
    return bytes([major << 5 | 26]) + value.to_bytes(4, "big")


def skeleton(message: memoryview) -> tuple[bytes, list[memoryview]]:
    """Check a CBOR message and take its large byte strings out.

    Parameters
    ----------
    message : memoryview of bytes
        One whole message.

    Returns
    -------
    (bytes, list of memoryview)
        The message with `LARGE_TAG(index)` in place of each large byte string, and these, as views into
        `message`.

    Raises
    ------
    CborError
        If it breaks off, goes on after its end, or is no CBOR.
    LimitError
        If it is nested deeper or holds more than any detector's.
    """
    return _moulds.skeleton(message)


class _Moulds:
    """The layouts that came last; what has another one is gone over item by item."""

    def __init__(self) -> None:
        self._known: list[Mould] = []
        self._n_others = 0

    def skeleton(self, message: memoryview) -> tuple[bytes, list[memoryview]]:
        for mould in self._known:
            found = mould.apply(message, _MARKS)
            if found is not None:
                self._n_others = 0
                return found
        scan = _Scan(message)
        scan.run()
        self._learn(message, len(scan.large))
        return bytes(scan.out), scan.large

    def _learn(self, message: memoryview, n_large: int) -> None:
        """Learn the layout if others than the known have come for a while: making a pattern takes a millisecond."""
        self._n_others += n_large > 0
        if self._n_others >= LEARN_AFTER and 0 < n_large <= len(_MARKS):
            self._n_others = 0
            mould = Mould.of(message, KEPT_TAGS)
            if mould is not None:
                self._known = [mould, *self._known][:MAX_MOULDS]


_MARKS = tuple(_head(_TAG, LARGE_TAG) + _head(0, number) for number in range(16))
_moulds = _Moulds()
