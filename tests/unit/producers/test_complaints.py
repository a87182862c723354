"""How often the log hears the same thing."""

from __future__ import annotations

from beamstream_producers.complaints import Complaints


def test_the_first_of_each_reason_is_said_at_once():
    complaints = Complaints(repeat_s=10)
    assert complaints.note("json", "bad JSON", 0.0) == "bad JSON"
    assert complaints.note("cbor", "bad CBOR", 0.1) == "bad CBOR"


def test_the_same_reason_is_said_again_after_a_while_with_its_count():
    complaints = Complaints(repeat_s=10)
    complaints.note("json", "bad JSON", 0.0)
    assert [complaints.note("json", "bad JSON", t) for t in (1.0, 9.9)] == [None, None]
    assert complaints.note("json", "bad JSON", 10.0) == "bad JSON (3 time(s) since this was last said)"
    assert complaints.note("json", "bad JSON", 11.0) is None
    assert complaints.note("json", "bad JSON", 20.0) == "bad JSON (2 time(s) since this was last said)"
