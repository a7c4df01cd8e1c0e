"""Stores that share their entries through a redis-server which each test starts, with real processes on either side."""

from __future__ import annotations

import asyncio
import binascii
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, Callable, Iterator, List, Optional

import pytest
from conftest import REPOSITORY, certificates, redis_program, wait_until

import libkv
import libkv.aio


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


#: What a store waits for a Redis that answers, however slow the machine is. One that was killed is noticed at once.
TIER_TIMEOUT = 20.0


class Redis:
    """At a socket of its own, and at a port where `port` is the option that names one."""

    def __init__(self, directory: Path, *options: str, port: Optional[str] = None) -> None:
        self._directory = directory
        self._process: Optional[subprocess.Popen[bytes]] = None

        def start() -> bool:
            # Another process may take a port that is free now: then the next attempt has another one.
            self.address = f"127.0.0.1:{free_port()}"
            at = ["--bind", "127.0.0.1", port, self.address.rpartition(":")[2]] if port else []
            self._options = [*at, *options]
            return self._try_up()

        wait_until(start, "redis-server starts")

    @property
    def url(self) -> str:
        return f"redis+unix://{self._socket}"

    @property
    def _socket(self) -> str:
        return str(self._directory / "s")

    def _try_up(self) -> bool:
        command = [redis_program(), "--port", "0", "--unixsocket", self._socket, "--save", ""]
        command += ["--dir", str(self._directory), *self._options]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        wait_until(lambda: self._answers() or self._has_ended(), "redis-server answers")
        return not self._has_ended()

    def _has_ended(self) -> bool:
        return self._process is None or self._process.poll() is not None

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as at:
            at.settimeout(1)
            try:
                at.connect(self._socket)
                at.sendall(b"PING\r\n")
                return at.recv(7) == b"+PONG\r\n"
            except OSError:
                return False

    def up(self) -> None:
        assert self._try_up(), "redis-server starts again at its socket"

    def kill(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop(self) -> None:
        """Until `go_on` it answers nobody, and keeps its connections."""
        assert self._process
        self._process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED)

    def go_on(self) -> None:
        assert self._process
        self._process.send_signal(signal.SIGCONT)


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Redis]:
    server = Redis(tmp_path)
    yield server
    server.kill()


def shared(redis: Redis, **more: Any) -> Any:
    options: Any = {"tier_prefix": "t:", "tier_backoff_max": "50ms", "tier_timeout": TIER_TIMEOUT, **more}
    return libkv.open_in_memory(tier_url=redis.url, **options)


# Does what the lines of its input say, in a store of its own.
PEER = """
import sys, libkv
db = libkv.open(sys.argv[1], tier_url=sys.argv[2], tier_prefix="t:", tier_fresh="drop",
                tier_unreachable_is_miss=True, tier_backoff_max="50ms", tier_timeout=float(sys.argv[3]))
def stats():
    found = db.tier_stats()
    return f"unsent {found['unsent_keys']} hears {found['hears']} failing {found['failing'] is not None}"
calls = {"set": lambda key, value: db.set(key, value.encode()) and "ok", "delete": lambda key: (db.delete(key), "ok")[1],
         "flush": lambda: db.flush(60) or "ok", "get": lambda key: db.get(key, b"none").decode(), "stats": stats}
for line in sys.stdin:
    name, *args = line.split()
    try:
        print(calls[name](*args), flush=True)
    except libkv.Error as error:
        print(type(error).__name__, error, flush=True)
db.close()
"""


class Peer:
    def __init__(self, store: Path, redis: Redis) -> None:
        command = [sys.executable, "-c", PEER, str(store), redis.url, str(TIER_TIMEOUT)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, line: str) -> str:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        return self._process.stdout.readline().rstrip("\n")

    def comes_to(self, line: str, answer: str) -> None:
        wait_until(lambda: self.ask(line) == answer, f"{line} gives {answer}")

    def end(self) -> int:
        self._process.communicate()
        return self._process.returncode


@pytest.fixture
def peers(tmp_path: Path, redis: Redis) -> Iterator[List[Peer]]:
    both = [Peer(tmp_path / name, redis) for name in ("here", "there")]
    yield both
    assert [peer.end() for peer in both] == [0, 0]


