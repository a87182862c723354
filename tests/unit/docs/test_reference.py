"""The reference is complete and says nothing else: commands, options, errors, metrics."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

import beamstream
import beamstream_broker
import beamstream_consumers
import beamstream_producers
from beamstream.address import SourceAddress
from beamstream.cli.root import app
from beamstream.errors import BeamstreamError
from beamstream.metrics import Snapshot
from beamstream.prometheus import ServiceCollector
from beamstream.protocol.client import Server
from beamstream.service.consuming.consume import ConsumerLoop
from beamstream.service.processing.handler import ProcessorHandler
from beamstream.service.producing.produce import ProducerLoop
from beamstream_broker.service import BrokerService
from beamstream_consumers.bin import BinProcessor
from beamstream_consumers.crystfel.bridge import Bridge, BridgeOptions
from beamstream_consumers.crystfel.endpoint import Endpoint
from beamstream_consumers.crystfel.frames import FrameOptions
from beamstream_consumers.integrate import IntegrateProcessor, IntegrationSettings
from beamstream_consumers.monitor.board import Board
from beamstream_consumers.monitor.testing import SyntheticDetector
from beamstream_consumers.monitor.web.hub import Facts, Hub
from beamstream_consumers.monitor.web.limits import Limits
from beamstream_consumers.peaks import PeakProcessor
from beamstream_consumers.write.handler import WriteHandler
from beamstream_producers.cbf import CbfSource, Folders
from beamstream_producers.cbf.errors import FileReadError
from beamstream_producers.cbf.options import NOT_SENT_BECAUSE
from beamstream_producers.cbf.removal import Remover
from beamstream_producers.eiger.source import EigerSource
from beamstream_producers.eiger.transitions import IGNORED_BECAUSE
from beamstream_producers.formats.cbf import CbfError
from beamstream_producers.formats.simplon import SimplonError
from beamstream_producers.replay.source import COUNTED

ROOT = Path(__file__).parents[3]
REFERENCE = ROOT / "docs" / "reference"
NOBODY = "unix:///nobody"
GENERAL = {"--help", "--install-completion", "--show-completion"}

pytestmark = pytest.mark.skipif(not REFERENCE.exists(), reason="the documentation is not here")


def page(name: str) -> str:
    return (REFERENCE / name).read_text("utf-8")


def commands(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    yield path, command
    if hasattr(command, "list_commands"):
        for name in command.list_commands(None):
            yield from commands(command.get_command(None, name), f"{path} {name}")


def first_column(section: str) -> str:
    return "\n".join(line.split("|")[1] for line in section.splitlines() if line.startswith("|"))


def test_every_command_and_every_option_is_described_and_no_other() -> None:
    _, *parts = re.split(r"^## `(stream[^`]*)`$", page("command-line.md"), flags=re.MULTILINE)
    described = {path: set(re.findall(r"`(-[^`]+)`", first_column(text)))
                 for path, text in zip(parts[::2], parts[1::2], strict=True)}  # fmt: skip
    there = {
        path: {name for param in command.params for name in (*param.opts, *param.secondary_opts) if name[0] == "-"}
        - GENERAL
        for path, command in commands(typer.main.get_command(app), "stream")
    }
    assert described == there


def test_every_environment_variable_is_described_and_no_other() -> None:
    used = {
        param.envvar
        for _, command in commands(typer.main.get_command(app), "stream")
        for param in command.params
        if getattr(param, "envvar", None)
    }
    assert set(re.findall(r"^\| `(STREAM_\w+)`", page("configuration.md"), re.MULTILINE)) == used


def subclasses(root: type[BaseException]) -> Iterator[type[BaseException]]:
    for child in root.__subclasses__():
        if child.__module__.partition(".")[0] in {"beamstream", *(f"beamstream_{one}" for one in PARTS)}:
            yield child
            yield from subclasses(child)


PARTS = ("broker", "consumers", "producers")


def test_every_error_is_listed_with_what_it_is_and_no_other() -> None:
    for package in (beamstream, beamstream_broker, beamstream_consumers, beamstream_producers):
        for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
    there = sorted((error.__name__, str(error.__bases__[0].__name__)) for error in set(subclasses(BeamstreamError)))
    listed = re.findall(r"^\| (?:· )*`(\w+)` \| `(\w+)` \|", page("errors.md"), re.MULTILINE)
    assert sorted(one for one in listed if one != ("BeamstreamError", "Exception")) == there


def test_every_metric_is_described() -> None:
    collected = ServiceCollector("any", Snapshot).collect()
    suffix = {"counter": "_total", "gauge": ""}
    assert {family.name + suffix[family.type] for family in collected} == set(
        re.findall(r"^\| `(beamstream_\w+)`", page("metrics.md"), re.MULTILINE)
    )


@pytest.fixture
def snapshots() -> Iterator[list[Snapshot]]:
    """What each service has to say before anything has happened."""
    source = EigerSource("ipc:///nobody")
    endpoint = Endpoint("tcp://127.0.0.1:0")
    yield [
        ProducerLoop(source, SourceAddress("bt", "det"), NOBODY).snapshot(),
        ProducerLoop(CbfSource(Folders([Path()]), remover=Remover()), SourceAddress("bt", "det"), NOBODY).snapshot(),
        *(
            ConsumerLoop(handler, NOBODY).snapshot()
            for handler in (
                ProcessorHandler(BinProcessor(2)),
                ProcessorHandler(PeakProcessor()),
                ProcessorHandler(IntegrateProcessor(IntegrationSettings())),
                WriteHandler(Path()),
            )
        ),
        BrokerService(Server(NOBODY)).snapshot(),
        Bridge(endpoint, NOBODY, BridgeOptions(frames=FrameOptions(masks={}))).snapshot(),
        monitor_hub().snapshot(),
    ]
    source.close()
    endpoint.close()


def monitor_hub() -> Hub:
    board = Board()
    return Hub(board, SyntheticDetector(board, shape=(32, 32)), Facts(sources=["bt/det"]), Limits())


def test_every_event_and_every_level_is_described(snapshots: list[Snapshot]) -> None:
    described = set(re.findall(r"`(\w+)`", page("metrics.md")))
    events = {event for snapshot in snapshots for event in snapshot.events}
    events |= {*IGNORED_BECAUSE, *NOT_SENT_BECAUSE, *COUNTED}
    levels = {quantity for snapshot in snapshots for quantity in snapshot.levels}
    kinds = {error.kind for root in (SimplonError, CbfError, FileReadError) for error in root.__subclasses__()}
    assert events | levels | kinds <= described


def test_alerts_use_metrics_that_exist() -> None:
    path = ROOT / "ops" / "prometheus-alerts.yml"
    if not path.exists():
        pytest.skip("ops is not here")
    expressions = " ".join(re.findall(r"expr: (?:>\n)?((?:.+\n)+?)(?= +(?:for|labels):)", path.read_text("utf-8")))
    described = set(re.findall(r"`(\w+)`", page("metrics.md")))
    used = set(re.findall(r"beamstream_\w+", expressions))
    for label in re.findall(r'(?:service|event|quantity)=~?"([^"]+)"', expressions):
        used |= set(label.split("|"))
    assert len(used) > 10
    assert used <= described
