"""The page on a running stream: its numbers beside the broker's, pause and steps, the next run, views, links, contrast,
and what a screen reader is told."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from playwright.sync_api import Page, expect

from beamstream import Consumer, Producer
from beamstream.address import Address
from beamstream.groups import GroupInfo, list_groups
from beamstream.protocol.client import Server
from beamstream.protocol.keys import StreamKeys
from beamstream.state import read_state

BEAMTIME = "11012345"
SOURCES = [f"{BEAMTIME}/{name}" for name in ("serial", "pause", "runs", "views", "quiet")]
SHAPE = (300, 400)
AXE = Path(__file__).parents[2] / "ui" / "node_modules" / "axe-core" / "axe.min.js"
PATIENCE_MS = 60_000

expect.set_options(timeout=PATIENCE_MS)


def spots_of(message_id: int) -> npt.NDArray[np.uint16]:
    """Draw a frame with 20 spots where the id is odd, and none where it is even."""
    image = np.random.default_rng(message_id).poisson(2.0, SHAPE).astype("<u2")
    for number in range(20 * (message_id % 2)):
        slow, fast = 30 + 60 * (number // 5), 40 + 70 * (number % 5)
        image[slow : slow + 2, fast : fast + 2] = 300
    return image


def plain(message_id: int) -> npt.NDArray[np.uint16]:
    """Draw a frame that says which one it is."""
    return np.full(SHAPE, message_id, "<u2")


@pytest.fixture(scope="module")
def monitor(commands: Any) -> Any:
    commands.start("consume", "peaks", SOURCES[0], "--follow")
    return commands.monitor(*SOURCES)


@contextmanager
def sending(broker: str, source: str, run: str = "run_001", **options: Any) -> Iterator[Producer]:
    with Producer(f"{source}/{run}", broker=broker, **options) as producer:
        yield producer


def send(producer: Producer, *ids: int, draw: Callable[[int], Any] = plain) -> None:
    for message_id in ids:
        producer.send_array(message_id, draw(message_id))
    producer.flush()


@pytest.fixture
def visit(open_page: Any, monitor: Any) -> Callable[..., Page]:
    def visit_(source: str | None = None, fields: str = "", **options: Any) -> Page:
        view = f";s={source}{fields}" if source else ""
        return open_page(monitor.link(view, "canvas2d"), "canvas2d", **options)  # type: ignore[no-any-return]

    return visit_


def kpi(page: Page, name: str) -> Any:
    """Return the element with a number of the header."""
    return page.locator(".kpi", has=page.locator("dt", has_text=re.compile(f"^{name}$"))).locator("dd span")


def facts(page: Page) -> Any:
    """Return the element that says which message is shown."""
    return page.locator(".status-facts")


def shows(page: Page, message_id: int) -> None:
    """Wait for the page to show a message drawn by `plain`."""
    value = f"{message_id:.2f}" if message_id < 10 else f"{message_id:.1f}"
    expect(facts(page)).to_contain_text(f"max {value} · mean {value}")


# --- numbers -----------------------------------------------------------------------------------------------------


def test_the_numbers_are_the_brokers(commands: Any, visit: Any, wait_until: Any) -> None:
    source = SOURCES[0]
    address = Address.parse(f"{source}/run_001")
    with sending(commands.broker, source, n_expected=30) as producer:
        page = visit()
        send(producer, *(n for n in range(1, 31) if n not in (7, 8)), draw=spots_of)
        with Consumer(address, broker=commands.broker, group="slow", timeout_s=20) as slow:
            for frame in slow:
                slow.acknowledge(frame)
                if frame.message_id == 10:
                    break
        producer.finish(30)
        with closing(Server(commands.broker)) as server:
            wait_until(
                lambda: all(group.lag_messages == 0 for group in list_groups(server, address) if group.name != "slow")
            )
            groups = {group.name: group for group in list_groups(server, address)}
            state = read_state(server, StreamKeys(address))
        assert set(groups) == {"peaks", "slow"}
        expect(kpi(page, "frame")).to_have_text("30")
        expect(kpi(page, "hit rate")).to_have_text("50.0")
        expect(page.locator(".pill")).to_contain_text("finished")
        for name, group in groups.items():
            row = page.locator("table[aria-label='Consumer groups'] tr", has=page.locator("th", has_text=name))
            expect(row.locator("td").nth(3)).to_have_text(f"{group.lag_messages}", use_inner_text=True)
        receipt = page.locator("section.receipt")
        expect(receipt).to_contain_text("28 of 30")
        expect(receipt).to_contain_text("7–8")
        row = page.locator("table[aria-label='Data sources'] tr", has=page.locator("th", has_text="serial"))
        expect(row.locator("td").last).to_have_text(str(state.n_received))
        # Of the hits the newest is shown, by itself.
        expect(facts(page)).to_contain_text("29 · hit, 20 peaks")


def groups_of(server: Server, address: Address) -> dict[str, GroupInfo]:
    return {group.name: group for group in list_groups(server, address)}


# --- pause, steps, runs ------------------------------------------------------------------------------------------


def test_a_paused_picture_stands_while_numbers_go_on_and_steps_go_through_the_messages(
    commands: Any, visit: Any, look: Any
) -> None:
    with sending(commands.broker, SOURCES[1]) as producer:
        send(producer, 1, 2, 3)
        page = visit(SOURCES[1], "&r=0,20")
        shows(page, 3)
        page.keyboard.press("Space")
        banner = page.locator(".banner")
        expect(banner).to_have_text("paused, 0 behind")
        before = look(page)
        send(producer, *range(4, 10))
        expect(banner).to_have_text("paused, 6 behind")
        expect(kpi(page, "frame")).to_have_text("9")
        shows(page, 3)
        assert (look(page) == before).all()
        for key, shown in ((",", 2), (".", 3), (".", 4), ("Shift+>", 9), (",", 8)):
            page.keyboard.press(key)
            shows(page, shown)
        expect(banner).to_have_text("paused, 1 behind")
        page.get_by_role("button", name="Back to live").click()
        shows(page, 9)
        send(producer, 10)
        shows(page, 10)
        expect(banner).to_be_hidden()
        producer.finish(10)


def test_the_next_run_appears_by_itself_and_the_one_that_ended_leaves_its_receipt(commands: Any, visit: Any) -> None:
    source = SOURCES[2]
    page = visit(source)
    expect(page.locator(".pill")).to_contain_text("waiting for data")
    with sending(commands.broker, source, n_expected=3) as producer:
        send(producer, 1, 2, 3)
        shows(page, 3)
        expect(page.locator(".subject b")).to_have_text("run_001")
        producer.finish(3)
    receipt = page.get_by_role("region", name=f"Receipt of {source}/run_001")
    expect(receipt).to_contain_text("complete, all there")
    expect(receipt).to_contain_text("3 of 3")
    with sending(commands.broker, source, "run_002") as producer:
        send(producer, *range(1, 6))
        shows(page, 5)
        expect(page.locator(".subject b")).to_have_text("run_002")
        expect(receipt).to_be_visible()
        # An older run is still there to be looked at.
        page.get_by_label("Run", exact=True).select_option("run_001")
        shows(page, 1)
        page.get_by_label("Run", exact=True).select_option(index=0)
        shows(page, 5)
        producer.finish(5)


# --- views -------------------------------------------------------------------------------------------------------


def test_two_viewers_look_at_the_same_frames_each_in_its_own_way_and_a_link_gives_the_view_to_others(
    commands: Any, visit: Any, look: Any
) -> None:
    with sending(commands.broker, SOURCES[3]) as producer:
        send(producer, 1)
        here, there = visit(SOURCES[3], "&r=0,100&c=linear"), visit(SOURCES[3], "&v=20,30,40&m=Viridis&r=0,50")
        for page in (here, there):
            shows(page, 1)
        send(producer, 2)
        for page in (here, there):
            shows(page, 2)
        here.keyboard.press("1")
        here.get_by_label("Colours").select_option("Magma")
        expect(here.locator(".pane-zoom")).to_have_text("100 %")
        expect(there.locator(".pane-zoom")).to_have_text("4000 %")
        assert here.get_by_label("Scale").input_value() == "linear"
        assert there.get_by_label("Scale").input_value() == "sqrt"
        seen = look(there)
        expect(there).to_have_url(there.url.split("#")[0] + f"#;s={SOURCES[3]}&v=20,30,40&m=Viridis&r=0,50")
        expect(here).to_have_url(here.url.split("#")[0] + f"#;s={SOURCES[3]}&v=200,150,1&m=Magma&c=linear&r=0,100")
        follower = visit(SOURCES[3], there.url.partition(SOURCES[3])[2])
        shows(follower, 2)
        assert (look(follower) == seen).all()
        assert not (look(here) == seen).all()
        producer.finish(2)


def test_contrast_and_colours_change_without_a_message(commands: Any, visit: Any, open_page: Any, look: Any) -> None:
    with sending(commands.broker, SOURCES[4]) as producer:
        send(producer, 40)
        page = visit(SOURCES[4])
        sent: list[Any] = []
        page.on("websocket", lambda socket: socket.on("framesent", lambda message: sent.append(message)))
        page.reload()
        shows(page, 40)
        assert sent, "messages are counted"
        n_sent, seen = len(sent), [look(page)]

        def changed() -> None:
            """Wait until the picture looks different."""
            while (now := look(page)).shape != seen[-1].shape or (now == seen[-1]).all():
                page.wait_for_timeout(10)
            seen.append(now)

        page.get_by_label("Highest value").fill("200")
        page.get_by_label("Highest value").press("Enter")
        changed()
        page.get_by_label("Scale").select_option("linear")
        changed()
        page.get_by_label("Colours").select_option("Viridis")
        changed()
        page.get_by_label("high end of the contrast").press("PageDown")
        changed()
        assert len(sent) == n_sent, sent[n_sent:]
        page.get_by_role("button", name="Mean").click()
        page.keyboard.press("1")
        shows(page, 40)
        producer.finish(40)


# --- for everybody -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_axe_finds_nothing_to_complain_of(commands: Any, visit: Any, theme: str) -> None:
    if not AXE.exists():
        why = "axe-core is not installed: cd ui && npm install"
        if os.environ.get("CI"):
            pytest.fail(why)
        pytest.skip(why)
    page = visit(SOURCES[0], "&k=hit", color_scheme=theme)
    expect(facts(page)).to_contain_text("hit, 20 peaks")
    page.keyboard.press("Space")
    expect(page.locator(".banner")).to_contain_text("paused")
    assert page.evaluate("document.documentElement.dataset.theme") == theme
    assert violations(page) == []
    page.keyboard.press("?")
    expect(page.locator("dialog[open]")).to_be_visible()
    assert violations(page) == []


def violations(page: Page) -> list[str]:
    """Return what axe-core says: rule, and where."""
    page.evaluate(AXE.read_text())
    found = page.evaluate("() => axe.run(document)")
    return [
        f"{one['id']}: {node['target']} {node['failureSummary']}"
        for one in found["violations"]
        for node in one["nodes"]
    ]
