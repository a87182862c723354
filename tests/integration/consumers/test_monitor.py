"""The monitor on a real broker: its loop, and the command as a process."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from beamstream import Address, Producer
from beamstream.errors import StreamNotFoundError
from beamstream_consumers.monitor.terminal.view import View
from beamstream_consumers.monitor.terminal.watching import watch

SOURCE = "11012345/eiger"
ADDRESS = Address("11012345", "eiger", "run_001")
PATIENCE_S = 60.0


def send(producer: Producer, *ids: int) -> None:
    for message_id in ids:
        producer.send_array(message_id, np.full((8, 8), message_id, "<u2"))
    producer.flush()


def seen(broker: str, **options: Any) -> list[View]:
    views: list[View] = []
    watch(ADDRESS, broker, "monitor", views.append, threading.Event(), show_every_s=0.01, **options)
    return views


def test_the_newest_frame_of_a_finished_stream_is_shown_and_the_monitor_ends(broker: str) -> None:
    with Producer(ADDRESS, broker=broker, n_expected=3) as producer:
        send(producer, 1, 2, 3)
        producer.finish(3)
    last = seen(broker)[-1]
    assert (last.state, last.n_received, last.n_expected, last.newest_id) == ("complete", 3, 3, 3)
    assert last.frame is not None
    assert last.frame.statistics is not None
    assert (last.frame.message_id, last.frame.statistics.mean) == (3, 3.0)


def test_frames_that_are_not_shown_are_passed_and_counted(broker: str) -> None:
    with Producer(ADDRESS, broker=broker) as producer:
        send(producer, *range(1, 101))
        views: list[View] = []

        def finish_when_seen(view: View) -> None:
            views.append(view)
            if len(views) == 1:
                producer.finish(100)

        watch(ADDRESS, broker, "monitor", finish_when_seen, threading.Event(), show_every_s=0.01)
    shown = {view.frame.message_id for view in views if view.frame}
    assert shown == {100}
    assert views[0].n_received == 100


def test_what_is_no_image_is_shown_without_numbers(broker: str) -> None:
    with Producer(ADDRESS, broker=broker) as producer:
        producer.send(1, b"a peak list")
        producer.finish(1)
    frame = seen(broker)[-1].frame
    assert frame is not None
    assert frame.statistics is None
    assert "no shape" in frame.note


def test_a_stream_that_is_not_there_is_an_error_unless_it_is_followed(broker: str) -> None:
    with pytest.raises(StreamNotFoundError):
        seen(broker)
    views: list[View] = []

    def produce_when_waiting(view: View) -> None:
        if not views:
            with Producer(ADDRESS, broker=broker) as producer:
                send(producer, 1)
                producer.finish(1)
        views.append(view)

    watch(ADDRESS, broker, "monitor", produce_when_waiting, threading.Event(), follow=True, show_every_s=0.01)
    assert [views[0].life, views[-1].life] == ["waiting", "finished"]


@pytest.fixture
def command(broker: str) -> Iterator[Any]:
    started: list[subprocess.Popen[str]] = []

    def start(*options: str) -> subprocess.Popen[str]:
        line = [
            sys.executable,
            "-u",
            "-m",
            "beamstream.cli",
            "--broker",
            broker,
            "consume",
            "monitor",
            "--terminal",
            *options,
        ]
        process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_without_a_terminal_it_prints_lines_and_ends_with_the_stream(broker: str, command: Any) -> None:
    with Producer(ADDRESS, broker=broker) as producer:
        send(producer, 1)
        producer.finish(1)
    process = command(str(ADDRESS))
    out, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0
    assert out.splitlines()[-1].startswith(f"{ADDRESS}  stream complete  received 1")


def test_it_follows_a_data_source_to_its_newer_stream_and_is_interrupted(broker: str, command: Any) -> None:
    with Producer(ADDRESS, broker=broker) as producer:
        send(producer, 1)
        process = command(SOURCE, "--follow", "--json")
        assert json.loads(process.stdout.readline())["address"] == str(ADDRESS)
        # the first stream never ends; its successor takes its place nevertheless
        with Producer(f"{SOURCE}/run_002", broker=broker) as newer:
            send(newer, 1)
            while json.loads(process.stdout.readline())["address"] != f"{SOURCE}/run_002":
                pass
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130


def test_a_stream_that_is_not_there_fails_the_command(command: Any) -> None:
    process = command(str(ADDRESS))
    _, error = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1
    assert "no such stream" in error
