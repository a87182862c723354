"""Who is in a group: the times and names that the members and those who look at them agree on."""

from __future__ import annotations

MEMBER_TIMEOUT_S = 10.0
"""Default time after which a silent member counts as dead [s]: five missed touches, 2 s apart."""

STALE_MEMBER_S = 3600.0
"""Silence after which the name of a member that holds nothing is forgotten [s]: long enough to be seen in a listing on
the morning after, short enough that a service that is restarted all the time leaves no thousands."""

PARKED = "-given-back-"
"""The name under which given-back messages wait; no member is called so."""

NO_GROUP = "NOGROUP"
"""What the server says of a group that is not there, or not any more."""
