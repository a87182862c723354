"""NATS JetStream: `nats-server` and nats-py.

Memory storage; the stream lets go of what all consumers have acknowledged (interest retention) and refuses what it has
no room for, upon which the producer sends it again. As its documentation advises for speed: the producer publishes
asynchronously, with a window («nats-bench», which does the same; here each message has a task that awaits `publish`,
for the future that `publish_async` of nats-py 2.16 returns is never done if the message is refused), and readers are
durable pull consumers that fetch many messages at once («nats-bench»: they «can leverage batching to increase the
processing throughput») and acknowledge each («Consumers» on AckExplicit: «recommended»). Of windows and batches of 4,
16 and 64 MiB, 16 were the fastest here.
`max_payload` is raised: 1 MiB is the default, and a message's headers count.
"""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from peer import RECEIVE_S, Message, Outlet, Peer, Receive, Run, Served
from program import running

STREAM = "FRAMES"
SUBJECT = "frames"
NUMBER = "Number"

MAX_PAYLOAD_BYTES = 64 << 20
"""Most that the server can be told to take [bytes]."""

SPARE_BYTES = 4096
"""For the headers [bytes]."""

WINDOW_BYTES = 16 << 20
"""What is published without having been acknowledged [bytes]."""

BATCH_BYTES = 16 << 20
"""What is asked for with one fetch [bytes]."""

MAX_BATCH = 100
"""Most messages of a window and of a fetch: what `nats bench` takes."""

ANSWER_TIMEOUT_S = 20.0
"""How long the server may take for an answer, on a busy machine [s]."""

RETRY_S = 0.005
"""After what time a message that the stream had no room for is sent again [s]."""

NO_ROOM = (10023, 10028, 10047, 10077)
"""Codes of the server's errors that say so: of resources, streams and their storage."""

PROGRAM = "nats-server"
PROGRAM_FOLDERS = "/usr/sbin:/usr/local/bin"
"""Where it may be beside the PATH: Debian's package puts it where only root looks."""


class NatsJetStream(Peer):
    """One stream, one durable consumer for each reader."""

    name = "nats-jetstream"
    gives_up = "no checksums, no gaps stated, no spilling: in memory or on disk, not both"
    modules = ("nats",)
    requirements = ("nats-py>=2.9",)

    def find_flaw(self, run: Run) -> str | None:
        if _program() is None:
            return f"{PROGRAM} is not installed: apt-get install nats-server"
        if run.size_bytes + SPARE_BYTES > MAX_PAYLOAD_BYTES:
            return f"it takes messages of {MAX_PAYLOAD_BYTES} bytes at most, headers included"
        return None

    @contextmanager
    def serve(self, run: Run) -> Iterator[Served]:
        folder = Path(tempfile.mkdtemp(prefix="nats-"))
        configuration, pid_file = folder / "nats.conf", folder / "pid"
        configuration.write_text(
            f"host: 127.0.0.1\nport: -1\nmax_payload: {run.size_bytes + SPARE_BYTES}\n"
            f"max_pending: {2 * _under_way(run) * run.size_bytes}\n"
            f'jetstream {{ store_dir: "{folder}", max_mem: {run.memory_bytes}, max_file: 0 }}\n'
        )
        program = _program() or PROGRAM
        command = (program, "--config", str(configuration), "--pid", str(pid_file), "--ports_file_dir", str(folder))

        def ready(_lines: list[str]) -> str | None:
            ports = next(folder.glob("*.ports"), None)
            said = json.loads(ports.read_text() or "{}") if ports else {}
            return said["nats"][0] if said.get("nats") else None

        try:
            with running(command, ready, folder) as url:
                version = subprocess.run((program, "--version"), capture_output=True, text=True, check=True).stdout
                yield Served(
                    where={"url": url},
                    pids=(int(pid_file.read_text()),),
                    versions={PROGRAM: re.sub(r".*v", "", version.strip())},
                )
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    @contextmanager
    def sending(self, where: Mapping[str, Any], run: Run) -> Iterator[Outlet]:
        import nats
        from nats.js.api import DiscardPolicy, RetentionPolicy, StorageType

        with asyncio.Runner() as runner:
            client = runner.run(
                nats.connect(where["url"], connect_timeout=ANSWER_TIMEOUT_S, pending_size=2 * WINDOW_BYTES)
            )
            jetstream = client.jetstream(timeout=ANSWER_TIMEOUT_S)
            runner.run(
                jetstream.add_stream(
                    name=STREAM,
                    subjects=[SUBJECT],
                    storage=StorageType.MEMORY,
                    retention=RetentionPolicy.INTEREST,
                    discard=DiscardPolicy.NEW,
                    max_bytes=run.memory_bytes * 7 // 8,
                )
            )

            async def publish(messages: Iterable[Message]) -> None:
                room = asyncio.Semaphore(_count(run, WINDOW_BYTES))
                async with asyncio.TaskGroup() as tasks:
                    for message in messages:
                        await room.acquire()
                        tasks.create_task(_publish(jetstream, message)).add_done_callback(lambda _: room.release())

            yield Outlet(send=lambda messages: runner.run(publish(messages)))
            runner.run(client.close())

    @contextmanager
    def reading(self, where: Mapping[str, Any], run: Run, which: int) -> Iterator[Receive]:
        import nats
        from nats.js.api import AckPolicy, ConsumerConfig

        batch = _count(run, BATCH_BYTES)
        with asyncio.Runner() as runner:
            client = runner.run(nats.connect(where["url"], connect_timeout=ANSWER_TIMEOUT_S))
            config = ConsumerConfig(ack_policy=AckPolicy.EXPLICIT, max_ack_pending=_under_way(run))
            subscription = runner.run(
                client.jetstream(timeout=ANSWER_TIMEOUT_S).pull_subscribe(
                    SUBJECT,
                    durable=f"reader-{which}",
                    stream=STREAM,
                    config=config,
                    pending_bytes_limit=2 * _under_way(run) * run.size_bytes,
                )
            )
            read: list[Any] = []

            async def fetch(limit: int) -> list[Message]:
                for message in read:
                    await message.ack()
                read.clear()
                try:
                    messages = await subscription.fetch(min(batch, limit), RECEIVE_S)
                except TimeoutError:
                    return []
                read.extend(messages)
                return [(int(message.headers[NUMBER]), message.data) for message in messages]

            yield lambda limit: runner.run(fetch(limit))
            runner.run(client.close())


async def _publish(jetstream: Any, message: Message) -> None:
    """Publish a message and wait until it is stored; again and again where the stream has no room."""
    from nats.js.errors import APIError

    number, payload = message
    while True:
        try:
            await jetstream.publish(SUBJECT, payload, headers={NUMBER: str(number)})
        except APIError as error:
            if error.err_code not in NO_ROOM:
                raise
            await asyncio.sleep(RETRY_S)
        else:
            return


def _program() -> str | None:
    return shutil.which(PROGRAM) or shutil.which(PROGRAM, path=PROGRAM_FOLDERS)


def _count(run: Run, memory_bytes: int) -> int:
    """Return how many messages are under way in so much memory."""
    return min(MAX_BATCH, run.fitting(memory_bytes))


def _under_way(run: Run) -> int:
    """Return how many messages may be on their way to a reader; what server and client have room for is twice that."""
    return 4 * _count(run, BATCH_BYTES)
