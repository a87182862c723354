"""Who holds views, as the kernel lists it."""

from __future__ import annotations

import os
import subprocess
import sys

from beamstream_broker.sharing.holders import Holder, describe, file_id, find_holders, parse_locks

LOCKS = """\
1: FLOCK  ADVISORY  READ 2196 00:01:262778 0 EOF
1: -> FLOCK  ADVISORY  WRITE 77 00:01:262778 0 EOF
2: POSIX  ADVISORY  WRITE 1234 fe:00:11 0 EOF
3: OFDLCK ADVISORY  READ -1 00:1f:12 0 9
4: FLOCK  ADVISORY  WRITE 31 fe:0a:9007199254740993 0 EOF
5: LEASE  ACTIVE    READ 31 fe:0a:5 0 EOF
garbage
"""


def test_only_locks_on_whole_files_that_are_held_are_read() -> None:
    assert list(parse_locks(LOCKS)) == [(2196, (0, 1, 262778)), (31, (0xFE, 0xA, 9007199254740993))]


def test_nothing_is_no_lock() -> None:
    assert list(parse_locks("")) == []


def test_another_process_is_found_by_what_it_has_locked() -> None:
    descriptor = os.memfd_create("held")
    size_bytes = 3 << 20
    hold = f"import fcntl, os, sys; f = os.open('/proc/{os.getpid()}/fd/{descriptor}', os.O_RDONLY); "
    hold += "fcntl.flock(f, fcntl.LOCK_SH); print('has it', flush=True); sys.stdin.read()"
    sizes = {file_id(descriptor): size_bytes}
    with subprocess.Popen(
        [sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "has it\n"
        (holder,) = find_holders(sizes)
        assert (holder.pid, holder.n_segments, holder.n_bytes) == (process.pid, 1, size_bytes)
        assert str(holder) == f"process {process.pid} ({holder.name}) holds views of a segment, 3 MiB"
        assert holder.name.startswith("python")
        process.communicate()
    assert find_holders(sizes) == []
    os.close(descriptor)


def test_the_first_holders_are_named_and_the_others_counted() -> None:
    holders = [Holder(pid=n, name="" if n == 2 else "python", n_segments=n, n_bytes=n << 20) for n in range(1, 6)]
    assert describe(holders) == (
        "process 1 (python) holds views of a segment, 1 MiB; a child of process 2, which has ended, holds views of 2 "
        "segments, 2 MiB; process 3 (python) holds views of 3 segments, 3 MiB; and 2 more"
    )
    assert "cannot be seen" in describe([])
