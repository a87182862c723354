"""Groups from outside, against a real server: lag, members, seek, delete, and the commands for them."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from beamstream import Address, Consumer, Producer
from beamstream.cli.root import run
from beamstream.consumer.group import GroupMember
from beamstream.errors import GroupNotFoundError, MembersAliveError, StreamNotFoundError
from beamstream.groups import (
    PARKED,
    change_group,
    delete_group,
    group_info,
    group_names,
    list_groups,
    list_members,
    parse_target,
    seek_group,
)
from beamstream.groups.listing import server_time_s
from beamstream.protocol import Entry, StreamKeys
from beamstream.protocol.client import Server
from beamstream.protocol.packing import Argument
from beamstream.streams import delete_stream

ADDRESS = Address("bt", "det", "run")
KEYS = StreamKeys(ADDRESS)
N_MESSAGES = 20
BEGUN_NS = 1_700_000_000_000_000_000


@pytest.fixture
def finished(broker: str) -> str:
    """A finished stream of one message a second, each of as many bytes as its id."""
    with Producer(ADDRESS, broker=broker) as producer:
        for message_id in range(1, N_MESSAGES + 1):
            producer.send(message_id, b"x" * message_id, timestamp_ns=BEGUN_NS + message_id * 10**9)
        producer.finish()
    return broker


def read(broker: str, n_messages: int, *, acknowledged: int, group: str = "g") -> None:
    """Take messages as a member that is then gone as if it had been killed."""
    with Consumer(ADDRESS, broker=broker, group=group, prefetch_messages=1):
        pass
    server = Server(broker)
    answer = server.call("XREADGROUP", "GROUP", group, "killed", "COUNT", n_messages, "STREAMS", KEYS.index, ">")
    if acknowledged:
        server.call("XACK", KEYS.index, group, *(entry_id for entry_id, _ in answer[0][1][:acknowledged]))


def ids(broker: str, group: str = "g") -> list[int]:
    with Consumer(ADDRESS, broker=broker, group=group) as consumer:
        return [frame.message_id for frame in consumer]


def test_lag_counts_messages_not_ids_and_late_ones_too(broker: str) -> None:
    server = Server(broker)
    with (
        Producer(ADDRESS, broker=broker, patience_s=0) as producer,
        Consumer(ADDRESS, broker=broker, group="behind"),
        Consumer(ADDRESS, broker=broker, group="reads") as consumer,
    ):
        producer.send(1, b"1").result(timeout=10)
        producer.send(100, b"22").result(timeout=10)
        consumer.acknowledge(consumer.next(10))
        consumer.acknowledge(consumer.next(10))
        consumer.flush()
        producer.send(50, b"333").result(timeout=10)
        behind, reads = list_groups(server, ADDRESS)
        assert (behind.n_delivered, behind.lag_messages, behind.lag_bytes) == (0, 3, 6)
        assert consumer.next(10).message_id == 50
        reads = group_info(server, ADDRESS, "reads")
        assert (reads.n_delivered, reads.lag_messages, reads.lag_bytes, reads.n_pending) == (3, 0, 0, 1)
        assert reads.position == 100


def test_the_age_of_the_oldest_message_is_that_of_what_is_pending_or_not_given_to_anybody(finished: str) -> None:
    server = Server(finished)
    read(finished, 5, acknowledged=2)
    before_s = server_time_s(server)
    info = group_info(server, ADDRESS, "g")
    after_s = server_time_s(server)
    assert before_s <= info.oldest_s + BEGUN_NS / 1e9 + 3 <= after_s
    assert before_s <= info.lag_s + BEGUN_NS / 1e9 + 6 <= after_s
    server.call("XACK", KEYS.index, "g", "3-0", "4-0", "5-0")
    info = group_info(server, ADDRESS, "g")
    assert info.oldest_s == info.lag_s > 0
    assert ids(finished) == list(range(6, N_MESSAGES + 1))
    info = group_info(server, ADDRESS, "g")
    assert (info.oldest_s, info.lag_s, info.lag_messages, info.n_pending) == (0, 0, 0, 0)


def test_a_member_that_holds_nothing_is_forgotten_after_an_hour_and_one_that_holds_something_is_not(
    finished: str,
) -> None:
    server = Server(finished)
    read(finished, 5, acknowledged=2)
    server.call("XGROUP", "CREATECONSUMER", KEYS.index, "g", "stale")
    arguments = ["g", PARKED, "0-0", 0, 0, 5, "0"]
    server.script("join", [*KEYS.delivery("g"), KEYS.state], [*arguments, 3_600_000])
    assert [member.name for member in list_members(server, ADDRESS, "g")] == ["killed", "stale"]
    server.script("join", [*KEYS.delivery("g"), KEYS.state], [*arguments, 0])
    assert [(member.name, member.n_pending) for member in list_members(server, ADDRESS, "g")] == [("killed", 3)]


@pytest.mark.parametrize(
    ("to", "n_again", "n_passed_over", "rest"),
    [
        ("start", 8, 0, range(1, N_MESSAGES + 1)),
        ("3", 6, 0, range(3, N_MESSAGES + 1)),
        ("7", 2, 1, range(7, N_MESSAGES + 1)),
        ("9", 0, 3, range(9, N_MESSAGES + 1)),
        ("15", 0, 9, range(15, N_MESSAGES + 1)),
        ("newest", 0, 15, range(0)),
        ("2023-11-14T22:13:32Z", 0, 6, range(12, N_MESSAGES + 1)),
        ("2023-11-14T22:13:31.500+00:00", 0, 6, range(12, N_MESSAGES + 1)),
        ("1970-01-01T00:00:00Z", 8, 0, range(1, N_MESSAGES + 1)),
        ("-10ms", 0, 15, range(0)),
    ],
)
def test_a_group_goes_on_from_exactly_where_it_is_set(
    finished: str, to: str, n_again: int, n_passed_over: int, rest: range
) -> None:
    server = Server(finished)
    read(finished, 8, acknowledged=5)
    target = parse_target(to, time.time_ns())
    dry = seek_group(server, ADDRESS, "g", target, dry_run=True)
    assert group_info(server, ADDRESS, "g").n_pending == 3, "a dry run changes nothing"
    done = seek_group(server, ADDRESS, "g", target, force=True)
    assert (dry.n_again, dry.n_passed_over, dry.n_let_go) == (n_again, n_passed_over, 3)
    assert (done.n_again, done.n_passed_over, done.n_let_go) == (n_again, n_passed_over, 3)
    assert (dry.applied, done.applied) == (False, True)
    assert group_info(server, ADDRESS, "g").n_passed_over == n_passed_over
    with Consumer(ADDRESS, broker=finished, group="g") as consumer:
        frames = [(frame.message_id, frame.n_deliveries) for frame in consumer]
    assert frames == [(message_id, 1) for message_id in rest]


def test_what_comes_after_a_seek_to_the_newest_is_delivered(broker: str) -> None:
    with Producer(ADDRESS, broker=broker) as producer:
        producer.send(1, b"1").result(timeout=10)
        with Consumer(ADDRESS, broker=broker, group="g"):
            pass
        seek_group(Server(broker), ADDRESS, "g", parse_target("newest", 0))
        producer.send(2, b"2")
        producer.finish()
    assert ids(broker) == [2]


def test_what_waits_for_its_time_is_let_go_by_a_seek(finished: str) -> None:
    server = Server(finished)
    with Consumer(ADDRESS, broker=finished, group="g") as consumer:
        consumer.negative_acknowledge(consumer.next(10), 3600)
    done = seek_group(server, ADDRESS, "g", parse_target("2", 0), force=True)
    assert done.n_passed_over == 1
    assert ids(finished) == list(range(2, N_MESSAGES + 1)), "and nobody waits an hour for it"


def test_a_group_with_living_members_is_left_alone_unless_forced(finished: str) -> None:
    server = Server(finished)
    with Consumer(ADDRESS, broker=finished, group="g", prefetch_messages=1) as consumer:
        frame = consumer.next(10)
        with pytest.raises(MembersAliveError, match="1 living"):
            seek_group(server, ADDRESS, "g", parse_target("start", 0))
        with pytest.raises(MembersAliveError, match="1 living"):
            delete_group(server, ADDRESS, "g")
        assert seek_group(server, ADDRESS, "g", parse_target("start", 0), dry_run=True).n_alive == 1
        seek_group(server, ADDRESS, "g", parse_target("start", 0), force=True)
        consumer.negative_acknowledge(frame, 0)
    assert sorted(ids(finished)) == list(range(1, N_MESSAGES + 1)), "what was let go is given back to nobody"


def test_a_deleted_group_leaves_no_keys_and_its_members_are_told(finished: str) -> None:
    server = Server(finished)
    with Consumer(ADDRESS, broker=finished, group="g", prefetch_messages=1) as consumer:
        consumer.negative_acknowledge(consumer.next(10), 3600)
        delete_group(server, ADDRESS, "g", force=True)
        assert group_names(server, ADDRESS) == []
        assert server.call("EXISTS", *KEYS.delivery("g")[1:]) == 0
        with pytest.raises(GroupNotFoundError, match="no group g"):
            list(consumer)
    assert ids(finished) == list(range(1, N_MESSAGES + 1)), "made anew from the start"


def test_another_stream_of_the_same_name_is_not_the_one_that_was_joined(broker: str) -> None:
    with Producer("bt/det/run", broker=broker) as producer:
        producer.send(1, b"a")
    with Consumer("bt/det/run", broker=broker, group="g") as consumer:
        assert consumer.next(10).message_id == 1
        delete_stream(Server(broker), Address("bt", "det", "run"))
        with Producer("bt/det/run", broker=broker) as producer:
            producer.send(1, b"b")
        with pytest.raises(StreamNotFoundError):
            consumer.next(10)


def test_deleting_a_stream_takes_all_keys_of_its_groups_along(
    finished: str, capsys: pytest.CaptureFixture[str]
) -> None:
    server = Server(finished)
    with Consumer(ADDRESS, broker=finished, group="g", max_attempts=2) as consumer:
        consumer.negative_acknowledge(consumer.next(10), 3600)
    assert run(["--broker", finished, "delete", str(ADDRESS), "--yes"]) == 0
    assert server.call("KEYS", "*") == []


def test_what_a_group_is_can_be_changed_and_what_was_not_named_stays(finished: str) -> None:
    server = Server(finished)
    with Consumer(ADDRESS, broker=finished, group="g", redelivery_delays_s=[2, 4]):
        pass
    change_group(server, ADDRESS, "g", max_attempts=9, required=True)
    info = group_info(server, ADDRESS, "g")
    assert (info.max_attempts, list(info.delays_s), info.required) == (9, [2, 4], True)


def test_a_group_that_is_deleted_while_they_are_listed_is_left_out(
    finished: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for group in ("goes", "stays"):
        read(finished, 1, acknowledged=0, group=group)
    server, call = Server(finished), Server.call

    def delete_before(self: Server, *arguments: Argument) -> Any:
        if arguments[0] == "XPENDING" and arguments[2] == "goes":
            call(self, "XGROUP", "DESTROY", KEYS.index, "goes")
        return call(self, *arguments)

    monkeypatch.setattr(Server, "call", delete_before)
    assert [info.name for info in list_groups(server, ADDRESS)] == ["stays"]


def test_the_commands_list_set_seek_and_delete(finished: str, capsys: pytest.CaptureFixture[str]) -> None:
    def stream(*arguments: str) -> tuple[int, str]:
        status = run(["--broker", finished, "group", *arguments[:1], str(ADDRESS), *arguments[1:]])
        return status, capsys.readouterr().out

    read(finished, 8, acknowledged=5)
    status, text = stream("ls", "--over", "0.1", "--json")
    (row,) = json.loads(text)
    assert (status, row["lag_messages"], row["n_pending"], row["catch_up_s"]) == (0, 12, 3, None)
    assert stream("ls")[0] == 0
    server = Server(finished)
    server.call("XREADGROUP", "GROUP", "g", "killed", "STREAMS", KEYS.index, "0")  # shows itself now
    status, text = stream("ls", "--members", "--json")
    assert [(member["name"], member["n_pending"], member["alive"]) for member in json.loads(text)] == [
        ("killed", 3, True)
    ]
    status, text = stream("set", "--group", "g", "--max-attempts", "3", "--delays", "0.5,10", "--json")
    assert json.loads(text) == {"group": "g", "required": False, "max_attempts": 3, "delays_s": [0.5, 10]}
    assert stream("set", "--group", "g")[0] == 2
    status, text = stream("seek", "--group", "g", "--to", "-10min", "--dry-run", "--json")
    assert (status, json.loads(text)["n_passed_over"]) == (0, 15)
    server.call("XREADGROUP", "GROUP", "g", "killed", "STREAMS", KEYS.index, "0")
    assert stream("seek", "--group", "g", "--to", "start")[0] == 1, "a member lives"
    status, text = stream("seek", "--group", "g", "--to", "start", "--force")
    assert status == 0
    assert "8 message(s) delivered again" in text
    assert stream("seek", "--group", "g", "--to", "soon")[0] == 2
    assert stream("delete", "--group", "g")[0] == 2, "nobody can be asked"
    assert stream("delete", "--group", "g", "--yes", "--force")[0] == 0
    assert stream("ls", "--json") == (0, "[]\n")
    assert stream("seek", "--group", "g", "--to", "start")[0] == 1


def test_what_was_asked_for_ahead_is_held_once_it_is_collected(finished: str) -> None:
    member = GroupMember(Server(finished), KEYS, "g", "m")
    member.join("0-0", required=False)
    member.ask(5)
    member.ask(7)  # one at a time
    assert [entry.message_id for entry in member.collect()] == [1, 2, 3, 4, 5]
    assert len(member.held()) == 5
    assert member.collect() == []


def test_what_was_asked_for_ahead_is_given_back_by_a_member_that_leaves(finished: str) -> None:
    member = GroupMember(Server(finished), KEYS, "g", "m")
    member.join("0-0", required=False)
    member.ask(5)
    member.leave()
    found = group_info(Server(finished), ADDRESS, "g")
    assert (found.n_members, found.n_pending, found.n_delayed) == (0, 5, 5)
    with Consumer(ADDRESS, broker=finished, group="g") as consumer:
        assert sorted(frame.message_id for frame in consumer) == list(range(1, N_MESSAGES + 1))
        assert consumer.counts.n_redelivered == 0, "nobody had tried them"


def test_a_group_that_is_deleted_while_something_was_asked_for_is_found_gone_by_the_next_read(finished: str) -> None:
    member = GroupMember(Server(finished), KEYS, "g", "m")
    Server(finished).call("XGROUP", "CREATE", KEYS.index, "g", "0-0")
    Server(finished).call("XGROUP", "DESTROY", KEYS.index, "g")
    member.ask(5)
    assert member.collect() == []
    with pytest.raises(GroupNotFoundError):
        member.read(5, 0)


def test_members_that_come_and_go_in_the_middle_of_a_backlog_lose_nothing(broker: str) -> None:
    n_messages, n_each = 20_000, 6000
    with Producer(ADDRESS, broker=broker) as producer:
        for message_id in range(1, n_messages + 1):
            producer.send(message_id, b"%d" % message_id)
        producer.finish()
    seen: list[int] = []
    is_finished = False
    while not is_finished:
        with Consumer(ADDRESS, broker=broker, group="g", timeout_s=10) as consumer:
            for n, frame in enumerate(consumer, start=1):
                seen.append(frame.message_id)
                if n == n_each:
                    break
            else:
                is_finished = True
    assert sorted(set(seen)) == list(range(1, n_messages + 1))
    assert len(seen) - n_messages <= n_messages // n_each, "only the frame that a loop was left with comes again"


def test_a_fast_member_of_a_backlog_asks_for_nearly_all_of_it_ahead(
    broker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    n_messages = 20_000
    with Producer(ADDRESS, broker=broker) as producer:
        for message_id in range(1, n_messages + 1):
            producer.send(message_id, b"%d" % message_id)
        producer.finish()
    asked_for: list[int] = []
    collect = GroupMember.collect

    def counted(member: GroupMember) -> list[Entry]:
        entries = collect(member)
        asked_for.append(len(entries))
        return entries

    monkeypatch.setattr(GroupMember, "collect", counted)
    with Consumer(ADDRESS, broker=broker, group="g", timeout_s=10) as consumer:
        assert sum(1 for _ in consumer) == n_messages
    assert sum(asked_for) > n_messages / 2


def test_a_member_that_stalls_in_the_middle_of_a_backlog_keeps_what_it_had_asked_for(broker: str) -> None:
    """What lies in its socket is touched like all that it holds, so that nobody takes it for left by a dead one."""
    n_messages = 20_000
    with Producer(ADDRESS, broker=broker) as producer:
        for message_id in range(1, n_messages + 1):
            producer.send(message_id, b"%d" % message_id)
        producer.finish()
    with Consumer(ADDRESS, broker=broker, group="g", member_timeout_s=1) as consumer:
        for frame in consumer:
            if frame.message_id == n_messages // 2:
                time.sleep(2.5)
        assert consumer.counts.n_redelivered == 0
    assert group_info(Server(broker), ADDRESS, "g").n_pending == 0
