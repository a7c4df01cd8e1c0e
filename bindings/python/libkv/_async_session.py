"""Sessions for asyncio."""

from __future__ import annotations

import asyncio
import functools
import threading
import time
import weakref
from collections import deque
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, Awaitable, Callable, Deque, Dict, Generic, Literal, Optional, Tuple, Type, TypeVar, overload

from ._batch import Key, key_bytes
from ._errors import KeyLockedError
from ._session import Metadata, Session, Timeout

if TYPE_CHECKING:
    from ._db import Db

V = TypeVar("V")
R = TypeVar("R")
Line = Deque["asyncio.Future[None]"]


class AsyncSession(Generic[V]):
    """A `Session` whose methods are awaited, for `async with`."""

    def __init__(self, session: Session[V], run: Callable[..., Awaitable[Any]], give_up: Callable[[], None]) -> None:
        self._session, self._run, self._give_up = session, run, give_up
        # The call that runs in a thread. It goes on where the task that waits for it is cancelled.
        self._running: "Optional[asyncio.Future[Any]]" = None
        # One that is forgotten leaves its place in the loop; its lock goes with the session beneath.
        forgotten = weakref.finalize(self, _leave_later, asyncio.get_running_loop(), give_up)
        forgotten.atexit = False  # type: ignore[misc]

    key: bytes = property(lambda self: self._session.key)  # type: ignore[assignment]
    version: int = property(lambda self: self._session.version)  # type: ignore[assignment]

    @property
    def value(self) -> V:
        return self._session.value

    @value.setter
    def value(self, value: V) -> None:
        self._session.value = value

    @property
    def metadata(self) -> Metadata:
        return self._session.metadata

    @metadata.setter
    def metadata(self, metadata: Metadata) -> None:
        self._session.metadata = metadata

    async def _called(self, call: Callable[..., R], **named: Any) -> R:
        running = self._running = asyncio.ensure_future(self._run(call, **named))
        running.add_done_callback(self._settle)
        done: R = await asyncio.shield(running)
        return done

    def _settle(self, running: "asyncio.Future[Any]") -> None:
        if not running.cancelled():
            # Whoever waits is told; nobody may.
            running.exception()
        if self._session._session is None:
            self._give_up()

    async def commit(self, **named: Any) -> int:
        return await self._called(self._session.commit, **named)

    async def reload(self) -> None:
        await self._called(self._session.reload)

    async def rollback(self) -> None:
        # It waits for nobody, and must be done also in a task that is cancelled.
        if self._running is None or self._running.done():
            self._end()
        else:
            self._running.add_done_callback(lambda _: self._end())

    def _end(self) -> None:
        self._session.rollback()
        self._give_up()

    async def __aenter__(self) -> AsyncSession[V]:
        return self

    async def __aexit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        try:
            if error is None and self._session._session is not None:
                await self.commit()
        finally:
            await self.rollback()


