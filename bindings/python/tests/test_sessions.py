"""Entries that are locked, edited and committed, and keys that the store makes up."""

from __future__ import annotations

import asyncio
import gc
import threading
from typing import Any, List

import pytest

import libkv
from libkv import aio


def locked(db: libkv.Db[Any], key: str = "k") -> libkv.Session[Any]:
    return db.get_and_lock(key, timeout=0)


def test_edits_are_seen_when_they_are_committed(db: libkv.Db[bytes]) -> None:
    with pytest.raises(KeyError):
        db.get_and_lock("k")
    session = db.create_and_lock("k", initial=b"first")
    assert session is not None and (session.key, session.value, session.version) == (b"k", b"first", 0)
    session.value = b"second"
    session.metadata["by"] = "Käse".encode()
    assert db.get("k") is None
    version = session.commit(keep=True)
    assert (db["k"], db.version("k"), session.version) == (b"second", version, version)
    with pytest.raises(libkv.KeyLockedError):
        db.get_and_lock("k", timeout=0)
    with pytest.raises(libkv.KeyLockedError):
        db.get_and_lock("k", timeout=0.001)
    session.metadata["empty"] = b""
    assert session.commit(expire=60) > version
    assert 0 < (db.ttl("k") or 0) <= 60
    assert db.get_with_metadata("k") == (b"second", {"by": "Käse".encode(), "empty": b""})
    assert db.get_with_metadata("none") is None
    assert db.create_and_lock("k") is None
    again = db.create_and_lock("k", allow_existing=True, initial=b"other")
    assert again.value == b"second" and len(again.metadata) == 2
    assert again.commit(delete=True) == 0
    assert "k" not in db


def test_a_with_commits_and_an_exception_in_it_rolls_back(db: libkv.Db[bytes]) -> None:
    db["k"] = b"1"
    with locked(db) as session:
        session.value = b"2"
    assert db["k"] == b"2"
    with pytest.raises(ZeroDivisionError):
        with locked(db) as session:
            session.value = b"3"
            1 / 0
    assert db["k"] == b"2"
    with locked(db) as session:
        session.value = b"4"
        session.rollback()
    assert db["k"] == b"2"
    with locked(db) as session:
        session.commit(delete=True)
    assert "k" not in db


def test_a_session_that_has_ended_is_refused(db: libkv.Db[bytes]) -> None:
    db["k"] = b"1"
    for end in ("commit", "rollback", "conflict"):
        session = locked(db)
        if end == "conflict":
            db["k"] = b"theirs"
            with pytest.raises(libkv.ConflictError):
                session.commit()
        else:
            getattr(session, end)()
        for call in (session.commit, session.reload):
            with pytest.raises(libkv.SessionEndedError):
                call()
        session.rollback()
        locked(db).rollback()


def test_a_conflict_changes_nothing_and_may_leave_the_session(db: libkv.Db[bytes]) -> None:
    db["k"] = b"1"
    session = locked(db)
    session.value = b"mine"
    db["k"] = b"theirs"
    for named in ({"keep_on_failure": True}, {"keep": True}):
        with pytest.raises(libkv.ConflictError):
            session.commit(**named)
    assert db["k"] == b"theirs" and session.value == b"mine"
    session.reload()
    assert session.value == b"theirs"
    session.value = b"mine"
    session.commit(keep_on_failure=True)
    assert db["k"] == b"mine"


def test_values_go_through_the_codec_and_bad_ones_end_nothing() -> None:
    with libkv.open_in_memory(codec="json") as db:
        session = db.create_and_lock("k")
        assert session is not None and session.value is None
        with pytest.raises(ValueError):
            session.commit(keep_on_failure=True)
        session.value = {"visits": 1}
        bad: Any = {"name": "text"}
        session.metadata = bad
        with pytest.raises(TypeError):
            session.commit(keep_on_failure=True)
        session.metadata = {}
        session.commit()
        with locked(db) as session:
            session.value["visits"] += 1
        assert db["k"] == {"visits": 2}


