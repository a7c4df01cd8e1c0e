"""The store for asyncio.

Reads of keys run at once, in the event loop: they wait for nobody, and cost less than a change of threads. Everything else
runs in an executor, and so do the reads of a store with a tier, which may wait for Redis.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import itertools
import threading
import weakref
from concurrent.futures import Executor
from datetime import timedelta
from types import TracebackType
from typing import (
    IO,
    Any,
    AsyncIterator,
    Awaitable,
    Callable,
    Dict,
    Generic,
    Iterable,
    Iterator,
    List,
    Mapping,
    Optional,
    Tuple,
    Type,
    TypeVar,
    Union,
)

from . import Db, Preloaded, Transferred
from ._transfer import Progress
from ._async_session import AsyncSession as AsyncSession
from ._async_session import AsyncSessions
from ._batch import Change, Key, key_bytes
from ._db import _MISSING, _NOTHING
from ._expiry import Expire, ExpireAt
from ._handle import Path
from ._load import Awaited, How, Loading, Time
from ._memoize import key_of
from ._scan import Entry
from ._watch import AsyncWatch as AsyncWatch

V = TypeVar("V")
R = TypeVar("R")
# Entries of a scan for which the executor is asked once.
_PORTION = 512


async def open(path: Path, *, executor: Optional[Executor] = None, **options: Any) -> AsyncDb[Any]:
    """As `libkv.open`, in the executor."""
    return await _open(path, executor, options)


async def open_in_memory(*, executor: Optional[Executor] = None, **options: Any) -> AsyncDb[Any]:
    """As `libkv.open_in_memory`, in the executor."""
    return await _open(None, executor, options)


async def _open(path: Optional[Path], executor: Optional[Executor], options: Dict[str, Any]) -> AsyncDb[Any]:
    make: Callable[[], Db[Any]] = functools.partial(Db, path, **options)
    return AsyncDb(await asyncio.get_running_loop().run_in_executor(executor, make), executor)


class AsyncDb(AsyncSessions[V], Generic[V]):
    """A store whose methods are awaited. Each is described at `Db`.

    `executor`: where what may wait runs; None: the event loop's own.
    """

    def __init__(self, db: Db[V], executor: Optional[Executor] = None) -> None:
        #: The store, for what is not awaited.
        self.db = db
        self._executor = executor
        # Loads of this object that are in flight, so that those who wait for one take no thread each.
        self._loads: Dict[Tuple[int, bytes], "asyncio.Future[Any]"] = {}
        self._lines = weakref.WeakKeyDictionary()

    def typed(self, codec: Any) -> AsyncDb[Any]:
        view = AsyncDb(self.db.typed(codec), self._executor)
        # Whoever waits for a key, in whichever of them, waits in one line, and leaves it when the store is closed.
        view._lines = self._lines
        return view

    async def _run(self, call: Callable[..., R], *args: Any, **named: Any) -> R:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, functools.partial(call, *args, **named))

    async def _read(self, call: Callable[..., R], *args: Any) -> R:
        return await self._run(call, *args) if self.db._asks else call(*args)

    async def get(self, key: Key, default: Any = None) -> Any:
        return await self._read(self.db.get, key, default)

    async def get_many(self, keys: Iterable[Key], default: Any = None) -> List[Any]:
        return await self._read(self.db.get_many, keys, default)

    async def contains(self, key: Key) -> bool:
        return await self._read(self.db.contains, key)

    async def version(self, key: Key) -> Optional[int]:
        return await self._read(self.db.version, key)

    async def codec(self, key: Key) -> Optional[str]:
        return await self._read(self.db.codec, key)

    async def ttl(self, key: Key) -> Optional[float]:
        return await self._read(self.db.ttl, key)

    async def len(self) -> int:
        return len(self.db)

    async def now(self) -> float:
        return self.db.now()

    async def set(
        self,
        key: Key,
        value: V,
        expire: Expire = None,
        *,
        expire_at: Optional[ExpireAt] = None,
        if_absent: bool = False,
        if_present: bool = False,
        if_version: Optional[int] = None,
    ) -> Optional[int]:
        condition = {"if_absent": if_absent, "if_present": if_present, "if_version": if_version}
        return await self._run(self.db.set, key, value, expire, expire_at=expire_at, **condition)

    async def add(self, key: Key, value: V, expire: Expire = None, *, expire_at: Optional[ExpireAt] = None) -> bool:
        return await self._run(self.db.add, key, value, expire, expire_at=expire_at)

    async def replace(
        self, key: Key, value: V, expire: Expire = None, *, expire_at: Optional[ExpireAt] = None
    ) -> bool:
        return await self._run(self.db.replace, key, value, expire, expire_at=expire_at)

    async def compare_and_swap(self, key: Key, version: int, value: V) -> Optional[int]:
        return await self._run(self.db.compare_and_swap, key, version, value)

    async def incr(self, key: Key, by: int = 1) -> int:
        return await self._run(self.db.incr, key, by)

    increment = incr

    async def incr_shared(self, key: Key, by: int = 1) -> int:
        return await self._run(self.db.incr_shared, key, by)

    increment_shared = incr_shared

    async def add_shared(
        self, key: Key, value: V, expire: Expire = None, *, expire_at: Optional[ExpireAt] = None
    ) -> bool:
        return await self._run(self.db.add_shared, key, value, expire, expire_at=expire_at)

    async def compare_and_swap_shared(self, key: Key, expected: Optional[V], value: V) -> bool:
        return await self._run(self.db.compare_and_swap_shared, key, expected, value)

    async def delete(self, key: Key) -> bool:
        return await self._run(self.db.delete, key)

    async def take(self, key: Key, default: Any = None) -> Any:
        return await self._run(self.db.take, key, default)

    async def pop(self, key: Key, default: Any = _MISSING) -> Any:
        return await self._run(self.db.pop, key, default)

    async def setdefault(self, key: Key, default: V) -> V:
        return await self._run(self.db.setdefault, key, default)

    async def expire(self, key: Key, after: Any) -> bool:
        return await self._run(self.db.expire, key, after)

    async def expire_at(self, key: Key, when: ExpireAt) -> bool:
        return await self._run(self.db.expire_at, key, when)

    async def touch(self, key: Key) -> bool:
        return await self._run(self.db.touch, key)

    async def persist(self, key: Key) -> bool:
        return await self._run(self.db.persist, key)

    async def set_many(
        self,
        pairs: Union[Mapping[Any, V], Iterable[Tuple[Key, V]]],
        expire: Expire = None,
        *,
        expire_at: Optional[ExpireAt] = None,
    ) -> None:
        await self._run(self.db.set_many, pairs, expire, expire_at=expire_at)

    async def delete_many(self, keys: Iterable[Key]) -> int:
        return await self._run(self.db.delete_many, keys)

    async def apply(self, changes: Iterable[Change]) -> None:
        await self._run(self.db.apply, changes)

    async def scan(
        self,
        prefix: Key = b"",
        *,
        start: Key = b"",
        end: Key = b"",
        limit: Optional[int] = None,
        ordered: bool = False,
        reverse: bool = False,
        snapshot: bool = False,
    ) -> AsyncIterator[Entry]:
        scan = await self._run(
            self.db.scan,
            prefix,
            start=start,
            end=end,
            limit=limit,
            ordered=ordered,
            reverse=reverse,
            snapshot=snapshot,
        )
        while True:
            portion, error = await self._run(_portion_of, scan)
            try:
                for entry in portion:
                    yield entry
            except GeneratorExit:
                # The loop was left, and no thread uses it: what a snapshot holds goes at once.
                scan.close()
                raise
            if error is not None:
                raise error
            if not portion:
                return

    async def watch(self, prefix: Key = b"", *, after: Optional[int] = None) -> AsyncWatch:
        """As `Db.watch`: `async with await db.watch("user:") as watch: async for change in watch: ...`"""
        return AsyncWatch(await self._run(self.db.watch, prefix, after=after))

    async def clear(self) -> None:
        await self._run(self.db.clear)

    async def sync(self) -> None:
        await self._run(self.db.sync)

    async def flush(self, timeout: Union[float, timedelta]) -> None:
        await self._run(self.db.flush, timeout)

    async def preload(
        self,
        pattern: Key = b"*",
        cursor: int = 0,
        progress: Optional[Callable[[Preloaded], Optional[bool]]] = None,
    ) -> Preloaded:
        """As `Db.preload`; `progress` is called by the executor. A task that is cancelled breaks it off after the portion that it
        is at."""
        is_cancelled = threading.Event()

        def tell(done: Preloaded) -> Optional[bool]:
            return False if is_cancelled.is_set() else progress(done) if progress else None

        try:
            return await self._run(self.db.preload, pattern, cursor, tell)
        except asyncio.CancelledError:
            is_cancelled.set()
            raise

    async def compact(self) -> None:
        await self._run(self.db.compact)

    async def sweep(self) -> None:
        await self._run(self.db.sweep)

    async def pause(self) -> None:
        await self._run(self.db.pause)

    async def resume(self) -> None:
        await self._run(self.db.resume)

    async def backup(self, to: Path) -> None:
        await self._run(self.db.backup, to)

    async def export(
        self,
        to: Union[Path, IO[bytes]],
        format: str = "ndjson",
        *,
        prefix: Key = b"",
        start: Key = b"",
        end: Key = b"",
        limit: Optional[int] = None,
        ordered: bool = False,
        reverse: bool = False,
        snapshot: bool = False,
        key_column: str = "key",
        value_column: str = "value",
        progress: Optional[Progress] = None,
    ) -> Transferred:
        """As `Db.export`; `progress` is called in another thread."""
        return await self._run(
            self.db.export,
            to,
            format,
            prefix=prefix,
            start=start,
            end=end,
            limit=limit,
            ordered=ordered,
            reverse=reverse,
            snapshot=snapshot,
            key_column=key_column,
            value_column=value_column,
            progress=progress,
        )

    async def import_(
        self,
        source: Union[Path, IO[bytes]],
        format: str = "ndjson",
        *,
        key_column: str = "key",
        value_column: str = "value",
        database: int = 0,
        skip_unknown: bool = False,
        progress: Optional[Progress] = None,
    ) -> Transferred:
        """As `Db.import_`; `progress` is called in another thread."""
        return await self._run(
            self.db.import_,
            source,
            format,
            key_column=key_column,
            value_column=value_column,
            database=database,
            skip_unknown=skip_unknown,
            progress=progress,
        )

    async def stats(self) -> Dict[str, int]:
        return await self._run(self.db.stats)

    async def stats_json(self) -> str:
        return await self._run(self.db.stats_json)

    async def stats_prometheus(self) -> str:
        return await self._run(self.db.stats_prometheus)

    async def figure(self, name: str) -> int:
        return await self._run(self.db.figure, name)

    async def tier_stats(self) -> Optional[Dict[str, Any]]:
        return await self._run(self.db.tier_stats)

    async def tier_stats_prometheus(self) -> str:
        return await self._run(self.db.tier_stats_prometheus)

    async def damage(self) -> List[Dict[str, Any]]:
        return self.db.damage()

    async def close(self) -> None:
        try:
            await self._run(self.db.close)
        finally:
            self._end_turns()

    async def __aenter__(self) -> AsyncDb[V]:
        return self

    async def __aexit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        await self.close()

    async def get_or_load(
        self,
        key: Key,
        loader: Callable[[bytes], Union[Optional[V], Awaitable[Optional[V]]]],
        default: Any = None,
        *,
        expire: Expire = None,
        expire_at: Optional[ExpireAt] = None,
        fresh_for: Optional[Time] = None,
        early: float = 0.0,
        absent_for: Optional[Time] = None,
        lease: Optional[Time] = None,
    ) -> Any:
        """As `Db.get_or_load`; the loader may be a coroutine function, which runs in this event loop. What it raises is
        raised in every task that waits here for it. A task that is cancelled leaves the loader to the others. When the
        store is closed, coroutines that load are cancelled, and who waits for one gets ClosedError."""
        name = key_bytes(key)
        how = How(expire, expire_at, fresh_for, early, absent_for, lease, self.db._tag)
        return await self._load(name, lambda: loader(name), default, how, keeps_none=False)

    def memoize(
        self,
        *,
        expire: Expire = None,
        key: Optional[Callable[..., bytes]] = None,
        fresh_for: Optional[Time] = None,
        early: float = 0.0,
        absent_for: Optional[Time] = None,
        lease: Optional[Time] = None,
    ) -> Callable[[Callable[..., Awaitable[R]]], Callable[..., Awaitable[R]]]:
        """As `Db.memoize`, for coroutine functions."""
        how = How(expire, None, fresh_for, early, absent_for, lease, self.db._tag)

        def decorate(function: Callable[..., Awaitable[R]]) -> Callable[..., Awaitable[R]]:
            @functools.wraps(function)
            async def remembered(*args: Any, **kwargs: Any) -> R:
                name = key(*args, **kwargs) if key else key_of(function, args, kwargs)
                load = functools.partial(function, *args, **kwargs)
                found: R = await self._load(name, load, None, how, keeps_none=absent_for is None)
                return found

            return remembered

        return decorate

    async def _load(
        self, name: bytes, load: Callable[[], Any], default: Any, how: How, keeps_none: bool
    ) -> Any:
        loop, db = asyncio.get_running_loop(), self.db
        bring = _bring(load, loop, db._handle.awaited)
        if how.load:
            # Waits for nobody, not even for Redis.
            found, is_due = db._loaded(name, how)
            if is_due:
                db._load_behind(name, Loading(bring, db._encode, keeps_none), how)
        else:
            found = await self._read(db.get, name, _MISSING)
        if found is _MISSING:
            place = (id(loop), name)
            flight = self._loads.get(place)
            if flight is None:
                flight = self._loads[place] = loop.create_future()
                flight.add_done_callback(lambda _: self._loads.pop(place, None))
                call = functools.partial(db._load, name, bring, _MISSING, how, keeps_none)
                # A thread of its own, not of the executor: loaders that ask the executor for one must find it.
                try:
                    threading.Thread(target=_fly, args=(call, flight, loop), name="libkv-load").start()
                except BaseException:
                    # Nobody would bring what others wait for.
                    flight.cancel()
                    raise
            # One task's cancellation is not the others'.
            found = await asyncio.shield(flight)
        return default if found is _MISSING or found is _NOTHING else found


def _portion_of(scan: Iterator[Entry]) -> Tuple[List[Entry], Optional[Exception]]:
    """The next entries, and what ended them before the portion was full: it comes after the entries before it."""
    portion: List[Entry] = []
    try:
        portion.extend(itertools.islice(scan, _PORTION))
    except Exception as error:
        return portion, error
    return portion, None


def _bring(load: Callable[[], Any], loop: asyncio.AbstractEventLoop, awaited: Awaited) -> Callable[[], Any]:
    """The loader as it runs in a thread; what it must await, the event loop awaits."""

    async def finish(loading: Awaitable[Any]) -> Any:
        return await loading

    def bring() -> Any:
        loaded = load()
        if not inspect.isawaitable(loaded):
            return loaded
        finishing = finish(loaded)
        try:
            future = asyncio.run_coroutine_threadsafe(finishing, loop)
        except RuntimeError:
            # The loop was closed.
            finishing.close()
            if inspect.iscoroutine(loaded):
                loaded.close()
            raise
        return awaited.wait(future)

    return bring


def _fly(call: Callable[[], Any], flight: "asyncio.Future[Any]", loop: asyncio.AbstractEventLoop) -> None:
    """Makes a call, and tells its outcome to the event loop."""
    land: Callable[[], None]
    try:
        land = functools.partial(flight.set_result, call())
    except BaseException as error:
        land = functools.partial(flight.set_exception, error)

    def arrive() -> None:
        if not flight.done():
            land()

    try:
        loop.call_soon_threadsafe(arrive)
    except RuntimeError:
        # The loop was closed: nobody waits any more.
        pass
