"""`stream consume MODULE:FUNCTION` as people type it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from beamstream import Address, Consumer, Producer
from beamstream.groups import list_dead_letters
from beamstream.protocol.client import Server
from beamstream.receipt import make_receipt

SOURCE = Address("bt", "det", "run")

MODULE = """
def total(frame, *, least: int = 6, scale: float = 1.0):
    \"\"\"Add up the pixels of each frame.\"\"\"
    n = int(frame.array().sum())
    return {"total": n * scale} if n > least else None

def fail(frame):
    raise ValueError("the sample is not there")
"""

Stream = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def stream(broker: str, tmp_path: Path) -> Stream:
    (tmp_path / "sums.py").write_text(MODULE)
    with Producer(SOURCE, broker=broker) as producer:
        for message_id in range(1, 21):
            producer.send_array(message_id, np.full((2, 3), message_id, "<u2"))
        producer.finish()

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "beamstream.cli", "--broker", broker, *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=90, check=False, cwd=tmp_path)

    return run


def totals(broker: str, source: str) -> dict[int, float]:
    with Consumer(f"bt/{source}/run", broker=broker, timeout_s=20) as consumer:
        return {frame.message_id: frame.metadata["total"] for frame in consumer}


def test_a_function_runs_with_workers_and_what_it_is_told_to(stream: Stream, broker: str, tmp_path: Path) -> None:
    done = stream("consume", "sums:total", str(SOURCE), "--set", "least=60", "--workers", "2")
    assert done.returncode == 0, done.stderr
    assert totals(broker, "det-total") == {i: 6.0 * i for i in range(11, 21)}
    receipt = make_receipt(Server(broker), Address("bt", "det-total", "run"))
    assert (receipt.received, receipt.declined, receipt.clean) == (10, 10, True)
    table = '[consume."sums:total"]\nleast = 90\nscale = 2\ngroup = "again"\nto = "bt/mine"\n'
    (tmp_path / "beamline.toml").write_text(table)
    done = stream("--config", "beamline.toml", "consume", "sums:total", str(SOURCE), "--set", "scale=0.5")
    assert done.returncode == 0, done.stderr
    assert totals(broker, "mine") == {i: 3.0 * i for i in range(16, 21)}, "the command line beats the file"


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("leest = 9", "unknown key 'leest' for sums:total; did you mean 'least'?"),
        ("least = 'x'", "least=x is no int"),
        ("gruop = 'x'", "did you mean 'group'?"),
        ("workers = 'x'", "workers"),
    ],
)
def test_the_configuration_file_is_checked_strictly(stream: Stream, tmp_path: Path, line: str, why: str) -> None:
    (tmp_path / "beamline.toml").write_text(f'[consume."sums:total"]\n{line}\n')
    done = stream("--config", "beamline.toml", "consume", "sums:total", str(SOURCE))
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)
    assert why in done.stderr


def test_a_function_that_raises_sends_its_frames_to_the_dead_letters_with_the_traceback(
    stream: Stream, broker: str
) -> None:
    Consumer(SOURCE, broker=broker, group="fail", max_attempts=1).close()
    done = stream("consume", "sums:fail", str(SOURCE))
    assert done.returncode == 1
    letters = list_dead_letters(Server(broker), SOURCE, "fail")
    assert len(letters) == 20
    assert "sums.py" in letters[0].why
    assert "ValueError: the sample is not there" in letters[0].why


def test_the_help_says_what_the_function_says_of_itself(stream: Stream) -> None:
    shown = " ".join(stream("consume", "sums:total", "--help").stdout.split())
    assert "Add up the pixels of each frame." in shown
    assert "least: int, 6 unless --set says otherwise" in shown
    assert "MODULE:FUNCTION" in stream("consume", "--help").stdout