def test_two_processes_see_each_others_sets_and_deletes(peers: List[Peer]) -> None:
    here, there = peers
    there.comes_to("stats", "unsent 0 hears True failing False")
    assert here.ask("set k v") == "ok"
    there.comes_to("get k", "v")
    assert here.ask("set k w") == "ok"
    there.comes_to("get k", "w")
    assert there.ask("delete k") == "ok"
    here.comes_to("stats", "unsent 0 hears True failing False")
    here.comes_to("get k", "none")
    assert there.ask("get k") == "none"


def test_two_processes_go_on_without_redis_and_converge_when_it_is_back(redis: Redis, peers: List[Peer]) -> None:
    here, there = peers
    assert [here.ask("set gone 1"), here.ask("flush")] == ["ok", "ok"]
    there.comes_to("get gone", "1")
    redis.kill()
    assert [here.ask(f"set key{n} v") for n in range(20)] == ["ok"] * 20
    assert [here.ask("delete gone"), here.ask("get key7")] == ["ok", "v"]
    here.comes_to("stats", "unsent 21 hears False failing True")
    assert [there.ask("get key7"), there.ask("set theirs 2")] == ["none", "ok"]
    redis.up()
    assert [here.ask("flush"), there.ask("flush")] == ["ok", "ok"]
    for n in range(20):
        there.comes_to(f"get key{n}", "v")
    there.comes_to("get gone", "none")
    here.comes_to("get theirs", "2")
    here.comes_to("stats", "unsent 0 hears True failing False")


def test_every_read_asks_redis_for_what_the_store_does_not_have(redis: Redis) -> None:
    with shared(redis) as here:
        here.set_many([(name, name.encode()) for name in ("a", "b", "c", "d", "e", "f")], expire=600)
        here.flush(60)
        with shared(redis) as there:
            assert there["a"] == b"a" and there.get("none") is None
            assert there.get_many(["b", "none", "a"], b"-") == [b"b", b"-", b"a"]
            assert "c" in there and "none" not in there
            assert 0 < there.ttl("d") <= 600 and there.ttl("none") is None
            assert there.version("e") and there.version("none") is None
            assert there.tier_stats()["fetches"] >= 9
            # Copies are read here.
            redis.kill()
            assert there.get_many(["a", "b", "c", "d", "e"]) == [b"a", b"b", b"c", b"d", b"e"]
            with pytest.raises(libkv.TierError, match="^tier: "):
                there.get_many(["a", "f"])


def test_a_tier_that_cannot_be_reached_raises_its_own_error_and_loses_nothing(redis: Redis) -> None:
    with shared(redis) as db, shared(redis, tier_writes="through") as through:
        with shared(redis, tier_writes="refused") as follower:
            through["t"] = b"1"
            assert db["t"] == b"1"
            with pytest.raises(libkv.ReadOnlyError):
                follower["t"] = b"2"
            redis.kill()
            db["k"] = b"v"
            for call in (lambda: db.flush(0.01), lambda: db.get("none"), lambda: "none" in db, lambda: db.ttl("none")):
                with pytest.raises(libkv.TierError, match="^tier: "):
                    call()
            with pytest.raises(libkv.TierError):
                through["t"] = b"2"
            wait_until(lambda: db.tier_stats()["failures"] > 0, "the thread that sends has tried")
            lag = db.tier_stats()
            assert lag["unsent_keys"] == 1 and lag["unsent_bytes"] > 0 and lag["failing"]
            redis.up()
            db.flush(60)
            through.flush(60)
            assert follower["k"] == b"v"
            assert "\nkv_tier_unsent_keys 0\n" in db.tier_stats_prometheus()


