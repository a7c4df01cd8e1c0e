"""What a mapping has no words for."""

from __future__ import annotations

import asyncio
import json
import math
import random
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

import libkv
from libkv import aio


def test_a_write_is_made_only_under_its_condition(db: libkv.Db[bytes]) -> None:
    assert db.set("k", b"1", if_present=True) is None
    assert db.add("k", b"1") and not db.add("k", b"2")
    assert db.set("k", b"2", if_absent=True) is None
    assert db.replace("k", b"3") and not db.replace("none", b"3")
    version = db.version("k")
    assert version is not None
    newer = db.set("k", b"4", if_version=version)
    assert newer is not None and newer > version and db.version("k") == newer
    assert db.set("k", b"5", if_version=version) is None and db["k"] == b"4"
    assert db.set("new", b"", if_version=0) and db.set("new", b"", if_version=0) is None
    with pytest.raises(TypeError):
        db.set("k", b"", if_absent=True, if_present=True)


def test_compare_and_swap_writes_over_the_version_it_was_given_alone(timed: libkv.Db[bytes]) -> None:
    version = timed.set("k", b"1", expire=5)
    assert version is not None
    newer = timed.compare_and_swap("k", version, b"2")
    assert newer and timed["k"] == b"2" and timed.ttl("k") == 5
    assert timed.compare_and_swap("k", version, b"3") is None and timed["k"] == b"2"
    assert timed.compare_and_swap("other", 0, b"1")
    assert timed.version("none") is None


def test_an_increment_counts_within_64_bits(db: libkv.Db[bytes]) -> None:
    assert db.incr("n") == 1 and db.incr("n", -3) == -2 and db.increment("n", 2**63 - 1) == 2**63 - 3
    assert db["n"] == b"%d" % (2**63 - 3)
    with pytest.raises(libkv.IncrementOverflowError):
        db.incr("n", 2**62)
    with pytest.raises(OverflowError):
        db.incr("n", 2**62)
    with pytest.raises(ValueError):
        db.incr("n", 2**63)
    db["text"] = b"one"
    with pytest.raises(libkv.NotAnIntegerError):
        db.incr("text")


def test_entries_expire_when_they_were_told_to(timed: libkv.Db[bytes], clock: libkv.Clock) -> None:
    now = timed.now()
    assert now == 1_000_000_000
    timed.set("default", b"")
    timed.set("never", b"", libkv.NEVER)
    timed.set("seconds", b"", 0.25)
    timed.set("delta", b"", timedelta(seconds=2))
    timed.set("at", b"", expire_at=now + 3)
    timed.set("datetime", b"", expire_at=datetime.fromtimestamp(now + 4, timezone.utc))
    assert timed.ttl("default") == 60 and timed.ttl("never") == math.inf and timed.ttl("none") is None
    assert [timed.ttl(key) for key in ("seconds", "delta", "at", "datetime")] == [0.25, 2, 3, 4]
    timed.set("delta", b"again", libkv.KEEP)
    assert timed.ttl("delta") == 2
    clock.advance(0.25)
    assert "seconds" not in timed and "delta" in timed
    clock.advance(timedelta(seconds=3.75))
    assert sorted(timed) == [b"default", b"never"]
    timed.sweep()
    assert len(timed) == 2
    assert timed.expire("never", 10) and timed.ttl("never") == 10
    assert timed.expire_at("never", timed.now() + 20) and timed.ttl("never") == 20
    assert timed.touch("never") and timed.ttl("never") == 60
    assert timed.persist("never") and timed.ttl("never") == math.inf
    assert not (timed.expire("none", 1) or timed.expire_at("none", 1) or timed.touch("none") or timed.persist("none"))
    timed.set("k", b"", expire=0)
    assert "k" not in timed
    with pytest.raises(TypeError):
        timed.set("k", b"", expire=1, expire_at=1)


@pytest.mark.parametrize("expire", [-1, math.nan, math.inf, 1e30, "1", True])
def test_what_is_no_length_of_time_is_refused(timed: libkv.Db[bytes], expire: Any) -> None:
    with pytest.raises((ValueError, TypeError)):
        timed.set("k", b"", expire)
    assert "k" not in timed


