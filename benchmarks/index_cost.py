"""What the index costs: bytes of server memory per message, for many small ones.

    python benchmarks/index_cost.py [--messages 1000000] [--payload-bytes 16] [--json]

Small messages lie in the index themselves, as those of 0D and 1D detectors do. `used_memory` of an otherwise idle
server is read before the second message and after the last; the difference, divided by the number of messages, is the
cost with the payload; without the payload it is the cost of the index. Three kinds of header: bare, that of an array,
and that of a compressed frame with metadata. Ends with status 1 where the index costs more than 250 bytes per message.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from typing import Any

from beamstream import Address, Producer
from beamstream.protocol import StreamKeys
from beamstream.protocol.client import Server
from broker_process import Progress, ProofError, running_broker

LIMIT_BYTES = 250
"""Most that the index may cost per message [bytes]."""

MEMORY = "2GiB"
PROGRESS_EVERY = 10_000


def used_bytes(server: Server) -> int:
    """Return ``used_memory`` without what the connection itself takes [bytes]."""
    info = dict(line.split(":", 1) for line in server.call("INFO", "memory").decode().splitlines() if ":" in line)
    return int(info["used_memory"]) - int(info.get("mem_clients_normal", 0))


def measure(name: str, n_messages: int, payload_bytes: int, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the figures of one kind of message."""
    address, progress = Address("proof", "index", name), Progress()
    with running_broker(MEMORY) as broker:
        server = Server(broker.url)
        with Producer(address, broker=broker.url, block_timeout_s=None) as producer:
            # The scripts and the stream are there before the first reading.
            producer.send(1, bytes(payload_bytes), **fields)
            producer.flush()
            before = used_bytes(server)
            for message_id in range(2, n_messages + 2):
                producer.send(message_id, message_id.to_bytes(8, "big") * (payload_bytes // 8), **fields)
                if message_id % PROGRESS_EVERY == 0:
                    progress.show(f"{name}: {message_id} of {n_messages}")
            producer.flush()
            if producer.counts.n_failed:
                raise ProofError(f"{producer.counts.n_failed} messages could not be sent")
        after = used_bytes(server)
        index_bytes = server.call("MEMORY", "USAGE", StreamKeys(address).index, "SAMPLES", 0)
    progress.clear()
    per_message = (after - before) / n_messages
    return {
        "name": name,
        "n_messages": n_messages,
        "payload_bytes": payload_bytes,
        "bytes_per_message": per_message,
        "index_bytes_per_message": per_message - payload_bytes,
        "index_key_bytes_per_message": index_bytes / n_messages - payload_bytes,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=1_000_000, help="of each kind (default: 1000000)")
    parser.add_argument("--payload-bytes", type=int, default=16, help="of each, a multiple of 8 (default: 16)")
    parser.add_argument("--json", action="store_true", help="print one line of JSON")
    options = parser.parse_args()
    kinds: dict[str, dict[str, Any]] = {
        "plain": {},
        "array": {"shape": (options.payload_bytes // 2,), "dtype": "<u2"},
        "frame": {
            "shape": (1, options.payload_bytes // 2),
            "dtype": "<u2",
            "codec": "bslz4",
            "metadata": {"series_id": 42, "start_time_s": 1.25, "real_time_s": 0.001},
        },
    }
    try:
        found = [measure(name, options.messages, options.payload_bytes, fields) for name, fields in kinds.items()]
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
                f"{one['name']:6} {one['n_messages']} messages of {one['payload_bytes']} B: "
                f"{one['bytes_per_message']:.1f} B of memory each, {one['index_bytes_per_message']:.1f} B without the "
                f"payload; at most {LIMIT_BYTES} are wanted"
            )
    return 0 if all(one["index_bytes_per_message"] <= LIMIT_BYTES for one in found) else 1


if __name__ == "__main__":
    sys.exit(main())