def test_what_redis_decides_holds_for_every_store_that_shares_the_key(redis: Redis) -> None:
    with shared(redis, codec="text") as here, shared(redis, codec="text") as there:
        sums: List[int] = []

        def add(db: Any) -> None:
            for _ in range(25):
                sums.append(db.incr_shared("n"))

        threads = [threading.Thread(target=add, args=(db,)) for db in (here, there) * 4]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        # Nobody else has the same number.
        assert sorted(sums) == list(range(1, 201))
        assert here.add_shared("lock", "me", 60) and not there.add_shared("lock", "you")
        assert not there.compare_and_swap_shared("lock", None, "you")
        assert not there.compare_and_swap_shared("lock", "", "you")
        assert there.compare_and_swap_shared("lock", "me", "you") and there["lock"] == "you"
        assert 0 < there.ttl("lock") <= 60
        assert there.compare_and_swap_shared("new", None, "") and here.compare_and_swap_shared("new", "", "full")
        with pytest.raises(libkv.NotAnIntegerError):
            here.increment_shared("lock")
        with pytest.raises(ValueError):
            here.incr_shared("n", 2**63)
        redis.kill()
        with pytest.raises(libkv.TierError, match="^tier: "):
            here.incr_shared("n")
    with libkv.open_in_memory() as plain, pytest.raises(libkv.TierError, match="^tier: not applied: "):
        plain.add_shared("k", b"v")


def test_what_redis_decides_is_of_the_tiers_codec_and_other_views_are_told_so(redis: Redis) -> None:
    with shared(redis, codec="json") as here, shared(redis, codec="json") as there:
        assert here.add_shared("k", {"a": 1}) and here["k"] == {"a": 1} == there["k"]
        assert here.codec("k") == there.codec("k") == "json"
        words = here.typed("text")
        calls: List[Callable[[], object]] = [
            lambda: words.add_shared("new", "word"),
            lambda: words.compare_and_swap_shared("new", None, "word"),
            lambda: words.incr_shared("new"),
        ]
        for call in calls:
            with pytest.raises(libkv.WrongCodecError, match="not applied: .* written as json .* not as text"):
                call()
        assert there.get("new") is None
        # Bytes are taken as they are.
        assert here.typed("bytes").add_shared("raw", b"[1]") and here["raw"] == [1] == there["raw"]
    with shared(redis, tier_codec="5") as numbered:
        assert numbered.typed("text").add_shared("word", "x")


def test_a_pattern_is_preloaded_in_portions_and_can_be_gone_on_from(redis: Redis) -> None:
    keys = 3000
    with shared(redis) as here, shared(redis) as there:
        here.set_many([("other", b"x")] + [(f"user:{n}", b"v") for n in range(keys)])
        here.flush(60)
        told: List[libkv.Preloaded] = []

        def break_off(done: libkv.Preloaded) -> bool:
            told.append(done)
            return False

        broken = there.preload("user:*", progress=break_off)
        assert told == [broken] and not broken.is_complete and 0 < broken.copied < keys
        rest = there.preload("user:*", broken.cursor, told.append)
        assert rest.is_complete and told[-1] == rest and broken.copied + rest.copied == keys == len(there)
        del here["user:7"]
        here.flush(60)
        assert there.preload("user:*")[3:] == (0, 1)

        def fail(done: libkv.Preloaded) -> bool:
            raise LookupError(done.cursor)

        with pytest.raises(LookupError):
            there.preload(b"user:*", progress=fail)
        with pytest.raises(ValueError):
            there.preload(cursor=-1)

        async def cancelled() -> None:
            begun, may_end = threading.Event(), threading.Event()

            def hear(done: libkv.Preloaded) -> None:
                told.append(done)
                begun.set()
                assert may_end.wait(60)

            told.clear()
            db = libkv.aio.AsyncDb(there)
            task = asyncio.create_task(db.preload("user:*", progress=hear))
            while not begun.is_set():
                await asyncio.sleep(0.001)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            may_end.set()
            assert (await db.preload("other")).copied == 1

        # The event loop waits for its executor: what goes on has ended then.
        asyncio.run(cancelled())
        assert len(told) == 1
        redis.kill()
        with pytest.raises(libkv.TierError):
            there.preload()
    with libkv.open_in_memory() as plain, pytest.raises(libkv.TierError, match="has no tier"):
        plain.preload()


