"""The state machine: its table, then what detectors do to it."""

from __future__ import annotations

import pytest

from beamstream.service import Produced, StreamClosed, StreamOpened
from beamstream_producers.eiger import SeriesMachine, StreamTemplate
from beamstream_producers.eiger.transitions import IGNORED_BECAUSE, TRANSITIONS, Action, Input, State
from beamstream_producers.eiger.waiting import ROOM_MESSAGES, WAIT_S
from beamstream_producers.formats.simplon import End, Image, Pixels, Start, Ticks

PIXELS = Pixels(shape=(2, 4), dtype="<u2", codec="none", payload=bytes(16))
GRACE_S = 2.0
OTHERS_S = 1.0


def start(series_id=1, n_images=3, **fields):
    return Start(version=1, series_id=series_id, n_images=n_images, **fields)


def image(image_id, series_id=1, channels=("threshold_1",), **fields):
    return Image(version=1, series_id=series_id, image_id=image_id, channels=dict.fromkeys(channels, PIXELS), **fields)


def end(series_id=1, **fields):
    return End(version=1, series_id=series_id, **fields)


def play(machine, *messages, now_s=0.0):
    return [event for message in messages for event in machine.feed(message, now_s)]


def ids(events):
    return [event.message_id for event in events if isinstance(event, Produced)]


def closed(events):
    return [(event.stream, event.last_id, event.reason) for event in events if isinstance(event, StreamClosed)]


# --- the table ------------------------------------------------------------------------------------------------------


def test_every_state_can_be_stopped_and_left():
    assert {state for state, _ in TRANSITIONS} == set(State)
    for state in State:
        assert TRANSITIONS[state, Input.STOP].state is State.IDLE


def test_whatever_leads_to_idle_from_an_open_series_closes_it():
    closing = {Action.CLOSE, Action.DELIVER_AND_CLOSE}
    for (state, _), step in TRANSITIONS.items():
        if state is not State.IDLE and step.state is State.IDLE:
            assert step.action in closing


def test_whatever_opens_a_series_from_an_open_one_closes_that_first():
    for (state, _), step in TRANSITIONS.items():
        if step.action is Action.OPEN:
            assert (state, step.state) == (State.IDLE, State.OPEN)
        if step.action is Action.REPLACE:
            assert state is not State.IDLE
            assert step.state is State.OPEN


def test_every_step_without_an_action_says_why_in_words_that_exist():
    silent = {(State.IDLE, Input.STOP)}
    for place, step in TRANSITIONS.items():
        if step.action in (Action.NOTHING, Action.HOLD) and place not in silent:
            assert step.ignored in IGNORED_BECAUSE
    assert {step.ignored for step in TRANSITIONS.values() if step.ignored} == set(IGNORED_BECAUSE)


def test_images_of_the_open_series_are_delivered_in_every_state_that_has_one():
    for state in (State.OPEN, State.ENDING):
        assert TRANSITIONS[state, Input.IMAGE].action is Action.DELIVER


# --- series ---------------------------------------------------------------------------------------------------------


def test_a_series_becomes_a_stream():
    machine = SeriesMachine()
    events = play(machine, start(), image(0), image(1), image(2), end())
    assert isinstance(events[0], StreamOpened)
    assert (events[0].stream, events[0].n_expected) == ("series_00001", 3)
    assert events[0].metadata["simplon"]["series_id"] == 1
    assert ids(events) == [1, 2, 3]
    assert closed(events) == [("series_00001", 3, "complete")]
    assert machine.state is State.IDLE


def test_a_frame_carries_the_pixels_as_they_came_and_says_which_image_it_is():
    machine = SeriesMachine()
    times = {"start": Ticks(count=10), "stop": Ticks(count=30), "real": Ticks(count=19)}
    (_, frame) = play(machine, start(config={"software_version": "1.6.6"}), image(7, appendix=b"note", **times))
    assert frame.payload is PIXELS.payload
    assert (frame.shape, frame.dtype, frame.codec, frame.message_id) == ((2, 4), "<u2", "none", 8)
    assert frame.metadata == {
        "series_id": 1,
        "image_id": 7,
        "start_ns": 200,
        "stop_ns": 600,
        "real_ns": 380,
        "appendix": "note",
        "channel": "threshold_1",
    }


