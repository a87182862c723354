"""Every Redis key, with its type and lifetime.

All keys of one stream but its payloads share the hash tag `{beamtime/source/stream}`, because the scripts need them in
one hash slot; payload keys carry no tag, so that a cluster spreads them over its nodes.

| key | type | holds | lives |
| --- | --- | --- | --- |
| `bs1:broker` | hash | host, process, folder, flaw, … of the broker process | some seconds after it |
| `bs1:sources` | set | `beamtime/source` of every data source | until its last stream is deleted |
| `bs1:wanted` | set | addresses of streams to be put back from their segments | until the broker has looked |
| `bs1:{beamtime/source}:streams` | zset | stream names, scored by creation time [ms] | until deleted |
| `bs1:{beamtime/source}:tunable` | set | groups whose services have declared parameters | as the last of them |
| `bs1:{beamtime/source}:parameters:<group>` | hash | versions of a group's parameters | 30 days after they were used |
| `bs1:{address}:index` | stream | one entry per message, gap and end; the groups | until deleted, or too old |
| `bs1:{address}:state` | hash | where the sequence is, counts, how it ended | as the index |
| `bs1:{address}:held` | zset | messages waiting for a gap to close or for parts, scored by id | until then |
| `bs1:{address}:parts` | hash | `<id>:<part>` → header, of datasets that wait for other parts | until then |
| `bs1:{address}:late` | hash | message id → entry ids of what came late, with blanks between | as the index |
| `bs1:{address}:meta` | string | stream metadata | as the index |
| `bs1:{address}:newest` | hash | group → entry id of the newest message it was given | as the index |
| `bs1:{address}:group:<group>` | hash | what the group is (required, …), its counts, its report | as the index |
| `bs1:{address}:delayed:<group>` | zset | entry ids given back, scored by when they are due [ms] | until due |
| `bs1:{address}:lease:<group>` | string | which process of a group of one works now | 10 s after it said so |
| `bs1:{address}:dead:<group>` | hash | entry id → what the group gave up, when, why | until reinjected or purged |
| `bs1:p:<address>:<id>:<checksum>` | string | one payload of the memory tier | until released |
| `bs1:p:<address>:<id>:<checksum>:<part>` | string | that of one part of a dataset | until released |
"""

from __future__ import annotations

from dataclasses import dataclass

from beamstream.address import Address, SourceAddress

BROKER = "bs1:broker"
"""Hash that says which broker process looks after the server; gone some seconds after it."""

SOURCES = "bs1:sources"
"""Set of all data sources."""


WANTED = "bs1:wanted"
"""Set of the addresses of streams that somebody wants put back from their segments."""


def streams_of(source: SourceAddress) -> str:
    """Return the key of a data source's streams."""
    return f"bs1:{{{source}}}:streams"


def tunable_groups_of(source: SourceAddress) -> str:
    """Return the key of the groups of a data source that have parameters."""
    return f"bs1:{{{source}}}:tunable"


def parameters_of(source: SourceAddress, group: str) -> str:
    """Return the key of the parameters of a group's services on a data source."""
    return f"bs1:{{{source}}}:parameters:{group}"


@dataclass(frozen=True, slots=True)
class StreamKeys:
    """The keys of one stream."""

    address: Address

    def _key(self, what: str) -> str:
        return f"bs1:{{{self.address}}}:{what}"

    @property
    def index(self) -> str:
        """The stream with one entry per message."""
        return self._key("index")

    @property
    def state(self) -> str:
        """The hash with sequence, counts and end."""
        return self._key("state")

    @property
    def held(self) -> str:
        """The sorted set of messages that wait for a gap to close."""
        return self._key("held")

    @property
    def late(self) -> str:
        """The hash of messages that came after their gap was passed over."""
        return self._key("late")

    @property
    def parts(self) -> str:
        """The hash of parts whose datasets wait for others."""
        return self._key("parts")

    @property
    def meta(self) -> str:
        """The stream metadata."""
        return self._key("meta")

    @property
    def newest(self) -> str:
        """The hash of what groups of the newest message have seen."""
        return self._key("newest")

    def group(self, group: str) -> str:
        """Return the key of what is known about a consumer group."""
        return self._key(f"group:{group}")

    def delayed(self, group: str) -> str:
        """Return the key of what was given back to a group and is not due yet."""
        return self._key(f"delayed:{group}")

    def dead(self, group: str) -> str:
        """Return the key of a group's dead letters."""
        return self._key(f"dead:{group}")

    def lease(self, group: str) -> str:
        """Return the key of who of a group works, where only one process at a time may."""
        return self._key(f"lease:{group}")

    def payload(self, message_id: int, checksum: int, part: int = 0) -> str:
        """Return the key of a payload in the memory tier; checksum and part keep the payloads of one id apart."""
        return f"bs1:p:{self.address}:{message_id}:{checksum:016x}" + (f":{part}" if part else "")

    def delivery(self, group: str) -> tuple[str, str, str, str]:
        """Return the keys that the scripts of groups take, in their order."""
        return self.index, self.group(group), self.delayed(group), self.dead(group)

    @property
    def sequence(self) -> tuple[str, str, str, str, str]:
        """The keys that the sequencing scripts take, in their order."""
        return self.index, self.state, self.held, self.late, self.parts
