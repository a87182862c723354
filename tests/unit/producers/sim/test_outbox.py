"""The outbox: order is kept, images over the limit are counted, starts and ends always find room."""

from __future__ import annotations

from beamstream_producers.sim.sending.outbox import Outbox, Outgoing


def image(number):
    return Outgoing(lambda: [b"%d" % number], is_image=True)


START = Outgoing(lambda: [b"start"], is_image=False)
END = Outgoing(lambda: [b"end"], is_image=False)


def drain(outbox):
    said = []
    while len(outbox):
        said += outbox.oldest().encode()
        outbox.pop()
    return said


def test_images_over_the_limit_are_dropped_and_counted_the_rest_leaves_in_order():
    outbox = Outbox(max_images=2)
    for message in (START, image(0), image(1), image(2), image(3), END):
        outbox.put(message)
    assert drain(outbox) == [b"start", b"0", b"1", b"end"]
    assert (outbox.n_sent, outbox.n_dropped, outbox.n_lost) == (2, 2, 0)


def test_room_that_becomes_free_is_used_again():
    outbox = Outbox(max_images=1)
    outbox.put(image(0))
    assert outbox.is_full
    outbox.pop()
    outbox.put(image(1))
    assert drain(outbox) == [b"1"]
    assert (outbox.n_sent, outbox.n_dropped) == (2, 0)


def test_discarding_images_keeps_start_and_end():
    outbox = Outbox(max_images=5)
    for message in (START, image(0), image(1), END):
        outbox.put(message)
    outbox.discard_images()
    assert drain(outbox) == [b"start", b"end"]
    assert outbox.n_dropped == 2


def test_discarding_everything_counts_everything():
    outbox = Outbox(max_images=5)
    for message in (START, image(0), END):
        outbox.put(message)
    outbox.discard_all()
    assert (len(outbox), outbox.n_dropped, outbox.n_lost) == (0, 1, 2)


def test_a_new_series_counts_its_images_from_zero_and_keeps_count_of_lost_messages():
    outbox = Outbox(max_images=1)
    for message in (START, image(0), image(1)):
        outbox.put(message)
    outbox.discard_all()
    outbox.reset()
    assert (outbox.n_sent, outbox.n_dropped, outbox.n_lost) == (0, 0, 1)