@pytest.mark.parametrize(
    ("appendix", "kept"), [(b"\xff\xfe", b"\xff\xfe"), (b"x" * 10_000, None), ({"a": 1}, {"a": 1})]
)
def test_an_appendix_is_kept_if_it_is_small(appendix, kept):
    (_, frame) = play(SeriesMachine(), start(), image(0, appendix=appendix))
    assert frame.metadata.get("appendix") == kept


def test_a_frame_says_when_its_message_came():
    machine = SeriesMachine()
    play(machine, start())
    (frame,) = machine.feed(image(0), 0.0, 1_700_000_000_000_000_000)
    assert frame.timestamp_ns == 1_700_000_000_000_000_000


def test_an_end_that_overtakes_images_waits_for_them():
    machine = SeriesMachine()
    events = play(machine, start(), image(0), end())
    assert machine.state is State.ENDING
    assert closed(events) == []
    events = play(machine, image(2), image(1))
    assert ids(events) == [3, 2]
    assert closed(events) == [("series_00001", 3, "complete")]


def test_an_aborted_series_is_closed_after_the_grace_time_and_not_before():
    machine = SeriesMachine(grace_s=GRACE_S)
    play(machine, start(n_images=10), image(0), image(1), end(), now_s=100.0)
    assert machine.tick(100.0 + GRACE_S - 0.1) == []
    assert closed(machine.tick(100.0 + GRACE_S)) == [("series_00001", 2, "aborted")]
    assert machine.tick(200.0) == []


def test_a_series_that_has_not_ended_waits_for_its_last_image_however_long():
    # with some trigger modes the last image comes only after a disarm
    machine = SeriesMachine(grace_s=GRACE_S)
    play(machine, start(n_images=2), image(0), now_s=0.0)
    assert machine.tick(1e6) == []
    events = play(machine, image(1), end(), now_s=1e6)
    assert ids(events) == [2]
    assert closed(events) == [("series_00001", 2, "complete")]


def test_a_series_with_only_holes_is_incomplete():
    machine = SeriesMachine(grace_s=GRACE_S)
    play(machine, start(n_images=3), image(0), image(2), end())
    assert closed(machine.tick(GRACE_S)) == [("series_00001", 3, "incomplete")]


def test_a_series_without_any_image_is_aborted_with_last_id_0():
    machine = SeriesMachine(grace_s=GRACE_S)
    play(machine, start(n_images=3), end())
    assert closed(machine.tick(GRACE_S)) == [("series_00001", 0, "aborted")]


def test_a_header_that_promises_nothing_is_complete_at_its_end_unless_there_are_holes():
    machine = SeriesMachine(grace_s=GRACE_S)
    assert closed(play(machine, start(1, None), image(0), end())) == [("series_00001", 1, "complete")]
    play(machine, start(2, None), image(0, 2), image(2, 2), end(2))
    assert closed(machine.tick(GRACE_S)) == [("series_00002", 3, "incomplete")]


@pytest.mark.parametrize(("n_images", "reason"), [(2, "complete"), (3, "aborted"), (None, "incomplete")])
def test_a_header_while_a_series_is_open_ends_it(n_images, reason):
    machine = SeriesMachine()
    events = play(machine, start(1, n_images), image(0), image(1), start(2))
    assert closed(events) == [("series_00001", 2, reason)]
    assert events[-1].stream == "series_00002"


def test_images_and_ends_without_header_are_counted_and_not_delivered():
    machine = SeriesMachine()
    assert play(machine, image(5, 70), image(6, 70), end(70)) == []
    assert machine.n_waiting == 3
    assert machine.tick(WAIT_S) == []
    assert machine.n_waiting == 0
    assert machine.counters["image_without_header"] == 2
    assert machine.counters["end_without_header"] == 1


def test_leftovers_of_another_series_do_not_disturb_the_open_one():
    machine = SeriesMachine()
    events = play(machine, start(72), image(8, 71), end(71), image(0, 72))
    assert ids(events) == [1]
    assert machine.state is State.OPEN
    machine.tick(WAIT_S)
    assert machine.counters["image_without_header"] == machine.counters["end_without_header"] == 1


