"""One detector module as a process of its own: what the tests of datasets start and kill.

`python module_process.py BROKER STREAM PART N_PARTS N_MESSAGES SEED [STOP_AFTER]` sends its part of messages 1 to
N_MESSAGES in an order of its own; with STOP_AFTER it says so after that many, and waits to be killed.
"""

from __future__ import annotations

import random
import sys

import numpy as np
import numpy.typing as npt

from beamstream import Producer

SHAPE = (32, 64)
WINDOW = 8
"""How far messages are out of order."""


def pixels(message_id: int, part: int) -> npt.NDArray[np.uint16]:
    return np.random.default_rng([message_id, part]).poisson(3, SHAPE).astype("<u2")


def order(n_messages: int, seed: int) -> list[int]:
    chance = random.Random(seed)
    places = {message_id: message_id + chance.uniform(0, WINDOW) for message_id in range(1, n_messages + 1)}
    return sorted(places, key=lambda message_id: places[message_id])


def main(broker: str, stream: str, *numbers: str) -> None:
    part, n_parts, n_messages, seed, *stop_after = map(int, numbers)
    with Producer(stream, broker=broker, n_parts=n_parts, part=part, patience_s=60.0) as producer:
        for n_sent, message_id in enumerate(order(n_messages, seed), start=1):
            producer.send_array(
                message_id, pixels(message_id, part), metadata={"module": part}, timestamp_ns=message_id
            )
            if stop_after == [n_sent]:
                producer.flush()
                print("stopped", flush=True)
                sys.stdin.read()
        producer.flush()
        counts = producer.counts
        print(f"{counts.n_sent} {counts.n_duplicate} {counts.n_failed}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