def test_no_edit_of_many_threads_is_lost(db: libkv.Db[bytes]) -> None:
    def edit() -> None:
        for _ in range(50):
            with db.create_and_lock("k", initial=b"0", allow_existing=True) as session:
                session.value = b"%d" % (int(session.value) + 1)

    threads = [threading.Thread(target=edit) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert db["k"] == b"300"


def test_a_close_ends_waiting() -> None:
    db = libkv.open_in_memory()
    db["k"] = b"1"
    session = locked(db)
    ended: List[BaseException] = []

    def wait() -> None:
        try:
            db.get_and_lock("k")
        except libkv.ClosedError as error:
            ended.append(error)

    threads = [threading.Thread(target=wait) for _ in range(3)]
    for thread in threads:
        thread.start()
    db.close()
    for thread in threads:
        thread.join()
    assert len(ended) == 3
    with pytest.raises(libkv.ClosedError):
        session.commit()


def test_a_session_that_is_forgotten_is_rolled_back_with_a_warning(db: libkv.Db[bytes]) -> None:
    db["k"] = b"1"
    session = locked(db)
    session.value = b"2"
    with pytest.warns(ResourceWarning):
        del session
        gc.collect()
    assert db["k"] == b"1"
    locked(db).rollback()


def test_generated_keys_grow(db: libkv.Db[bytes]) -> None:
    keys = [db.generate_key(prefix="job:", base=36, width=7) for _ in range(50)]
    assert keys == sorted(set(keys)) and all(len(key) == 11 and key.startswith(b"job:") for key in keys)
    with db.create_generated_and_lock(initial=b"v", prefix="job:", base=36, width=7) as session:
        assert session.key > keys[-1]
    assert db[session.key] == b"v"
    for named in ({"base": 63}, {"width": 2}):
        with pytest.raises(libkv.InvalidOptionError):
            db.generate_key(**named)
    with pytest.raises(ValueError):
        db.generate_key(width=-1)


def test_tasks_wait_in_their_order_and_may_be_cancelled() -> None:
    async def run() -> None:
        async with await aio.open_in_memory() as db:
            await db.set("k", b"0")
            order: List[int] = []

            async def edit(n: int) -> None:
                async with await db.get_and_lock("k") as session:
                    order.append(n)
                    session.value = b"%d" % (int(session.value) + 1)
                    session.metadata["last"] = b"%d" % n

            first = await db.get_and_lock("k")
            with pytest.raises(libkv.KeyLockedError):
                await db.get_and_lock("k", timeout=0)
            with pytest.raises(libkv.KeyLockedError):
                await db.create_and_lock("k", allow_existing=True, timeout=0.001)
            # More than any executor has threads.
            tasks = [asyncio.ensure_future(edit(n)) for n in range(100)]
            await asyncio.sleep(0)
            for task in tasks[1::2]:
                task.cancel()
            await first.rollback()
            done = await asyncio.gather(*tasks, return_exceptions=True)
            assert sum(isinstance(each, asyncio.CancelledError) for each in done) == 50
            assert order == list(range(0, 100, 2))
            assert await db.get_with_metadata("k") == (b"50", {"last": b"98"})
            generated = await db.create_generated_and_lock(initial=b"v", prefix="g")
            async with generated:
                pass
            assert await db.get(generated.key) == b"v" and await db.generate_key(prefix="g") > generated.key

    asyncio.run(run())


def test_tasks_wait_for_threads_too_and_a_task_that_is_cancelled_gives_back_what_comes_late() -> None:
    async def run() -> None:
        async with await aio.open_in_memory() as db:
            await db.set("k", b"0")
            session = db.db.get_and_lock("k", timeout=0)
            waits = asyncio.ensure_future(db.get_and_lock("k"))
            late = asyncio.ensure_future(db.get_and_lock("k"))
            await asyncio.sleep(0)
            waits.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waits
            session.rollback()
            await (await late).rollback()
            again = await db.get_and_lock("k", timeout=60)
            with pytest.raises(ZeroDivisionError):
                async with again:
                    1 / 0
            assert db.db.create_and_lock("k", allow_existing=True, timeout=60) is not None

    with pytest.warns(ResourceWarning):
        asyncio.run(run())
        gc.collect()


def test_a_task_that_is_cancelled_in_a_commit_frees_nothing_that_the_commit_uses() -> None:
    async def run() -> None:
        async with await aio.open_in_memory() as db:
            await db.set("k", b"0")
            session = await db.get_and_lock("k")
            session.value = b"1"
            commit, runs, go_on = session._session.commit, threading.Event(), threading.Event()

            def slow(**named: Any) -> int:
                runs.set()
                assert go_on.wait(60)
                return commit(**named)

            session._session.commit = slow  # type: ignore[method-assign]

            async def end() -> None:
                async with session:
                    pass

            task = asyncio.ensure_future(end())
            assert await asyncio.get_running_loop().run_in_executor(None, runs.wait, 60)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            with pytest.raises(libkv.KeyLockedError):
                await db.get_and_lock("k", timeout=0)
            go_on.set()
            async with await db.get_and_lock("k", timeout=60) as again:
                assert again.value == b"1"

    asyncio.run(run())


def test_a_task_s_session_that_is_forgotten_keeps_nobody_waiting() -> None:
    async def run() -> None:
        async with await aio.open_in_memory() as db:
            await db.set("k", b"0")
            session = await db.get_and_lock("k")
            waits = asyncio.ensure_future(db.get_and_lock("k", timeout=60))
            await asyncio.sleep(0)
            with pytest.warns(ResourceWarning):
                del session
                gc.collect()
            await (await waits).rollback()

    asyncio.run(run())


def test_a_close_ends_the_waiting_of_tasks() -> None:
    async def run() -> None:
        db = await aio.open_in_memory()
        await db.set("k", b"0")
        held = await db.get_and_lock("k")
        waiting = [asyncio.ensure_future(db.get_and_lock("k")) for _ in range(3)]
        await asyncio.sleep(0)
        await db.close()
        ended = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), 60)
        assert all(isinstance(each, libkv.ClosedError) for each in ended), ended
        await held.rollback()

    asyncio.run(run())
