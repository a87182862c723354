"""What other processes use of the processors; of one's own, `time.process_time` tells."""

from __future__ import annotations

import os
from pathlib import Path

CLOCK_TICKS_HZ = os.sysconf("SC_CLK_TCK")


def used_by_s(pid: int) -> float:
    """Return the time that all threads of a process have used, in user and kernel mode [s]."""
    fields = Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / CLOCK_TICKS_HZ
