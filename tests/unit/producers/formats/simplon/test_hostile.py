"""Whatever arrives, it decodes or raises one of our errors, and claims cost no memory."""

from __future__ import annotations

import tracemalloc

import pytest

from beamstream.errors import CorruptDataError
from beamstream_producers.formats.simplon import SimplonError, decode
from beamstream_producers.testing import hostile_messages

HOSTILE = hostile_messages()

MAX_PEAK_BYTES = 64 * 2**20
"""What refusing one message may cost; the largest of the corpus has 5 MiB, the largest claim 2^63."""


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_message_is_refused_with_a_typed_error(name):
    with pytest.raises(SimplonError) as refused:
        decode(HOSTILE[name])
    assert isinstance(refused.value, CorruptDataError)
    assert refused.value.what
    assert refused.value.kind != "simplon"
    assert len(str(refused.value)) < 400


@pytest.mark.parametrize("name", HOSTILE)
def test_refusing_a_hostile_message_costs_little_memory(name):
    tracemalloc.start()
    try:
        with pytest.raises(SimplonError):
            decode(HOSTILE[name])
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_bytes < MAX_PEAK_BYTES


def test_no_parts_at_all_are_refused():
    with pytest.raises(SimplonError):
        decode([])
