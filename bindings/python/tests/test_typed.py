"""Values with their codecs: what one wrote is read by it and by no other."""

from __future__ import annotations

import asyncio
import queue
from pathlib import Path
from typing import Any, Callable, Iterator, List, Tuple

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

import libkv
from libkv import aio


class Degrees:
    tag = 64

    def encode(self, value: float) -> bytes:
        return str(value).encode()

    def decode(self, data: bytes) -> float:
        return float(data)


CODECS: List[Any] = ["text", "json", "msgpack", "pickle", libkv.Protobuf(Timestamp), Degrees()]
NAMES = ["text", "json", "msgpack", "pickle", "protobuf", "64"]
VALUES: List[Any] = ["ü", {"a": [1, None, 2.5]}, {"a": [1, None, b"\xff"], 2: "x"}, {1, 2}, Timestamp(seconds=7), 21.5]


@pytest.fixture
def db() -> Iterator[libkv.Db[bytes]]:
    with libkv.open_in_memory() as db:
        yield db


@pytest.mark.parametrize("codec, name, value", zip(CODECS, NAMES, VALUES))
def test_a_value_is_read_by_the_codec_that_wrote_it_and_by_no_other(
    db: libkv.Db[bytes], codec: Any, name: str, value: Any
) -> None:
    store = db.typed(codec)
    store["k"] = value
    assert store["k"] == value and db.codec("k") == name and db.codec("none") is None
    assert store.get_many(["k", "none"]) == [value, None] and list(store.items()) == [(b"k", value)]
    assert [(entry.value, entry.codec) for entry in store.scan()] == [(value, name)]
    for other in CODECS:
        if other is codec:
            continue
        wrong = db.typed(other)
        calls: List[Callable[[], Any]] = [
            lambda: wrong["k"],
            lambda: wrong.get("k"),
            lambda: wrong.get_many(["k"]),
            lambda: wrong.take("k"),
            lambda: wrong.pop("k"),
            lambda: wrong.setdefault("k", value),
            lambda: list(wrong.values()),
            lambda: list(wrong.items()),
            lambda: list(wrong.scan()),
            lambda: wrong.get_with_metadata("k"),
            lambda: wrong.get_and_lock("k", timeout=0),
            lambda: wrong.get_or_load("k", lambda key: value),
            lambda: wrong.get_or_load("k", lambda key: value, expire=60, fresh_for=30),
        ]
        for call in calls:
            with pytest.raises(libkv.WrongCodecError, match=f"of 1 bytes was written as {name}, not as"):
                call()
    assert db.get("k") is not None and store["k"] == value, "a plain store reads any, and nothing was changed"


@pytest.mark.parametrize("value", [float("nan"), [float("inf")], {"a": -float("inf")}])
def test_what_json_has_no_form_for_is_refused_and_not_marked_as_json(db: libkv.Db[bytes], value: Any) -> None:
    with pytest.raises(ValueError, match="JSON"):
        db.typed("json")["k"] = value
    assert "k" not in db


def test_raw_bytes_are_no_value_of_a_codec_until_they_are_overwritten(db: libkv.Db[bytes]) -> None:
    users = db.typed("json")
    db["k"] = b"{}"
    with pytest.raises(libkv.WrongCodecError, match="was written as raw bytes, not as json"):
        users.get("k")
    assert "k" in users and len(users) == 1 and users.ttl("k") == float("inf")
    users["k"] = {}
    assert users["k"] == {}
    db["k"] = b"{}"
    assert db.codec("k") == "raw" and users.delete("k")


def test_a_counter_is_a_value_of_the_stores_codec_or_refused(db: libkv.Db[bytes]) -> None:
    counters: List[Tuple[Any, Any]] = [("bytes", b"5"), ("text", "5"), ("json", 5), (Degrees(), 5)]
    for at, (codec, five) in enumerate(counters):
        store = db.typed(codec)
        assert store.incr(f"{at}", 5) == 5 and store[f"{at}"] == five
    for codec in ["msgpack", "pickle", libkv.Protobuf(Timestamp)]:
        store = db.typed(codec)
        with pytest.raises(libkv.NotAnIntegerError):
            store.incr("none")
        assert "none" not in store
        # Nor does it make a number of what another store counts.
        with pytest.raises(libkv.Error):
            store.incr("0")
        assert db["0"] == b"5" and db.codec("0") == "raw"