def test_take_removes_and_gives(db: libkv.Db[bytes]) -> None:
    db["k"] = b"v" * 5000
    assert db.take("k") == b"v" * 5000 and db.take("k") is None and db.take("k", b"d") == b"d"
    db["k"] = b""
    assert db.take("k") == b"" and not db.delete("k")


def test_many_keys_cross_in_one_call(db: libkv.Db[bytes], chance: random.Random) -> None:
    model = {chance.randbytes(chance.randrange(20)): chance.randbytes(chance.choice([0, 1, 100])) for _ in range(3000)}
    db.set_many(model)
    model[b"long"] = b"v" * 200_000
    db[b"long"] = model[b"long"]
    keys = [*model, b"surely not there"]
    chance.shuffle(keys)
    assert db.get_many(keys) == [model.get(key) for key in keys]
    assert db.get_many(keys, b"-") == [model.get(key, b"-") for key in keys]
    assert db.get_many(iter(keys)) == [db.get(key) for key in keys]
    assert db.get_many([]) == []
    assert db.delete_many(keys[:100]) == len([key for key in keys[:100] if key in model])
    assert len(db) == len(model) - len([key for key in keys[:100] if key in model])
    db.delete_many([])
    db.set_many([])
    db.apply([])


def test_a_batch_holds_sets_and_deletes_with_their_expiries(timed: libkv.Db[bytes]) -> None:
    timed.set_many({"a": b"1", "b": b"2"})
    timed.set_many({"c": b"3"}, expire=5)
    timed.apply(
        [
            libkv.Delete("a"),
            libkv.Set("b", b"", libkv.NEVER),
            libkv.Set("d", b"4", expire_at=timed.now() + 7),
            libkv.Set("e", b"5", 1),
            libkv.Delete("e"),
        ]
    )
    assert dict(timed) == {b"b": b"", b"c": b"3", b"d": b"4"}
    assert [timed.ttl(key) for key in "bcd"] == [math.inf, 5, 7]
    with pytest.raises(TypeError):
        timed.apply([("a", b"1")])  # type: ignore[list-item]


def test_a_scan_gives_each_entry_once(timed: libkv.Db[bytes]) -> None:
    names = [b"%05d" % at for at in range(3000)]
    timed.set_many([(name, name) for name in names])
    timed.set("x", b"", libkv.NEVER)
    entries = list(timed.scan(b"0", ordered=True))
    assert [entry.key for entry in entries] == names and all(entry.key == entry.value for entry in entries)
    assert entries[7].version == timed.version(names[7]) and entries[7].expires_at == timed.now() + 60
    (other,) = timed.scan("x")
    assert other.expires_at is None
    assert sorted(entry.key for entry in timed.scan()) == [*names, b"x"]
    assert len(list(timed.scan(limit=5))) == 5 and list(timed.scan(limit=0)) == []
    assert [entry.key for entry in timed.scan(b"000", ordered=True, limit=2)] == names[:2]
    for limit in (-1,):
        with pytest.raises(ValueError):
            timed.scan(limit=limit)


def test_a_scan_gives_what_stands_before_a_damaged_entry(tmp_path: Path) -> None:
    how: Any = {"segment_bytes": 65536, "background": False}
    with libkv.open(tmp_path / "store", **how) as db:
        db.set_many({f"k{number:02}": b"value %02d" % number for number in range(10)})
        db.set_many({f"other{number}": bytes(60000) for number in range(3)})
    (damaged,) = [file for file in (tmp_path / "store").iterdir() if b"k07value 07" in file.read_bytes()]
    damaged.write_bytes(damaged.read_bytes().replace(b"k07value 07", b"k07value!07"))
    with libkv.open(tmp_path / "store", **how) as db:
        found = []
        with pytest.raises(libkv.CorruptError, match=damaged.name):
            for entry in db.scan("k", ordered=True):
                found.append(entry.key)
        assert found == [b"k%02d" % number for number in range(7)]

        async def walk() -> None:
            found.clear()
            async for entry in aio.AsyncDb(db).scan("k", ordered=True):
                found.append(entry.key)

        with pytest.raises(libkv.CorruptError, match=damaged.name):
            asyncio.run(walk())
        assert found == [b"k%02d" % number for number in range(7)]


