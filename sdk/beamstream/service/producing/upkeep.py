"""How a service treats the streams that it writes: what is kept, for how long, where it lies, how much is held here."""

from __future__ import annotations

from dataclasses import dataclass

from beamstream.durations import NEVER, parse_duration
from beamstream.keep import Keep, check_keep
from beamstream.producer import DEFAULT_TIER, QUEUE_BYTES, Tier, check_tier
from beamstream.sizes import parse_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Upkeep:
    """What all streams that a service writes have in common.

    Attributes
    ----------
    keep : "memory", "overflow", "all" or None
        What is kept; see `beamstream.keep`. None: as the stream says.
    retain_s : float or None
        How long messages are kept [s]; see `beamstream.Producer`. None: for ever, or as the broker says.
    queue_bytes : int
        What is held of each stream while the broker is full or away, before the source is held back [bytes].
    tier : "auto", "memory" or "shared"
        Where payloads lie until they are on disk or gone; see `beamstream.Producer`.
    """

    keep: Keep | None = None
    retain_s: float | None = None
    queue_bytes: int = QUEUE_BYTES
    tier: Tier = DEFAULT_TIER


DEFAULT_UPKEEP = Upkeep()


def parse_upkeep(keep: str, retain: str | None, buffer: str, tier: str = DEFAULT_TIER) -> Upkeep:
    """Read what `--keep`, `--retain`, `--buffer` and `--tier` say.

    Raises
    ------
    UsageError
        If one of them cannot be meant.
    """
    return Upkeep(
        keep=check_keep(keep),
        retain_s=parse_duration(retain or NEVER),
        queue_bytes=parse_bytes(buffer),
        tier=check_tier(tier),
    )