def test_every_write_marks_what_it_writes(db: libkv.Db[bytes]) -> None:
    users = db.typed("json")
    assert users.add("add", 1) and users.replace("add", 2)
    version = users.version("add")
    assert version is not None and users.compare_and_swap("add", version, 3) is not None
    assert users.compare_and_swap("add", version, 4) is None and users["add"] == 3
    users.set_many({"many": 1})
    users.set_many({"later": 1}, expire=60)
    users.apply([libkv.Set("set", 1), libkv.Set("gone", 1), libkv.Delete("gone")])
    users.update(update=1)
    assert users.setdefault("default", 5) == 5
    assert users.incr("incr", 2) == 2 and users.incr("incr") == 3 and users["incr"] == 3
    assert users.get_or_load("load", lambda key: [1]) == [1] and users["load"] == [1]
    assert users.get_or_load("anew", lambda key: [2], expire=60, fresh_for=30) == [2] and users["anew"] == [2]

    @users.memoize()
    def squared(n: int) -> int:
        return n * n

    assert squared(3) == 9 and squared(3) == 9
    with users.create_and_lock("session", initial=[1], allow_existing=True) as session:
        session.value.append(2)
    assert users.get_with_metadata("session") == ([1, 2], {})
    with users.get_and_lock("session") as session:
        session.value.append(3)
    assert users["session"] == [1, 2, 3]
    assert {entry.codec for entry in db.scan()} == {"json"}
    # A plain session edits bytes, and leaves them their codec.
    with db.get_and_lock("session") as plain:
        plain.value = b"[]"
    assert users["session"] == []


def test_a_scan_goes_on_behind_what_it_cannot_read(db: libkv.Db[bytes]) -> None:
    users = db.typed("json")
    users["a"], users["c"] = 1, 3
    db["b"] = b"2"
    scan = users.scan(ordered=True)
    assert next(scan).value == 1
    with pytest.raises(libkv.WrongCodecError):
        next(scan)
    assert next(scan).value == 3


def test_the_codec_stays_through_a_reopen(tmp_path: Path) -> None:
    with libkv.open(tmp_path / "s", codec="msgpack") as db:
        db["k"] = [1]
    with libkv.open(tmp_path / "s") as db:
        assert db.codec("k") == "msgpack" and db.typed("msgpack")["k"] == [1]


def test_whoever_is_told_of_a_value_is_told_its_codec() -> None:
    told: "queue.Queue[libkv.Event]" = queue.Queue()
    with libkv.open_in_memory(listener=told.put) as db, db.watch() as raw, db.typed("json").watch() as watch:
        db.typed("json")["k"] = [1]
        db["k"] = b"[2]"
        db.typed("json")["k"] = [3]
        assert [change.codec for change in (raw.next(0), raw.next(0), raw.next(0)) if change] == ["json", "raw", "json"]
        first = watch.next(0)
        assert first is not None and (first.value, first.codec) == ([1], "json")
        # What another codec wrote is no value of this store; the next one is.
        with pytest.raises(libkv.WrongCodecError):
            watch.next(0)
        third = watch.next(0)
        assert third is not None and third.value == [3]
        del db["k"]
        event = told.get(timeout=60)
        assert (event.cause, event.value, event.codec) == ("deleted", b"[3]", "json")
        gone = raw.next(0)
        assert gone is not None and gone.codec is None


def test_views_share_a_store_and_its_end(db: libkv.Db[bytes]) -> None:
    users = db.typed("json")
    users.close()
    with pytest.raises(libkv.ClosedError):
        db.get("k")


@pytest.mark.parametrize("tag", [8, 63, 255, 256, -1, "json", 1.5])
def test_a_tag_that_no_codec_can_have_is_refused(db: libkv.Db[bytes], tag: Any) -> None:
    codec: Any = Degrees()
    codec.tag = tag
    with pytest.raises(ValueError, match="a number from 64 to 254"):
        db.typed(codec)


def test_asyncio_has_typed_views_too() -> None:
    async def main() -> None:
        async with await aio.open_in_memory() as db:
            users = db.typed("json")
            await users.set("k", {"a": 1})
            assert await users.get("k") == {"a": 1} and await db.codec("k") == "json"
            texts = db.typed("text")
            with pytest.raises(libkv.WrongCodecError):
                await texts.get("k")
            with pytest.raises(libkv.WrongCodecError):
                await texts.get_or_load("k", lambda key: "x")
            async with await users.get_and_lock("k") as session:
                session.value["a"] = 2
            assert [entry.value async for entry in users.scan()] == [{"a": 2}]

            async def load(key: bytes) -> List[int]:
                return [1]

            assert await users.get_or_load("new", load) == [1] and await users.get("new") == [1]

    asyncio.run(main())
