"""Pictures and numbers on their way: credits, the newest only, parts and pixels, other messages, and slow pages."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from beamstream_consumers.monitor.web import server
from beamstream_consumers.monitor.web.limits import Limits

Serve = Callable[..., Any]


def test_a_page_is_told_what_there_is_and_then_what_comes(serve: Serve) -> None:
    served = serve()
    served.detector.describe()
    served.board.note("warning", "before")
    page = served.view()
    hello = page.take()
    assert hello == {
        "t": "hello", "version": hello["version"], "role": "viewer", "control": False, "sources": [served.source],
        "offline": False, "fps": 1000.0, "panes": 4,
    }  # fmt: skip
    page.settle(served)
    assert {text["t"] for text in page.texts} == {"hello", "run", "history", "numbers", "histograms", "log"}
    entries = [entry["text"] for text in page.texts if text["t"] == "log" for entry in text["entries"]]
    assert entries[0] == "before"
    assert len(entries) == len(set(entries))
    served.detector.begin("run_002")
    assert page.text("run")["stream"] == "run_002"


def test_pixels_are_those_of_the_detector_with_what_is_bad_left_out(serve: Serve) -> None:
    served = serve()
    served.detector.send()
    page = served.view()
    page.want(served.source)
    shown = page.picture()
    expected = served.board.picture(served.source, "frame").level(0)
    np.testing.assert_array_equal(shown.image, expected)
    assert {key: shown.header[key] for key in ("seq", "id", "stream", "follows", "level", "x0", "y0", "full")} == {
        "seq": 1, "id": 1, "stream": "run_001", "follows": True, "level": 0, "x0": 0, "y0": 0, "full": [512, 514],
    }  # fmt: skip
    assert shown.header["hit"] is True
    assert shown.peaks.shape == (40, 3)
    page.ack(shown)
    page.want(served.source, masked=False)
    np.testing.assert_array_equal(page.picture().image, served.board.picture(served.source, "frame").image)


def test_a_part_lies_where_it_says(serve: Serve) -> None:
    served = serve()
    served.detector.send()
    page = served.view()
    page.want(served.source, rect=[300, 200, 400, 260], canvas=[800, 800])
    shown = page.picture()
    x0, y0, (height, width) = shown.header["x0"], shown.header["y0"], shown.header["shape"]
    assert (x0, y0) == (256, 192)
    assert width < 514
    level = served.board.picture(served.source, "frame").level(0)
    np.testing.assert_array_equal(shown.image, level[y0 : y0 + height, x0 : x0 + width])


def test_without_an_acknowledgement_two_pictures_come_and_then_the_newest(serve: Serve) -> None:
    served = serve()
    served.detector.send()
    page = served.view()
    page.want(served.source)
    first = page.picture()
    served.detector.send()
    page.picture()
    for _ in range(20):
        served.detector.send()
    page.settle(served)
    assert len(page.pictures) == 2
    page.ack(first)
    page.ack(first)  # a second time is worth nothing
    assert page.picture().header["id"] == 22
    page.settle(served)
    assert len(page.pictures) == 3


def test_a_picture_comes_once_however_often_the_page_says_what_it_wants(serve: Serve) -> None:
    served = serve()
    served.detector.send()
    page = served.view()
    for _ in range(5):
        page.want(served.source)
    page.ack(page.picture())
    page.want(served.source, rect=[1, 1, 513, 511])  # the same part
    page.settle(served)
    assert len(page.pictures) == 1
    page.want(served.source, roi=[0, 0, 10, 10])
    assert page.picture().header["roi"]["n"] > 0


def test_numbers_go_on_while_pictures_stall(serve: Serve) -> None:
    served = serve()
    served.detector.describe()
    page = served.view()
    page.want(served.source)
    served.wait_until(lambda: served.events["requests"] == 1)
    for _ in range(3):
        served.detector.send()
        served.detector.count()
        page.text("numbers", lambda text: text["sources"][served.source]["n_received"] == served.detector.n_sent)
    assert len(page.pictures) == 2


def test_regions_are_counted_per_picture(serve: Serve) -> None:
    served = serve()
    served.detector.send()
    page = served.view()
    page.want(served.source, roi=[10.2, 20, 29.5, 40])
    roi = page.picture().header["roi"]
    pixels = served.board.picture(served.source, "frame").level(0)[20:40, 10:30]
    assert roi["rect"] == [10, 20, 30, 40]
    assert (roi["n"], roi["total"], roi["maximum"]) == (pixels.size, pixels.sum(), pixels.max())


def test_a_page_steps_through_messages_and_follows_again(serve: Serve) -> None:
    served = serve()
    for _ in range(40):
        served.detector.send()
    page = served.view()
    page.want(served.source)
    page.ack(page.picture())
    for by, expected in ((-10, 30), (-1, 29), (1, 30), (10, 40)):
        page.say(t="step", pane=0, by=by)
        page.ack(page.picture())
        assert (page.pictures[-1].header["id"], page.pictures[-1].header["follows"]) == (expected, False)
    served.detector.send()
    page.settle(served)
    assert page.pictures[-1].header["id"] == 40
    page.want(served.source)
    assert (page.picture().header["id"], page.pictures[-1].header["follows"]) == (41, True)


def test_a_message_is_shown_by_its_id_and_one_that_is_gone_is_said_to_be(serve: Serve) -> None:
    served = serve()
    served.detector.send(5)
    page = served.view()
    page.want(served.source, at={"stream": "run_001", "id": 2})
    assert page.picture().header["id"] == 2
    page.ack(page.pictures[-1])
    page.want(served.source, at={"stream": "run_001", "id": 99}, pane=1)
    gone = page.text("gone")
    assert (gone["pane"], gone["stream"], gone["id"]) == (1, "run_001", 99)
    assert "99" in gone["why"]
    page.settle(served)
    assert sum(text["t"] == "gone" for text in page.texts) == 1


def test_a_failing_archive_costs_nobody_the_connection(serve: Serve) -> None:
    class Broken:
        def picture(self, *_: Any) -> Any:
            raise RuntimeError("broken")

        pixel = neighbour = picture

    served = serve(archive=Broken())
    served.detector.send()
    page = served.view()
    page.want(served.source, at={"stream": "run_001", "id": 2})
    assert "log" in page.text("gone")["why"]
    page.want(served.source)
    page.picture()
    page.say(t="px", pane=0, x=1, y=1)
    assert page.text("px")["why"] == "no value"


def test_exact_pixels_are_those_of_the_picture_that_is_shown(serve: Serve) -> None:
    served = serve()
    served.detector.send()
    page = served.view()
    page.want(served.source, canvas=[100, 100])
    page.ack(page.picture())
    served.detector.send()
    assert page.picture().header["id"] == 2
    for x, y, why in ((100, 200, None), (7, 5, "masked"), (-1, 0, "outside")):
        page.say(t="px", pane=0, x=x, y=y)
        pixel = page.text("px")
        assert (pixel["x"], pixel["y"], pixel["why"]) == (x, y, why)
        assert pixel["id"] == page.pictures[-1].header["id"]
    page.say(t="px", pane=0, x=100, y=200)
    newest = served.detector.picture(served.source, "frame", "run_001", page.pictures[-1].header["id"]).image
    assert page.text("px")["value"] == newest[200, 100]


def test_a_hidden_page_gets_numbers_and_no_pictures(serve: Serve) -> None:
    served = serve()
    served.detector.describe()
    served.detector.send()
    page = served.view()
    page.want(served.source)
    page.picture()
    page.say(t="hide", hidden=True)
    served.wait_until(lambda: served.events["requests"] == 2)
    for _ in range(5):
        served.detector.send()
    served.detector.count()
    page.settle(served)
    assert len(page.pictures) == 1
    page.say(t="hide", hidden=False)
    assert page.picture().header["id"] == 6
    served.detector.send()
    assert page.picture().header["id"] == 7  # all credits were back
    for hidden in (True, False):
        page.say(t="hide", hidden=hidden)
    assert page.picture().header["id"] == 7  # the page had no time to draw it


def test_a_closed_pane_gets_nothing_and_panes_have_credits_of_their_own(serve: Serve) -> None:
    served = serve()
    served.detector.send()
    page = served.view()
    for pane, kind in enumerate(("frame", "hit", "sum", "max")):
        page.want(served.source, pane=pane, kind=kind)
    kinds = {page.picture().header["kind"] for _ in range(4)}
    assert kinds == {"frame", "hit", "sum", "max"}
    for pane in (1, 2, 3):
        page.say(t="close", pane=pane)
    served.wait_until(lambda: served.events["requests"] == 7)
    served.detector.send(12)
    page.settle(served)
    assert {shown.header["pane"] for shown in page.pictures[4:]} == {0}
    assert {(served.source, kind) for kind in kinds} <= set(served.wanted)


def test_pictures_come_at_the_pace_that_is_set_and_within_the_total(serve: Serve) -> None:
    served = serve(limits=Limits(pictures_per_s=5.0))
    page = served.view()
    page.want(served.source)
    begin_s = time.monotonic()
    for _ in range(4):
        served.detector.send()
        page.ack(page.picture())
    assert time.monotonic() - begin_s >= 2 / 5
    slow = serve(limits=Limits(pictures_per_s=1000.0, max_mbit_s=2.0))
    page = slow.view()
    page.want(slow.source)
    slow.detector.send()
    page.ack(page.picture())
    before = slow.hub.counts.picture_bytes
    begin_s = time.monotonic()
    for _ in range(2):
        slow.detector.send()
        page.ack(page.picture())
    assert time.monotonic() - begin_s >= (slow.hub.counts.picture_bytes - before) * 8 / 2e6 / 2


def test_views_that_are_alike_are_packed_once(serve: Serve) -> None:
    served = serve()
    pages = [served.view() for _ in range(6)]
    for page in pages:
        page.want(served.source)
    served.wait_until(lambda: served.events["requests"] == 6)
    served.detector.send()
    for page in pages:
        page.picture()
    assert served.hub.encodings.n_made == 1


def test_a_page_that_never_acknowledges_is_stalled_then_sent_away_and_others_go_on(serve: Serve) -> None:
    served = serve(limits=Limits(pictures_per_s=1000.0, stalled_s=0.3, closed_s=1.5))
    served.detector.send()
    silent, lively = served.view(), served.view()
    silent.want(served.source)
    lively.want(served.source)
    silent.picture()
    while not served.hub.snapshot().levels["viewers_stalled"]:
        served.detector.send()
        lively.ack(lively.picture())
    while served.hub.snapshot().levels["viewers"] == 2:
        served.detector.send()
        lively.ack(lively.picture())
    assert silent.end() == (4408, "no picture was acknowledged for 1.5 s")
    assert (served.events["stalls"], served.events["sent_away_stalled"]) == (1, 1)


def test_a_page_that_reads_nothing_is_cut_off_and_costs_no_memory(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "CUT_OFF_S", 0.2)
    served = serve(limits=Limits(pictures_per_s=1000.0, stalled_s=0.3, closed_s=1.5))
    served.detector.describe()
    deaf = served.view(max_queue=1, close_timeout=0.1)
    lively = served.view()
    lively.want(served.source)
    for pane in range(4):
        deaf.want(served.source, pane=pane, full=True)
    for _ in range(100):  # what the page does not read waits here, in the end
        served.board.put({"t": "history", "source": served.source, "filler": "x" * 500_000})
        served.detector.send()
        lively.ack(lively.picture())
    assert _waiting_bytes(served) < 3_000_000
    served.wait_until(lambda: served.events["sent_away_stalled"] == 1)
    served.wait_until(lambda: len(served.server._server.server_state.connections) == 1)
    served.detector.send()
    lively.picture()


def _waiting_bytes(served: Any) -> int:
    """Return what waits in the server's connections and outboxes."""
    gc.collect()
    connections = list(served.server._server.server_state.connections)
    buffers = sum(one.transport.get_write_buffer_size() for one in connections if one.transport is not None)
    texts = sum(len(text) for viewer in list(served.hub.viewers) for text in viewer.outbox._slots.values())
    return buffers + texts


