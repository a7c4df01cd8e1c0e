"""Forked children, and interpreters that end while stores are open."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import libkv

# Forking while threads of the store run is what is tested.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


def calls_that_must_be_refused(db: Any, scan: Any, pin: Any) -> "list[Any]":
    return [
        lambda: db.get("k"),
        lambda: db["k"],
        lambda: "k" in db,
        lambda: len(db),
        lambda: list(db),
        lambda: db.version("k"),
        lambda: db.ttl("k"),
        lambda: db.set("k", b""),
        lambda: db.delete("k"),
        lambda: db.incr("n"),
        lambda: db.get_many(["k"]),
        lambda: db.set_many({"k": b""}),
        lambda: db.get_or_load("new", lambda key: b""),
        lambda: db.sync(),
        lambda: db.compact(),
        lambda: db.clear(),
        lambda: db.stats(),
        lambda: db.pin(),
        lambda: pin.get("k"),
        lambda: next(scan),
        lambda: db.close(),
    ]


def child_of_a_fork(db: Any, scan: Any, pin: Any, path: Path) -> int:
    """How many calls were not refused."""
    wrong = 0
    for call in calls_that_must_be_refused(db, scan, pin):
        try:
            call()
            wrong += 1
        except libkv.ForkedError:
            pass
    # A store of its own works.
    with libkv.open(path) as own:
        own["k"] = b"v"
    return wrong


def test_a_forked_child_gets_an_error_from_every_call_and_ends_clean(tmp_path: Path) -> None:
    with libkv.open(tmp_path / "s", listener=lambda event: None) as db:
        db.set_many([(b"%d" % at, b"") for at in range(10)])
        db["k"] = b"v"
        scan = db.scan()
        with db.pin() as pin:
            pid = os.fork()
            if pid == 0:
                try:
                    wrong = child_of_a_fork(db, scan, pin, tmp_path / "own")
                    del db, scan
                except BaseException:
                    wrong = 99
                os._exit(wrong)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
            assert bytes(pin["k"]) == b"v"
        assert db["k"] == b"v" and len(list(scan)) == 11
        db["k"] = b"w"
    with libkv.open(tmp_path / "s") as db:
        assert db["k"] == b"w"


def worker(queue: Any) -> None:
    try:
        INHERITED["db"].get("k")
        queue.put("no error")
    except libkv.ForkedError:
        queue.put("forked")


INHERITED: Any = {}


def test_a_multiprocessing_child_gets_an_error_and_the_parent_goes_on(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    with libkv.open(tmp_path / "s") as db:
        db["k"] = b"v"
        INHERITED["db"] = db
        try:
            queue = context.SimpleQueue()
            child = context.Process(target=worker, args=(queue,))
            child.start()
            assert queue.get() == "forked"
            child.join()
        finally:
            INHERITED.clear()
        assert child.exitcode == 0 and db["k"] == b"v"


# Each is the end of a program; the store must hold what it wrote, and nothing may be printed.
ENDINGS = {
    "open": "",
    "exit": "sys.exit(0)",
    "closed at exit by the program too": "import atexit; atexit.register(db.close)",
    "a listener with a backlog": (
        "db.set_many([(b'%d' % at, b'') for at in range(20000)]); db.delete_many([b'%d' % at for at in range(20000)])"
    ),
    "a cycle with the listener": "db.me = db; heard.append(db)",
    "a daemon thread that calls": (
        "go = threading.Event()\n"
        "def spin():\n"
        "    try:\n"
        "        while True: db.incr('n'); db.get('k'); db.get_many(['k']); go.set()\n"
        "    except libkv.ClosedError: pass\n"
        "threading.Thread(target=spin, daemon=True).start(); go.wait()"
    ),
    "a scan half way": "db.set_many([(b'%d' % at, b'') for at in range(2000)]); scan = db.scan(); next(scan)",
    "a store opened too late": (
        "import atexit\n"
        "def late():\n"
        "    try: libkv.open_in_memory()\n"
        "    except RuntimeError: pass\n"
        "import libkv._handle; atexit.unregister(libkv._handle._close_all)\n"
        "atexit.register(late); atexit.register(libkv._handle._close_all)"
    ),
    "a fork that ends before": "pid = os.fork()\nif pid == 0: sys.exit(0)\nos.waitpid(pid, 0)",
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_an_interpreter_ends_clean_with_open_stores(tmp_path: Path, ending: str) -> None:
    program = (
        "import os, sys, threading, warnings, libkv\n"
        "warnings.simplefilter('ignore')\n"
        "heard = []\n"
        f"db = libkv.open({str(tmp_path / 's')!r}, listener=lambda event: heard.append(event), logger=print, sync='always')\n"
        "db['k'] = b'v'\n" + ENDINGS[ending]
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    with libkv.open(tmp_path / "s") as db:
        assert db["k"] == b"v"


def test_an_interpreter_without_the_library_says_what_to_do(tmp_path: Path) -> None:
    environment = {**os.environ, "LIBKV_LIBRARY": str(tmp_path / "none.so")}
    done = subprocess.run([sys.executable, "-c", "import libkv"], env=environment, capture_output=True, text=True)
    assert done.returncode == 1 and "LIBKV_LIBRARY" in done.stderr
