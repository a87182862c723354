"""README and docs do what they say: their Python is run, their commands are run, what they show is what comes.

Blocks marked `python` and `console` are executed in order, page by page, in a directory of the page's own. A word after
the mark is the name of a file that the block is written to; `background` leaves the command running until the page is
done; `if=NAME` runs it only where that library is installed. `...` in what is shown stands for anything. Blocks marked
`sh` need a detector or a machine of their own.
"""

from __future__ import annotations

import doctest
import os
import re
import signal
import subprocess
import sysconfig
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from beamstream import Producer
from beamstream.service import run_handler
from beamstream.testing.ports import free_port
from beamstream_consumers.write.handler import WriteHandler

ROOT = Path(__file__).parents[2]
STREAM = "11012345/eiger/series_00042"
N_FRAMES = 20
COMMAND_TIMEOUT_S = 90.0

PAGES = {
    # fewer frames
    "README.md": {"    400\n": "    20\n", "81 of 400": "4 of 20", "194 MB": "...", "f3671cf2d322ec29": "..."},
    "docs/tutorials/first-steps.md": {"[1062, 1028]": "[...]", "0.1 m": "... m"},  # a smaller detector
    "docs/how-to/connect-a-pilatus.md": {},
    "docs/how-to/write-a-consumer.md": {},
    "docs/how-to/read-in-batches.md": {},
    "docs/how-to/write-a-source.md": {},
    "docs/how-to/several-modules-one-stream.md": {},
    "docs/how-to/other-detectors.md": {},
    "docs/how-to/integrate.md": {},
    "docs/how-to/join-detectors.md": {},
    "docs/how-to/read-the-files.md": {},
    "docs/how-to/replay-a-run.md": {},
    "docs/how-to/use-a-geometry.md": {},
    "docs/reference/configuration.md": {},
}
"""Pages with something to execute, and what the test replaces in their text."""

_BLOCK = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SHOWN = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@dataclass(frozen=True, slots=True)
class Block:
    language: str
    words: tuple[str, ...]
    text: str
    line: int


def blocks_of(text: str) -> Iterator[Block]:
    for found in _BLOCK.finditer(text):
        line = text.count("\n", 0, found.start()) + 2
        yield Block(found[1], tuple(found[2].split()), found[3], line)


def commands_of(block: Block) -> Iterator[tuple[str, str]]:
    """Yield each command of a console block with the output shown below it."""
    for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
        command, _, shown = part.partition("\n")
        yield command, shown


class Session:
    """What one page does: its namespace, its directory, its processes."""

    def __init__(self, directory: Path, environment: Mapping[str, str]) -> None:
        self._directory = directory
        self._environment = environment
        self._namespace: dict[str, object] = {"__name__": "page"}
        self._running: list[tuple[subprocess.Popen[bytes], bool]] = []

    def execute(self, block: Block, page: str) -> None:
        wanted = [word.removeprefix("if=") for word in block.words if word.startswith("if=")]
        if not all(map(find_spec, wanted)):
            return  # a library that is not ours to bring
        if block.language in {"python", "toml"} and block.words and not wanted:
            (self._directory / block.words[0]).write_text(block.text, "utf-8")
            if block.words[0] == "pyproject.toml":
                self._install(block.text)
        elif block.language == "python":
            code = compile("\n" * (block.line - 1) + block.text, page, "exec", dont_inherit=True)
            exec(code, self._namespace)  # noqa: S102 (that is what the page is for)
        elif block.language == "console":
            for command, shown in commands_of(block):
                self._run(command, shown, background="background" in block.words)

    def _install(self, text: str) -> None:
        """Do what an installer does with the entry points of a package whose module lies beside it."""
        project = tomllib.loads(text)["project"]
        info = self._directory / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Name: {project['name']}\nVersion: {project['version']}\n")
        lines = [f"[{group}]\n{name} = {value}" for group, points in project["entry-points"].items()
                 for name, value in points.items()]  # fmt: skip
        (info / "entry_points.txt").write_text("\n".join(lines))

    def _run(self, command: str, shown: str, *, background: bool) -> None:
        process = subprocess.Popen(
            ["bash", "-c", command], cwd=self._directory, env=self._environment, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        self._running.append((process, background))
        if background:
            return
        said = process.communicate(timeout=COMMAND_TIMEOUT_S)[0].decode()
        is_error = shown.startswith("stream: ")
        assert (process.returncode != 0) == is_error, f"{command}: {process.returncode}\n{said}"
        if shown:
            assert doctest.OutputChecker().check_output(shown, said, _SHOWN), f"{command}\n{said}\nand not\n{shown}"

    def end(self) -> None:
        """End what runs in the background, as a process manager would, and see that it ends well."""
        for process in [process for process, background in self._running if background]:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
            said = process.communicate(timeout=COMMAND_TIMEOUT_S)[0].decode()
            assert process.returncode == 0, said

    def kill(self) -> None:
        for process, _ in self._running:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            if process.stdout is not None:
                process.stdout.close()


def publish_series(broker: str) -> None:
    """Bring in the series that the pages speak of."""
    detector = {"@NX_class": "NXdetector", "distance": 0.1, "distance@units": "m"}
    metadata = {"entry": {"instrument": {"@NX_class": "NXinstrument", "detector": detector}}}
    images = np.random.default_rng(0).poisson(1.2, (N_FRAMES, 64, 96)).astype("<u2")
    with Producer(STREAM, broker=broker, metadata=metadata, n_expected=N_FRAMES, inline_bytes=0) as producer:
        for message_id, image in enumerate(images, start=1):
            producer.send_array(message_id, image)
        producer.finish()


@pytest.fixture
def detector_port() -> int:
    """A port for the simulated detector; the real one's may be taken on this machine."""
    return free_port()


@pytest.fixture
def session(broker: str, detector_port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Session]:
    settings = tmp_path / "settings.toml"
    settings.write_text(
        f"[simulate.eiger]\nsize = \"500k\"\nstream-port = {detector_port}\napi-port = 0\n"
        '[demo]\nframes = 20\nrate = 0\nsize = "500k"\n'
    )  # fmt: skip
    directory = tmp_path / "page"
    directory.mkdir()
    monkeypatch.chdir(directory)
    monkeypatch.setenv("STREAM_BROKER", broker)
    publish_series(broker)
    scripts = sysconfig.get_path("scripts")
    environment = {
        **os.environ,
        "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(directory),
        "PYTHONUNBUFFERED": "1",
        "STREAM_CONFIG": str(settings),
    }
    running = Session(directory, environment)
    yield running
    running.kill()


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_says_is_what_happens(page: str, session: Session, detector_port: int, tmp_path: Path) -> None:
    path = ROOT / page
    if not path.exists():
        pytest.skip(f"{page} is not here")
    if page == "docs/how-to/read-the-files.md":
        run_handler(WriteHandler(tmp_path / "page"), STREAM)
    text = path.read_text("utf-8").replace("31001", str(detector_port))
    for before, after in PAGES[page].items():
        text = text.replace(before, after)
    for block in blocks_of(text):
        session.execute(block, page)
    session.end()


def test_every_page_with_something_to_execute_is_executed() -> None:
    pages = [path for path in (ROOT / "README.md", *ROOT.glob("docs/**/*.md")) if path.exists()]
    executable = {
        str(path.relative_to(ROOT))
        for path in pages
        if any(block.language in {"python", "console"} for block in blocks_of(path.read_text("utf-8")))
    }
    assert executable <= set(PAGES)
