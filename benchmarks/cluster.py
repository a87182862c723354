"""What nodes do for one stream: the memory tier on one server, on two and on three, on loopback, interleaved, medians.

    python benchmarks/cluster.py [--nodes 1 --nodes 2 …] [--size 1MiB] [--bytes 256MiB] [--repeats N]
                                 [--node-share 0.1] [--json]

A producer and a consumer with a group, a process each, as in `network.py`, against so many nodes. Printed are what came
through, how it was spread, and the processor time that the busiest node needed for each GB of the stream: its inverse
is the rate at which that node has no time left, whatever the machine around it.

On a machine with fewer cores than processes the rate itself says little, because nodes, producer and consumer take the
same cores from one another. Therefore each number of nodes is measured a second time with the nodes as the limit: each
node process is stopped for so much of every hundredth of a second that it gets `--node-share` of a core, which is
what a slow or busy host would give it. If payloads are spread and the nodes work side by side, that rate grows with
their number.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import statistics
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from beamstream import Address
from beamstream.protocol.client import Server
from beamstream.sizes import parse_bytes
from beamstream.streams import delete_stream
from beamstream.testing.cluster import ClusterNode, running_cluster
from beamstream_broker.binary import find_binary
from beamstream_broker.embedded import MINIMUM_MEMORY_BYTES
from beamstream_broker.settings import MALLOC_ENVIRONMENT
from network import SPARE_MEMORY, Pair, consume, pair, produce
from pipeline_processes import BenchmarkError

ADDRESS = Address("benchmark", "cluster", "run")
N_NODES = (1, 2, 3)
TURN_S = 0.01
"""How long a node's turn is, of which it gets its share [s]."""


@contextlib.contextmanager
def slowed(pids: Sequence[int], share: float) -> Iterator[None]:
    """Give processes only a share of a core for as long as the block lasts."""
    ended = threading.Event()
    turning = threading.Thread(target=take_turns, args=(pids, share, ended), daemon=True)
    turning.start()
    try:
        yield
    finally:
        ended.set()
        turning.join()


def take_turns(pids: Sequence[int], share: float, ended: threading.Event) -> None:
    """Stop each process whenever it has used more processor time than its share of the time that has passed."""
    began_s, used_s = time.monotonic(), {pid: run_s(pid) for pid in pids}
    stopped: set[int] = set()
    while not ended.wait(TURN_S / 10):
        passed_s = time.monotonic() - began_s
        for pid in pids:
            has_used_s = run_s(pid) - used_s[pid]
            if pid not in stopped and has_used_s > share * passed_s:
                os.kill(pid, signal.SIGSTOP)
                stopped.add(pid)
            elif pid in stopped and has_used_s < share * (passed_s - TURN_S):
                os.kill(pid, signal.SIGCONT)
                stopped.discard(pid)
    for pid in stopped:
        os.kill(pid, signal.SIGCONT)


def run_s(pid: int) -> float:
    """Return the processor time that a process has used [s]; exact, where `cpu_s` counts ticks."""
    return int(Path(f"/proc/{pid}/schedstat").read_text("ascii").split()[0]) / 1e9


def measure_round(both: Pair, nodes: Sequence[ClusterNode], options: argparse.Namespace) -> dict[str, Any]:
    """Let a stream through; returns rates, and what each node used and held."""
    size = parse_bytes(options.size)
    n_messages = parse_bytes(options.bytes) // size
    gb = n_messages * size / 1e9
    server = Server(nodes[0].url)
    before_s = [run_s(node.pid) for node in nodes]
    free = both.measure(size, n_messages, ADDRESS)
    used_s = [(run_s(node.pid) - before) / gb for node, before in zip(nodes, before_s, strict=True)]
    held = [len(node.call("KEYS", f"bs1:p:{ADDRESS}:*")) for node in nodes]
    delete_stream(server, ADDRESS)
    with slowed([node.pid for node in nodes], options.node_share):
        limited = both.measure(size, n_messages, ADDRESS)
    delete_stream(server, ADDRESS)
    if sum(held) != n_messages:
        raise BenchmarkError(f"the nodes hold {held} payloads of {n_messages}")
    return {
        "gb_per_s": free["gb_per_s"],
        "busiest_node_cpu_s_per_gb": max(used_s),
        "all_nodes_cpu_s_per_gb": sum(used_s),
        "clients_cpu_s_per_gb": free["sender_cpu_s_per_gb"] + free["reader_cpu_s_per_gb"],
        "limited_gb_per_s": limited["gb_per_s"],
        "payloads_per_node": held,
    }


