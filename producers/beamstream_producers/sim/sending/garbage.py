"""The messages that no detector should send, ready to be sent between good ones."""

from __future__ import annotations

from functools import partial

from beamstream_producers.sim.faults.kinds import Faults
from beamstream_producers.sim.faults.plan import FaultPlan
from beamstream_producers.testing import hostile_messages

from .outbox import Outgoing


def make_plan(faults: Faults, seed: int) -> FaultPlan[Outgoing]:
    """Return a plan with the hostile corpus, if that has any part in it."""
    garbage = [
        Outgoing(partial(list, parts), is_image=False, kind="garbage")
        for parts in (hostile_messages().values() if faults.garbage else ())
    ]
    return FaultPlan(faults, seed, garbage)
