"""Commands as the server reads them (RESP), with large payloads left where they are. Pure.

redis-py joins a command and its payload into one new string of bytes before it sends it: for a frame of 1 MB that
costs more than sending it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

Argument = bytes | bytearray | memoryview | str | int | float

APART_BYTES = 16 << 10
"""From this size on an argument is sent by itself [bytes]: copying it would cost more than one more system call."""


def pack_commands(commands: Iterable[Sequence[Argument]]) -> Iterator[bytes | memoryview]:
    """Yield what has to be sent, one piece after the other; large arguments are views of what was given.

    Examples
    --------
    >>> b"".join(pack_commands([("SET", "key", b"value")]))
    b'*3\\r\\n$3\\r\\nSET\\r\\n$3\\r\\nkey\\r\\n$5\\r\\nvalue\\r\\n'
    """
    small = bytearray()
    for command in commands:
        small += b"*%d\r\n" % len(command)
        for argument in command:
            data = _encode(argument)
            small += b"$%d\r\n" % len(data)
            if len(data) < APART_BYTES:
                small += data
            else:
                yield bytes(small)
                yield data
                small.clear()
            small += b"\r\n"
    yield bytes(small)


def _encode(argument: Argument) -> bytes | memoryview:
    if isinstance(argument, bytes):
        return argument if len(argument) < APART_BYTES else memoryview(argument)
    if isinstance(argument, bytearray | memoryview):
        return memoryview(argument).cast("B")
    return str(argument).encode()