def measure(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Return the figures of every number of nodes."""
    memory_bytes = MINIMUM_MEMORY_BYTES + int(SPARE_MEMORY * parse_bytes(options.bytes))
    numbers = options.nodes or N_NODES
    rounds: dict[int, list[dict[str, Any]]] = {number: [] for number in numbers}
    with contextlib.ExitStack() as stack:
        ready = {}
        for number in numbers:
            cluster = running_cluster(
                find_binary().path, number, memory_bytes=memory_bytes, environment=MALLOC_ENVIRONMENT
            )
            nodes = stack.enter_context(cluster)
            ready[number] = nodes, stack.enter_context(pair(nodes[0].url, nodes[0].pid, produce, consume))
        for repetition in range(options.repeats + 1):
            for number, (nodes, both) in ready.items():
                found = measure_round(both, nodes, options)
                if repetition:  # the first one gives servers and clients the memory that they use again
                    rounds[number].append(found)
    fewest = min(numbers)
    return [
        {
            "n_nodes": number,
            "n_repeats": options.repeats,
            "node_share": options.node_share,
            "limited_ratio": statistics.median(
                mine["limited_gb_per_s"] / least["limited_gb_per_s"]
                for mine, least in zip(found, rounds[fewest], strict=True)
            ),
            **{name: statistics.median(one[name] for one in found) for name in found[0] if name != "payloads_per_node"},
            "rounds": found,
        }
        for number, found in rounds.items()
    ]


def print_table(found: Sequence[dict[str, Any]], options: argparse.Namespace) -> None:
    """Print for people."""
    print(
        f"one stream, payloads of {options.size}, median of {options.repeats}, {os.cpu_count()} cores; "
        f"limited: each node has {options.node_share:.0%} of a core"
    )
    print(f"{'nodes':>5}{'GB/s':>8}{'CPU s/GB: busiest node':>25}{'all nodes':>11}{'clients':>9}", end="")
    print(f"{'limited GB/s':>15}{'ratio':>7}  payloads per node")
    for one in found:
        used = f"{one['busiest_node_cpu_s_per_gb']:>25.2f}{one['all_nodes_cpu_s_per_gb']:>11.2f}"
        print(f"{one['n_nodes']:>5}{one['gb_per_s']:>8.2f}{used}{one['clients_cpu_s_per_gb']:>9.2f}", end="")
        print(f"{one['limited_gb_per_s']:>15.2f}{one['limited_ratio']:>7.2f}  {one['rounds'][-1]['payloads_per_node']}")


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", action="append", type=int, help="may be given again (default: 1, 2 and 3)")
    parser.add_argument("--size", default="1MiB", help="of a payload (default: 1MiB)")
    parser.add_argument("--bytes", default="256MiB", help="payload of a round (default: 256MiB)")
    parser.add_argument("--repeats", type=int, default=5, help="rounds that count (default: 5)")
    parser.add_argument("--node-share", type=float, default=0.1, help="of a core, in the second part (default: 0.1)")
    parser.add_argument("--json", action="store_true", help="print one line of JSON, with every single measurement")
    options = parser.parse_args()
    try:
        found = measure(options)
    except BenchmarkError as error:
        print(error, file=sys.stderr)
        return 1
    if options.json:
        print(json.dumps({"n_cpus": os.cpu_count(), "nodes": found}))
    else:
        print_table(found, options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
