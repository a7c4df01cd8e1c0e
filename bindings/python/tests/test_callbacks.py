"""What the store calls: loaders, listeners, loggers, file objects. What they raise is never lost."""

from __future__ import annotations

import csv
import io
import json
import signal
import sys
import threading
from pathlib import Path
from typing import Any, Iterator, List, Optional

import pytest
from conftest import wait_until

import libkv


@pytest.fixture
def unraisable(monkeypatch: pytest.MonkeyPatch) -> List[BaseException]:
    """What was raised where nobody could catch it."""
    seen: List[BaseException] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda what: seen.append(what.exc_value))
    return seen


def test_a_loader_runs_once_for_a_key_however_many_ask(db: libkv.Db[bytes]) -> None:
    calls: List[bytes] = []
    go = threading.Event()

    def load(key: bytes) -> bytes:
        calls.append(key)
        go.wait()
        return b"loaded " + key

    found: List[Any] = []
    threads = [threading.Thread(target=lambda: found.append(db.get_or_load("k", load))) for _ in range(8)]
    for thread in threads:
        thread.start()
    wait_until(lambda: calls, "the loader runs")
    go.set()
    for thread in threads:
        thread.join()
    assert found == [b"loaded k"] * 8 and calls == [b"k"]
    assert db["k"] == b"loaded k"


def test_a_loaded_value_expires_as_asked(timed: libkv.Db[bytes]) -> None:
    assert timed.get_or_load("k", lambda key: b"v", expire=7) == b"v" and timed.ttl("k") == 7
    assert timed.get_or_load("empty", lambda key: b"") == b"" and timed["empty"] == b""
    assert timed.get_or_load("none", lambda key: None) is None and "none" not in timed
    assert timed.get_or_load("none", lambda key: None, b"default") == b"default"


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt, SystemExit, libkv.KeyTooLongError, StopIteration])
def test_what_a_loader_raises_is_raised_to_its_caller(db: libkv.Db[bytes], kind: Any) -> None:
    def load(key: bytes) -> bytes:
        raise kind("on purpose")

    with pytest.raises(kind, match="on purpose"):
        db.get_or_load("k", load)
    assert "k" not in db
    with pytest.raises(TypeError):
        db.get_or_load("k", lambda key: "no bytes")  # type: ignore[arg-type, return-value]


def test_those_who_wait_for_a_loader_that_fails_get_an_error(db: libkv.Db[bytes]) -> None:
    running, go = threading.Event(), threading.Event()

    def load(key: bytes) -> bytes:
        running.set()
        go.wait()
        raise ValueError("on purpose")

    raised: List[Optional[BaseException]] = []

    def ask(loader: Any) -> None:
        try:
            db.get_or_load("k", loader)
            raised.append(None)
        except Exception as error:
            raised.append(error)

    first = threading.Thread(target=ask, args=(load,))
    first.start()
    running.wait()
    late: List[bytes] = []
    second = threading.Thread(target=ask, args=(lambda key: late.append(key) or b"v",))
    second.start()
    # Either it waits for the first, or it comes late and loads: never is the failure lost.
    go.set()
    first.join()
    second.join()
    assert any(isinstance(error, ValueError) for error in raised)
    assert late or any(isinstance(error, libkv.LoaderFailedError) for error in raised)


def test_a_loader_may_use_the_store_but_not_wait_for_itself_or_close_it(db: libkv.Db[bytes]) -> None:
    def load(key: bytes) -> bytes:
        db["other"] = b"1"
        with pytest.raises(libkv.InCallbackError):
            db.close()
        with pytest.raises(libkv.LoaderFailedError):
            db.get_or_load(key, load)
        return db.get_or_load("inner", lambda key: b"inner value")  # type: ignore[no-any-return]

    assert db.get_or_load("k", load) == b"inner value" and db["other"] == b"1"


