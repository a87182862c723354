"""How faults are written."""

from __future__ import annotations

from dataclasses import fields

import pytest

from beamstream.errors import UsageError
from beamstream_producers.sim.faults import FaultError, Faults
from beamstream_producers.sim.faults.kinds import FAULTS


def test_shares_are_read_and_a_fault_without_one_hits_all():
    faults = Faults.parse("drop=0.01, late-header,second-client=1")
    assert faults == Faults(drop=0.01, late_header=1.0, second_client=1.0)
    assert faults.any
    assert not Faults().any


def test_every_fault_has_a_meaning_and_every_meaning_a_fault():
    assert [name.replace("-", "_") for name in FAULTS] == [field.name for field in fields(Faults)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("drops=0.1", "did you mean 'drop'"),
        ("", "there is no ''"),
        ("drop=", "'' of 'drop' is no number"),
        ("drop=many", "'many' of 'drop' is no number"),
        ("drop=1.5", "1.5 is no share"),
        ("drop=-1", "-1 is no share"),
        ("drop=nan", "nan is no share"),
        ("drop=0.1,drop=0.2", "named twice"),
        ("drop=0.1;stall=0.1", "is no number"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_the_names_that_there_are(text, said):
    with pytest.raises(FaultError, match="second-client") as refused:
        Faults.parse(text)
    assert said in str(refused.value)
    assert isinstance(refused.value, UsageError)
