"""Layouts that are known give what going over the message gives, whatever message they meet."""

from __future__ import annotations

import struct

import cbor2
from hypothesis import given, settings
from hypothesis import strategies as st

from beamstream_producers.formats.simplon import End, Image, Pixels, Ticks, encode_end, encode_image
from beamstream_producers.formats.simplon.mould import LARGE_BYTES, Mould
from beamstream_producers.formats.simplon.skeleton import _MARKS, KEPT_TAGS, _Moulds, _Scan

CHANNELS = ("threshold_1", "threshold_2", "difference")
INTEGERS = st.sampled_from([0, 23, 24, 255, 256, 65_535, 65_536, 2**32 - 1, 2**32, 2**50])


def packed(n_bytes: int) -> bytes:
    return struct.pack(">QI", 2 * 8 * 1000, 8192) + bytes(n_bytes - 12)


@st.composite
def images(draw: st.DrawFn) -> memoryview:
    """An image message; small and large payloads, so that they stay in the message or do not."""
    channels = draw(st.lists(st.sampled_from(CHANNELS), min_size=1, max_size=3, unique=True))
    sizes = st.sampled_from([LARGE_BYTES - 1, LARGE_BYTES, 5000, 70_000])
    ticks = [Ticks(count=draw(INTEGERS), rate_hz=50_000_000) for _ in range(3)]
    image = Image(
        version=2,
        series_id=draw(INTEGERS),
        image_id=draw(INTEGERS),
        channels={
            name: Pixels(shape=(10, 800), dtype="<u2", codec="bslz4", payload=packed(draw(sizes))) for name in channels
        },
        start=ticks[0],
        stop=ticks[1],
        real=ticks[2],
        series_date=draw(st.none() | st.just("2026-11-21T00:00:00.000+01:00")),
        series_unique_id=draw(st.none() | st.just("01HXABCDEFGHJKMNPQRSTVWXYZ")),
        appendix=draw(st.none() | st.dictionaries(st.text(max_size=3), st.integers() | st.floats(), max_size=2)),
    )
    (message,) = encode_image(image)
    return memoryview(bytes(message))


def gone_over(message: memoryview) -> tuple[bytes, list[bytes]]:
    scan = _Scan(message)
    scan.run()
    return bytes(scan.out), [bytes(one) for one in scan.large]


def plain(found: tuple[bytes, list[memoryview]]) -> tuple[bytes, list[bytes]]:
    return found[0], [bytes(one) for one in found[1]]


@settings(max_examples=300)
@given(images(), images())
def test_a_known_layout_gives_what_going_over_a_message_gives_or_nothing(first: memoryview, second: memoryview) -> None:
    mould = Mould.of(first, KEPT_TAGS)
    n_large = len(gone_over(first)[1])
    assert (mould is None) == (n_large == 0)
    if mould is not None:
        own = mould.apply(first, _MARKS)
        assert own is not None
        assert plain(own) == gone_over(first)
        found = mould.apply(second, _MARKS)
        assert found is None or plain(found) == gone_over(second)


@settings(max_examples=500)
@given(images(), st.data())
def test_whatever_a_known_layout_takes_is_a_whole_message(message: memoryview, data: st.DataObject) -> None:
    mould = Mould.of(message, KEPT_TAGS)
    damaged = bytearray(message)
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, min(len(damaged) - 1, 400)))
        damaged[place] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, 3))
    view = memoryview(bytes(damaged[: len(damaged) - cut]) + bytes(data.draw(st.integers(0, 2))))
    found = None if mould is None else mould.apply(view, _MARKS)
    if found is not None:
        assert plain(found) == gone_over(view)


@settings(max_examples=100)
@given(st.lists(images(), min_size=1, max_size=30))
def test_what_was_learnt_changes_no_answer(messages: list[memoryview]) -> None:
    moulds = _Moulds()
    for message in messages + messages:
        assert plain(moulds.skeleton(message)) == gone_over(message)


def test_a_layout_that_comes_again_and_again_is_learnt_and_others_forget_it() -> None:
    moulds = _Moulds()
    (end,) = encode_end(End(version=2, series_id=1))
    for number in range(20):
        moulds.skeleton(memoryview(bytes(end)))
        moulds.skeleton(memoryview(cbor2.dumps({"number": number, "bytes": bytes(5000)})))
    assert len(moulds._known) == 1
    for n_keys in range(2, 12):
        for _ in range(5):
            moulds.skeleton(memoryview(cbor2.dumps({str(key): bytes(5000) for key in range(n_keys)})))
    assert len(moulds._known) == 4


def test_messages_without_end_are_no_layout() -> None:
    indefinite = b"\xbf\x64data" + cbor2.dumps(bytes(5000)) + b"\xff"
    assert Mould.of(memoryview(indefinite), KEPT_TAGS) is None
    assert Mould.of(memoryview(cbor2.dumps([*range(1000), bytes(5000)])), KEPT_TAGS) is None
    moulds = _Moulds()
    for _ in range(10):
        assert plain(moulds.skeleton(memoryview(indefinite))) == gone_over(memoryview(indefinite))
