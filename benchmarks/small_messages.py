"""What a 0D detector costs: one reading of 4 bytes per message at 10 kHz, and how many there could be.

    python benchmarks/small_messages.py [--rate 10000] [--seconds 10] [--json]

A producer and a group's reader, each a process, with `stream broker run` between them. Three runs: one reading per
message at the rate; the same readings, a hundred to a message; one per message as fast as it goes. CPU is that of the
whole process, in shares of one core; delay is from `send` to the reader's loop. Ends with status 1 where the first run
does not keep the rate, or any message is missing in any of them.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from beamstream import Consumer, Producer
from broker_process import Child, ProofError, running_broker

MEMORY = "2GiB"
READINGS_PER_MESSAGE = 100
"""How many readings the second run puts into one message."""

KEPT_SHARE = 0.99
"""Share of the wanted rate that counts as kept: the last message may be as late as the scheduler makes it."""

WAIT_S = 60.0


def cpu_s() -> float:
    """Return what this process has used of the processors, all its threads together [s]."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def cpu_of_s(pid: int) -> float:
    """Return what another process has used [s]."""
    fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def produce(url: str, stream: str, n_messages: int, rate_hz: float, readings: int, said: Connection) -> None:
    """Send readings, at a rate or as fast as it goes, and tell how that went."""
    values = np.arange(n_messages * readings, dtype="<u4")
    with Producer(stream, broker=url, block_timeout_s=WAIT_S) as producer:
        began_s, cpu_began_s, behind_s = time.monotonic(), cpu_s(), 0.0
        for number in range(n_messages):
            if rate_hz:
                left_s = began_s + number / rate_hz - time.monotonic()
                if left_s > 0:
                    time.sleep(left_s)
                behind_s = max(behind_s, -left_s)
            reading = values[number * readings : (number + 1) * readings]
            producer.send(number + 1, reading.data.cast("B"), shape=(readings,), dtype="<u4")
        sent_s = time.monotonic() - began_s
        producer.flush()
        done_s = time.monotonic() - began_s
        used_s = cpu_s() - cpu_began_s
        n_failed = producer.counts.n_failed
        producer.finish()
    said.send({"sent_s": sent_s, "done_s": done_s, "cpu_s": used_s, "behind_s": behind_s, "n_failed": n_failed})


def consume(url: str, stream: str, said: Connection) -> None:
    """Read to the end in a group, and tell how many readings came, and how old they were."""
    delays_s, total, n_messages = [], 0, 0
    with Consumer(stream, broker=url, group="reader", wait_for_stream=True, timeout_s=WAIT_S) as frames:
        cpu_began_s = cpu_s()
        for frame in frames:
            n_messages += 1
            total += int(frame.array().sum())
            if n_messages % 10 == 0:
                delays_s.append((time.time_ns() - frame.header.timestamp_ns) / 1e9)
        used_s = cpu_s() - cpu_began_s
    delays_s.sort()
    said.send(
        {
            "n_messages": n_messages,
            "total": total,
            "cpu_s": used_s,
            "delay_median_s": statistics.median(delays_s),
            "delay_99_s": delays_s[int(0.99 * len(delays_s))],
        }
    )


def measure(name: str, n_messages: int, rate_hz: float, readings: int) -> dict[str, Any]:
    """Return the figures of one run."""
    stream = f"proof/counter/{name}"
    with running_broker(MEMORY) as broker:
        server_began_s = cpu_of_s(broker.server_pid)
        consumer = Child(consume, broker.url, stream)
        producer = Child(produce, broker.url, stream, n_messages, rate_hz, readings)
        sent, read = producer.tell(), consumer.tell()
        server_s = cpu_of_s(broker.server_pid) - server_began_s
    n_readings = n_messages * readings
    if sent["n_failed"] or read["n_messages"] != n_messages or read["total"] != n_readings * (n_readings - 1) // 2:
        raise ProofError(f"{name}: {sent['n_failed']} messages failed, {read['n_messages']} of {n_messages} were read")
    return {
        "name": name,
        "n_messages": n_messages,
        "readings_per_message": readings,
        "wanted_hz": rate_hz,
        "messages_per_s": n_messages / sent["done_s"],
        "readings_per_s": n_readings / sent["done_s"],
        "behind_s": sent["behind_s"],
        "delay_median_s": read["delay_median_s"],
        "delay_99_s": read["delay_99_s"],
        "producer_cores": sent["cpu_s"] / sent["done_s"],
        "server_cores": server_s / sent["done_s"],
        "consumer_cores": read["cpu_s"] / sent["done_s"],
        "producer_us_per_message": 1e6 * sent["cpu_s"] / n_messages,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=10_000, help="readings per second (default: 10000)")
    parser.add_argument("--seconds", type=float, default=10, help="how long each run lasts (default: 10)")
    parser.add_argument("--json", action="store_true", help="print one line of JSON")
    options = parser.parse_args()
    n = int(options.rate * options.seconds)
    try:
        found = [
            measure("one", n, options.rate, 1),
            measure("hundred", n // READINGS_PER_MESSAGE, options.rate / READINGS_PER_MESSAGE, READINGS_PER_MESSAGE),
            measure("unpaced", n, 0.0, 1),
        ]
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
                f"{one['name']:8} {one['messages_per_s']:8.0f} messages/s, {one['readings_per_s']:8.0f} readings/s; "
                f"delay {1e3 * one['delay_median_s']:.1f} ms (99 %: {1e3 * one['delay_99_s']:.1f} ms); cores: producer "
                f"{one['producer_cores']:.2f}, server {one['server_cores']:.2f}, reader {one['consumer_cores']:.2f}; "
                f"none missing"
            )
    return 0 if found[0]["messages_per_s"] >= KEPT_SHARE * options.rate else 1


if __name__ == "__main__":
    sys.exit(main())
