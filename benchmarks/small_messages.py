"""What a message costs on each side, how many there can be, and how old they are when they are delivered.

    python benchmarks/small_messages.py [--rate 10000] [--seconds 10] [--only NAME]... [--json]

A producer and the reader of one group, each a process, with `stream broker run` between them:

    unpaced   200 bytes, as fast as it goes
    paced     200 bytes at the rate
    large     1 MiB at 100 Hz
    bare      the same by redis-py alone, XADD on one side and XREADGROUP on the other
    one       one reading of 4 bytes as an array at the rate: a 0D detector
    hundred   the same readings, a hundred to a message

CPU is that of the whole process while messages go, in shares of one core and in microseconds for each message; that of
a paced producer has what its pacing takes, which is measured as well. Delay is from `send` to the reader's loop, of
every message. The rate is from the first `send` to the last delivery. A few messages go before all that, so that
connections are there. Ends with status 1 where a message is missing, not in order or not what was sent, or where a
paced run does not keep its rate.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event
from typing import Any

import numpy as np
import redis

from beamstream import Consumer, Frame, Producer
from beamstream_broker.bench.processor_time import used_by_s
from broker_process import Child, ProofError, running_broker

MEMORY = "2GiB"
SMALL_BYTES, LARGE_BYTES = 200, 1 << 20
LARGE_HZ = 100.0
READINGS_PER_MESSAGE = 100
"""How many readings ``hundred`` puts into one message."""

N_LARGE = 16
"""How many large payloads there are; one is used again when its message was sent."""

UNPACED_HZ = 30_000
"""The run without a rate has as many messages as this would have in the seconds that are asked for."""

KEPT_SHARE = 0.99
"""Share of the wanted rate that counts as kept: the last message may be as late as the scheduler makes it."""

N_BEFORE = 30
"""How many messages go before what is measured."""

BEFORE_EVERY_S = 0.01
"""How far apart they are [s]."""

PACING_S = 0.5
"""For how long is measured what pacing takes [s]."""

WAIT_S = 60.0

BARE = "bare"
"""The run without beamstream, and the key of its stream."""

N_KEPT = 500
"""How many messages that stream has at most: half a gigabyte."""

BARE_WAIT_S = 5.0
"""How long its reader waits for a message [s]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One of the runs; `rate_hz` 0: as fast as it goes; `readings` 0: bytes, no array."""

    name: str
    n_messages: int
    rate_hz: float
    payload_bytes: int
    readings: int = 0


def runs(rate_hz: float, seconds: float) -> list[Run]:
    """Return all runs."""
    n = int(rate_hz * seconds)
    hundredth_hz = rate_hz / READINGS_PER_MESSAGE
    return [
        Run(name="unpaced", n_messages=int(UNPACED_HZ * seconds), rate_hz=0, payload_bytes=SMALL_BYTES),
        Run(name="paced", n_messages=n, rate_hz=rate_hz, payload_bytes=SMALL_BYTES),
        Run(name="large", n_messages=int(LARGE_HZ * seconds), rate_hz=LARGE_HZ, payload_bytes=LARGE_BYTES),
        Run(name=BARE, n_messages=int(LARGE_HZ * seconds), rate_hz=LARGE_HZ, payload_bytes=LARGE_BYTES),
        Run(name="one", n_messages=n, rate_hz=rate_hz, payload_bytes=4, readings=1),
        Run(
            name="hundred",
            n_messages=n // READINGS_PER_MESSAGE,
            rate_hz=hundredth_hz,
            payload_bytes=4 * READINGS_PER_MESSAGE,
            readings=READINGS_PER_MESSAGE,
        ),
    ]


def sending(run: Run, producer: Producer) -> Callable[[int], object]:
    """Return what sends a message under an id."""
    if run.readings:
        values = np.arange((N_BEFORE + run.n_messages) * run.readings, dtype="<u4")

        def send_readings(message_id: int) -> object:
            reading = values[(message_id - 1) * run.readings : message_id * run.readings]
            return producer.send(message_id, reading.data.cast("B"), shape=(run.readings,), dtype="<u4")

        return send_readings
    if run.payload_bytes == SMALL_BYTES:
        filling = bytes(SMALL_BYTES - 8)
        return lambda message_id: producer.send(message_id, message_id.to_bytes(8, "little") + filling)
    pattern = np.random.default_rng(7).bytes(run.payload_bytes)
    free = deque((bytearray(pattern), None) for _ in range(N_LARGE))

    def send_large(message_id: int) -> object:
        payload, sent = free.popleft()
        if sent is not None:
            sent.result(WAIT_S)
        payload[:8] = message_id.to_bytes(8, "little")
        free.append((payload, producer.send(message_id, payload)))  # type: ignore[arg-type]
        return None

    return send_large


def is_right(run: Run, frame: Frame) -> bool:
    """Whether a frame holds what was sent under its id; the reader compares checksums itself."""
    if run.readings:
        first = (frame.message_id - 1) * run.readings
        return int(frame.array().sum()) == run.readings * first + run.readings * (run.readings - 1) // 2
    return len(frame.payload) == run.payload_bytes and int.from_bytes(frame.payload[:8], "little") == frame.message_id


def pace(began_s: float, number: int, rate_hz: float) -> float:
    """Sleep until a message is due; return how late it is [s]."""
    left_s = began_s + number / rate_hz - time.monotonic()
    if left_s > 0:
        time.sleep(left_s)
    return -left_s


def pacing_s(rate_hz: float) -> float:
    """Return what pacing a message takes of the processor [s]."""
    n = int(rate_hz * PACING_S) + 1
    began_s, cpu_began_s = time.monotonic(), time.process_time()
    for number in range(n):
        pace(began_s, number, rate_hz)
    return (time.process_time() - cpu_began_s) / n


def send_all(run: Run, send: Callable[[int], object], flush: Callable[[], object]) -> dict[str, float]:
    """Send those that go before, then the others at their rate; returns how that went [s]."""
    for message_id in range(1, N_BEFORE + 1):
        send(message_id)
        time.sleep(BEFORE_EVERY_S)
    flush()
    began_s, cpu_began_s, behind_s = time.monotonic(), time.process_time(), 0.0
    for number in range(run.n_messages):
        if run.rate_hz:
            behind_s = max(behind_s, pace(began_s, number, run.rate_hz))
        send(N_BEFORE + number + 1)
    flush()
    done_s, used_s = time.monotonic() - began_s, time.process_time() - cpu_began_s
    return {"began_s": began_s, "done_s": done_s, "cpu_s": used_s, "behind_s": behind_s}


def produce(url: str, run: Run, begin: Event, said: Connection) -> None:
    """Send at a rate or as fast as it goes from `begin` on, and tell how that went."""
    with Producer(f"proof/messages/{run.name}", broker=url, block_timeout_s=WAIT_S) as producer:
        send = sending(run, producer)
        pacing_takes_s = pacing_s(run.rate_hz) if run.rate_hz else 0.0
        said.send({"ready": True})
        begin.wait()
        told = send_all(run, send, producer.flush)
        n_failed = producer.counts.n_failed
        producer.finish()
    said.send({**told, "n_failed": n_failed, "pacing_s": pacing_takes_s})


def consume(url: str, run: Run, said: Connection) -> None:
    """Read to the end in a group, and tell how many messages came, how old they were, and whether they were right."""
    delays_s = []
    n_messages = n_wrong = 0
    ended_s = cpu_began_s = 0.0
    with Consumer(f"proof/messages/{run.name}", broker=url, group="reader", timeout_s=WAIT_S) as frames:
        said.send({"ready": True})
        for frame in frames:
            delays_s.append((time.time_ns() - frame.header.timestamp_ns) / 1e9)
            n_messages += 1
            n_wrong += frame.message_id != n_messages or not is_right(run, frame)
            if n_messages == N_BEFORE:
                cpu_began_s = time.process_time()
            elif n_messages == N_BEFORE + run.n_messages:
                ended_s = time.monotonic()
        used_s = time.process_time() - cpu_began_s
    found = {"n_messages": n_messages - N_BEFORE, "n_wrong": n_wrong, "ended_s": ended_s, "cpu_s": used_s}
    said.send({**found, "delays_s": np.quantile(delays_s[N_BEFORE:] or [0.0], (0.5, 0.99, 1)).tolist()})


def produce_bare(url: str, run: Run, begin: Event, said: Connection) -> None:
    """Do what `produce` does by redis-py alone."""
    payload = bytearray(np.random.default_rng(7).bytes(run.payload_bytes))
    with redis.Redis.from_url(url) as server:
        pacing_takes_s = pacing_s(run.rate_hz)
        said.send({"ready": True})
        begin.wait()

        def send(message_id: int) -> None:
            payload[:8] = message_id.to_bytes(8, "little")
            server.xadd(BARE, {"t": time.time_ns(), "p": memoryview(payload)}, maxlen=N_KEPT)

        told = send_all(run, send, lambda: None)
    said.send({**told, "n_failed": 0, "pacing_s": pacing_takes_s})


def consume_bare(url: str, run: Run, said: Connection) -> None:
    """Do what `consume` does by redis-py alone."""
    delays_s: list[float] = []
    n_wrong, cpu_began_s = 0, 0.0
    with redis.Redis.from_url(url) as server:
        server.xgroup_create(BARE, "reader", mkstream=True)
        said.send({"ready": True})
        wait_ms = int(1e3 * BARE_WAIT_S)
        while len(delays_s) < N_BEFORE + run.n_messages:
            found = server.xreadgroup("reader", "one", {BARE: ">"}, count=N_LARGE, block=wait_ms)
            if not found:
                break
            for _, entries in found:
                for entry_id, fields in entries:
                    delays_s.append((time.time_ns() - int(fields[b"t"])) / 1e9)
                    n_wrong += int.from_bytes(fields[b"p"][:8], "little") != len(delays_s)
                    if len(delays_s) == N_BEFORE:
                        cpu_began_s = time.process_time()
                    server.xack(BARE, "reader", entry_id)
        ended_s, used_s = time.monotonic(), time.process_time() - cpu_began_s
    told = {"n_messages": len(delays_s) - N_BEFORE, "n_wrong": n_wrong, "ended_s": ended_s, "cpu_s": used_s}
    said.send({**told, "delays_s": np.quantile(delays_s[N_BEFORE:] or [0.0], (0.5, 0.99, 1)).tolist()})


def measure(run: Run) -> dict[str, Any]:
    """Return the figures of one run."""
    producing, consuming = (produce_bare, consume_bare) if run.name == BARE else (produce, consume)
    begin = multiprocessing.get_context("spawn").Event()
    with running_broker(MEMORY) as broker:
        producer = Child(producing, broker.url, run, begin)
        producer.tell()
        consumer = Child(consuming, broker.url, run)
        consumer.tell()
        server_began_s = used_by_s(broker.server_pid)
        begin.set()
        sent, read = producer.tell(), consumer.tell()
        server_s = used_by_s(broker.server_pid) - server_began_s
    if sent["n_failed"] or read["n_wrong"] or read["n_messages"] != run.n_messages:
        raise ProofError(
            f"{run.name}: {sent['n_failed']} messages failed, {read['n_messages']} of {run.n_messages} were read, "
            f"{read['n_wrong']} of them wrong or not in order"
        )
    seconds = read["ended_s"] - sent["began_s"]
    used_s = {"producer": sent["cpu_s"], "server": server_s, "reader": read["cpu_s"]}
    return {
        "name": run.name,
        "n_messages": run.n_messages,
        "payload_bytes": run.payload_bytes,
        "wanted_hz": run.rate_hz,
        "messages_per_s": run.n_messages / seconds,
        "sent_per_s": run.n_messages / sent["done_s"],
        "readings_per_s": run.n_messages * run.readings / seconds,
        "behind_s": sent["behind_s"],
        **dict(zip(("delay_median_s", "delay_99_s", "delay_longest_s"), read["delays_s"], strict=True)),
        "cores": {side: one / seconds for side, one in used_s.items()},
        "us_per_message": {side: 1e6 * one / run.n_messages for side, one in used_s.items()},
        "pacing_us_per_message": 1e6 * sent["pacing_s"],
    }


def kept_rate(found: dict[str, Any]) -> bool:
    return bool(found["sent_per_s"] >= KEPT_SHARE * found["wanted_hz"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=10_000, help="messages per second (default: 10000)")
    parser.add_argument("--seconds", type=float, default=10, help="how long each run lasts (default: 10)")
    names = [run.name for run in runs(1, 1)]
    parser.add_argument("--only", action="append", choices=names, help="run this one only; may be given several times")
    parser.add_argument("--json", action="store_true", help="print one line of JSON")
    options = parser.parse_args()
    wanted = options.only or names
    try:
        found = [measure(run) for run in runs(options.rate, options.seconds) if run.name in wanted]
    except ProofError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    if options.json:
        print(json.dumps(found))
    else:
        for one in found:
            print(
                f"{one['name']:8} {one['messages_per_s']:8.0f} messages/s of {one['payload_bytes']} B; delay "
                f"{1e3 * one['delay_median_s']:.2f} ms (99 %: {1e3 * one['delay_99_s']:.2f} ms, longest "
                f"{1e3 * one['delay_longest_s']:.1f} ms); CPU per message "
                + ", ".join(f"{side} {us:.1f} µs" for side, us in one["us_per_message"].items())
                + (f" (pacing {one['pacing_us_per_message']:.1f} µs)" if one["wanted_hz"] else "")
                + "; cores "
                + ", ".join(f"{cores:.2f}" for cores in one["cores"].values())
                + "; none missing"
            )
    return 0 if all(map(kept_rate, found)) else 1


if __name__ == "__main__":
    sys.exit(main())
