"""`stream simulate eiger` as a process: it says where it is, sends, reports, and ends with the right status."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from contextlib import contextmanager

import pytest
import zmq

from beamstream_producers.formats.simplon import End, Image, Start, decode

TIMEOUT_S = 60.0
INTERRUPTED = 130


@contextmanager
def simulator(*arguments):
    command = [sys.executable, "-m", "beamstream.cli", "simulate", "eiger", "--size", "500k", "--json"]
    ports = ["--stream-port", "0", "--api-port", "0"]
    with subprocess.Popen(
        [*command, *ports, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def receiver(endpoint):
    with zmq.Context() as context, context.socket(zmq.PULL) as socket:
        socket.linger = 0
        socket.rcvtimeo = round(TIMEOUT_S * 1e3)
        socket.connect(endpoint)
        yield lambda: decode(socket.recv_multipart())


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_auto_waits_for_a_receiver_sends_its_series_reports_and_ends(version):
    arguments = ["--auto", "--series", "2", "--first-series", "7", "--frames", "5", "--rate", "0", "--format", version]
    with simulator(*arguments) as process:
        where = json.loads(process.stdout.readline())
        with receiver(where["stream"]) as receive:
            received = [receive() for _ in range(14)]
        rest, errors = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0, errors
    kinds = [Start, *[Image] * 5, End]
    assert [type(message) for message in received] == kinds + kinds
    assert [message.series_id for message in received] == [7] * 7 + [8] * 7
    reports = [json.loads(line) for line in rest.splitlines()]
    assert reports == [{"series": number, "sent": 5, "dropped": 0} for number in (7, 8)]


@pytest.mark.parametrize("arguments", [[], ["--auto"], ["--auto", "--frames", "100000", "--rate", "100"]])
def test_an_interrupt_ends_it_with_status_130_whatever_it_does(arguments):
    with simulator(*arguments) as process:
        where = json.loads(process.stdout.readline())
        with receiver(where["stream"]) as receive:
            if "--frames" in arguments:
                assert isinstance(receive(), Start)
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == INTERRUPTED, errors
    assert "Traceback" not in errors


def test_a_port_that_is_taken_is_misuse_and_told_in_one_line():
    with simulator() as first:
        where = json.loads(first.stdout.readline())
        with simulator("--stream-port", where["stream"].rpartition(":")[2]) as second:
            _, errors = second.communicate(timeout=TIMEOUT_S)
    assert second.returncode == 2
    assert "is another detector running?" in errors
    assert "Traceback" not in errors
