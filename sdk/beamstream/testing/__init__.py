"""For tests of plug-ins: a conformance suite for sources (`beamstream.service.Source`).

    from beamstream.testing import SourceConformance

    class TestMySource(SourceConformance):
        def make_source(self):
            return MySource(...)

See docs/how-to/write-a-source.md. pytest runs it; nothing here needs pytest.
"""

from .conformance import (
    SourceConformance,
    check_close,
    check_events,
    check_hostile,
    check_idle,
    check_leaks,
    check_resuming,
    check_source,
    check_stop,
)
from .errors import ConformanceError
from .events import CounterChecker, EventChecker
from .runs import Run, Runner, Subject

__all__ = [
    "ConformanceError",
    "CounterChecker",
    "EventChecker",
    "Run",
    "Runner",
    "SourceConformance",
    "Subject",
    "check_close",
    "check_events",
    "check_hostile",
    "check_idle",
    "check_leaks",
    "check_resuming",
    "check_source",
    "check_stop",
]
