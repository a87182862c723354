"""All peers, in the order of the table."""

from __future__ import annotations

from epics_pva import EpicsPva
from karabo import KaraboBridge
from nats_jetstream import NatsJetStream
from ours import Beamstream
from peer import Peer
from redis_streams import RedisStreams
from zeromq import ZeroMQ

TIERS = ("memory", "shared", "auto")

PEERS: tuple[Peer, ...] = (
    Beamstream(),
    *(Beamstream(tier) for tier in TIERS),
    RedisStreams(),
    NatsJetStream(),
    ZeroMQ("pushpull"),
    ZeroMQ("pubsub"),
    EpicsPva(),
    KaraboBridge("REP"),
    KaraboBridge("PUSH"),
)


def find_peer(name: str) -> Peer:
    """Return the peer of this name."""
    return next(peer for peer in PEERS if peer.name == name)