def test_a_preload_whose_progress_is_cut_off_before_its_first_step_is_an_error(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    with shared(redis) as here, shared(redis) as there:
        here.set_many([(f"user:{n}", b"v") for n in range(2000)])
        here.flush(60)
        kind = libkv._abi.Progress
        # What ctypes answers then is whatever stood in memory, 0 perhaps.
        monkeypatch.setattr(libkv._abi, "Progress", lambda function: kind(lambda *args: 0))
        with pytest.raises(InterruptedError, match="go on at cursor"):
            there.preload()


def test_threads_that_wait_for_redis_hold_up_no_other(redis: Redis) -> None:
    with shared(redis, tier_timeout=60.0, logger=lambda line: None) as db:
        assert db.get("none") is None
        redis.stop()
        try:
            begun: List[None] = []
            found: List[Any] = []

            def ask(call: Any) -> None:
                begun.append(None)
                found.append(call())

            calls = [lambda: db.get("a"), lambda: "b" in db, lambda: db.ttl("c"), lambda: db.get_many(["d"])]
            threads = [threading.Thread(target=ask, args=(call,)) for call in calls]
            since = time.monotonic()
            for thread in threads:
                thread.start()
            while len(begun) < len(threads):
                time.sleep(0.001)
            for n in range(1000):
                db.set("n", b"%d" % n)
            # Whoever kept the interpreter's lock would have kept it until the timeout.
            assert found == [] and time.monotonic() - since < 45
        finally:
            redis.go_on()
        for thread in threads:
            thread.join()
        assert len(found) == 4 and found.count(None) == 2 and False in found and [None] in found


def test_the_asyncio_store_asks_in_the_executor(redis: Redis) -> None:
    async def both() -> None:
        options: Any = {"tier_url": redis.url, "tier_prefix": "t:", "tier_timeout": TIER_TIMEOUT}
        async with await libkv.aio.open_in_memory(**options) as here, await libkv.aio.open_in_memory(**options) as there:
            await here.set("k", b"v", 60)
            await here.flush(60)
            assert await there.get("k") == b"v" and await there.get_many(["k", "none"]) == [b"v", None]
            assert await there.incr_shared("n", 2) == 2 and await here.increment_shared("n") == 3
            assert await there.add_shared("a", b"1", 60) and not await here.add_shared("a", b"2")
            assert await here.compare_and_swap_shared("a", b"1", b"2")
            assert await there.contains("k") and await there.version("k") and await there.ttl("none") is None
            assert await there.get_or_load("new", lambda key: b"loaded") == b"loaded"
            stats = await here.tier_stats()
            assert stats and stats["unsent_keys"] == 0
            assert "kv_tier_hears 0" in await here.tier_stats_prometheus()

    asyncio.run(both())


def test_entries_go_over_tls_to_who_is_vouched_for(tmp_path: Path) -> None:
    certificates(tmp_path)
    ca = tmp_path / "ca.pem"
    files = {"cert": "server.pem", "key": "server.key", "ca-cert": "ca.pem"}
    names = [word for kind, name in files.items() for word in (f"--tls-{kind}-file", str(tmp_path / name))]
    redis = Redis(tmp_path, "--tls-auth-clients", "yes", *names, port="--tls-port")
    try:
        options: Any = {"tier_url": f"rediss://{redis.address}", "tier_backoff_max": "50ms", "tier_timeout": TIER_TIMEOUT}
        client: Any = {
            "tier_client_certificate": tmp_path / "client.pem",
            "tier_client_key": str(tmp_path / "client.key"),
        }
        known = {**options, **client, "tier_ca_file": ca}
        with libkv.open_in_memory(**known) as here, libkv.open_in_memory(**known) as there:
            here["k"] = b"v"
            here.flush(60)
            assert there["k"] == b"v"
            for unknown in ({"tier_ca_file": ca}, {"tier_ca_file": tmp_path / "other.pem", **client}):
                with libkv.open_in_memory(**options, **unknown) as refused:
                    refused["secret"] = b""
                    wait_until(lambda: refused.tier_stats()["failing"], "it is refused")
                    with pytest.raises(libkv.TierError):
                        refused.flush(0.3)
            assert there.get("secret") is None
        for bad in ({**options, "tier_ca_file": "/none"}, {"tier_url": redis.url, "tier_ca_file": ca}):
            with pytest.raises(libkv.InvalidOptionError):
                libkv.open_in_memory(**bad)
    finally:
        redis.kill()


def test_wrong_options_are_named_with_their_values_and_no_password_is_shown(redis: Redis) -> None:
    for options, said in [
        ({"tier_writes": "maybe"}, 'option tier_writes: "maybe" is not behind, through or refused'),
        ({"tier_fresh": "yes"}, 'option tier_fresh: "yes" is not none, drop or keep'),
        ({"tier_timeout": 0.0}, 'option tier_timeout: "0ms" is not '),
        ({"tier_database": -1}, 'option tier_database: "-1" is not '),
        ({"tier_url": "redis://u:hunter2@"}, "option tier: "),
        ({"tier_username": "u"}, "option tier: a user without a password"),
    ]:
        with pytest.raises(libkv.InvalidOptionError) as raised:
            shared(redis, **options) if "tier_url" not in options else libkv.open_in_memory(**options)
        assert str(raised.value).startswith(said) and "hunter2" not in str(raised.value)
    with pytest.raises(libkv.InvalidOptionError, match="^option tier_url: lacking"):
        libkv.open_in_memory(tier_password="hunter2")
    with pytest.raises(TypeError):
        libkv.open_in_memory(tier_prefix=b"t:")  # type: ignore[arg-type]


def test_every_option_of_the_tier_is_taken(redis: Redis) -> None:
    options = {"tier_database": 3, "tier_reads": False, "tier_fresh": "keep", "tier_unreachable_is_miss": True}
    with shared(redis, tier_unsent_deletes_max=10, tier_writes="behind", **options) as db, shared(redis) as elsewhere:
        db["k"] = b"v"
        db.flush(60)
        assert elsewhere.get("k") is None
    with libkv.open_in_memory(tier_url=redis.url, tier_fresh=None) as db:
        wait_until(lambda: db.tier_stats() is not None, "it has a tier")
    with libkv.open_in_memory() as plain:
        plain.flush(0)
        assert plain.tier_stats() is None and plain.tier_stats_prometheus() == ""


def test_a_store_with_shards_shares_its_entries_and_each_key_stands_in_its_shard(redis: Redis, tmp_path: Path) -> None:
    keys = [f"k{n}" for n in range(100)]
    options: Any = {"tier_url": redis.url, "tier_prefix": "t:", "tier_shards": 2, "tier_timeout": TIER_TIMEOUT}
    with libkv.open(tmp_path / "here", **options) as here, shared(redis, tier_shards=2) as there:
        for key in keys:
            here[key] = key.encode()
        here.flush(60)
        assert there.get_many(keys) == [key.encode() for key in keys]
        # As Redis computes slots, and anybody who reads what stands there.
        shards = [shared(redis, tier_prefix=f"{{t:{number}}}") for number in range(2)]
        for key in keys:
            number = binascii.crc_hqx(key.encode(), 0) % 16384 % 2
            assert shards[number].get(key) == key.encode() and shards[1 - number].get(key) is None
            assert here.incr_shared(f"n{key}") == 1 and there.incr_shared(f"n{key}") == 2
        for db in shards:
            db.close()
        with shared(redis, tier_shards=2, tier_writes="through") as through:
            del here["k7"]
            here.flush(60)
            through["k8"] = b"through"
            done = there.preload("k*")
            assert (done.is_complete, done.copied, done.removed) == (True, 1, 1)
            assert (there.get("k7"), there["k8"]) == (None, b"through")
    with libkv.open(tmp_path / "here", **options) as again:
        again["late"] = b"v"
        again.flush(60)
        stats = again.tier_stats()
        assert stats is not None and (stats["unsent_keys"], stats["sent_keys"]) == (0, 1)
    for number in (0, 65):
        with pytest.raises(libkv.InvalidOptionError, match="tier_shards"):
            shared(redis, tier_shards=number)


def test_the_example_prints_what_the_page_shows(tmp_path: Path) -> None:
    shown = re.search(r"```output\n(.*?)```", (REPOSITORY / "docs" / "tier.md").read_text(), re.S)
    program = REPOSITORY / "bindings" / "python" / "examples" / "shared.py"
    redis = Redis(tmp_path, port="--port")
    try:
        command = [sys.executable, str(program), f"redis://{redis.address}"]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    finally:
        redis.kill()
    assert shown and (done.stdout, done.stderr) == (shown[1], "")
