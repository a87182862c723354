"""What ends and comes back while a page is open: the monitor killed, the broker killed; and a page of a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from beamstream import Producer
from beamstream.service import run_handler
from beamstream_consumers.write import WriteHandler

SOURCE = "11012345/eiger"
TOKEN = "a-token-that-only-tests-have"  # noqa: S105
SHAPE = (120, 160)
PATIENCE_MS = 60_000

expect.set_options(timeout=PATIENCE_MS)


def send(producer: Producer, *ids: int) -> None:
    for message_id in ids:
        producer.send_array(message_id, np.full(SHAPE, message_id, "<u2"))
    producer.flush()


def shows(page: Page, message_id: int) -> None:
    expect(page.locator(".status-facts")).to_contain_text(f"max {message_id}.00 · mean {message_id}.00")


def test_a_monitor_that_was_killed_and_started_again_goes_on_in_the_same_page(commands: Any, open_page: Any) -> None:
    started = commands.monitor(SOURCE, STREAM_MONITOR_TOKEN=TOKEN)
    with Producer(f"{SOURCE}/run_001", broker=commands.broker) as producer:
        send(producer, 1)
        assert TOKEN in started.link()
        page = open_page(started.link(renderer="canvas2d"), "canvas2d")
        shows(page, 1)
        pill, outage = page.locator(".pill"), page.locator(".outage")
        expect(outage).to_be_hidden()
        started.process.kill()
        expect(pill).to_contain_text("reconnecting")
        expect(outage).to_contain_text("What you see is old")
        shows(page, 1)
        send(producer, 2)
        commands.monitor(SOURCE, port=started.port, STREAM_MONITOR_TOKEN=TOKEN)
        shows(page, 2)
        expect(outage).to_be_hidden()
        expect(pill).not_to_contain_text("reconnecting")
        send(producer, 3)
        shows(page, 3)
        producer.finish(3)


def test_a_broker_that_was_killed_and_started_again_is_said_to_be_gone_and_the_page_goes_on(
    run_server: Any, open_page: Any, tmp_path: Path
) -> None:
    with run_server(socket_path=tmp_path / "s") as first:
        started = first.monitor(SOURCE)
        with Producer(f"{SOURCE}/run_001", broker=first.broker) as producer:
            send(producer, 1)
            page = open_page(started.link(renderer="canvas2d"), "canvas2d")
            shows(page, 1)
            producer.finish(1)
        first.processes.clear()  # the monitor outlives its broker
    try:
        log, buffer = page.locator(".log"), page.get_by_role("region", name="Buffer")
        expect(log).to_contain_text("the server is lost")
        expect(buffer).to_contain_text("unknown")
        shows(page, 1)
        with (
            run_server(socket_path=tmp_path / "s") as second,
            Producer(f"{SOURCE}/run_002", broker=second.broker) as producer,
        ):
            send(producer, 1, 2)
            shows(page, 2)
            expect(page.locator(".subject b")).to_have_text("run_002")
            expect(log).to_contain_text("the server answers again")
            expect(buffer).not_to_contain_text("unknown")
            producer.finish(2)
    finally:
        started.process.kill()
        started.process.communicate()


@pytest.fixture(scope="module")
def recording(commands: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A NeXus file with six frames, as our writer makes it."""
    folder = tmp_path_factory.mktemp("recording")
    source = "11012345/recorded"
    with Producer(f"{source}/run_007", broker=commands.broker, n_expected=6) as producer:
        send(producer, *range(1, 7))
        producer.finish(6)
    assert run_handler(WriteHandler(folder), f"{source}/run_007", broker=commands.broker) == 0
    return next(path for path in folder.glob("**/*") if path.suffix in (".nxs", ".h5"))


def test_a_file_is_paged_through_from_its_first_frame(commands: Any, recording: Path, open_page: Any) -> None:
    page = open_page(commands.monitor(str(recording)).link(renderer="canvas2d"), "canvas2d")
    shows(page, 1)
    expect(page.locator(".pill")).to_contain_text("from a file")
    expect(page.locator(".banner")).to_have_text("of 6")
    for key, shown in ((".", 2), (".", 3), (",", 2), ("Shift+>", 6)):
        page.keyboard.press(key)
        shows(page, shown)
    page.get_by_label("Message id").fill("4")
    page.get_by_label("Message id").press("Enter")
    shows(page, 4)
    expect(page.get_by_role("button", name="Pause")).to_be_hidden()
    page.get_by_label("What is shown").select_option("sum")
    expect(page.locator(".status-facts")).to_contain_text("6 frames · max 21.0 · mean 21.0")
