"""Loaders as the library calls them: in the thread that asks, or later in a thread of the store."""

from __future__ import annotations

import concurrent.futures
import itertools
import os
from ctypes import byref
from datetime import timedelta
from typing import Any, Callable, Dict, Optional, Union

from . import _abi
from ._errors import failure
from ._expiry import Expire, ExpireAt, Expiry, expiry_of
from ._options import milliseconds

lib = _abi.lib

#: A length of time: seconds or a timedelta.
Time = Union[float, timedelta]


def _time(name: str, time: Optional[Time]) -> int:
    ms = 0 if time is None else milliseconds(time)
    if ms == 0 and time is not None:
        raise ValueError(f"{name}: must be a millisecond or more")
    return ms


class How:
    """How long what a loader brings is kept, and when it is loaded anew."""

    def __init__(
        self,
        expire: Expire,
        expire_at: Optional[ExpireAt],
        fresh_for: Optional[Time],
        early: float,
        absent_for: Optional[Time],
        lease: Optional[Time],
        codec: int,
    ) -> None:
        self._expire, self._expire_at, self._codec = expire, expire_at, codec
        #: For `kv_get_or_load_with`, where that is needed.
        self.load: Any = None
        if fresh_for is not None or early or absent_for is not None or lease is not None:
            if isinstance(expire, Expiry) or expire_at is not None:
                raise TypeError("with fresh_for, early, absent_for and lease, expire is a number of seconds, a timedelta or None")
            times = [_time("fresh_for", fresh_for), float(early), _time("absent_for", absent_for), _time("lease", lease)]
            self.load = byref(_abi.LoadOptions(_time("expire", expire), *times, codec))

    def set(self) -> Any:
        """For `kv_get_or_load`. Not made for those who only find a value."""
        return byref(_abi.SetOptions(_abi.ALWAYS, *expiry_of(self._expire, self._expire_at), 0, self._codec))


class Loading:
    """A loader that was handed to the library."""

    def __init__(self, load: Callable[[], Any], encode: Callable[[Any], bytes], keeps_none: bool) -> None:
        self._load, self._encode, self._keeps_none = load, encode, keeps_none
        #: What it raised.
        self.raised: Optional[BaseException] = None

    def run(self, sink: int) -> int:
        try:
            loaded = self._load()
            if loaded is None and not self._keeps_none:
                return _abi.NOT_FOUND
            data = self._encode(loaded)
            return int(lib.kv_sink_write(sink, data, len(data)))
        except BaseException as error:
            self.raised = error
            _abi.fail(sink, error)
            return _abi.LOADER_FAILED


# What the library was given and has not released. It knows each by its number: the functions below are there for as long as the
# process, so that none is called that is gone.
_handed: Dict[int, Loading] = {}
_numbers = itertools.count(1)


def hand(loading: Loading) -> int:
    """The number by which the library knows it, until it releases it."""
    number = next(_numbers)
    _handed[number] = loading
    return number


def _run(number: int, _key: int, _length: int, sink: int) -> int:
    return _handed[number].run(sink)


def take_back(number: int) -> None:
    del _handed[number]


run, release = _abi.Loader(_run), _abi.Release(take_back)


class Awaited:
    """What loaders wait for that an event loop does. A store that ends waits for those in its threads, perhaps in the thread of that
    very loop: so it cancels what they wait for. Dictionaries change in one step: no lock is needed, which a fork could leave locked."""

    def __init__(self) -> None:
        self._futures: Dict[int, "concurrent.futures.Future[Any]"] = {}
        self._is_ending = False
        self._pid = os.getpid()

    def wait(self, future: "concurrent.futures.Future[Any]") -> Any:
        # Entered before the look, as `end` looks after it was said.
        self._futures[id(future)] = future
        if self._is_ending:
            future.cancel()
        try:
            return future.result()
        except concurrent.futures.CancelledError:
            if self._is_ending:
                raise failure(_abi.CLOSED) from None
            raise
        finally:
            del self._futures[id(future)]

    def end(self) -> None:
        if self._pid != os.getpid():
            # A forked child: who waits is the parent's.
            return
        self._is_ending = True
        for future in list(self._futures.values()):
            future.cancel()

    def go_on(self) -> None:
        """The store did not end after all."""
        self._is_ending = False
