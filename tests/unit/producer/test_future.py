"""The future of a message behaves as any other, whenever somebody first looks at it."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError, ThreadPoolExecutor

import pytest

from beamstream.producer.future import SendFuture, tell


def test_a_future_that_was_told_gives_its_result() -> None:
    future = SendFuture()
    assert not future.done()
    assert future.running()
    tell([(future, "sent")])
    assert future.done()
    assert not future.running()
    assert (future.result(0), future.exception(0)) == ("sent", None)


def test_waiting_for_a_future_hurries_and_ends_with_its_result() -> None:
    hurried = threading.Event()
    future = SendFuture(hurried.set)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(future.result, 10)
        assert hurried.wait(10)
        tell([(future, "late")])
        assert waiting.result(10) == "late"


def test_an_error_is_raised_to_who_asked_before_and_after() -> None:
    future, error = SendFuture(), ValueError("no")
    with pytest.raises(TimeoutError):
        future.result(0)
    with pytest.raises(TimeoutError):
        future.exception(0)
    future.set_exception(error)
    assert future.exception() is error
    with pytest.raises(ValueError, match="no"):
        future.result()


def test_callbacks_are_called_once_whether_they_came_before_or_after() -> None:
    called: list[tuple[str, Future[str]]] = []
    future = SendFuture()
    future.add_done_callback(lambda done: called.append(("before", done)))
    tell([(future, "sent")])
    future.add_done_callback(lambda done: called.append(("after", done)))
    assert called == [("before", future), ("after", future)]


def test_a_message_cannot_be_called_back_and_is_told_once() -> None:
    future = SendFuture()
    assert not future.cancel()
    assert not future.cancelled()
    future.set_result("sent")
    for looked_at in (False, True):
        assert future.is_looked_at or not looked_at
        with pytest.raises(InvalidStateError):
            tell([(future, "late")])
        repr(future)
    assert future.result() == "sent"


@pytest.mark.parametrize("look", [lambda _: None, repr], ids=["unseen", "seen"])
def test_the_standard_ways_of_waiting_know_it(look: Callable[[object], object]) -> None:
    futures = [SendFuture() for _ in range(3)]
    for future in futures:
        look(future)
    tell([(futures[0], "sent")])
    first = concurrent.futures.wait(futures, 0, return_when=concurrent.futures.FIRST_COMPLETED)
    assert first.done == {futures[0]}
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(concurrent.futures.wait, futures, 10)
        tell((future, "sent") for future in futures[1:])
        assert waiting.result(10).done == set(futures)
    assert list(concurrent.futures.as_completed(futures, 0))

    async def wrapped() -> str:
        future = SendFuture()
        asyncio.get_running_loop().call_soon(tell, [(future, "late")])
        return await asyncio.wrap_future(future)

    assert asyncio.run(wrapped()) == "late"


def test_nobody_who_looks_while_it_is_told_waits_for_ever() -> None:
    batches = [[SendFuture() for _ in range(50)] for _ in range(40)]
    called = []

    def look(futures: list[SendFuture], which: int) -> bool:
        if which == 0:
            return all(future.result(10) == "sent" for future in futures)
        if which == 1:
            return concurrent.futures.wait(futures, 10).not_done == set()
        for future in futures:
            future.add_done_callback(called.append)
        return all(future.exception(10) is None for future in futures)

    with ThreadPoolExecutor(3) as pool:
        for futures in batches:
            looking = [pool.submit(look, futures, which) for which in range(3)]
            tell((future, "sent") for future in futures)
            assert all(one.result(20) for one in looking)
    assert len(called) == sum(map(len, batches))
