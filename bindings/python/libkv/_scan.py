"""Walking over many entries."""

from __future__ import annotations

import itertools
import struct
import threading
from contextlib import contextmanager
from ctypes import byref, c_char_p, c_size_t, c_void_p
from typing import Any, Callable, Generic, Iterator, List, NamedTuple, Optional, Tuple, TypeVar

from . import _abi
from ._errors import BusyError, check

lib = _abi.lib
V = TypeVar("V")

# Entries that cross the boundary in one call.
_PORTION = 512
# Key, value, version, expiry, codec; and what fills up to the next entry.
_ENTRY = struct.Struct("6QI4x")


class Entry(NamedTuple):
    """An entry that a scan found, as `Db.scan` gives it."""

    key: bytes
    value: Any
    #: For `compare_and_swap`.
    version: int
    #: Seconds since 1970; None: it does not expire.
    expires_at: Optional[float]
    #: Which codec wrote the value: its name, or its number as text.
    codec: str = "raw"


class Selection(NamedTuple):
    """Which entries, in which order."""

    prefix: bytes = b""
    start: bytes = b""
    end: bytes = b""
    #: `None`: no limit.
    limit: Optional[int] = None
    ordered: bool = False
    reverse: bool = False
    snapshot: bool = False


def options_of(selection: Selection) -> Tuple[_abi.ScanOptions, Any]:
    """Options for the library, and what must outlive them."""
    options, keep = _abi.ScanOptions(), []
    for name in ("prefix", "start", "end"):
        key: bytes = getattr(selection, name)
        keep.append(c_char_p(key))
        part = getattr(options, name)
        part.data, part.len = c_void_p.from_buffer(keep[-1]).value, len(key)
    options.limit, options.ordered = min(selection.limit or 0, 2**64 - 1), selection.ordered
    options.reverse, options.snapshot = selection.reverse, selection.snapshot
    return options, keep


class Scan(Generic[V], Iterator[V]):
    """Entries of a store, one after the other. It holds no guard: it may be kept for long."""

    def __init__(
        self,
        owner: Any,
        handle: Any,
        selection: Selection,
        make: Callable[[bytes, bytes, int, int, int], V],
    ) -> None:
        self._scan: Optional[int] = None
        #: Keeps the store open while this is in use.
        self._owner = owner
        self._make = make
        if selection.limit is not None and selection.limit < 0:
            raise ValueError(f"a limit of {selection.limit}")
        self._portion: Iterator[V] = iter(())
        self._lock = threading.Lock()
        if selection.limit == 0:
            return
        scan, error = c_void_p(), c_void_p()
        options, keep = options_of(selection)
        check(lib.kv_scan_open(handle, byref(options), byref(scan), byref(error)), error)
        del keep
        self._scan = scan.value

    def __iter__(self) -> Scan[V]:
        return self

    def __next__(self) -> V:
        while True:
            portion = self._portion
            for entry in portion:
                return entry
            with self._alone():
                if self._portion is not portion:
                    # Another thread has fetched meanwhile.
                    continue
                found = self._fetch()
                # Made one by one: what fails for an entry leaves those behind it.
                self._portion = itertools.starmap(self._make, found)
            if not found:
                self.close()
                raise StopIteration

    def _fetch(self) -> List[Tuple[bytes, bytes, int, int, int]]:
        """The next entries, for who is alone: copied before another call with the cursor takes their memory back."""
        if self._scan is None:
            return []
        entries, count, error = c_void_p(), c_size_t(), c_void_p()
        status = lib.kv_scan_next(self._scan, _PORTION, byref(entries), byref(count), byref(error))
        check(status, error)
        portion = _abi.bytes_at(entries.value, count.value * _ENTRY.size)
        memory = _abi.memory
        return [
            (memory[key : key + key_len], memory[value : value + value_len], version, expires_at_ms, codec)
            for key, key_len, value, value_len, version, expires_at_ms, codec in _ENTRY.iter_unpack(portion)
        ]

    @contextmanager
    def _alone(self) -> Iterator[None]:
        # Never waits: a forked child may find the lock held by a thread that does not exist there.
        if not self._lock.acquire(blocking=False):
            raise BusyError("another thread is using the cursor")
        try:
            yield
        finally:
            self._lock.release()

    def close(self) -> None:
        """Ends the scan before its end, and gives its memory back."""
        with self._alone():
            scan, self._scan, self._portion = self._scan, None, iter(())
            lib.kv_scan_free(scan)

    def __del__(self, free: Callable[[Optional[int]], int] = lib.kv_scan_free) -> None:
        if getattr(self, "_scan", None) is not None:
            free(self._scan)