class AsyncSessions(Generic[V]):
    """What `AsyncDb` does with sessions. Tasks of an event loop wait for each other in the loop, in their order; only who comes first
    of them may wait in a thread, for others than tasks of this loop."""

    db: Db[V]
    _run: Callable[..., Any]
    # By loop and key, tasks that wait for a key which another of the same loop has.
    _lines: "weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Dict[bytes, Line]]"

    async def get_and_lock(self, key: Key, *, timeout: Timeout = None) -> AsyncSession[V]:
        """As `Db.get_and_lock`; a task that is cancelled leaves the line."""
        session = await self._lock(key_bytes(key), timeout, functools.partial(self.db.get_and_lock, key))
        assert session is not None
        return session

    @overload
    async def create_and_lock(
        self, key: Key, *, initial: Optional[V] = None, allow_existing: Literal[True], timeout: Timeout = None
    ) -> AsyncSession[V]: ...
    @overload
    async def create_and_lock(
        self, key: Key, *, initial: Optional[V] = None, allow_existing: bool = False, timeout: Timeout = None
    ) -> Optional[AsyncSession[V]]: ...
    async def create_and_lock(
        self,
        key: Key,
        *,
        initial: Optional[V] = None,
        allow_existing: bool = False,
        timeout: Timeout = None,
    ) -> Optional[AsyncSession[V]]:
        lock = functools.partial(self.db.create_and_lock, key, initial=initial, allow_existing=allow_existing)
        return await self._lock(key_bytes(key), timeout, lock)

    async def create_generated_and_lock(self, **named: Any) -> AsyncSession[V]:
        session = await self._run(self.db.create_generated_and_lock, **named)
        return AsyncSession(session, self._run, lambda: None)

    async def generate_key(self, **named: Any) -> bytes:
        key: bytes = await self._run(self.db.generate_key, **named)
        return key

    async def get_with_metadata(self, key: Key) -> Optional[Tuple[V, Metadata]]:
        found: Optional[Tuple[V, Metadata]] = await self._run(self.db.get_with_metadata, key)
        return found

    async def _lock(
        self, key: bytes, timeout: Timeout, lock: Callable[..., Optional[Session[V]]]
    ) -> Optional[AsyncSession[V]]:
        seconds = timeout.total_seconds() if isinstance(timeout, timedelta) else timeout
        ends = None if seconds is None else time.monotonic() + seconds
        lines = self._lines.setdefault(asyncio.get_running_loop(), {})
        await self._turn(lines, key, seconds)
        has_left = False

        def leave() -> None:
            nonlocal has_left
            if not has_left:
                has_left = True
                _next(lines, key)

        try:
            session = await self._first(lock, ends)
        except BaseException:
            leave()
            raise
        if session is None:
            leave()
            return None
        return AsyncSession(session, self._run, leave)

    def _end_turns(self) -> None:
        """Lets all that wait in this loop try it themselves: a store that was closed tells them so."""
        for line in self._lines.get(asyncio.get_running_loop(), {}).values():
            while line:
                line.popleft().set_result(None)

    async def _turn(self, lines: Dict[bytes, Line], key: bytes, seconds: Optional[float]) -> None:
        line = lines.get(key)
        if line is None:
            lines[key] = deque()
            return
        turn = asyncio.get_running_loop().create_future()
        line.append(turn)
        try:
            # `wait` leaves the future alone, so what it holds afterwards tells whether the turn came.
            await asyncio.wait([turn], timeout=seconds)
        except asyncio.CancelledError:
            _leave(lines, key, turn)
            raise
        if not turn.done():
            _leave(lines, key, turn)
            raise KeyLockedError("another session has the key")

    async def _first(
        self, lock: Callable[..., Optional[Session[V]]], ends: Optional[float]
    ) -> Optional[Session[V]]:
        """Locks the key in the library, of which other threads may have sessions."""
        try:
            return await _kept(self._run(lock, timeout=0))
        except KeyLockedError:
            left = None if ends is None else ends - time.monotonic()
            if left is not None and left <= 0:
                raise
        # A thread of its own, not of the executor: whoever has the key must find one there to commit.
        loop = asyncio.get_running_loop()
        locking: "asyncio.Future[Any]" = loop.create_future()

        def wait() -> None:
            try:
                outcome, failure = lock(timeout=left), None
            except BaseException as error:
                outcome, failure = None, error

            def arrive() -> None:
                if locking.cancelled():
                    if outcome is not None:
                        outcome.rollback()
                elif failure is not None:
                    locking.set_exception(failure)
                else:
                    locking.set_result(outcome)

            try:
                loop.call_soon_threadsafe(arrive)
            except RuntimeError:
                # The loop was closed: nobody waits any more.
                if outcome is not None:
                    outcome.rollback()

        # It must not keep the interpreter from its end, which closes the store, which ends this wait.
        threading.Thread(target=wait, name="libkv-lock", daemon=True).start()
        return await _kept(locking)


def _leave(lines: Dict[bytes, Line], key: bytes, turn: "asyncio.Future[None]") -> None:
    if turn.done():
        _next(lines, key)
    else:
        lines[key].remove(turn)


def _next(lines: Dict[bytes, Line], key: bytes) -> None:
    line = lines.get(key)
    if line:
        line.popleft().set_result(None)
    else:
        # After a close several leave who each had a turn.
        lines.pop(key, None)


def _leave_later(loop: asyncio.AbstractEventLoop, leave: Callable[[], None]) -> None:
    try:
        loop.call_soon_threadsafe(leave)
    except RuntimeError:
        # The loop was closed, and nobody waits in it.
        pass


async def _kept(locking: "Awaitable[Optional[Session[V]]]") -> Optional[Session[V]]:
    """Waits for a session, also where the task is cancelled meanwhile: then it is rolled back when it comes."""
    future = asyncio.ensure_future(locking)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        future.add_done_callback(_give_back)
        raise


def _give_back(future: "asyncio.Future[Any]") -> None:
    if not future.cancelled() and future.exception() is None and future.result() is not None:
        future.result().rollback()

