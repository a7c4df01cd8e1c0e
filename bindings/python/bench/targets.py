"""The promised ratios, in one run: `make bench-python`.

What is compared takes turns in small portions of random keys; of each the median over the rounds is taken, so that what else
the machine does strikes all alike. Each portion runs once before it is timed: measured is what the call costs, not how far
the memory is. Time is the processor's, of the calling thread: none of the calls waits.
"""

from __future__ import annotations

import ctypes
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Callable, Dict, List

import diskcache
import lmdb

import libkv

ENTRIES = 10_000
VALUE_BYTES = 100
BATCH = 100
# Keys that one measure reads in a round, before it is another's turn.
PORTION = 1000
ROUNDS = 101

# What each measure runs in a round, over `keys`.
Portion = Callable[[List[bytes]], object]


def empty_function(directory: Path) -> Callable[[int, bytes, int], int]:
    """A C function of three arguments that does nothing, as ctypes calls it."""
    source, library = directory / "empty.c", directory / "empty.so"
    source.write_text(
        "#include <stddef.h>\n"
        "int empty(const void *a, const void *b, size_t n) { (void)a; (void)b; (void)n; return 0; }\n"
    )
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", str(source), "-o", str(library)], check=True)
    function = ctypes.CDLL(str(library)).empty
    function.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t]
    function.restype = ctypes.c_int
    return function


def medians(measures: Dict[str, Portion], keys: List[bytes], seed: int) -> Dict[str, float]:
    """Nanoseconds a key of each."""
    chance = random.Random(seed)
    found: Dict[str, List[float]] = {name: [] for name in measures}
    for _ in range(ROUNDS):
        portion = chance.sample(keys, PORTION)
        for name, measure in measures.items():
            measure(portion)
            begin = time.thread_time_ns()
            measure(portion)
            found[name].append((time.thread_time_ns() - begin) / PORTION)
    return {name: statistics.median(times) for name, times in found.items()}


def main() -> None:
    seed = int(sys.argv[1]) if len(sys.argv) > 1 else time.time_ns()
    entries = {b"key:%08d" % at: bytes([at % 256]) * VALUE_BYTES for at in range(ENTRIES)}
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        empty = empty_function(directory)
        db = libkv.open(directory / "libkv")
        db.set_many(entries)
        cache = diskcache.Cache(str(directory / "diskcache"), eviction_policy="none")
        with cache.transact():
            for key, value in entries.items():
                cache.set(key, value)
        env = lmdb.open(str(directory / "lmdb"), map_size=1 << 28)
        with env.begin(write=True) as writing:
            writing.cursor().putmulti(entries.items())
        reading = env.begin()

        def call_empty(keys: List[bytes]) -> None:
            for key in keys:
                empty(1234, key, 12)

        def many(keys: List[bytes]) -> None:
            for at in range(0, len(keys), BATCH):
                db.get_many(keys[at : at + BATCH])

        def single(get: Callable[[bytes], object]) -> Portion:
            def portion(keys: List[bytes]) -> None:
                for key in keys:
                    get(key)

            return portion

        def lmdb_own(key: bytes) -> object:
            with env.begin() as own:
                return own.get(key)

        measures: Dict[str, Portion] = {
            "empty ctypes call, 3 arguments": call_empty,
            "libkv get": single(db.get),
            "libkv get_many": many,
            "lmdb get, one transaction for all": single(reading.get),
            "lmdb get, a transaction each": single(lmdb_own),
            "diskcache get": single(cache.get),
        }
        keys = list(entries)
        some = random.Random(seed).sample(keys, BATCH)
        expected = [entries[key] for key in some]
        assert [db.get(key) for key in some] == db.get_many(some) == expected
        assert [reading.get(key) for key in some] == [cache.get(key) for key in some] == expected
        ns = medians(measures, keys, seed)
        reading.abort()
        env.close()
        cache.close()
        db.close()

    print(f"libkv {libkv.__version__}, Python {sys.version.split()[0]}; {ENTRIES} entries of {VALUE_BYTES} bytes; seed {seed}")
    print(f"medians of {ROUNDS} interleaved rounds of {PORTION} keys\n")
    for name, each in ns.items():
        print(f"{name:36} {each:9.0f} ns")
    get = ns["libkv get"]
    print(f"\n{'measure':58} {'ratio':>8}  must reach")
    rows = [
        ("get over an empty ctypes call", get / ns["empty ctypes call, 3 arguments"], "<= 4"),
        ("get_many of 100, a key, over get", ns["libkv get_many"] / get, "<= 0.25"),
        ("diskcache get over libkv get", ns["diskcache get"] / get, ">= 20"),
        ("lmdb get in one transaction over libkv get", ns["lmdb get, one transaction for all"] / get, "stated"),
        ("lmdb get in a transaction of its own over libkv get", ns["lmdb get, a transaction each"] / get, "stated"),
    ]
    for name, ratio, target in rows:
        print(f"{name:58} {ratio:8.2f}  {target}")


if __name__ == "__main__":
    main()
