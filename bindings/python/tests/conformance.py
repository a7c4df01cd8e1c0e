"""The conformance script (tests/conformance/README.md in the repository), as Python executes it.

python conformance.py FILE DIR [LINE CLOCK_MS]
"""

from __future__ import annotations

import atexit
import io
import math
import os
import queue
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Dict, List, Optional

import libkv
from google.protobuf.timestamp_pb2 import Timestamp

CLOCK_MS = 1_000_000_000_000
#: The names of tags, by their numbers.
CODECS = ["raw", "json", "msgpack", "protobuf", "postcard", "text", "gob", "pickle"]


class Marked:
    """Bytes, with the tag of a codec."""

    def __init__(self, codec: str) -> None:
        self.tag = CODECS.index(codec) if codec in CODECS else int(codec)

    def encode(self, value: bytes) -> bytes:
        return value

    def decode(self, data: bytes) -> bytes:
        return data


def unword(word: str) -> bytes:
    """The bytes that a word stands for."""
    if word == '""':
        return b""
    if word.startswith("@") and "*" in word:
        count, byte = word[1:].split("*")
        return bytes([int(byte, 16)]) * int(count)
    return re.sub(rb"%(..)", lambda found: bytes.fromhex(found[1].decode()), word.encode())


def word(data: Optional[bytes], absent: str = "absent") -> str:
    if data is None:
        return absent
    if not data:
        return '""'
    if len(data) > 16 and data == data[:1] * len(data):
        return f"@{len(data)}*{data[0]:02X}"
    return "".join(chr(byte) if 33 <= byte <= 126 and byte != 37 else f"%{byte:02X}" for byte in data)


def whole(value: bytes, metadata: Dict[str, bytes]) -> str:
    """A value and its metadata."""
    pairs = sorted((name.encode(), held) for name, held in metadata.items())
    return " ".join([word(value), *(f"{word(name)}={word(held)}" for name, held in pairs)])


def words(found: List[str]) -> str:
    return " ".join(found) or "none"


def boolean(is_so: bool) -> str:
    return "true" if is_so else "false"


def status(error: libkv.Error) -> str:
    """`key_too_long` for KeyTooLongError."""
    name = type(error).__name__.replace("IncrementOverflow", "Overflow")[: -len("Error")]
    return "error " + re.sub(r"(?<!^)([A-Z])", r"_\1", name).lower()


def expiry(word: str) -> Dict[str, Any]:
    kind, _, ms = word.partition(":")
    if kind == "after":
        return {"expire": int(ms) / 1000}
    if kind == "at":
        return {"expire_at": int(ms) / 1000}
    return {"expire": {"default": None, "never": libkv.NEVER, "keep": libkv.KEEP}[kind]}