def test_a_scan_survives_its_store_and_ends_with_close(db: libkv.Db[bytes]) -> None:
    db.set_many([(b"%d" % at, b"v") for at in range(2000)])
    scan = db.scan()
    next(scan)
    scan.close()
    scan.close()
    assert list(scan) == []
    scan = db.scan()
    next(scan)
    db.close()
    with pytest.raises(libkv.ClosedError):
        list(scan)


@pytest.mark.parametrize("compression", ["off", "zstd"])
def test_a_pinned_value_is_read_in_place_until_the_end_of_the_with(compression: str) -> None:
    with libkv.open_in_memory(compression=compression) as db:
        db.set_many({"a": b"a" * 10_000, "empty": b""})
        with db.pin() as pin:
            view = pin["a"]
            assert view.readonly and view.format == "B" and view.nbytes == 10_000
            db["a"] = b"new"
            assert bytes(view) == b"a" * 10_000 and view[0] == ord("a")
            assert pin.get("none") is None and bytes(pin["empty"]) == b""
            with pytest.raises(KeyError):
                pin["none"]
            with pytest.raises(TypeError):
                view[0] = 1
            for refused in (db.clear, db.compact, db.sweep):
                with pytest.raises(libkv.PinnedError):
                    refused()
        with pytest.raises(ValueError):
            view[0]
        with pytest.raises(ValueError):
            pin.get("a")
        db.clear()


def test_a_pin_with_views_that_cannot_be_taken_back_stays_held(db: libkv.Db[bytes]) -> None:
    db["k"] = b"0123456789"
    pin = db.pin()
    view = pin["k"]
    part = view[2:4]
    with pytest.raises(BufferError):
        pin.release()
    # Its memory is good as long as somebody can reach it.
    db["k"] = b"new"
    assert bytes(part) == b"23"
    other = memoryview(part)
    with pytest.raises(BufferError):
        pin.release()
    other.release()
    part.release()
    pin.release()
    pin.release()
    db.clear()


def test_a_pin_lives_longer_than_its_store(db: libkv.Db[bytes]) -> None:
    db["k"] = b"v"
    with db.pin() as pin:
        view = pin["k"]
        db.close()
        assert bytes(view) == b"v"
    with pytest.raises(libkv.ClosedError):
        db.pin()


@pytest.mark.parametrize(
    "codec, values",
    [
        ("bytes", [b"", b"\x00\xff"]),
        ("text", ["", "grüße"]),
        ("json", [None, 1, "ü", [1, {"a": None}], True, 1.5]),
        ("pickle", [None, {1, 2}, (1, "a"), b"b"]),
    ],
)
def test_a_codec_brings_values_back_as_they_were(codec: str, values: Any) -> None:
    with libkv.open_in_memory(codec=codec) as db:
        for value in values:
            db["k"] = value
            assert db["k"] == value and db.get("k") == value and list(db.values()) == [value]
            assert db.get_many(["k", "none"], 0) == [value, 0] and list(db.items()) == [(b"k", value)]
            assert [entry.value for entry in db.scan()] == [value] and db.take("k", 0) == value
        assert db.get("k", 7) == 7 and db.setdefault("k", values[0]) == values[0]


def test_pickle_is_used_only_when_asked_for_by_name() -> None:
    with libkv.open_in_memory(codec="json") as db, pytest.raises(TypeError):
        db["k"] = {1, 2}
    with pytest.raises(ValueError):
        libkv.open_in_memory(codec="marshal")

    class Doubled:
        def encode(self, value: int) -> bytes:
            return b"%d" % (2 * value)

        def decode(self, data: bytes) -> int:
            return int(data) // 2

    with libkv.open_in_memory(codec=Doubled()) as own:
        own["k"] = 21
        assert own["k"] == 21 and own.incr("k", 2) == 44 and own["k"] == 22


