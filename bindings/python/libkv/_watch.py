"""Being told what changes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from ctypes import byref, c_uint64, c_void_p
from datetime import timedelta
from typing import Any, AsyncIterator, Callable, Iterator, List, NamedTuple, Optional

from . import _abi
from ._codecs import name_of
from ._errors import BusyError, ClosedError, check
from ._options import CAUSES
from ._session import Metadata, Timeout, pairs_at, wait_of

lib = _abi.lib

_KINDS = {_abi.WATCH_PUT: "put", _abi.WATCH_REMOVED: "removed", _abi.WATCH_CLEARED: "cleared"}


class WatchChange(NamedTuple):
    """A change of the store, as `Db.watch` tells it."""

    #: "put": the key has this value now; "removed": it has none any more; "cleared": no key has a value any more that was set below this version.
    kind: str
    #: Empty for "cleared".
    key: bytes
    #: None unless it is a put.
    value: Any
    #: The version of the change; of an entry that has expired its own. A watch after it goes on with the next change.
    version: int
    #: Seconds since 1970; None: it does not expire. When it passes nothing more is told.
    expires_at: Optional[float]
    #: What stands beside the value.
    metadata: Metadata
    #: Of a removal: "deleted", "expired" or "evicted", which is said also of a copy of what the tier holds that this store has dropped.
    cause: Optional[str]
    #: Of a put: which codec wrote the value: its name, or its number as text.
    codec: Optional[str] = None


class Watch(Iterator[WatchChange]):
    """Tells what changes. As an iterator it waits for the next change, and is over when the store or the watch is closed.

    It serves one thread at a time; `close` and `wake` may come from another. It holds nothing back: the log is what it reads from.
    """

    def __init__(self, owner: Any, handle: Any, prefix: bytes, after: Optional[int], decode: Callable[[bytes, bytes, int], Any]) -> None:
        #: The handle, until it is freed: who takes it out, which nothing divides, frees it.
        self._at: List[int] = []
        #: Keeps the store open while this is in use.
        self._owner = owner
        self._decode = decode
        # Held by who uses it, and by who frees it; nobody waits for it. What a signal calls comes within a call of the same thread, perhaps.
        self._lock = threading.RLock()
        self._is_used = False
        # Held by who wakes it, perhaps while another thread uses it, and by who frees it. Nobody who has it waits.
        self._waking = threading.RLock()
        self._is_waking = False
        self._is_closed = False
        self._pid = os.getpid()
        if after is not None and not 0 <= after < _abi.WATCH_FROM_NOW:
            raise ValueError(f"a version of {after}")
        watch, error = c_void_p(), c_void_p()
        begin = _abi.WATCH_FROM_NOW if after is None else after
        check(lib.kv_watch_open(handle, prefix, len(prefix), begin, byref(watch), byref(error)), error)
        self._at.append(watch.value or 0)

    def next(self, timeout: Timeout = None) -> Optional[WatchChange]:
        """The next change; None if there is none within `timeout` seconds (0: by now; None: as long as it takes), or after `wake`.

        Raises LaggedError once where it comes too late for removals: forget what was told so far, since what follows is all that stands;
        CorruptError for a damaged value, WrongCodecError for one of another codec than the store's, and what the codec raises: the next call
        goes on behind it; ClosedError.
        """
        with self._used():
            told, error = _abi.WatchChange(), c_void_p()
            status = lib.kv_watch_next(self._at[0], wait_of(timeout), byref(told), byref(error))
            if status == _abi.NOT_FOUND:
                if self._is_closed:
                    raise ClosedError("the watch is closed")
                return None
            check(status, error)
            return self._change(told)

    @contextlib.contextmanager
    def _used(self) -> Iterator[None]:
        """Lets one caller in, and frees the watch behind him if it was closed meanwhile. Never waits: a forked child may find the lock held
        by a thread that does not exist there."""
        is_held = self._lock.acquire(blocking=False)
        try:
            if not is_held or self._is_used:
                raise ClosedError("the watch is closed") if self._is_closed else BusyError("another thread is using the watch")
            self._is_used = True
            try:
                if self._is_closed:
                    raise ClosedError("the watch is closed")
                yield
            finally:
                self._is_used = False
        finally:
            if is_held:
                self._lock.release()
                self._reap()

    def _reap(self) -> None:
        """Frees the watch if it was closed and nobody uses it. Whoever is found using it comes here too when he is done: nobody waits."""
        if not self._is_closed or not self._lock.acquire(blocking=False):
            return
        try:
            with self._waking:
                # Else this is called within a call of this thread.
                if not self._is_used and not self._is_waking:
                    while self._at:
                        lib.kv_watch_free(self._at.pop())
        finally:
            self._lock.release()

    def _change(self, told: _abi.WatchChange) -> WatchChange:
        kind = _KINDS[told.kind]
        key = _abi.bytes_at(told.key.data, told.key.len)
        is_put = kind == "put"
        return WatchChange(
            kind,
            key,
            self._decode(key, _abi.bytes_at(told.value.data, told.value.len), told.codec) if is_put else None,
            told.version,
            told.expires_at_ms / 1000 if told.expires_at_ms else None,
            pairs_at(told.metadata, told.metadata_count),
            CAUSES[told.cause] if kind == "removed" else None,
            name_of(told.codec) if is_put else None,
        )

    def __iter__(self) -> Watch:
        return self

    def __next__(self) -> WatchChange:
        while True:
            try:
                change = self.next()
            except ClosedError:
                raise StopIteration from None
            if change is not None:
                return change

    @property
    def position(self) -> int:
        """The version up to which all was told: what a later watch goes on after."""
        with self._used():
            position, error = c_uint64(), c_void_p()
            check(lib.kv_watch_position(self._at[0], byref(position), byref(error)), error)
            return position.value

    def wake(self) -> None:
        """Ends the `next` that waits in another thread, or the next one: it gives None."""
        if self._pid != os.getpid():
            # A forked child: the watch is the parent's.
            return
        with self._waking:
            was_waking, self._is_waking = self._is_waking, True
            try:
                if self._at:
                    lib.kv_watch_wake(self._at[0])
            finally:
                self._is_waking = was_waking
        self._reap()

    def close(self) -> None:
        """Ends the watch, and a `next` that waits in another thread, for whose end this does not wait."""
        if self._pid != os.getpid():
            return
        self._is_closed = True
        self.wake()

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def __del__(self, free: Callable[[Optional[int]], int] = lib.kv_watch_free) -> None:
        for watch in getattr(self, "_at", []):
            free(watch)


class AsyncWatch(AsyncIterator[WatchChange]):
    """A `Watch` whose changes are awaited, for `async for` and `async with`. Waiting takes a thread of its own, and none of the executor's."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        # The change that a thread waits for. It goes on where the task that awaits it is cancelled, so that none is lost.
        self._pending: "Optional[asyncio.Future[Optional[WatchChange]]]" = None

    async def next(self, timeout: Timeout = None) -> Optional[WatchChange]:
        """As `Watch.next`. A task that is cancelled misses nothing: the next call goes on. Of tasks that wait at once each gets a change of
        its own."""
        seconds = timeout.total_seconds() if isinstance(timeout, timedelta) else timeout
        ends = None if seconds is None else time.monotonic() + seconds
        while True:
            if self._pending is None:
                change = self._watch.next(0)
                if change is not None:
                    return change
                if seconds == 0:
                    return None
                self._pending = self._wait()
            pending = self._pending
            done, _ = await asyncio.wait([pending], timeout=None if ends is None else max(ends - time.monotonic(), 0))
            if not done:
                return None
            # Else another task has taken it.
            if self._pending is pending:
                self._pending = None
                return pending.result()

    def _wait(self) -> "asyncio.Future[Optional[WatchChange]]":
        loop, watch = asyncio.get_running_loop(), self._watch
        future: "asyncio.Future[Optional[WatchChange]]" = loop.create_future()
        # Whoever awaits it is told; nobody may.
        future.add_done_callback(lambda future: future.cancelled() or future.exception())

        def settle(change: Optional[WatchChange], error: Optional[BaseException]) -> None:
            if future.done():
                return
            if error is None:
                future.set_result(change)
            else:
                future.set_exception(error)

        def wait() -> None:
            change, failed = None, None
            try:
                change = watch.next()
            except Exception as error:
                failed = error
            try:
                loop.call_soon_threadsafe(settle, change, failed)
            except RuntimeError:
                pass  # The loop is closed: nobody waits any more.

        threading.Thread(target=wait, name="libkv-watch", daemon=True).start()
        return future

    def __aiter__(self) -> AsyncWatch:
        return self

    async def __anext__(self) -> WatchChange:
        while True:
            try:
                change = await self.next()
            except ClosedError:
                raise StopAsyncIteration from None
            if change is not None:
                return change

    @property
    def position(self) -> int:
        """As `Watch.position`, between two changes: raises BusyError while a thread waits for one."""
        return self._watch.position

    async def close(self) -> None:
        """As `Watch.close`: a task that waits gets ClosedError, or the end of its `async for`."""
        self._watch.close()

    async def __aenter__(self) -> AsyncWatch:
        return self

    async def __aexit__(self, *_: Any) -> None:
        await self.close()
