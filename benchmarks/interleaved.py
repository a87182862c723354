"""Four producers write one stream at full speed, and one message in a hundred comes up to a second late.

    python benchmarks/interleaved.py [--messages 1000000] [--producers 4] [--json]

Each producer is a process and sends every fourth id as fast as it can; 1 % of its ids, chosen at random, it puts aside
for up to a second (uniformly) and sends then. One consumer without a group, a process as well, has to see 1 to N in
order, without a gap, and the payload that belongs to each id. Ends with status 1 where it does not.
"""

from __future__ import annotations

import argparse
import heapq
import json
import multiprocessing
import random
import signal
import sys
import time
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event
from typing import Any

from beamstream import Address, Consumer, Producer
from beamstream.protocol.client import Server
from beamstream.receipt import make_receipt
from broker_process import Child, ProofError, running_broker

ADDRESS = Address("proof", "interleaved", "run")
LONGEST_DELAY_S = 1.0
"""How late an id comes at most [s]."""

QUEUE_BYTES = 1 << 20
"""Queue of a producer [bytes], some hundredths of a second of small messages: what is put aside for a second is to come
a second late, not behind many seconds of others that wait to be sent."""

MEMORY = "2GiB"
CONSUMER_TIMEOUT_S = 60.0


def payload_of(message_id: int, payload_bytes: int) -> bytes:
    return message_id.to_bytes(8, "big") * (payload_bytes // 8)


def produce(url: str, options: dict[str, Any], which: int, begin: Event, said: Connection) -> None:
    """Send every n-th id from `begin` on; tell how many were put aside, and when the first and the last were sent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    rng = random.Random(options["seed"] + which)
    n_messages, payload_bytes = options["n_messages"], options["payload_bytes"]
    aside: list[tuple[float, int]] = []
    n_aside = 0
    with Producer(
        ADDRESS, broker=url, block_timeout_s=None, patience_s=options["patience_s"], queue_bytes=QUEUE_BYTES
    ) as producer:
        said.send({"ready": True})
        begin.wait()
        began = time.time()
        for message_id in range(which, n_messages + 1, options["n_producers"]):
            now = time.monotonic()
            while aside and aside[0][0] <= now:
                late_id = heapq.heappop(aside)[1]
                producer.send(late_id, payload_of(late_id, payload_bytes))
            if rng.random() < options["delayed"]:
                heapq.heappush(aside, (now + rng.uniform(0, LONGEST_DELAY_S), message_id))
                n_aside += 1
            else:
                producer.send(message_id, payload_of(message_id, payload_bytes))
        while aside:
            due, late_id = heapq.heappop(aside)
            time.sleep(max(0.0, due - time.monotonic()))
            producer.send(late_id, payload_of(late_id, payload_bytes))
        producer.flush()
        ended = time.time()
        producer.finish(n_messages)
        said.send({"n_aside": n_aside, "began": began, "ended": ended, "n_failed": producer.counts.n_failed})


def consume(url: str, options: dict[str, Any], said: Connection) -> None:
    """Read everything; tell what was not in order."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    flaws: list[str] = []
    expected = 1
    with Consumer(ADDRESS, broker=url, wait_for_stream=True, timeout_s=CONSUMER_TIMEOUT_S) as consumer:
        for frame in consumer:
            if frame.message_id != expected and len(flaws) < 10:
                flaws.append(f"message {frame.message_id} came where {expected} was due")
            if frame.payload != payload_of(frame.message_id, options["payload_bytes"]):
                flaws.append(f"message {frame.message_id} has another payload")
            expected = frame.message_id + 1
        gaps = [(gap.first_id, gap.last_id, gap.reason) for gap in consumer.take_gaps()]
        said.send({"n": consumer.counts.n_delivered, "ended": time.time(), "gaps": gaps, "flaws": flaws})


def run(options: dict[str, Any]) -> dict[str, Any]:
    """Run all processes once; return every figure."""
    with running_broker(MEMORY) as broker:
        consumer = Child(consume, broker.url, options)
        begin = multiprocessing.get_context("spawn").Event()
        producers = [
            Child(produce, broker.url, options, which, begin) for which in range(1, options["n_producers"] + 1)
        ]
        for producer in producers:
            producer.tell()
        begin.set()
        sent = [producer.tell() for producer in producers]
        read = consumer.tell()
        receipt = make_receipt(Server(broker.url), ADDRESS)
    seconds = read["ended"] - min(one["began"] for one in sent)
    flaws = list(read["flaws"])
    if read["n"] != options["n_messages"] or read["gaps"]:
        flaws.append(f"{read['n']} messages and {len(read['gaps'])} gaps came, first {read['gaps'][:3]}")
    if not receipt.clean or receipt.late or receipt.received != options["n_messages"]:
        flaws.append(f"the receipt says: {receipt.received} received, {receipt.n_missing} missing, {receipt.late} late")
    return {
        **options,
        "n_delayed": sum(one["n_aside"] for one in sent),
        "n_failed": sum(one["n_failed"] for one in sent),
        "n_gaps": len(read["gaps"]),
        "seconds": seconds,
        "producers_s": [one["ended"] - one["began"] for one in sent],
        "messages_per_s": options["n_messages"] / seconds,
        "flaws": flaws,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=1_000_000, help="in all (default: 1000000)")
    parser.add_argument("--producers", type=int, default=4, help="processes that send (default: 4)")
    parser.add_argument("--payload-bytes", type=int, default=64, help="of each, a multiple of 8 (default: 64)")
    parser.add_argument("--delayed", type=float, default=0.01, help="share of ids that come late (default: 0.01)")
    parser.add_argument("--patience", type=float, default=5.0, help="of the stream [s] (default: 5)")
    parser.add_argument("--seed", type=int, default=7, help="which ids are late (default: 7)")
    parser.add_argument("--json", action="store_true", help="print one line of JSON")
    given = parser.parse_args()
    options = {
        "n_messages": given.messages,
        "n_producers": given.producers,
        "payload_bytes": given.payload_bytes,
        "delayed": given.delayed,
        "patience_s": given.patience,
        "seed": given.seed,
    }
    try:
        found = run(options)
    except ProofError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    if given.json:
        print(json.dumps(found))
    else:
        print(
            f"{found['n_messages']} messages of {found['payload_bytes']} B from {found['n_producers']} producers in "
            f"{found['seconds']:.1f} s: {found['messages_per_s']:,.0f} messages/s, {found['n_delayed']} ids delayed by "
            f"up to {LONGEST_DELAY_S:g} s, {found['n_gaps']} gaps"
        )
        print("one consumer saw all of them in order" if not found["flaws"] else "FAILED")
    for flaw in found["flaws"]:
        print(flaw, file=sys.stderr)
    return 1 if found["flaws"] else 0


if __name__ == "__main__":
    sys.exit(main())
