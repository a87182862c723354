"""How fast a group is, from two looks at it, and when it will have caught up. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from .listing import GroupInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupRates:
    """What a group did between two looks.

    Attributes
    ----------
    delivered_hz, arrived_hz : float
        Messages given to members, and messages that came into the stream, per second [Hz].
    catch_up_s : float or None
        When it will have been given everything, if both go on like this [s]; 0 where nothing is behind, None where it
        never will.
    """

    delivered_hz: float
    arrived_hz: float
    catch_up_s: float | None


def group_rates(before: GroupInfo, after: GroupInfo, between_s: float) -> GroupRates:
    """Compare two looks at one group, `between_s` [s] apart.

    Examples
    --------
    A group that is 300 messages behind, and gets 100 more each second than come in, has caught up after 3 s.
    """
    delivered_hz = (after.n_delivered - before.n_delivered) / between_s
    closing_hz = (before.lag_messages - after.lag_messages) / between_s
    catch_up_s = None if closing_hz <= 0 else after.lag_messages / closing_hz
    return GroupRates(
        delivered_hz=delivered_hz,
        arrived_hz=delivered_hz - closing_hz,
        catch_up_s=catch_up_s if after.lag_messages else 0.0,
    )
