"""The consumer of `pipeline.py`: reads streams to their end, every frame with its checksum verified, none unpacked.

    python benchmarks/read_frames.py BROKER GROUP

Takes addresses of streams from standard input, a line each, and answers three lines of JSON to every one: when it is
attached to the stream, when it has read the last frame that the producer promised, and when it has left the stream.
"""

from __future__ import annotations

import json
import sys
import time

from beamstream import Consumer


def main(broker: str, group: str) -> None:
    """Read one stream after the other until the input ends."""
    for line in sys.stdin:
        with Consumer(line.strip(), broker=broker, group=group, wait_for_stream=True) as consumer:
            n_expected = consumer.n_expected
            answer(attached=True)
            first_ns = 0
            for n_frames, frame in enumerate(consumer, start=1):
                first_ns = first_ns or frame.header.timestamp_ns
                if frame.message_id == n_expected:
                    n_bytes = consumer.counts.n_bytes
                    answer(first_ns=first_ns, last_ns=time.time_ns(), n_frames=n_frames, n_bytes=n_bytes)
        answer(attached=False)


def answer(**fields: object) -> None:
    """Print a line of JSON at once."""
    print(json.dumps(fields), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
