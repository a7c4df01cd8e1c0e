"""What is loaded anew behind a read, what is remembered of keys that are nowhere, and encoders of one's own."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any, Iterator, List, Optional

import pytest
from conftest import wait_until
from test_tier import TIER_TIMEOUT, Redis

import libkv
import libkv.aio

HOW: Any = {"expire": 100, "fresh_for": 10}


@pytest.fixture
def timed(clock: libkv.Clock) -> Iterator[libkv.Db[bytes]]:
    with libkv.open_in_memory(clock=clock) as db:
        yield db


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Redis]:
    server = Redis(tmp_path)
    yield server
    server.kill()


class Held:
    """A loader that says when it runs, and waits until it is let go."""

    def __init__(self, value: Optional[bytes]) -> None:
        self.value = value
        self.running, self.goes = threading.Event(), threading.Event()
        self.thread: Optional[int] = None

    def __call__(self, key: bytes) -> Optional[bytes]:
        self.thread = threading.get_ident()
        self.running.set()
        assert self.goes.wait(60)
        return self.value


def unwanted(key: bytes) -> bytes:
    raise AssertionError("no loader is needed")


def test_a_stale_value_is_served_while_a_thread_of_the_store_loads_it_anew(
    timed: libkv.Db[bytes], clock: libkv.Clock
) -> None:
    assert timed.get_or_load("k", lambda key: b"1", **HOW) == b"1"
    clock.advance(9.999)
    assert timed.get_or_load("k", unwanted, **HOW) == b"1"
    clock.advance(0.001)
    held = Held(b"2")
    assert timed.get_or_load("k", held, **HOW) == b"1"
    assert held.running.wait(60) and held.thread != threading.get_ident()
    assert timed.get_or_load("k", unwanted, **HOW) == b"1"
    held.goes.set()
    wait_until(lambda: timed["k"] == b"2", "it is loaded anew")
    assert timed.ttl("k") == 100
    clock.advance(100)
    assert timed.get_or_load("k", lambda key: b"3", **HOW) == b"3"


def test_what_a_loader_behind_raises_is_told_the_logger_and_none_removes_the_entry(clock: libkv.Clock) -> None:
    lines: List[str] = []

    def fails(key: bytes) -> bytes:
        raise OSError("no network")

    with libkv.open_in_memory(clock=clock, logger=lines.append) as db:
        db.get_or_load("k", lambda key: b"1", **HOW)
        clock.advance(10)
        assert db.get_or_load("k", fails, **HOW) == b"1"
        wait_until(lambda: any("OSError: no network" in line for line in lines), "it is told")
        assert db["k"] == b"1"

        def gone() -> bool:
            clock.advance(1)
            return db.get_or_load("k", lambda key: None, b"default", **HOW) == b"default"

        wait_until(gone, "it is removed")
        with pytest.raises(OSError, match="no network"):
            db.get_or_load("other", fails, **HOW)


def test_absence_is_remembered_for_its_time(timed: libkv.Db[bytes], clock: libkv.Clock) -> None:
    assert timed.get_or_load("k", lambda key: None, b"default", absent_for=10) == b"default"
    assert timed.get_or_load("k", unwanted, absent_for=10) is None
    clock.advance(10)
    assert timed.get_or_load("k", lambda key: b"v", absent_for=10) == b"v"


def test_loads_that_cannot_work_are_refused(timed: libkv.Db[bytes]) -> None:
    refused: List[Any] = [{"fresh_for": 1}, {"expire": 1, "fresh_for": 1}, {"early": -1}, {"early": float("nan")}]
    for how in refused:
        with pytest.raises(libkv.InvalidOptionError):
            timed.get_or_load("k", unwanted, **how)
    times: List[Any] = [{"expire": 1, "fresh_for": 0}, {"absent_for": 0}, {"lease": 0}, {"expire": 0, "early": 1}]
    for how in times:
        with pytest.raises(ValueError):
            timed.get_or_load("k", unwanted, **how)
    kinds: List[Any] = [{"expire": libkv.NEVER}, {"expire": libkv.KEEP}, {"expire_at": 2e9}]
    for how in kinds:
        with pytest.raises(TypeError):
            timed.get_or_load("k", unwanted, absent_for=1, **how)


def test_close_waits_for_the_loader_that_runs_and_lets_all_go(clock: libkv.Clock) -> None:
    from libkv import _load

    db = libkv.open_in_memory(clock=clock)
    for n in range(20):
        db.get_or_load(str(n), lambda key: b"1", **HOW)
    clock.advance(10)
    held = [Held(b"2") for _ in range(20)]
    for n, loader in enumerate(held):
        db.get_or_load(str(n), loader, **HOW)
    assert held[0].running.wait(60)
    closing = threading.Thread(target=db.close)
    closing.start()
    # Those that wait are dropped.
    wait_until(lambda: len(_load._handed) <= 4, "few are left")
    for loader in held:
        loader.goes.set()
    closing.join(60)
    assert not closing.is_alive() and not _load._handed
    assert sum(loader.running.is_set() for loader in held) <= 4


def test_a_memoized_function_is_called_anew_behind_and_its_none_may_be_remembered(
    timed: libkv.Db[bytes], clock: libkv.Clock
) -> None:
    calls: List[int] = []

    @timed.memoize(**HOW, absent_for=50)
    def digits(n: int) -> Optional[bytes]:
        calls.append(n)
        return str(len(calls)).encode() if n else None

    assert digits(1) == b"1" and digits(1) == b"1"
    assert digits(0) is None and digits(0) is None and calls == [1, 0]
    clock.advance(10)
    assert digits(1) == b"1"
    wait_until(lambda: digits(1) == b"3", "it is called anew")
    assert digits(0) is None and calls == [1, 0, 1]


def test_aio_loads_anew_in_its_event_loop_and_close_cancels_what_it_waits_for(clock: libkv.Clock) -> None:
    async def main() -> None:
        db = await libkv.aio.open_in_memory(clock=clock)
        running = asyncio.Event()
        cancelled: List[bool] = []

        async def load(key: bytes) -> bytes:
            await asyncio.sleep(0)
            return b"2"

        async def hang(key: bytes) -> bytes:
            running.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.append(True)
                raise
            return b"never"

        async def first(key: bytes) -> bytes:
            return b"1"

        assert await db.get_or_load("k", first, **HOW) == b"1"
        clock.advance(10)
        assert await db.get_or_load("k", load, **HOW) == b"1"
        while await db.get("k") != b"2":
            await asyncio.sleep(0.001)

        @db.memoize(absent_for=10)
        async def none() -> None:
            cancelled.append(False)

        assert await none() is None and await none() is None and cancelled == [False]
        clock.advance(10)
        assert await db.get_or_load("k", hang, **HOW) == b"2"
        await running.wait()
        # In the thread of the loop that the loader waits for.
        db.db.close()
        await asyncio.sleep(0.001)
        while cancelled != [False, True]:
            await asyncio.sleep(0.001)

    asyncio.run(asyncio.wait_for(main(), 60))


def test_a_store_is_closed_at_exit_while_an_event_loop_that_stands_still_is_waited_for(tmp_path: Path) -> None:
    program = """
        import asyncio, sys, threading
        import libkv, libkv.aio
        clock, asked = libkv.Clock(), threading.Event()
        loop = asyncio.new_event_loop()
        db = loop.run_until_complete(libkv.aio.open(sys.argv[1], clock=clock))
        async def value(key):
            return b"1"
        def waits(key):
            asked.set()
            return value(key)
        async def load(loader):
            return await db.get_or_load("k", loader, expire=100, fresh_for=10)
        loop.run_until_complete(load(value))
        clock.advance(10)
        loop.run_until_complete(load(waits))
        assert asked.wait(60)
        if sys.argv[2] == "collected":
            del db, load
            import gc; gc.collect()
        print("at exit")
    """
    for end in ("open", "collected"):
        command = [sys.executable, "-c", textwrap.dedent(program), str(tmp_path / "store"), end]
        done = subprocess.run(command, capture_output=True, timeout=60, text=True)
        assert done.returncode == 0 and done.stdout == "at exit\n", done.stderr
        assert "Fatal" not in done.stderr


class Capitals:
    """The store holds text, Redis the same in capitals."""

    def __init__(self) -> None:
        self.db: Optional[libkv.Db[bytes]] = None
        self.refused: List[BaseException] = []

    def encode(self, key: bytes, value: bytes) -> bytes:
        if key == b"raises":
            raise ValueError("it has no form")
        if self.db is not None:
            try:
                self.db.set(key, value)
            except libkv.InCallbackError as error:
                self.refused.append(error)
        return value.upper()

    def decode(self, key: bytes, data: bytes) -> bytes:
        if data == b"#":
            raise ValueError("it has no form")
        return data.lower()


def test_redis_holds_what_an_encoder_of_python_makes_of_a_value(redis: Redis) -> None:
    capitals, lines = Capitals(), []  # type: ignore[var-annotated]
    tier: Any = {"tier_url": redis.url, "tier_timeout": 30.0}
    with libkv.open_in_memory(**tier, tier_encoder=capitals, logger=lines.append) as here:
        capitals.db = here
        with libkv.open_in_memory(**tier) as plain, libkv.open_in_memory(**tier, tier_encoder=Capitals()) as there:
            here.set_many({"k": b"text", "raises": b"x", "empty": b""})
            here.flush(60)
            assert capitals.refused and any("ValueError: it has no form" in line for line in lines)
            assert (plain["k"], there["k"], there["empty"]) == (b"TEXT", b"text", b"")
            assert "raises" not in plain
            plain["bad"] = b"#"
            plain.flush(60)
            with pytest.raises(libkv.TierError, match="it has no form"):
                there.get("bad")
            assert here.incr_shared("n", 41) == 41 and there.incr_shared("n") == 42
    with pytest.raises(ValueError, match="numbers"):
        libkv.open_in_memory(tier_url=redis.url, tier_encoder=type("Odd", (Capitals,), {"numbers": "roman"})())
    with pytest.raises(libkv.InvalidOptionError):
        libkv.open_in_memory(tier_url=redis.url, tier_encoder="capitals")


def test_redis_holds_json_of_protobuf_messages_by_their_descriptors(redis: Redis) -> None:
    descriptors = Path(__file__).parents[3] / "tests" / "tier" / "proto" / "person.binpb"
    tier: Any = {"tier_url": redis.url, "tier_timeout": 30.0}
    with libkv.open_in_memory(**tier, tier_encoder=f"json-from-protobuf:{descriptors}:app.Person") as here:
        with libkv.open_in_memory(**tier) as plain:
            here["al"] = b"\x0a\x02Al\x10\x07"
            here.flush(60)
            assert plain["al"] == b'{"id":"7","name":"Al"}'
    with pytest.raises(libkv.InvalidOptionError, match="no message app.Nobody"):
        libkv.open_in_memory(**tier, tier_encoder=f"json-from-protobuf:{descriptors}:app.Nobody")


def test_a_store_with_an_encoder_and_a_refresh_is_closed_by_the_collector_and_at_exit(redis: Redis) -> None:
    program = """
        import gc, sys
        import libkv
        class Same:
            def encode(self, key, value):
                return value
            def decode(self, key, data):
                return data
        def run():
            db = libkv.open_in_memory(tier_url=sys.argv[1], tier_timeout=float(sys.argv[2]), tier_encoder=Same())
            for n in range(1000):
                db.get_or_load(str(n), lambda key: key, expire=100, fresh_for=0.001, lease=10)
            for n in range(1000):
                db.get_or_load(str(n), lambda key: key, expire=100, fresh_for=0.001)
            return db
        for _ in range(3):
            run()
            gc.collect()
        db = run()
        print("at exit")
    """
    command = [sys.executable, "-c", textwrap.dedent(program), redis.url, str(TIER_TIMEOUT)]
    done = subprocess.run(command, capture_output=True, timeout=600, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "at exit\n", "")


def test_of_stores_that_share_a_tier_one_loads_a_key_under_a_lease(redis: Redis) -> None:
    calls: List[bytes] = []

    def load(key: bytes) -> bytes:
        calls.append(key)
        return b"v"

    tier: Any = {"tier_url": redis.url, "tier_timeout": TIER_TIMEOUT}
    with libkv.open_in_memory(**tier) as one, libkv.open_in_memory(**tier) as other:
        threads = [
            threading.Thread(target=db.get_or_load, args=("k", load), kwargs={"expire": 100, "lease": 60})
            for db in (one, other, one, other)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert calls == [b"k"] and one["k"] == other["k"] == b"v"
    gc.collect()
