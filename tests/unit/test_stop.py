"""The flag that signals set: whatever its thread is doing when they come."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading

from beamstream.stop import Stop, stop_on_signals

STORM = """
import signal, sys, time
from {module} import {name} as Flag

signals = 0
flag = Flag()

def on_signal(number, frame):
    global signals
    signals += 1
    flag.set()

signal.signal(signal.SIGALRM, on_signal)
signal.setitimer(signal.ITIMER_REAL, 2e-5, 2e-5)
while signals < {n_signals}:
    flag = Flag()
    for _ in range(20):
        flag.wait(1e-6)
signal.setitimer(signal.ITIMER_REAL, 0)
"""


def test_signals_at_every_moment_of_waiting_find_no_lock_held():
    program = STORM.format(module="beamstream.stop", name="Stop", n_signals=20_000)
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_whoever_waits_in_another_thread_is_woken():
    stop = Stop()
    woken = []
    threads = [threading.Thread(target=lambda: woken.append(stop.wait(60))) for _ in range(3)]
    for thread in threads:
        thread.start()
    assert not stop.wait(0)
    stop.set()
    for thread in threads:
        thread.join()
    assert woken == [True] * 3
    assert stop.is_set()
    assert stop.wait()  # for ever, were it not set


def test_sigint_and_sigterm_ask_and_handlers_are_put_back():
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with stop_on_signals() as stop:
        signal.raise_signal(signal.SIGTERM)
        assert stop.wait(60)
        assert stop.exit_status == 0
        signal.raise_signal(signal.SIGINT)
        assert stop.exit_status == 130
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_outside_of_the_main_thread_no_handler_is_touched():
    before = signal.getsignal(signal.SIGINT)
    seen = []

    def inside() -> None:
        with stop_on_signals() as stop:
            seen.append((signal.getsignal(signal.SIGINT), stop.is_set()))

    thread = threading.Thread(target=inside)
    thread.start()
    thread.join()
    assert seen == [(before, False)]
