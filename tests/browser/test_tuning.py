"""An operator changes the running peak finder from the page, and a viewer cannot."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import expect

from beamstream import Producer
from beamstream.address import SourceAddress
from beamstream.parameters.store import ParameterStore
from beamstream.protocol.client import Server

SOURCE = SourceAddress("11012345", "eiger")
SHAPE = (300, 400)
N_SPOTS = 20
PATIENCE_MS = 60_000

expect.set_options(timeout=PATIENCE_MS)


def send(producer: Producer, message_id: int) -> None:
    """Send a frame with spots, the first of them brighter than the others."""
    image = np.random.default_rng(message_id).poisson(2.0, SHAPE).astype("<u2")
    for number in range(N_SPOTS):
        slow, fast = 30 + 60 * (number // 5), 40 + 70 * (number % 5)
        image[slow : slow + 2, fast : fast + 2] = 300 if number else 3000
    producer.send_array(message_id, image)
    producer.flush()


@pytest.fixture(scope="module")
def peaks(commands: Any) -> None:
    commands.start("consume", "peaks", str(SOURCE), "--follow")


def test_an_operator_sees_what_values_do_and_gives_them_to_the_running_group(
    commands: Any, peaks: None, open_page: Any, wait_until: Any
) -> None:
    page = open_page(
        commands.monitor(str(SOURCE), "--allow-control").link(renderer="canvas2d", role="operator"), "canvas2d"
    )
    with Producer(SOURCE.stream("run_001"), broker=commands.broker) as producer:
        send(producer, 1)
        facts = page.locator(".status-facts")
        expect(facts).to_contain_text(f"1 · hit, {N_SPOTS} peaks")
        expect(page.locator(".badge")).to_have_text("operator")
        page.get_by_role("button", name="Tune").click()
        panel = page.get_by_role("region", name="Tuning")
        expect(panel).to_contain_text("group peaks, version 1")
        threshold = panel.get_by_label("adc threshold")
        threshold.fill("1000")
        outcome = panel.locator(".outcome")
        expect(outcome).to_have_text("○ no hit: 1 peak in frame 1")
        threshold.fill("100")
        expect(outcome).to_have_text(f"✔ hit: {N_SPOTS} peaks in frame 1")
        threshold.fill("1000")
        expect(outcome).to_have_text("○ no hit: 1 peak in frame 1")
        with closing(Server(commands.broker)) as server:
            store = ParameterStore(server, SOURCE, "peaks")
            assert store.newest_number() == 1, "nothing is changed before somebody has confirmed it"
            panel.get_by_role("button", name="Apply to the running group").click()
            page.locator("dialog[open]").get_by_role("button", name="Apply").click()
            expect(panel).to_contain_text("version 2")
            assert store.newest_number() == 2
        expect(panel.get_by_label("adc threshold")).to_have_value("1000")
        page.get_by_role("button", name="Back to live").click()
        page.get_by_label("What is shown").select_option("frame")
        n_sent = 1
        while "no hit" not in facts.inner_text():  # its next frames, once it has heard of them
            assert n_sent < 300
            send(producer, n_sent := n_sent + 1)
            page.wait_for_timeout(200)
        expect(page.locator(".kpi", has_text="peaks").locator("dd span")).to_have_text("1")
        producer.finish(n_sent)


def test_without_allow_control_there_is_nothing_to_control(commands: Any, peaks: None, open_page: Any) -> None:
    page = open_page(commands.monitor(str(SOURCE)).link(renderer="canvas2d"), "canvas2d")
    expect(page.locator(".badge")).to_have_text("read-only")
    expect(page.get_by_role("button", name="Tune")).to_be_hidden()
    ask = """async ([method, path]) => (await fetch(path, { method, body: method === 'POST' ? '{}' : null })).status"""
    for method, path in (
        ("GET", f"control/parameters?source={SOURCE}"),
        ("POST", "control/preview"),
        ("POST", "control/parameters"),
        ("POST", "control/mask"),
        ("POST", "control/powder/reset"),
    ):
        assert page.evaluate(ask, [method, path]) == page.evaluate(ask, [method, "no/such/path"])