def test_what_comes_after_the_end_of_a_series_is_counted_as_that():
    machine = SeriesMachine()
    play(machine, start(n_images=1), image(0), end())
    assert play(machine, image(0), end(), start(2), image(0, 1), end(1)) != []
    assert machine.counters["image_after_end"] == 2
    assert machine.counters["end_repeated"] == 2


def test_an_image_that_comes_twice_is_delivered_once():
    machine = SeriesMachine()
    assert ids(play(machine, start(), image(1), image(1), image(0), image(1))) == [2, 1]
    assert machine.counters["image_repeated"] == 2


def test_more_images_than_promised_are_delivered_and_counted():
    machine = SeriesMachine()
    assert ids(play(machine, start(n_images=1), image(0), image(1), image(2))) == [1, 2, 3]
    assert machine.counters["image_beyond_expected"] == 2


def test_an_image_id_far_beyond_all_others_is_not_delivered():
    machine = SeriesMachine()
    assert ids(play(machine, start(n_images=10), image(2**50), image(0))) == [1]
    assert machine.counters["image_implausible"] == 1


def test_the_header_of_the_open_series_again_opens_nothing():
    machine = SeriesMachine()
    assert len(play(machine, start(), start())) == 1
    again = Start(version=2, series_id=9, series_unique_id="01H")
    assert len(play(SeriesMachine(), again, image(0, 9), again)) == 2


def test_a_detector_that_counts_its_series_from_the_start_again_gets_new_streams():
    machine = SeriesMachine()
    events = play(machine, start(n_images=1), image(0), start(n_images=1), image(0), end(), start(), image(0))
    opened = [event.stream for event in events if isinstance(event, StreamOpened)]
    assert opened == ["series_00001", "series_00001_2", "series_00001_3"]
    assert ids(events) == [1, 1, 1]


def test_two_series_of_one_id_are_told_apart_by_their_unique_ids():
    machine = SeriesMachine()
    events = play(
        machine,
        Start(version=2, series_id=1, series_unique_id="A", n_images=2),
        image(0, series_unique_id="B"),
        image(1, series_unique_id="A"),
        end(series_unique_id="B"),
    )
    assert ids(events) == [2]
    assert machine.state is State.OPEN


def test_each_channel_has_its_stream_and_the_first_one_the_plain_name():
    machine = SeriesMachine()
    channels = ("threshold_1", "threshold_2", "difference")
    events = play(machine, start(4, 1, channels=channels), image(0, 4, channels), end(4))
    names = ["series_00004", "series_00004_threshold_2", "series_00004_difference"]
    assert [event.stream for event in events] == names * 3
    assert closed(events) == [(name, 1, "complete") for name in names]
    assert machine.counters["frames"] == 3


def test_a_channel_that_misses_an_image_is_incomplete():
    machine = SeriesMachine()
    channels = ("threshold_1", "threshold_2")
    events = play(machine, start(4, 2, channels=channels), image(0, 4, channels), image(1, 4), end(4))
    assert closed(events) == [("series_00004", 2, "complete"), ("series_00004_threshold_2", 1, "incomplete")]


def test_channels_that_the_header_does_not_name_are_counted():
    machine = SeriesMachine()
    events = play(machine, start(), image(0, channels=("threshold_1", "other")), image(1, channels=("other",)))
    assert ids(events) == [1]
    assert machine.counters["channel_unknown"] == 1
    assert machine.counters["image_of_no_channel"] == 1


def test_stopping_closes_what_is_open_as_incomplete_and_nothing_twice():
    machine = SeriesMachine()
    play(machine, start(), image(0))
    assert closed(machine.stop()) == [("series_00001", 1, "incomplete")]
    assert machine.stop() == []


def test_stopping_after_the_detectors_own_end_still_calls_it_aborted():
    machine = SeriesMachine()
    play(machine, start(n_images=3), image(0), end())
    assert closed(machine.stop()) == [("series_00001", 1, "aborted")]