@pytest.mark.parametrize("callback", ["Loader", "Writer", "Reader", "TransferProgress"])
def test_a_callback_that_is_cut_off_before_its_first_step_is_an_error(
    db: libkv.Db[bytes], callback: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    db["a"] = b"1"
    text = io.BytesIO()
    db.export(text)
    text.seek(0)
    kind = getattr(libkv._abi, callback)
    # What ctypes answers then is whatever stood in memory; 0 is the worst, since it means "done".
    monkeypatch.setattr(libkv._abi, callback, lambda function: kind(lambda *args: 0))
    monkeypatch.setattr(libkv._load, "run", kind(lambda *args: 0) if callback == "Loader" else libkv._load.run)
    calls: Any = {
        "Loader": (libkv.LoaderFailedError, lambda: db.get_or_load("k", lambda key: b"v")),
        "Writer": (InterruptedError, lambda: db.export(io.BytesIO())),
        "Reader": (libkv.IoError, lambda: db.import_(text)),
        "TransferProgress": (InterruptedError, lambda: db.export(io.BytesIO())),
    }
    error, call = calls[callback]
    with pytest.raises(error):
        call()
    assert dict(db) == {b"a": b"1"}


def test_ctrl_c_in_a_callback_ends_the_call(db: libkv.Db[bytes]) -> None:
    def load(key: bytes) -> bytes:
        signal.raise_signal(signal.SIGINT)
        return b"v"

    # A process that was started in the background begins with the signal ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            db.get_or_load("k", load)
    finally:
        signal.signal(signal.SIGINT, before)
    assert "k" not in db


def test_a_listener_hears_why_an_entry_went_and_may_use_the_store(clock: libkv.Clock) -> None:
    heard: List[libkv.Event] = []
    refused: List[BaseException] = []

    def hear(event: libkv.Event) -> None:
        try:
            db.close()
        except libkv.InCallbackError as error:
            refused.append(error)
        heard.append(event)
        db["heard"] = event.key

    with libkv.open_in_memory(clock=clock, background=False, listener=hear) as db:
        version = db.set("k", b"v")
        db.delete("k")
        db.set("old", b"", 1)
        clock.advance(2)
        assert "old" not in db
        wait_until(lambda: len(heard) == 2, "both are heard")
    assert heard[0] == (b"k", b"v", version, "deleted", "raw") and heard[1][:2] == (b"old", b"") and heard[1].cause == "expired"
    assert len(refused) == 2


def test_what_a_listener_raises_goes_to_the_hook_and_the_next_event_is_heard(unraisable: List[BaseException]) -> None:
    heard: List[bytes] = []

    def hear(event: libkv.Event) -> None:
        heard.append(event.key)
        raise ValueError(event.key)

    with libkv.open_in_memory(listener=hear) as db:
        for key in (b"a", b"b"):
            db[key] = b""
            db.delete(key)
    assert heard == [b"a", b"b"] and [str(error) for error in unraisable] == ["b'a'", "b'b'"]


def test_a_logger_takes_lines_and_may_not_use_a_store(tmp_path: Path, unraisable: List[BaseException]) -> None:
    ahead, behind = libkv.Clock(2_000_000_000), libkv.Clock(1_000_000_000)
    with libkv.open(tmp_path / "s", clock=ahead) as db:
        db.set("k", b"", 1)
        ahead.advance(2)
        assert "k" not in db
    lines: List[str] = []

    def log(line: str) -> None:
        lines.append(line)
        with pytest.raises(libkv.InCallbackError):
            other["k"]
        with pytest.raises(libkv.InCallbackError):
            other["k"] = b""
        raise ValueError("on purpose")

    with libkv.open_in_memory() as other, libkv.open(tmp_path / "s", clock=behind, logger=log):
        pass
    assert "ahead of the clock" in lines[0] and str(unraisable[0]) == "on purpose"


@pytest.mark.parametrize("format", ["ndjson", "json", "csv", "resp"])
def test_entries_are_exported_and_imported(db: libkv.Db[bytes], tmp_path: Path, format: str) -> None:
    # Of many pieces.
    db.set_many([(b"%05d" % at, b"line\n" * 10) for at in range(2000)])
    text = io.BytesIO()
    done = db.export(text, format)
    assert done.entries == 2000 and done.bytes == 2000 * 55
    assert db.export(tmp_path / "file", format) == done and (tmp_path / "file").read_bytes() == text.getvalue()
    for source in (io.BytesIO(text.getvalue()), tmp_path / "file"):
        with libkv.open_in_memory() as other:
            assert other.import_(source, format).entries == 2000 and dict(other) == dict(db)
    some = io.BytesIO()
    assert db.export(some, format, prefix=b"0000", limit=3, ordered=True).entries == 3
    empty = io.BytesIO()
    assert db.export(empty, format, prefix=b"none").entries == 0
    with pytest.raises(ValueError):
        db.export(io.BytesIO(), "xml")
    with pytest.raises(libkv.BadImportError):
        db.import_(io.BytesIO(b"nonsense"), format)
    with pytest.raises(libkv.IoError):
        db.import_(tmp_path / "not there", format)


def test_tables_and_redis_commands_come_in_and_go_out_with_progress(db: libkv.Db[bytes], tmp_path: Path) -> None:
    rows = [[str(at), f'a "{at}", b\n'] for at in range(1000)]
    with open(tmp_path / "table.csv", "w", newline="") as file:
        csv.writer(file).writerows([["id", "name"], *rows])
    told: List[libkv.Transferred] = []
    done = db.import_(
        tmp_path / "table.csv", "csv", key_column="id", value_column="name", progress=lambda so: told.append(so)
    )
    assert done == told[-1] and len(told) > 1
    assert done.entries == 1000 and done.text_bytes == done.total_bytes == (tmp_path / "table.csv").stat().st_size
    text = io.BytesIO()
    db.export(text, "csv")
    back = list(csv.reader(io.StringIO(text.getvalue().decode(), newline="")))
    assert sorted(row[:2] for row in back[1:]) == sorted(rows)

    commands = b"SET a 1\nHSET h f v\nINCR a\nDEL 7\nSELECT 2\nSET a 9\n"
    with pytest.raises(libkv.BadImportError):
        db.import_(io.BytesIO(commands), "resp")
    done = db.import_(io.BytesIO(commands), "resp", skip_unknown=True)
    assert (done.deleted, done.skipped, db["a"]) == (1, {"HSET": 1, "database 2": 1}, b"2")
    assert db.import_(io.BytesIO(commands), "resp", database=2).entries == 1 and db["a"] == b"9"
    with pytest.raises(libkv.CancelledError):
        db.export(io.BytesIO(), "resp", progress=lambda so: False)

    def fail(done: libkv.Transferred) -> bool:
        raise KeyError("on purpose")

    with pytest.raises(KeyError):
        db.import_(io.BytesIO(commands), "resp", skip_unknown=True, progress=fail)


def test_a_store_is_loaded_from_its_mirror_and_written_there(tmp_path: Path) -> None:
    path = tmp_path / "people.json"
    path.write_text('{"name": "Alice", "age": 30}')
    with libkv.open_in_memory(json_mirror=str(path), json_mirror_every="1h") as db:
        assert db.increment("age") == 31
        db.sync()
        assert json.loads(path.read_text()) == {"name": "Alice", "age": 31}
    path.write_text('{"name": ')
    with pytest.raises(libkv.CorruptError):
        libkv.open_in_memory(json_mirror=str(path))
    assert path.read_text() == '{"name": '


def test_what_a_file_object_raises_is_raised_to_the_caller(db: libkv.Db[bytes]) -> None:
    db["k"] = b"v"

    class Full(io.BytesIO):
        def write(self, data: Any) -> int:
            raise OSError("full")

    class Short(io.BytesIO):
        def write(self, data: Any) -> int:
            return 1

    class Broken(io.BytesIO):
        def read(self, size: Any = -1) -> bytes:
            raise RuntimeError("broken")

    class Generous(io.BytesIO):
        def read(self, size: Any = -1) -> bytes:
            return b" " * (size + 1)

    for file, error in ((Full(), OSError), (Short(), BlockingIOError)):
        with pytest.raises(error):
            db.export(file)
    for source, wrong in ((Broken(), RuntimeError), (Generous(), ValueError), (io.StringIO("{}"), TypeError)):
        with pytest.raises(wrong):
            db.import_(source)  # type: ignore[arg-type]


def test_a_memoized_function_runs_once_for_its_arguments() -> None:
    with libkv.open_in_memory(codec="json") as db:
        calls: List[Any] = []

        @db.memoize(expire=60)
        def describe(*args: Any, **kwargs: Any) -> Any:
            """Its doc."""
            calls.append((args, kwargs))
            return [len(args), sorted(kwargs)] if args else None

        different = [
            ((1,), {}),
            ((True,), {}),
            ((1.0,), {}),
            (("1",), {}),
            ((b"1",), {}),
            (((1,),), {}),
            (([1],), {}),
            ((1, 2), {}),
            ((), {"a": 1, "b": {"x": 2}}),
            ((), {}),
            ((), {"a": "1,b=2"}),
            (("x" * 1000,), {}),
            (("x" * 999,), {}),
        ]
        for args, kwargs in different * 2:
            assert describe(*args, **kwargs) == ([len(args), sorted(kwargs)] if args else None)
        assert len(calls) == len(different)
        assert describe.__doc__ == "Its doc." and describe.__name__ == "describe"
        assert describe(b={"x": 2}, a=1) is None and len(calls) == len(different)
        ttl = db.ttl(describe.key(1))
        assert ttl is not None and ttl <= 60
        assert describe.forget(1) and not describe.forget(1)
        describe(1)
        assert len(calls) == len(different) + 1
        with pytest.raises(TypeError):
            describe(object())

        class Model:
            def __init__(self, number: int) -> None:
                self.number = number

            @db.memoize(key=lambda self, by: b"times:%d:%d" % (self.number, by))
            def times(self, by: int) -> int:
                return self.number * by

        assert Model(2).times(3) == Model(2).times(3) == 6 and db[b"times:2:3"] == 6

        @db.memoize()
        def fib(n: int) -> int:
            return n if n < 2 else fib(n - 1) + fib(n - 2)

        assert fib(30) == 832040


def test_a_weigher_says_what_counts_in_place_of_bytes(tmp_path: Path, unraisable: List[BaseException]) -> None:
    db: libkv.Db[bytes]

    def lines(key: bytes, value: bytes) -> int:
        if key == b"nested":
            len(db)
        return {b"bad": -1, b"text": "1"}.get(key, value.count(b"\n"))  # type: ignore[return-value]

    def open_store() -> libkv.Db[bytes]:
        return libkv.open(tmp_path / "store", max_bytes=100, weigher=lines, compression="zstd:1:1")

    with pytest.raises(libkv.InvalidOptionError, match="without max_bytes"):
        libkv.open_in_memory(weigher=lines)
    with pytest.raises(libkv.InvalidOptionError):
        libkv.open_in_memory(max_bytes=100, weigher="lines")
    db = open_store()
    for n in range(50):
        db[f"{n}"] = b"a line of text\n" * 3
    assert (len(db), db.figure("weight")) == (33, 99) and not unraisable
    # What raises, or says what is no weight, leaves the bytes.
    for key, kind in [("bad", ValueError), ("text", TypeError), ("nested", libkv.InCallbackError)]:
        db.clear()
        db[key] = b"12345"
        assert db.figure("weight") == len(key) + 5 and isinstance(unraisable.pop(), kind) and not unraisable
    db.clear()
    threads = [
        threading.Thread(target=lambda n=n: [db.set(f"{n} {at}", b"\n\n") for at in range(200)]) for n in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert db.figure("weight") == 100
    db.close()
    db = open_store()
    assert (len(db), db.figure("weight")) == (50, 100)
    db.close()
