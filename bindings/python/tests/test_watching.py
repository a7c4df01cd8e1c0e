"""Watching: changes in their order, behind a version, awaited, and said to be missed."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Callable, List, Optional

import pytest

import libkv
from libkv import aio


def told(watch: libkv.Watch) -> List[str]:
    """All that there is by now, each change in a word."""
    words = []
    while (change := watch.next(0)) is not None:
        words.append(word(change))
    return words


def word(change: Optional[libkv.WatchChange]) -> str:
    assert change is not None
    if change.kind == "put":
        return f"{change.key.decode()}={change.value.decode()}"
    return f"{change.key.decode()} {change.cause}" if change.kind == "removed" else change.kind


def test_changes_are_told_in_their_order(timed: libkv.Db[bytes]) -> None:
    with timed.watch("user:") as watch:
        timed["user:1"] = b"Alice"
        timed["order:1"] = b"tea"
        session = timed.create_and_lock("user:2", initial=b"Bob")
        assert session is not None
        session.metadata["by"] = b"Alice"
        version = session.commit()
        del timed["user:1"]
        timed.clear()
        assert word(watch.next()) == "user:1=Alice"
        second = watch.next()
        assert second is not None and word(second) == "user:2=Bob"
        assert (second.version, second.metadata, second.expires_at) == (version, {"by": b"Alice"}, 1_000_000_060)
        assert told(watch) == ["user:1 deleted", "cleared"]
        assert watch.next(0.001) is None
        assert watch.position > version
    with pytest.raises(libkv.ClosedError):
        watch.next(0)


def test_a_watch_goes_on_after_a_reopen(tmp_path: Path) -> None:
    with libkv.open(tmp_path) as db:
        watch = db.watch(after=0)
        db["a"] = b"1"
        db["b"] = b"2"
        assert word(watch.next()) == "a=1"
        position = watch.position
        del db["a"]
    assert list(watch) == []
    with libkv.open(tmp_path) as db:
        assert told(db.watch(after=position)) == ["b=2", "a deleted"]
        with pytest.raises(libkv.InvalidOptionError):
            db.watch(after=1 << 50)
        with pytest.raises(ValueError):
            db.watch(after=-1)


def test_a_wait_ends_with_a_wake_up_and_with_the_watch(db: libkv.Db[bytes]) -> None:
    watch = db.watch()
    waker = threading.Timer(0.005, watch.wake)
    waker.start()
    assert watch.next() is None
    waker.join()
    writer = threading.Timer(0.005, lambda: db.set("k", b"v"))
    writer.start()
    assert word(next(watch)) == "k=v"
    writer.join()
    closer = threading.Timer(0.005, watch.close)
    closer.start()
    assert list(watch) == []
    closer.join()


def test_a_watch_that_comes_too_late_says_so_once() -> None:
    with libkv.open_in_memory(segment_bytes=65536) as db:
        db["a"], db["b"] = b"", b""
        watch = db.watch()
        del db["a"]
        for _ in range(50):
            for _ in range(200):
                db["churn"] = bytes(1000)
            db.compact()
            try:
                db.watch(after=watch.position).next(0)
            except libkv.LaggedError:
                break
        with pytest.raises(libkv.LaggedError):
            watch.next(0)
        keys = [change.key for change in iter(lambda: watch.next(0), None)]
        assert keys[0] == b"b" and set(keys[1:]) == {b"churn"}


def test_asyncio_awaits_changes_and_loses_none_when_it_is_cancelled() -> None:
    async def main() -> None:
        async with await aio.open_in_memory() as db:
            async with await db.watch("k") as watch:
                assert await watch.next(0.001) is None
                waiting = asyncio.ensure_future(watch.next())
                await asyncio.sleep(0)
                waiting.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await waiting
                await db.set("k1", b"v")
                await db.set("k2", b"w")
                words = []
                async for change in watch:
                    words.append(word(change))
                    if len(words) == 2:
                        break
                assert words == ["k1=v", "k2=w"]
            watch = await db.watch()
            asyncio.get_running_loop().call_later(0.005, db.db.close)
            assert [change async for change in watch] == []

    asyncio.run(main())


def test_a_watch_that_another_thread_closes_is_closed_to_who_reads_from_it_and_never_busy(
    db: libkv.Db[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = db.watch()
    lib = libkv._watch.lib
    free = lib.kv_watch_free
    raised: List[str] = []

    def use(call: Callable[[], object]) -> None:
        try:
            call()
        except libkv.Error as error:
            raised.append(type(error).__name__)

    def free_while_it_is_used(at: int) -> int:
        calls: List[Callable[[], object]] = [watch.next, lambda: watch.position, watch.close]
        threads = [threading.Thread(target=use, args=(call,), daemon=True) for call in calls]
        for thread in threads:
            thread.start()
        # The third waits until it is freed.
        for thread in threads[:2]:
            thread.join(20)
        return int(free(at))

    monkeypatch.setattr(lib, "kv_watch_free", free_while_it_is_used)
    watch.close()
    assert raised == ["ClosedError", "ClosedError"]
    watch.wake()
    watch.close()


def test_a_watch_may_be_closed_within_a_call_of_the_same_thread_as_by_what_a_signal_calls() -> None:
    with libkv.open_in_memory() as db:
        watch: Optional[libkv.Watch] = None

        class Closes:
            def encode(self, value: bytes) -> bytes:
                return value

            def decode(self, data: bytes) -> bytes:
                assert watch is not None
                with pytest.raises(libkv.BusyError):
                    watch.position
                watch.close()
                return data

        watch = db.typed(Closes()).watch()
        db["a"] = b"1"
        told: List[libkv.WatchChange] = []
        reader = threading.Thread(target=lambda: told.extend(watch), daemon=True)
        reader.start()
        reader.join(20)
        assert not reader.is_alive() and [change.value for change in told] == [b"1"]


def test_a_watch_may_be_closed_within_a_wake_up_as_by_what_a_signal_calls_while_another_thread_leaves_it(
    db: libkv.Db[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = db.watch()
    lib = libkv._watch.lib
    wake = lib.kv_watch_wake
    reader = threading.Thread(target=lambda: list(watch), daemon=True)

    def wake_and_close(at: int) -> int:
        status = int(wake(at))
        if not watch._is_closed:
            watch.close()
        return status

    monkeypatch.setattr(lib, "kv_watch_wake", wake_and_close)
    reader.start()
    waker = threading.Thread(target=watch.wake, daemon=True)
    waker.start()
    for thread in (waker, reader):
        thread.join(20)
        assert not thread.is_alive()
    with pytest.raises(libkv.ClosedError):
        watch.next(0)
    assert watch._at == []


def test_tasks_that_await_a_change_at_once_get_one_each() -> None:
    async def run() -> None:
        async with await aio.open_in_memory() as db:
            async with await db.watch() as watch:
                tasks = [asyncio.ensure_future(watch.next(60)) for _ in range(3)]
                await asyncio.sleep(0)
                for n in b"123":
                    await db.set(bytes([n]), bytes([n]))
                changes = await asyncio.gather(*tasks)
                assert sorted(change.value for change in changes if change) == [b"1", b"2", b"3"]
                assert await watch.next(0) is None

    asyncio.run(run())
