"""The command line as people use it: every command a process of its own, but for what is refused before it begins."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from beamstream import Address, Consumer, Producer
from beamstream.cli.root import run
from beamstream.protocol.client import Server
from beamstream.streams import delete_stream, list_streams

PATIENCE_S = 60.0
STREAM = Address("bt", "det", "run")
NOBODY = "redis://127.0.0.1:1"
STREAM_COMMAND = [sys.executable, "-m", "beamstream.cli"]

Result = subprocess.CompletedProcess


def start(*arguments: str, environment: dict[str, str] | None = None) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*STREAM_COMMAND, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, env={**os.environ, "COLUMNS": "200", **(environment or {})},
    )  # fmt: skip


def finish(process: subprocess.Popen[str]) -> Result[str]:
    said, errors = process.communicate(timeout=PATIENCE_S)
    assert "Traceback" not in said + errors
    return Result(process.args, process.returncode, said, errors)


def stream(*arguments: str, **environment: str) -> Result[str]:
    return finish(start(*arguments, environment=environment))


def streams(*lines: list[str]) -> list[Result[str]]:
    """Run several at the same time: most of what one takes is the start of Python."""
    return [finish(process) for process in [start(*line) for line in lines]]


def send_images(broker: str, where: str, n: int) -> None:
    with Producer(where, broker=broker) as producer:
        for message_id in range(1, n + 1):
            producer.send_array(message_id, np.full((4, 5), message_id, "<u2"))
        producer.finish()


@pytest.fixture
def filled(broker: str) -> str:
    """A broker with one finished stream of 20 messages, a group that has read 5 of them, and an open stream."""
    metadata = {"entry": {"name": "[bold]lysozyme[/bold]", "mask": np.zeros((2, 3), "u1")}}
    with Producer(STREAM, broker=broker, n_expected=20, metadata=metadata) as producer:
        for message_id in range(1, 21):
            producer.send_array(message_id, np.full((4, 5), message_id, "<u2"), metadata={"number": message_id})
        producer.finish()
    with Consumer(STREAM, broker=broker, group="[red]mine") as consumer:
        for _ in range(5):
            consumer.acknowledge(consumer.next(10))
    with Producer("bt/det/open", broker=broker, n_expected=3) as producer:
        producer.send(1, b"one")
    return broker


# --- about streams --------------------------------------------------------------------------------------------------


def test_ls_lists_streams_for_people_and_for_scripts(filled):
    table, rows, nothing = streams(
        ["--broker", filled, "ls"], ["ls", "bt/det", "--broker", filled, "--json"], ["--broker", filled, "ls", "x/y"]
    )
    assert [line.split()[:4] for line in table.stdout.splitlines()[1:]] == [
        ["bt/det/run", "complete", "20", "20"],
        ["bt/det/open", "open", "1", "3"],
    ]
    assert [row["stream"] for row in json.loads(rows.stdout)] == ["bt/det/run", "bt/det/open"]
    assert (nothing.returncode, nothing.stdout) == (0, "no streams yet; 'stream demo' makes one\n")


def test_info_shows_state_and_metadata_as_they_are(filled):
    text, plain = streams(
        ["info", str(STREAM), "--broker", filled], ["info", str(STREAM), "--broker", filled, "--json"]
    )
    assert "[bold]lysozyme[/bold]" in text.stdout
    said = json.loads(plain.stdout)
    assert (said["state"], said["received"], said["missing"], said["expected"]) == ("complete", 20, 0, 20)
    assert said["metadata"]["entry"]["mask"] == "array uint8 2x3"


def test_tail_shows_the_last_messages(filled):
    last, three, none = streams(
        ["tail", str(STREAM), "--broker", filled],
        ["tail", str(STREAM), "--broker", filled, "-n", "3", "--json"],
        ["tail", "bt/det/open", "--broker", filled, "-n", "0"],
    )
    assert [line.split()[0] for line in last.stdout.splitlines()] == [str(i) for i in range(11, 21)]
    assert "finished with message 20" in last.stderr
    shown = [json.loads(line) for line in three.stdout.splitlines()]
    assert [one["metadata"] for one in shown] == [{"number": number} for number in (18, 19, 20)]
    assert (shown[0]["shape"], shown[0]["dtype"], shown[0]["codec"]) == ([4, 5], "<u2", "bslz4")
    assert (none.returncode, none.stdout) == (0, "")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_tail_that_follows_shows_what_comes_until_it_is_told_to_end(filled, number, status):
    process = start("tail", "bt/det/open", "--broker", filled, "--follow")
    assert process.stdout is not None
    assert process.stdout.readline().split()[0] == "1"
    with Producer("bt/det/open", broker=filled) as producer:
        producer.send(2, b"two")
        assert process.stdout.readline().split()[0] == "2"
    process.send_signal(number)
    assert finish(process).returncode == status


def test_tail_that_follows_ends_with_the_stream_and_with_an_error_when_it_is_deleted(filled):
    ending, losing = (
        start("tail", "bt/det/open", "--broker", filled, "-f"),
        start("tail", "bt/det/b", "--broker", filled),
    )
    assert finish(losing).returncode == 1
    with Producer("bt/det/open", broker=filled) as producer:
        producer.finish(1)
    assert finish(ending).returncode == 0
    with Producer("bt/det/gone", broker=filled) as producer:
        producer.send(1, b"one")
        losing = start("tail", "bt/det/gone", "--broker", filled, "-f")
        assert losing.stdout is not None
        losing.stdout.readline()
        delete_stream(Server(filled), Address.parse("bt/det/gone"))
    lost = finish(losing)
    assert lost.returncode == 1
    assert "bt/det/gone: no such stream" in lost.stderr


def test_the_receipts_status_says_whether_the_stream_is_clean(filled):
    clean, unclean = streams(
        ["receipt", str(STREAM), "--broker", filled], ["receipt", "bt/det/open", "--broker", filled, "--json"]
    )
    assert clean.returncode == 0
    assert "missing     0\n" in clean.stdout
    assert unclean.returncode == 1
    assert json.loads(unclean.stdout)["missing"] == [[2, 3]]


def test_group_ls_shows_how_far_each_group_is_under_its_own_name(filled):
    text, rows = streams(
        ["group", "ls", str(STREAM), "--broker", filled], ["group", "ls", str(STREAM), "--broker", filled, "--json"]
    )
    assert "[red]mine" in text.stdout
    (group,) = json.loads(rows.stdout)
    assert (group["name"], group["n_pending"], group["n_members"], group["n_dead"]) == ("[red]mine", 15, 0, 0)


def test_delete_asks_on_a_terminal_and_wants_yes_elsewhere(filled):
    silent = stream("delete", str(STREAM), "--broker", filled)
    assert silent.returncode == 2
    assert "say --yes" in silent.stderr
    master, slave = pty.openpty()
    asked = subprocess.Popen(
        [*STREAM_COMMAND, "delete", str(STREAM), "--broker", filled], stdin=slave, stdout=slave, stderr=slave
    )
    os.write(master, b"n\n")
    assert asked.wait(PATIENCE_S) == 1
    os.close(slave)
    os.close(master)
    assert STREAM in list_streams(Server(filled), STREAM.source_address)
    said = stream("delete", str(STREAM), "--yes", "--broker", filled)
    assert (said.returncode, said.stdout) == (0, "bt/det/run: 20 message(s) deleted\n")
    assert STREAM not in list_streams(Server(filled), STREAM.source_address)


def test_a_reader_that_goes_early_leaves_no_traceback(filled):
    with Producer("bt/det/long", broker=filled) as producer:
        for message_id in range(1, 3001):
            producer.send(message_id, b"x")
        producer.finish()
    process = start("tail", "bt/det/long", "-n", "3000", "--broker", filled)
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr is not None
    with process.stderr as errors:
        assert errors.read() == ""
    assert process.wait(PATIENCE_S) == 1


# --- help and misuse ------------------------------------------------------------------------------------------------

COMMANDS = [
    "demo", "broker run", "simulate eiger", "produce eiger", "consume write", "consume bin", "consume monitor",
    "ls", "info", "tail", "receipt", "delete", "group ls",
]  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_a_help_text_with_an_example_and_no_machine_in_it(command, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert run([*command.split(), "--help"]) == 0
    said = capsys.readouterr().out
    assert f"stream {command} " in said.split("Example", 1)[1]
    assert str(Path.home()) not in said
    assert str(Path.cwd()) not in said


def test_no_markup_is_lost_in_help_texts(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    run(["broker", "run", "--help"])
    run(["consume", "write", "--help"])
    said = capsys.readouterr().out
    assert "4GiB, at most 40 % of the machine's" in said
    assert "{beamtime}_{source}_{stream}.nxs" in said


def test_the_root_names_all_commands_and_the_version():
    root, nothing, version = streams(["--help"], [], ["--version"])
    for command in {command.split()[0] for command in COMMANDS}:
        assert f" {command} " in root.stdout
    assert "stream demo" in root.stdout
    assert "Usage: stream" in nothing.stdout + nothing.stderr
    assert version.stdout.startswith("beamstream 0.")


MISUSES = [
    (["lss"], "did you mean 'ls'?"),
    (["consume", "wrte", "a/b"], "did you mean 'write'?"),
    (["ls", "--jsn"], "--jsn"),
    (["consume", "write"], "WHERE"),
    (["info", "bt/det"], "'bt/det' is no stream address"),
    (["info", "bt/d t/run"], "'d t' may hold letters"),
    (["consume", "write", "bt/det/run", "--from", "yesterday"], "--from 'yesterday' is none of start, newest"),
    (["consume", "write", "bt/det/run", "--metrics-port", "70000"], "65535"),
    (["produce", "eiger", "dcu:31001", "--to", "bt/det"], "write tcp://dcu:31001"),
    (["produce", "eiger", "tcp://dcu:31001", "--to", "bt/det/run"], "BEAMTIME/SOURCE without a stream"),
    (["--log-level", "loud", "ls"], "--log-level 'loud' is none of"),
    (["--broker", "localhost:6379", "ls"], "begins with none of redis://"),
    (["--broker", "unix://", "ls"], "names no socket"),
    (["--broker", f"{NOBODY}?timeout=3", "ls"], "nobody knows 'timeout'"),
    (["--config", "/nowhere.toml", "ls"], "cannot read the configuration /nowhere.toml"),
]


@pytest.mark.parametrize(("arguments", "words"), MISUSES)
def test_misuse_ends_with_status_2_and_says_what_is_wrong(arguments, words, capsys):
    assert run(arguments) == 2
    assert words in " ".join(capsys.readouterr().err.split())


def test_a_server_that_is_not_there_ends_with_status_1_and_says_what_to_do(broker):
    nobody, no_socket, no_host, missing = streams(
        ["--broker", NOBODY, "ls"],
        ["--broker", "unix:///nowhere/valkey.sock", "consume", "write", "bt/det"],
        ["--broker", "redis://no..host", "ls"],
        ["--broker", broker, "info", "bt/det/nothing"],
    )
    for result in (nobody, no_socket, no_host):
        assert result.returncode == 1
        assert "start one with 'stream broker run' or name another with --broker" in result.stderr
    assert missing.returncode == 1
    assert "bt/det/nothing: no such stream" in missing.stderr


SECRET = "s3cret"  # noqa: S105 (nobody's)


def test_passwords_are_never_shown():
    urls = [
        f"redis://user:{SECRET}@127.0.0.1:1",
        f"redis://user:x@{SECRET}@127.0.0.1:1",
        f"redis://user:{SECRET}:x@127.0.0.1:1",
        f"redis://user:{SECRET}/x@127.0.0.1:1",
        f"redis://user:{SECRET}@127.0.0.1:notaport",
        f"http://user:{SECRET}@127.0.0.1",
        f"{NOBODY}?password={SECRET}",
        f"{NOBODY}?db=x&password={SECRET}",
    ]
    processes = [start("--log-level", "debug", "ls", "--broker", url) for url in urls]
    for process in processes:
        said, errors = process.communicate(timeout=PATIENCE_S)
        assert process.returncode in (1, 2)
        assert SECRET not in said + errors
        assert "***" in errors


# --- configuration --------------------------------------------------------------------------------------------------


def test_a_flag_beats_the_environment_which_beats_the_file_which_beats_the_default(broker, tmp_path):
    config = tmp_path / "stream.toml"
    config.write_text(f'broker = "{broker}"\nlog_level = "warning"\n[ls]\njson = true\n')
    file = stream("--config", str(config), "ls")
    assert (file.returncode, file.stdout) == (0, "[]\n")
    by_variable = stream("ls", STREAM_CONFIG=str(config))
    assert by_variable.stdout == "[]\n"
    environment = stream("--config", str(config), "ls", STREAM_BROKER=NOBODY)
    assert environment.returncode == 1
    flag = stream("--config", str(config), "--broker", broker, "ls", STREAM_BROKER=NOBODY)
    assert flag.returncode == 0
    config.write_text(f'broker = "{NOBODY}"\n[ls]\nbroker = "{broker}"\n[group.ls]\njson = true')
    attached, own, top, beaten = streams(
        ["--config", str(config), "broker", "run"],
        ["--config", str(config), "ls"],
        ["--config", str(config), "group", "ls", "bt/det/run"],
        ["--config", str(config), "--broker", broker, "group", "ls", "bt/det/run"],
    )
    assert own.returncode == 0
    assert "127.0.0.1:1" in attached.stderr
    assert "127.0.0.1:1" in top.stderr
    assert "no such stream" in beaten.stderr


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('brokr = "x"', "unknown key 'brokr'; did you mean 'broker'?"),
        ("[consume.write]\ndirectry = 'x'", "unknown key 'consume.write.directry'; did you mean 'directory'?"),
        ("[consume.wrte]\ndirectory = 'x'", "unknown key 'consume.wrte'; did you mean 'write'?"),
        ("[broker.run]\nmemry = '1GiB'", "unknown key 'broker.run.memry'; did you mean 'memory'?"),
        ("consume = 3", "'consume' is a command; its options stand in a table [consume]"),
        ("version = true", "unknown key 'version'"),
        ("broker = [", "is no TOML"),
        ("metrics_port = 'high'", "'metrics_port'"),
        ("metrics_port = true", "'metrics_port' is True; it should be a text or a number"),
        ("log_level = ['info']", "'log_level' is ['info']; it should be a text"),
        ("[consume.write]\nverify = 'yes'", "'consume.write.verify' is 'yes'; it should be true or false"),
        ("[consume.bin]\nfactor = 1.5", "'consume.bin.factor'"),
    ],
)
def test_a_configuration_that_cannot_be_meant_is_refused_with_its_place(tmp_path, text, words, capsys):
    config = tmp_path / "stream.toml"
    config.write_text(text)
    assert run(["--config", str(config), "ls"]) == 2
    said = capsys.readouterr().err
    assert str(config) in said
    assert words in said


# --- plug-ins -------------------------------------------------------------------------------------------------------


def test_a_plug_in_that_cannot_be_loaded_breaks_nothing_else(broker, tmp_path):
    info = tmp_path / "broken-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[beamstream.consumers]\nnowhere = broken_nowhere:run\nfaulty = broken_faulty:run\nodd = broken_odd:run\n"
        "fine = broken_fine:run\n[beamstream.commands]\nextra = broken_faulty:run\n"
    )
    (tmp_path / "broken_faulty.py").write_text("raise ValueError('[bold] of no use')")
    (tmp_path / "broken_odd.py").write_text("def run(what: object) -> None: ...")
    (tmp_path / "broken_fine.py").write_text("def run() -> None:\n    print('fine')")
    path = {"PYTHONPATH": str(tmp_path)}
    lines = [["--help"], ["consume", "--help"], ["consume", "faulty", "bt/det", "-x"], ["consume", "fine"]]
    root, help_text, faulty, fine = [finish(one) for one in [start(*line, environment=path) for line in lines]]
    assert root.returncode == help_text.returncode == 0
    assert "[bold] of no use" in root.stdout
    for name in ("write", "nowhere", "faulty", "odd"):
        assert f" {name} " in help_text.stdout
    assert faulty.returncode == 2
    assert "faulty: cannot be loaded from broken_faulty:run: ValueError: [bold] of no use" in faulty.stderr
    assert fine.stdout == "fine\n"


# --- services -------------------------------------------------------------------------------------------------------


def test_on_a_terminal_what_is_logged_stands_on_lines_of_its_own(broker, tmp_path):
    send_images(broker, "bt/eiger/run", 20)
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [*STREAM_COMMAND, "--broker", broker, "consume", "write", "bt/eiger", "--follow", "-d", str(tmp_path)],
        stdin=slave, stdout=slave, stderr=slave, env={**os.environ, "TERM": "xterm", "COLUMNS": "200"},
    )  # fmt: skip
    os.close(slave)
    said = b""
    while b"handled 20" not in said:  # the line of progress
        said += os.read(master, 65536)
    send_images(broker, "bt/eiger/later", 1)
    while b"bt/eiger/later begins" not in said:
        said += os.read(master, 65536)
    process.send_signal(signal.SIGINT)
    while b"handled 21" not in said.rpartition(b"stopping: ")[2]:
        said += os.read(master, 65536)
    assert process.wait(PATIENCE_S) == 130
    os.close(master)
    for line in said.decode().split("\n"):
        shown = line.rpartition("\x1b[2K")[2].replace("\r", "")
        assert " INFO " not in shown or shown[0].isdigit(), shown


def test_a_consumer_without_a_terminal_logs_plain_lines_and_ends_130_when_interrupted(broker, tmp_path):
    send_images(broker, "bt/eiger/run", 20)
    process = start(
        "--broker", broker, "--metrics-port", "0", "consume", "write", "bt/eiger", "--follow", "-d", str(tmp_path)
    )
    deadline = time.monotonic() + PATIENCE_S
    while not (tmp_path / "bt_eiger_run.nxs").exists():
        assert time.monotonic() < deadline
        os.sched_yield()
    process.send_signal(signal.SIGINT)
    result = finish(process)
    assert result.returncode == 130
    assert "INFO metrics at http://127.0.0.1:" in result.stderr
    assert "INFO write  streams 1  received 20  handled 20" in result.stderr
    assert "\x1b" not in result.stderr
