"""A consumer in a network namespace of its own: first it reaches nothing there, then what comes through one port.

    python elsewhere_process.py URL ADDRESS PORT DESCRIPTOR

It prints what it is told while nobody listens on PORT, then hands a socket that does over DESCRIPTOR to whoever started
it, and prints each message, and whether its payload is the right one.
"""

from __future__ import annotations

import fcntl
import socket
import struct
import sys

from beamstream import Consumer
from beamstream.errors import FetchUnavailableError

SIOCSIFFLAGS, IFF_UP_RUNNING = 0x8914, 0x41


def main(url: str, address: str, port: str, descriptor: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", IFF_UP_RUNNING))
    try:
        with Consumer(address, broker=url, group="far", retry_timeout_s=0.1) as consumer:
            consumer.next()
    except FetchUnavailableError as error:
        print(error)
    with (
        socket.create_server(("127.0.0.1", int(port))) as listener,
        socket.socket(fileno=int(descriptor)) as control,
        Consumer(address, broker=url, group="far") as consumer,
    ):
        socket.send_fds(control, [b"!"], [listener.fileno()])
        for frame in consumer:
            n_words = len(frame.payload) // 8
            print(frame.message_id, bytes(frame.payload) == frame.message_id.to_bytes(8, "big") * n_words)


if __name__ == "__main__":
    main(*sys.argv[1:])
