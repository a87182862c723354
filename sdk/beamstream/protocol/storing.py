"""Payloads into the server, and what to do while it is full: little is sent in vain, and nothing twice that was taken.

A full server reads a command with its payload before it refuses it, so that trying again with a whole batch costs it as
much as taking the batch would, just when it has least to spare. So once it was full it is asked first, by a command
without a payload that it refuses as well; then it is given one payload, two, four and so on, until all goes at once
again. Of a batch that was taken in part the rest is sent.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from beamstream.errors import BufferFullError
from beamstream.frame import Payload

from .client import Server

TAKEN_FOR_S = 15.0
"""How long a payload without an entry is taken to be there [s]: the broker deletes it after a minute, and it has to be
published before."""

Keyed = tuple[str, Payload]
"""The key of a payload, and the payload."""


class PayloadStore:
    """Stores payloads under their keys, for one producer; not thread-safe."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._n_at_once = 0  # 0: all
        self._taken_at: dict[str, float] = {}

    def store(self, payloads: Sequence[Keyed]) -> list[Exception | None]:
        """Store payloads; returns for each what kept it from being stored, or None.

        Raises
        ------
        ServerError
            If the server does not answer.
        """
        taken_at = self._still_there(payloads)
        left = [one for one in payloads if one[0] not in taken_at]
        answers = self._store_some(left) if self._n_at_once else self._pipeline(left)
        failures = {key: failure for (key, _), failure in zip(left, answers, strict=True) if failure is not None}
        if failures:
            now = time.monotonic()
            self._taken_at = {key: taken_at.get(key, now) for key, _ in payloads if key not in failures}
        return [failures.get(key) for key, _ in payloads]

    def _still_there(self, payloads: Sequence[Keyed]) -> dict[str, float]:
        """Return which payloads were taken not long ago, and when; a server that was started anew has lost them."""
        since = time.monotonic() - TAKEN_FOR_S
        sizes = {key: memoryview(payload).nbytes for key, payload in payloads}
        taken_at = {key: at for key, at in self._taken_at.items() if at > since and key in sizes}
        self._taken_at = {}
        found = self._server.pipeline([("STRLEN", key) for key in taken_at])
        return {key: at for (key, at), n_bytes in zip(taken_at.items(), found, strict=True) if n_bytes == sizes[key]}

    def _store_some(self, left: Sequence[Keyed]) -> list[Exception | None]:
        """Store as many as there is room for, more and more at once; the others are refused without being sent."""
        answers: list[Exception | None] = []
        refusal = self._ask_for_room(left)
        while refusal is None and len(answers) < len(left) and self._n_at_once:
            n_at_once = self._n_at_once
            found = self._pipeline(left[len(answers) : len(answers) + n_at_once])
            answers += found
            refusal = next((one for one in found if isinstance(one, BufferFullError)), None)
            if refusal is None:
                self._n_at_once = 0 if n_at_once >= len(left) else 2 * n_at_once
        if refusal is None:
            return answers + self._pipeline(left[len(answers) :])
        return answers + [refusal] * (len(left) - len(answers))

    def _pipeline(self, payloads: Sequence[Keyed]) -> list[Exception | None]:
        answers = self._server.pipeline([("SET", *one) for one in payloads])
        if any(isinstance(answer, BufferFullError) for answer in answers):
            self._n_at_once = 1
        return [answer if isinstance(answer, Exception) else None for answer in answers]

    def _ask_for_room(self, left: Sequence[Keyed]) -> BufferFullError | None:
        """Return what the server would refuse the first payload with, as far as that is known without sending it."""
        try:
            if left:
                self._server.script("room", [left[0][0]], [])
        except BufferFullError as error:
            return error
        return None
