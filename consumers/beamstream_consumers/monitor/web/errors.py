"""What can be wrong with serving the page, and with what a page says."""

from __future__ import annotations

from beamstream.errors import CorruptDataError, UsageError


class PageMessageError(CorruptDataError):
    """A page said what no page of ours says; its connection ends."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"a message of the page cannot be used: {reason}")


class MonitorAddressError(UsageError):
    """The page cannot be served there: the port is taken, the interface does not exist, the socket is in use."""

    def __init__(self, where: str, reason: str, remedy: str) -> None:
        self.where = where
        self.reason = reason
        self.remedy = remedy
        super().__init__(f"the page cannot be served at {where}: {reason}; {remedy}")


class MonitorAccessError(UsageError):
    """Settings that would let in the wrong ones, or nobody."""

    def __init__(self, reason: str, remedy: str) -> None:
        self.reason = reason
        self.remedy = remedy
        super().__init__(f"{reason}; {remedy}")
