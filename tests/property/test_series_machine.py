"""The series machine against random sequences: nothing is lost, doubled or left open, and the counts add up."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from beamstream.service import Produced, StreamClosed, StreamOpened
from beamstream_producers.arrivals import ImageIds
from beamstream_producers.eiger import SeriesMachine
from beamstream_producers.eiger.transitions import IGNORED_BECAUSE
from beamstream_producers.formats.simplon import End, Image, Pixels, Start

PIXELS = Pixels(shape=(1, 1), dtype="|u1", codec="none", payload=b"\0")
SERIES = st.integers(1, 3)
CHANNELS = st.lists(st.sampled_from(["threshold_1", "threshold_2", "other"]), min_size=1, max_size=3, unique=True)
UNIQUE = st.sampled_from([None, "A", "B"])

starts = st.builds(
    Start,
    version=st.just(2),
    series_id=SERIES,
    n_images=st.none() | st.integers(0, 5),
    series_unique_id=UNIQUE,
    channels=st.sampled_from([("threshold_1",), ("threshold_1", "threshold_2")]),
)
images = st.builds(
    Image,
    version=st.just(2),
    series_id=SERIES,
    image_id=st.integers(0, 6) | st.just(2**50),
    series_unique_id=UNIQUE,
    channels=CHANNELS.map(lambda names: dict.fromkeys(names, PIXELS)),
)
ends = st.builds(End, version=st.just(2), series_id=SERIES, series_unique_id=UNIQUE)
seconds = st.floats(0, 5)
sequences = st.lists(st.tuples(starts | images | images | ends, seconds), max_size=60)


@settings(max_examples=400)
@given(sequences, st.none() | st.integers(1, 3))
def test_streams_open_and_close_once_frames_come_in_between_and_counts_add_up(sequence, n_series):
    machine = SeriesMachine(grace_s=2.0, n_series=n_series)
    events, now_s = [], 0.0
    for message, pause_s in sequence:
        now_s += pause_s
        events += machine.tick(now_s)
        events += machine.feed(message, now_s)
    events += machine.stop()

    is_open: dict[str, StreamOpened] = {}
    frames: Counter[tuple[str, int]] = Counter()
    closed: set[str] = set()
    for event in events:
        match event:
            case StreamOpened():
                assert event.stream not in is_open
                assert event.stream not in closed
                is_open[event.stream] = event
            case Produced():
                assert event.stream in is_open
                frames[event.stream, event.message_id] += 1
            case StreamClosed():
                del is_open[event.stream]
                closed.add(event.stream)
                highest = max((id_ for stream, id_ in frames if stream == event.stream), default=0)
                assert event.last_id == highest
    assert not is_open
    assert set(frames.values()) <= {1}

    counters = machine.counters
    used = counters["series"] + counters["images"] + counters["ends"]
    assert counters["received"] == len(sequence) == used + sum(counters[reason] for reason in IGNORED_BECAUSE)
    assert counters["frames"] == frames.total()
    assert counters["series"] == counters["series_closed"]
    assert n_series is None or counters["series"] <= n_series


@settings(max_examples=200)
@given(
    st.integers(1, 12).flatmap(lambda n: st.tuples(st.just(n), st.permutations([*range(n)]), st.integers(0, n))),
    st.booleans(),
)
def test_a_series_is_delivered_whole_in_any_order_wherever_its_end_comes(series, promised):
    n_images, order, end_at = series
    if not promised:
        end_at = n_images
    machine = SeriesMachine(grace_s=2.0, others_s=1.0)
    messages = [Image(version=1, series_id=1, image_id=i, channels={"threshold_1": PIXELS}) for i in order]
    messages.insert(end_at, End(version=1, series_id=1))
    events = machine.feed(Start(version=1, series_id=1, n_images=n_images if promised else None), 0.0)
    for message in messages:
        events += machine.feed(message, 0.0)
    assert sorted(event.message_id for event in events if isinstance(event, Produced)) == [*range(1, n_images + 1)]
    assert events[-1] == StreamClosed(
        stream="series_00001", last_id=n_images, reason="complete", quiet_s=0.0 if promised else 1.0
    )


@settings(max_examples=200)
@given(st.lists(st.integers(0, 12), unique=True), st.none() | st.integers(0, 12), st.integers(0, 13))
def test_image_ids_are_a_set_that_knows_what_is_missing(ids, n_images, next_id):
    here = ImageIds()
    for image_id in ids:
        here.add(image_id)

    def nothing_missing(known: set[int]) -> bool:
        wanted = range(max(known, default=-1) + 1) if n_images is None else range(n_images)
        return set(wanted) <= known

    assert len(here) == len(ids)
    assert here.highest_id == max(ids, default=-1)
    assert [image_id in here for image_id in range(14)] == [image_id in ids for image_id in range(14)]
    assert here.has_all(n_images) == nothing_missing(set(ids))
    if next_id not in ids:
        assert here.has_all_with(next_id, n_images) == nothing_missing({*ids, next_id})