def test_options_are_given_by_name_and_refused_with_text(tmp_path: Path) -> None:
    for name, value in {"sync": "sometimes", "nonsense": 1, "segment_bytes": 5, "mode": ""}.items():
        with pytest.raises(libkv.InvalidOptionError, match=name):
            libkv.open(tmp_path / "s", **{name: value})
    options: Any = {
        "mode": "create",
        "sync": 0.5,
        "segment_bytes": 1 << 20,
        "value_bytes_max": 100,
        "default_ttl": timedelta(minutes=1),
        "compression": "zstd:3:10",
        "recover": "salvage",
        "listener_queue": 10,
        "background": False,
    }
    with libkv.open(tmp_path / "s", **options) as db:
        db["k"] = b""
        ttl = db.ttl("k")
        assert ttl is not None and 50 < ttl <= 60
        with pytest.raises(libkv.ValueTooLongError, match="101"):
            db["k"] = b"v" * 101
    with pytest.raises(ValueError):
        libkv.open("a\0b")


def test_what_was_written_is_there_when_it_is_opened_again(tmp_path: Path) -> None:
    path = tmp_path / "store"
    with libkv.open(path, sync="always") as db:
        db["k"] = b"v"
        with pytest.raises(libkv.LockedError):
            libkv.open(path)
        db.sync()
        with libkv.open(str(path), mode="read_only") as reader:
            assert reader["k"] == b"v"
            with pytest.raises(libkv.ReadOnlyError):
                reader["k"] = b"w"
    with libkv.open(bytes(path)) as db:
        assert db["k"] == b"v"
    db.close()
    for call in (lambda: db["k"], lambda: db.set("k", b""), lambda: len(db), lambda: "k" in db, lambda: list(db)):
        with pytest.raises(libkv.ClosedError):
            call()
    with pytest.raises(libkv.NotAStoreError):
        libkv.open(tmp_path / "none", mode="must_exist")


def test_failures_carry_the_facts(db: libkv.Db[bytes]) -> None:
    long = b"k" * 70_000
    for call in (
        lambda: db.get(long),
        lambda: long in db,
        lambda: db.version(long),
        lambda: db.ttl(long),
        lambda: db.set(long, b""),
        lambda: db.get_many([b"k", long]),
        lambda: db.set_many({long: b""}),
    ):
        with pytest.raises(libkv.KeyTooLongError, match="70000") as found:
            call()
        assert found.value.status == 13 and isinstance(found.value, (libkv.UsageError, ValueError))


def test_a_backup_is_a_store_of_its_own(db: libkv.Db[bytes], tmp_path: Path) -> None:
    with libkv.open(tmp_path / "a") as first:
        first["k"] = b"v"
        first.backup(tmp_path / "b")
        with pytest.raises(libkv.NotAStoreError):
            first.backup(tmp_path / "b")
    with libkv.open(tmp_path / "b") as second:
        assert dict(second) == {b"k": b"v"}


def test_verify_and_salvage_tell_damage(tmp_path: Path) -> None:
    with libkv.open(tmp_path / "s") as db:
        for number in range(500):
            db[b"key-%04d" % number] = b"value" * 20
    sound = libkv.verify(tmp_path / "s")
    assert sound.ok and not sound.damage and sound.figures["entries"] == 500
    segment = max((path for path in (tmp_path / "s").iterdir()), key=lambda path: path.stat().st_size)
    data = bytearray(segment.read_bytes())
    at = data.index(b"key-0250")
    data[at] ^= 1
    segment.write_bytes(data)
    damaged = libkv.verify(tmp_path / "s")
    assert not damaged.ok and damaged.damage[0]["offset"] > 0 and damaged.damage[0]["reason"]
    salvaged = libkv.salvage(tmp_path / "s", tmp_path / "new")
    assert salvaged.figures["salvaged"] == 499
    with libkv.open(tmp_path / "new") as db:
        assert len(db) == 499 and b"key-0250" not in db
    with libkv.open(tmp_path / "s", recover="salvage") as db:
        assert db.damage()[0]["reason"]
    with pytest.raises(libkv.NotAStoreError):
        libkv.verify(tmp_path / "none")


def test_a_store_tells_its_figures(db: libkv.Db[bytes]) -> None:
    db["k"] = b"v"
    assert db.stats()["entries"] == db.figure("entries") == json.loads(db.stats_json())["entries"] == 1
    assert "kv_entries 1" in db.stats_prometheus()
    with pytest.raises(libkv.InvalidArgumentError, match="nonsense"):
        db.figure("nonsense")
    db.pause()
    db.resume()
    db.compact()
    assert db.damage() == []