def test_a_page_that_vanishes_while_the_server_waits_for_its_credit_leaves_nothing(serve: Serve) -> None:
    served = serve()
    served.detector.send()
    page, stays = served.view(), served.view()
    for one in (page, stays):
        one.want(served.source)
        one.picture()
    served.detector.send()
    page.picture()
    served.wait_until(lambda: len(served.hub.viewers) == 2)
    page.socket.socket.close()
    served.wait_until(lambda: len(served.hub.viewers) == 1)
    stays.picture()
    served.wait_until(lambda: len(served.server._server.server_state.tasks) == 1)


def test_thirty_two_may_look_and_the_next_one_is_told_so(serve: Serve) -> None:
    served = serve()
    served.detector.send()
    pages = [served.view() for _ in range(32)]
    for page in pages:
        page.want(served.source)
    for page in pages:
        assert page.picture().header["id"] == 1
    assert served.view().end() == (1013, "32 viewers are connected, which is the limit")
    assert served.events["refused_full"] == 1
    pages[0].socket.close()
    served.wait_until(lambda: len(served.hub.viewers) == 31)
    assert served.view().take()["t"] == "hello"


def test_the_server_ends_while_pages_wait(serve: Serve) -> None:
    served = serve()
    served.detector.send()
    pages = [served.view() for _ in range(3)]
    for page in pages:
        page.want(served.source)
        page.picture()
    begin_s = time.monotonic()
    served.server.close()
    assert time.monotonic() - begin_s < 10
    for page in pages:
        assert page.end()[0] == 1012
