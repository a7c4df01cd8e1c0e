"""The store for asyncio."""

from __future__ import annotations

import asyncio
import concurrent.futures
import io
from pathlib import Path
from typing import Any, List

import pytest

import libkv
from libkv import aio


def test_every_operation_is_there_and_does_the_same(tmp_path: Path) -> None:
    async def main() -> None:
        clock = libkv.Clock()
        async with await aio.open(tmp_path / "s", clock=clock, default_ttl="1m", background=False) as db:
            assert await db.set("k", b"v") and await db.get("k") == b"v" and await db.contains("k")
            version = await db.version("k")
            assert version and await db.compare_and_swap("k", version, b"w")
            assert await db.ttl("k") == 60 and await db.expire("k", 5) and await db.touch("k") and await db.persist("k")
            assert await db.expire_at("k", await db.now() + 9)
            assert await db.add("a", b"1") and await db.replace("a", b"2") and await db.incr("a") == 3
            assert await db.increment("a") == 4 and await db.take("a") == b"4" and await db.pop("a", b"d") == b"d"
            with pytest.raises(KeyError):
                await db.pop("a")
            assert await db.setdefault("s", b"1") == b"1" and await db.delete("s")
            await db.set_many({"x": b"1", "y": b"2"}, expire=7)
            await db.apply([libkv.Delete("x"), libkv.Set("z", b"3")])
            assert await db.get_many(["x", "y", "z"]) == [None, b"2", b"3"] and await db.len() == 3
            assert [entry.key async for entry in db.scan(ordered=True)] == [b"k", b"y", b"z"]
            assert await db.delete_many(["y", "z"]) == 2
            text = io.BytesIO()
            assert (await db.export(text)).entries == 1
            await db.clear()
            text.seek(0)
            assert (await db.import_(text)).entries == 1
            for call in (db.sync, db.compact, db.sweep, db.pause, db.resume):
                await call()
            await db.backup(tmp_path / "backup")
            assert (await db.stats())["entries"] == await db.figure("entries") == 1
            assert "kv_entries" in await db.stats_prometheus() and "entries" in await db.stats_json()
            assert await db.damage() == []
        with pytest.raises(libkv.ClosedError):
            await db.get("k")

    asyncio.run(main())


def test_all_operations_of_the_store_are_there() -> None:
    mapping = set(dir(dict)) | {"pin", "memoize"}
    operations = {name for name in dir(libkv.Db) if not name.startswith("_")} - mapping
    assert operations <= set(dir(aio.AsyncDb))


@pytest.mark.parametrize("is_coroutine", [True, False])
def test_one_loader_runs_however_many_tasks_ask_and_may_await_the_store(is_coroutine: bool) -> None:
    async def main() -> None:
        # One thread: a loader that waits for the executor must not keep it from itself.
        with concurrent.futures.ThreadPoolExecutor(1) as executor:
            async with await aio.open_in_memory(executor=executor) as db:
                calls: List[bytes] = []

                async def load(key: bytes) -> bytes:
                    calls.append(key)
                    await db.set("from the loader", b"1")
                    await asyncio.sleep(0)
                    return b"loaded"

                def load_plainly(key: bytes) -> bytes:
                    calls.append(key)
                    return b"loaded"

                loader: Any = load if is_coroutine else load_plainly
                found = await asyncio.gather(*(db.get_or_load(b"k", loader, expire=60) for _ in range(50)))
                assert found == [b"loaded"] * 50 and calls == [b"k"]
                assert await db.get_or_load(b"none", lambda key: None, b"default") == b"default"

    asyncio.run(main())


def test_what_a_loader_raises_is_raised_in_every_task() -> None:
    async def main() -> None:
        async with await aio.open_in_memory() as db:

            async def load(key: bytes) -> bytes:
                await asyncio.sleep(0)
                raise ValueError("on purpose")

            outcomes = await asyncio.gather(*(db.get_or_load("k", load) for _ in range(3)), return_exceptions=True)
            assert all(isinstance(outcome, ValueError) for outcome in outcomes) and len(outcomes) == 3
            assert not await db.contains("k")

    asyncio.run(main())


def test_a_task_that_is_cancelled_leaves_the_loader_to_the_others() -> None:
    async def main() -> None:
        async with await aio.open_in_memory() as db:
            running, go = asyncio.Event(), asyncio.Event()

            async def load(key: bytes) -> bytes:
                running.set()
                await go.wait()
                return b"loaded"

            first = asyncio.create_task(db.get_or_load("k", load))
            await running.wait()
            second = asyncio.create_task(db.get_or_load("k", load))
            await asyncio.sleep(0)
            first.cancel()
            go.set()
            assert await second == b"loaded"
            with pytest.raises(asyncio.CancelledError):
                await first

    asyncio.run(main())


def test_a_memoized_coroutine_runs_once_for_its_arguments() -> None:
    async def main() -> None:
        async with await aio.open_in_memory(codec="json") as db:
            calls: List[int] = []

            @db.memoize(expire=60)
            async def double(n: int) -> Any:
                calls.append(n)
                return 2 * n if n else None

            assert [await double(1), await double(1), await double(0), await double(0)] == [2, 2, None, None]
            assert calls == [1, 0]

    asyncio.run(main())
