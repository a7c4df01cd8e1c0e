"""Many threads, one store."""

from __future__ import annotations

import gc
import os
import sys
import threading
import weakref
from pathlib import Path
from typing import Any, List

import pytest
from conftest import wait_until

import libkv


def run(count: int, body: Any) -> None:
    """Runs `body(number)` in threads, and raises what they raise."""
    raised: List[BaseException] = []

    def guarded(number: int) -> None:
        try:
            body(number)
        except BaseException as error:
            raised.append(error)

    threads = [threading.Thread(target=guarded, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if raised:
        raise raised[0]


def test_increments_of_eight_threads_are_all_counted(db: libkv.Db[bytes]) -> None:
    run(8, lambda number: [db.incr("n") for _ in range(1000)])
    assert db["n"] == b"8000"


def test_reads_of_eight_threads_never_see_each_others_values(db: libkv.Db[bytes]) -> None:
    sizes = [0, 1, 100, 4096, 4097, 70_000]
    values = {b"%d:%d" % (number, size): b"%d" % number * size for number in range(8) for size in sizes}
    db.set_many(values)

    def read(number: int) -> None:
        mine = [key for key in values if key.startswith(b"%d:" % number)]
        for _ in range(300):
            for key in mine:
                assert db[key] == values[key]
            assert db.get_many(mine) == [values[key] for key in mine]

    run(8, read)


def test_compare_and_swap_of_eight_threads_loses_nothing(db: libkv.Db[bytes]) -> None:
    db["n"] = b"0"

    def add(number: int) -> None:
        for _ in range(200):
            while True:
                version = db.version("n")
                value = int(db["n"])
                # The value may be newer than the version: then the swap is refused.
                assert version is not None
                if db.compare_and_swap("n", version, b"%d" % (value + 1)):
                    break

    run(8, add)
    assert db["n"] == b"1600"


def test_close_while_eight_threads_call_gives_them_closed(tmp_path: Path) -> None:
    for round in range(5):
        db = libkv.open(tmp_path / str(round))
        started = threading.Barrier(9)

        def call(number: int) -> None:
            started.wait()
            calls: List[Any] = [
                lambda: db.get("k"),
                lambda: db.set("k", b"v"),
                lambda: db.get_many(["k"] * 10),
                lambda: db.set_many({"k": b"v"}),
                lambda: list(db.scan()),
                lambda: db.incr("n"),
                lambda: len(db),
                lambda: db.get_or_load("l%d" % number, lambda key: None),
            ]
            try:
                while True:
                    calls[number]()
            except libkv.ClosedError:
                pass

        def close(number: int) -> None:
            if number == 8:
                started.wait()
                db.close()
            else:
                call(number)

        run(9, close)
        db.close()


def test_a_pin_belongs_to_its_thread(db: libkv.Db[bytes]) -> None:
    db["k"] = b"v"
    with db.pin() as pin:

        def use(number: int) -> None:
            with pytest.raises(libkv.WrongThreadError):
                pin.get("k")
            with pytest.raises(libkv.WrongThreadError):
                pin.release()

        run(1, use)
        assert bytes(pin["k"]) == b"v"


def test_a_scan_shared_by_threads_gives_each_entry_to_one_of_them(db: libkv.Db[bytes]) -> None:
    db.set_many([(b"%d" % at, b"v" * 100) for at in range(20_000)])
    interval = sys.getswitchinterval()
    # Between any two steps: what one thread fetched must not be lost to what the other fetches.
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(3):
            _share_a_scan(db)
    finally:
        sys.setswitchinterval(interval)


def _share_a_scan(db: libkv.Db[bytes]) -> None:
    scan = db.scan()
    seen: List[List[bytes]] = [[] for _ in range(4)]

    def walk(number: int) -> None:
        while True:
            try:
                entry = next(scan)
            except libkv.BusyError:
                continue
            except StopIteration:
                return
            assert entry.value == b"v" * 100
            seen[number].append(entry.key)

    run(4, walk)
    assert sorted(sum(seen, [])) == sorted(b"%d" % at for at in range(20_000))


def test_a_store_that_nobody_has_any_more_is_closed(tmp_path: Path) -> None:
    db = libkv.open(tmp_path / "s")
    db["k"] = b"v"
    gone = weakref.ref(db)
    del db
    gc.collect()
    assert gone() is None
    with libkv.open(tmp_path / "s") as again:
        assert again["k"] == b"v"


def test_a_scan_keeps_its_store_open(tmp_path: Path) -> None:
    scan = libkv.open(tmp_path / "s").scan()
    gc.collect()
    assert list(scan) == []


def test_the_last_reference_may_go_in_the_listener(tmp_path: Path) -> None:
    held: List[Any] = []
    heard = threading.Event()

    def hear(event: libkv.Event) -> None:
        held.clear()
        gc.collect()
        heard.set()

    held.append(libkv.open(tmp_path / "s", listener=hear))
    held[0]["k"] = b""
    held[0].delete("k")
    heard.wait()

    def opens() -> bool:
        try:
            libkv.open(tmp_path / "s").close()
            return True
        except libkv.LockedError:
            return False

    wait_until(opens, "the store is closed by another thread")


def resources() -> "tuple[int, int, int]":
    """File descriptors, threads, and kilobytes of memory."""
    status = Path("/proc/self/status").read_text()
    memory_kb = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
    return len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task")), memory_kb


@pytest.mark.parametrize("is_closed", [True, False])
def test_ten_thousand_opens_leave_nothing_behind(is_closed: bool) -> None:
    def once() -> None:
        db = libkv.open_in_memory(listener=lambda event: None, logger=lambda line: None, clock=libkv.Clock())
        db["k"] = b"v"
        next(db.scan())
        with db.pin() as pin:
            pin["k"]
        if is_closed:
            db.close()

    for _ in range(500):
        once()
    gc.collect()
    before = resources()
    for _ in range(5_000):
        once()
    gc.collect()
    wait_until(lambda: resources()[:2] <= before[:2], f"{resources()} after {before}")
    assert resources()[2] < before[2] + 16 * 1024, f"{resources()} after {before}"