def test_after_the_series_that_were_asked_for_no_more_are_opened():
    machine = SeriesMachine(n_series=1)
    play(machine, start(1, 1), image(0))
    assert not machine.is_done
    assert closed(play(machine, start(2))) == [("series_00001", 1, "complete")]
    assert machine.is_done
    assert play(machine, start(3)) == []
    assert machine.counters["header_too_many"] == 2


def test_a_template_names_the_streams():
    machine = SeriesMachine(template=StreamTemplate("scan-{series_id}"))
    assert play(machine, start(42))[0].stream == "scan-42"


# --- messages without a header ----------------------------------------------------------------------------------------


def test_leftovers_of_an_older_series_of_the_same_number_are_not_taken_for_the_new_ones_images():
    machine = SeriesMachine()
    events = play(machine, image(0), end(), start(n_images=1), image(0), end())
    assert ids(events) == [1]
    assert closed(events) == [("series_00001", 1, "complete")]
    assert machine.counters["image_without_header"] == machine.counters["end_without_header"] == 1


def test_a_header_that_comes_late_finds_its_images_by_the_unique_id():
    machine = SeriesMachine()
    mine = {"series_unique_id": "A"}
    header = start(**mine)
    events = play(machine, image(0, **mine), image(1, **mine), header, image(2, **mine), end(**mine))
    assert isinstance(events[0], StreamOpened)
    assert ids(events) == [1, 2, 3]
    assert closed(events) == [("series_00001", 3, "complete")]
    assert machine.counters["image_without_header"] == machine.n_waiting == 0


def test_messages_of_a_series_that_was_given_up_do_not_wait_again_until_its_header_comes():
    machine = SeriesMachine()
    play(machine, image(0))
    machine.tick(WAIT_S)
    play(machine, image(1), now_s=WAIT_S)
    assert machine.counters["image_without_header"] == 2
    assert ids(play(machine, start(), image(2), now_s=WAIT_S)) == [3]


def test_what_waits_is_given_up_while_other_messages_go_on_coming():
    machine = SeriesMachine()
    play(machine, start(2, 100), image(0, 1))
    assert ids(play(machine, image(0, 2), now_s=WAIT_S)) == [1]
    assert machine.counters["image_without_header"] == 1


def test_the_room_for_what_waits_is_bounded():
    machine = SeriesMachine()
    play(machine, *(image(number) for number in range(ROOM_MESSAGES)))
    assert not machine.has_room
    play(machine, image(ROOM_MESSAGES))
    assert machine.counters["image_without_header"] == 1
    assert machine.n_waiting == ROOM_MESSAGES
    assert machine.stop() == []
    assert machine.counters["image_without_header"] == ROOM_MESSAGES + 1


def test_a_series_whose_header_another_connector_had_is_joined_and_left_for_all_to_end():
    machine = SeriesMachine(grace_s=GRACE_S, others_s=OTHERS_S)
    play(machine, image(1))
    assert machine.wanted == (1, None)
    (opened, frame) = machine.join(start(), {"threshold_1": "series_00001_7"}, 0.0)
    assert (opened.stream, opened.joins, opened.new) == ("series_00001_7", True, False)
    assert (frame.stream, frame.message_id) == ("series_00001_7", 2)
    assert machine.end_elsewhere(0.0) == []
    (last,) = machine.tick(GRACE_S)
    assert (last.last_id, last.reason, last.quiet_s) == (2, "aborted", OTHERS_S)
    assert machine.counters["series_joined"] == 1
    assert machine.counters["received"] == machine.counters["images"] == 1


def test_joining_ends_the_series_before_and_joining_the_open_one_does_nothing():
    machine = SeriesMachine()
    play(machine, start(1), image(0, 1), image(0, 2))
    events = machine.join(start(2), {"threshold_1": "series_00002"}, 0.0)
    assert closed(events) == [("series_00001", 1, "aborted")]
    assert ids(events) == [1]
    assert machine.join(start(2), {"threshold_1": "series_00002"}, 0.0) == []


def test_a_series_that_ended_elsewhere_is_complete_if_all_of_it_is_here():
    machine = SeriesMachine()
    play(machine, start(n_images=1), image(0))
    (last,) = machine.end_elsewhere(0.0)
    assert (last.last_id, last.reason, last.quiet_s) == (1, "complete", 0.0)
    assert machine.end_elsewhere(0.0) == []