class Redis:
    """A redis-server at a socket, and a client that knows nothing of the library."""

    def __init__(self, at: Path) -> None:
        self.at = at
        self._process: Optional["subprocess.Popen[bytes]"] = None

    def up(self) -> None:
        self.at.parent.mkdir(parents=True, exist_ok=True)
        # Where tests run, PATH has the environment's own programs alone.
        program = shutil.which("redis-server") or shutil.which("redis-server", path=os.defpath + ":/usr/local/bin")
        assert program, "no redis-server: scripts/need.sh redis-server=redis-server installs it"
        command = [program, "--port", "0", "--save", "", "--unixsocket", str(self.at), "--dir", str(self.at.parent)]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        atexit.register(self.down)
        deadline = time.monotonic() + 60
        while True:
            try:
                self._connect().close()
                return
            except OSError:
                assert self._process.poll() is None and time.monotonic() < deadline, "redis-server does not answer"
                time.sleep(0.005)

    def down(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
            self.at.unlink(missing_ok=True)

    def _connect(self) -> socket.socket:
        stream = socket.socket(socket.AF_UNIX)
        try:
            stream.connect(str(self.at))
        except OSError:
            stream.close()
            raise
        return stream

    def ask(self, *command: bytes) -> str:
        with self._connect() as stream, stream.makefile("rb") as reply:
            parts = [b"*%d\r\n" % len(command), *(b"$%d\r\n%s\r\n" % (len(each), each) for each in command)]
            stream.sendall(b"".join(parts))
            while True:
                line = reply.readline().rstrip()
                if line.startswith(b"$"):
                    return "absent" if line == b"$-1" else word(reply.read(int(line[1:])))
                if not line.startswith(b"*"):
                    assert line[:1] in (b"+", b":"), line
                    return line[1:].decode()


class Case:
    """Where a case stands. Each method is an operation, takes its words, and gives the answer."""

    def __init__(self, path: Path, clock_ms: int) -> None:
        self.path = path
        self.clock_ms = clock_ms
        self.clock = libkv.Clock(clock_ms / 1000)
        self.options: Dict[str, str] = {"background": "false"}
        self.versions: Dict[str, int] = {}
        self.store: Optional[libkv.Db[bytes]] = None
        self.locked: Optional[libkv.Session[bytes]] = None
        self.watch: Optional[libkv.Watch] = None
        self.told: Optional["queue.SimpleQueue[libkv.Event]"] = None
        self.generated = b""
        self.redis = Redis(path.with_name("s"))

    @property
    def mirror(self) -> Path:
        return self.path.with_suffix(".json")

    def setting(self, value: str) -> str:
        """The value of an option."""
        return {"$mirror": str(self.mirror), "$redis": f"redis+unix://{self.redis.at}"}.get(value, value)

    def save(self, expected: str, version: int) -> str:
        if not expected.startswith("$"):
            return str(version)
        self.versions[expected[1:]] = version
        return expected

    @property
    def held(self) -> libkv.Session[bytes]:
        if self.locked is None:
            raise SystemExit("no session")
        return self.locked

    @property
    def db(self) -> libkv.Db[bytes]:
        if self.store is None:
            raise SystemExit("an operation before open")
        return self.store

    def number(self, word: str) -> int:
        return self.versions[word[1:]] if word.startswith("$") else int(word)

    def do_option(self, name: str, value: str) -> str:
        # The library reads an option when a store is opened with it, which would take a mirror, or need the rest of a tier.
        if value != "$mirror" and not name.startswith("tier_"):
            libkv.open_in_memory(**{name: value}).close()
        self.options[name] = self.setting(value)
        return "ok"

    def do_listen(self) -> str:
        self.told = queue.SimpleQueue()
        return "ok"

    @property
    def _hooks(self) -> Dict[str, Any]:
        return {"clock": self.clock, "listener": self.told and self.told.put}

    def do_open(self) -> str:
        self.store = libkv.open(self.path, **self._hooks, **self.options)
        return "ok"

    def do_open_in_memory(self) -> str:
        self.store = libkv.open_in_memory(**self._hooks, **self.options)
        return "ok"

    def do_close(self) -> str:
        self.db.close()
        return "ok"

    def do_reopen(self) -> str:
        self.db.close()
        return self.do_open()

    def do_advance(self, ms: str) -> str:
        self.clock.advance(int(ms) / 1000)
        self.clock_ms += int(ms)
        return ""

    def do_get(self, key: str) -> str:
        return word(self.db.get(unword(key)))

    do_get_owned = do_get

    def do_get_small(self, key: str, limit: str) -> str:
        value = self.db.get(unword(key))
        return f"too_small {len(value)}" if value is not None and len(value) > int(limit) else word(value)

    def do_get_pinned(self, key: str) -> str:
        with self.db.pin() as pin:
            value = pin.get(unword(key))
            return word(None if value is None else bytes(value))

    def do_contains(self, key: str) -> str:
        return boolean(unword(key) in self.db)

    def do_version(self, key: str, expected: str) -> str:
        version = self.db.version(unword(key))
        if version is None:
            return "absent"
        return self.save(expected, version)

    def do_watch(self, prefix: str, after: str) -> str:
        self.watch = self.db.watch(unword(prefix), after=None if after == "now" else self.number(after))
        return "ok"

    def do_changes(self) -> str:
        assert self.watch is not None, "no watch"
        told = []
        while True:
            try:
                change = self.watch.next(0)
            except libkv.LaggedError:
                told.append("lagged")
                continue
            if change is None:
                return words(told)
            if change.kind == "put":
                told.append(f"put:{word(change.key)}={word(change.value)}")
            elif change.kind == "removed":
                told.append(f"removed:{word(change.key)}:{change.cause}")
            else:
                told.append(change.kind)

    def do_events(self, count: str) -> str:
        assert self.told is not None, "no listener"
        deadline = time.monotonic() + 60
        told: List[str] = []
        while True:
            left = deadline - time.monotonic() if len(told) < int(count) else 0
            try:
                event = self.told.get(timeout=max(left, 0))
            except queue.Empty:
                return words(told)
            told.append(f"{word(event.key)}={word(event.value)}:{event.codec}:{event.cause}")

    def do_position(self, expected: str) -> str:
        assert self.watch is not None, "no watch"
        return self.save(expected, self.watch.position)

    def do_write_mirror(self, *lines: str) -> str:
        self.mirror.write_bytes(b"".join(unword(line) + b"\n" for line in lines))
        return "ok"

    def do_mirror(self) -> str:
        return words([word(line) for line in self.mirror.read_bytes().split(b"\n") if line])

    def do_fill(self, count: str) -> str:
        for n in range(int(count)):
            total = n * 2654435761 % 2**32
            self.db[str(n)] = f"name: package-{n}; section: libs; priority: optional; sum: {total}".encode()
        return "ok"

    def do_redis_up(self) -> str:
        self.redis.up()
        return "ok"

    def do_redis_down(self) -> str:
        self.redis.down()
        return "ok"

    def do_redis(self, *command: str) -> str:
        return self.redis.ask(*map(unword, command))

    def do_flush(self) -> str:
        self.db.flush(60)
        return "ok"

    def do_increment_shared(self, key: str, by: str) -> str:
        return str(self.db.incr_shared(unword(key), int(by)))

    def do_add_shared(self, key: str, value: str, when: str) -> str:
        return boolean(self.db.add_shared(unword(key), unword(value), **expiry(when)))

    def do_compare_and_swap_shared(self, key: str, expected: str, value: str) -> str:
        return boolean(self.db.compare_and_swap_shared(unword(key), unword(expected), unword(value)))

    def do_ttl_between(self, key: str, low: str, high: str) -> str:
        ttl = self.db.ttl(unword(key))
        return boolean(ttl is not None and int(low) <= ttl * 1000 <= int(high))

    def do_ttl(self, key: str) -> str:
        ttl = self.db.ttl(unword(key))
        return "absent" if ttl is None else "never" if ttl == math.inf else str(round(ttl * 1000))

    def do_len(self) -> str:
        return str(len(self.db))

    def do_set(self, key: str, value: str) -> str:
        self.db[unword(key)] = unword(value)
        return "ok"

    def do_set_with(self, key: str, value: str, condition: str, when: str) -> str:
        kind, _, version = condition.partition(":")
        conditions: Dict[str, Any] = {} if kind == "always" else {kind: self.number(version) if version else True}
        return "not_met" if self.db.set(unword(key), unword(value), **conditions, **expiry(when)) is None else "ok"

    def do_add(self, key: str, value: str) -> str:
        return boolean(self.db.add(unword(key), unword(value)))

    def do_replace(self, key: str, value: str) -> str:
        return boolean(self.db.replace(unword(key), unword(value)))

    def do_compare_and_swap(self, key: str, version: str, value: str) -> str:
        swapped = self.db.compare_and_swap(unword(key), self.number(version), unword(value))
        return "not_met" if swapped is None else "ok"

    def do_increment(self, key: str, by: str) -> str:
        return str(self.db.incr(unword(key), int(by)))

    def do_expire(self, key: str, ms: str) -> str:
        return boolean(self.db.expire(unword(key), int(ms) / 1000))

    def do_expire_at(self, key: str, ms: str) -> str:
        return boolean(self.db.expire_at(unword(key), int(ms) / 1000))

    def do_touch(self, key: str) -> str:
        return boolean(self.db.touch(unword(key)))

    def do_persist(self, key: str) -> str:
        return boolean(self.db.persist(unword(key)))

    def do_take(self, key: str) -> str:
        return word(self.db.take(unword(key)))

    def do_delete(self, key: str) -> str:
        return boolean(self.db.delete(unword(key)))

    def do_get_many(self, *keys: str) -> str:
        return words([word(value, "-") for value in self.db.get_many(map(unword, keys))])

    def do_set_many(self, *both: str) -> str:
        data = list(map(unword, both))
        self.db.set_many(zip(data[0::2], data[1::2]))
        return "ok"

    def do_delete_many(self, *keys: str) -> str:
        return str(self.db.delete_many(map(unword, keys)))

    def do_apply(self, *changes: str) -> str:
        def change(text: str) -> libkv.Change:
            kind, *rest = text.split(":", 3)
            if kind == "delete":
                return libkv.Delete(unword(rest[0]))
            return libkv.Set(unword(rest[0]), unword(rest[1]), **expiry(rest[2]))

        self.db.apply(map(change, changes))
        return "ok"

    def do_get_or_load(self, key: str, loaded: str, **how: Any) -> str:
        return self._load(self.db, key, loaded, **how)

    def _load(self, db: "libkv.Db[bytes]", key: str, loaded: str, **how: Any) -> str:
        def load(key: bytes) -> Optional[bytes]:
            if loaded == "!":
                raise OSError("it fails")
            return None if loaded == "-" else unword(loaded)

        try:
            return word(db.get_or_load(unword(key), load, **how))
        except OSError:
            # Here what the loader raises comes through; those who wait get this.
            return "error loader_failed"

    def do_get_or_load_with(self, key: str, loaded: str, *options: str) -> str:
        how: Dict[str, Any] = {}
        for option in options:
            name, figure = option.split(":")
            name = "expire" if name == "ttl" else name
            how[name] = float(figure) if name == "early" else int(figure) / 1000
        return self.do_get_or_load(key, loaded, **how)

    def _now(self, key: str) -> str:
        try:
            return self.do_get(key)
        except libkv.Error as error:
            return status(error)

    def do_await(self, key: str, answer: str) -> str:
        deadline = time.monotonic() + 60
        while self._now(key) != answer:
            if time.monotonic() > deadline:
                return "late"
            time.sleep(0.001)
        return "ok"

    def do_scan(self, prefix: str, limit: str) -> str:
        found = self.db.scan(unword(prefix), limit=int(limit) or None, ordered=True)
        return words([f"{word(entry.key)}={word(entry.value)}" for entry in found])

    def do_range(self, prefix: str, start: str, end: str, limit: str, how: str) -> str:
        assert how in ("forward", "reverse", "snapshot", "reverse+snapshot"), how
        found = self.db.scan(
            unword(prefix),
            start=unword(start),
            end=unword(end),
            limit=int(limit) or None,
            reverse="reverse" in how,
            snapshot="snapshot" in how,
        )
        return words([f"{word(entry.key)}={word(entry.value)}" for entry in found])

    def do_export(self, format: str, prefix: str) -> str:
        text = io.BytesIO()
        self.db.export(text, format, prefix=unword(prefix), ordered=True)
        return words([word(line) for line in text.getvalue().split(b"\n") if line])

    def do_import(self, format: str, *lines: str) -> str:
        text = io.BytesIO(b"".join(unword(line) + b"\n" for line in lines))
        return str(self.db.import_(text, format).entries)

    def _take_over(self, locked: libkv.Session[bytes]) -> str:
        if self.locked is not None:
            self.locked.rollback()
        self.locked = locked
        return "ok"

    def do_lock(self, key: str) -> str:
        try:
            return self._take_over(self.db.get_and_lock(unword(key), timeout=0))
        except KeyError:
            return "absent"

    def do_create(self, key: str, value: str, which: str) -> str:
        assert which in ("new", "any"), which
        allow = which == "any"
        locked = self.db.create_and_lock(unword(key), initial=unword(value), allow_existing=allow, timeout=0)
        return "not_met" if locked is None else self._take_over(locked)

    def do_session(self) -> str:
        return whole(self.held.value, self.held.metadata)

    def do_edit(self, value: str, *pairs: str) -> str:
        self.held.value = unword(value)
        both = (pair.split("=", 1) for pair in pairs)
        self.held.metadata = {unword(name).decode(): unword(held) for name, held in both}
        return "ok"

    def do_commit(self, when: str, how: str) -> str:
        options: Dict[str, Any] = {} if how == "end" else {how: True}
        self.held.commit(**options, **({} if when == "keep" else expiry(when)))
        return "ok"

    def do_reload(self) -> str:
        self.held.reload()
        return "ok"

    def do_rollback(self) -> str:
        self.held.rollback()
        return "ok"

    def do_get_with_metadata(self, key: str) -> str:
        found = self.db.get_with_metadata(unword(key))
        return "absent" if found is None else whole(*found)

    def do_generate(self, prefix: str, base: str, width: str) -> str:
        key = self.db.generate_key(prefix=unword(prefix), base=int(base), width=int(width))
        is_later = key.startswith(unword(prefix)) and key > self.generated
        self.generated = key
        return "later" if is_later else "earlier"

    def do_set_as(self, codec: str, key: str, value: str) -> str:
        self.db.typed(Marked(codec))[unword(key)] = unword(value)
        return "ok"

    def do_get_as(self, codec: str, key: str) -> str:
        return word(self.db.typed(Marked(codec)).get(unword(key)))

    def do_take_as(self, codec: str, key: str) -> str:
        return word(self.db.typed(Marked(codec)).take(unword(key)))

    def do_increment_as(self, codec: str, key: str, by: str) -> str:
        return str(self.db.typed(Marked(codec)).incr(unword(key), int(by)))

    def do_set_many_as(self, codec: str, *both: str) -> str:
        data = list(map(unword, both))
        self.db.typed(Marked(codec)).set_many(zip(data[0::2], data[1::2]))
        return "ok"

    def do_get_many_as(self, codec: str, *keys: str) -> str:
        return words([word(value, "-") for value in self.db.typed(Marked(codec)).get_many(map(unword, keys))])

    def do_get_or_load_as(self, codec: str, key: str, loaded: str) -> str:
        return self._load(self.db.typed(Marked(codec)), key, loaded)

    def do_scan_codecs(self, prefix: str) -> str:
        return words([f"{word(entry.key)}={entry.codec}" for entry in self.db.scan(unword(prefix), ordered=True)])

    def do_codec(self, key: str) -> str:
        return self.db.codec(unword(key)) or "absent"

    def _moments(self, codec: str) -> libkv.Db[Any]:
        return self.db.typed(libkv.Protobuf(Timestamp) if codec == "protobuf" else codec)

    def do_set_moment(self, codec: str, key: str, seconds: str, nanos: str) -> str:
        fields = {"seconds": int(seconds), "nanos": int(nanos)}
        self._moments(codec)[unword(key)] = Timestamp(**fields) if codec == "protobuf" else fields
        return "ok"

    def do_get_moment(self, codec: str, key: str) -> str:
        try:
            found = self._moments(codec).get(unword(key))
            if found is None:
                return "absent"
            if codec == "protobuf":
                return f"{found.seconds} {found.nanos}"
            return f"{found['seconds']} {found['nanos']}"
        except libkv.Error:
            raise
        except Exception:
            # What the codec itself raises comes through; and what is no moment fails here.
            return "error undecodable"

    def do_clear(self) -> str:
        self.db.clear()
        return "ok"

    def do_sweep(self) -> str:
        self.db.sweep()
        return "ok"

    def do_sync(self) -> str:
        self.db.sync()
        return "ok"

    def do_compact(self) -> str:
        self.db.compact()
        return "ok"

    def do_verify(self) -> str:
        return "ok" if libkv.verify(self.path).ok else "damaged"

    def do_now(self) -> str:
        return str(round(self.db.now() * 1000))

    def do_figure(self, name: str) -> str:
        return str(self.db.figure(name))


def run(file: str, directory: str, done: int = 0, clock_ms: Optional[int] = None) -> int:
    """Runs the lines after the first `done`; with a clock, in another process, to the end of the case. Returns how many
    failed."""
    lines = Path(file).read_text().splitlines()
    failures = cases = checked = 0
    case: Optional[Case] = None
    if clock_ms is not None:
        begin = max(at for at in range(done) if lines[at].startswith("case "))
        case = Case(Path(directory) / lines[begin].split()[1], clock_ms)
        for line in lines[begin:done]:
            if line.startswith("option ") and line.endswith(" => ok"):
                _, name, value, *_ = line.split()
                case.options[name] = case.setting(value)
        case.do_open()
    at = done
    while at < len(lines):
        line = lines[at]
        at += 1
        call, _, expected = line.partition(" => ")
        name, *arguments = call.split(" ")
        if not name or name.startswith("#"):
            continue
        if name == "case":
            if clock_ms is not None:
                break
            if case is not None:
                case.redis.down()
            case = Case(Path(directory) / arguments[0], CLOCK_MS)
            cases += 1
            continue
        assert case is not None, "an operation before the first case"
        if name == "process":
            case.do_close()
            other = [sys.executable, __file__, file, directory, str(at), str(case.clock_ms)]
            failures += subprocess.run(other).returncode != 0
            while at < len(lines) and not lines[at].startswith("case "):
                at += 1
            continue
        try:
            if name in ("version", "position"):
                arguments.append(expected)
            got = getattr(case, f"do_{name}")(*arguments)
        except libkv.Error as error:
            got = status(error)
        checked += 1
        if got != expected:
            print(f"{file}:{at}: expected {expected}, got {got}")
            failures += 1
    if case is not None:
        case.redis.down()
    if clock_ms is None:
        print(f"{file}: {cases} cases, {checked} lines")
    return failures


if __name__ == "__main__":
    file, directory, *rest = sys.argv[1:]
    sys.exit(1 if run(file, directory, *map(int, rest)) else 0)
