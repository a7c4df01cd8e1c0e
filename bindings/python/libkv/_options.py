"""How a store is opened: options by name, the test clock, and the functions that the store calls."""

from __future__ import annotations

import operator
import os
from ctypes import byref, c_void_p, string_at
from datetime import timedelta
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Union

from . import _abi
from ._codecs import name_of
from ._encoder import Encoder, set_encoder
from ._errors import check, failure
from ._numbered import Numbered

lib = _abi.lib

#: Deleted, taken or cleared; its time was over; the store had to make room; another value was set.
CAUSES = {
    _abi.CAUSE_DELETED: "deleted",
    _abi.CAUSE_EXPIRED: "expired",
    _abi.CAUSE_EVICTED: "evicted",
    _abi.CAUSE_REPLACED: "replaced",
}

#: What an entry weighs, by its key and the bytes of its value.
Weigher = Callable[[bytes, bytes], int]
OptionValue = Union[str, int, float, bool, timedelta, "os.PathLike[str]", Encoder, Weigher, None]


class Event(NamedTuple):
    """An entry that went."""

    key: bytes
    #: Its last value, as the store holds it: no codec was applied.
    value: bytes
    version: int
    #: "deleted", "expired", "evicted", or with the option `listener_replaced` "replaced".
    cause: str
    #: Which codec wrote the value: its name, or its number as text.
    codec: str = "raw"


class Clock:
    """A clock that stands still until it is moved, for tests: `open(path, clock=clock)`.

    It belongs to the caller; stores that use it keep it.
    """

    def __init__(self, unix_seconds: float = 1_000_000_000.0) -> None:
        self._handle: int = lib.kv_clock_new(milliseconds(unix_seconds))
        if not self._handle:
            raise failure(_abi.INTERNAL)
        # No finalizer from `weakref`: nothing waits, and a clock that is left at exit needs no end.
        self._free = lib.kv_clock_free

    def advance(self, seconds: Union[float, timedelta]) -> None:
        """Moves the clock ahead."""
        check(lib.kv_clock_advance(self._handle, milliseconds(seconds)))

    def __del__(self) -> None:
        if getattr(self, "_handle", 0):
            self._free(self._handle)


def milliseconds(seconds: Union[float, timedelta]) -> int:
    """Seconds as whole milliseconds; refuses what is no length of time."""
    if isinstance(seconds, timedelta):
        return milliseconds(seconds.total_seconds())
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        raise TypeError(f"a time is a number of seconds or a timedelta, not {type(seconds).__name__}")
    try:
        ms = round(seconds * 1000)
    except (OverflowError, ValueError):
        ms = -1
    if not 0 <= ms <= 2**64 - 1:
        raise ValueError(f"{seconds} seconds: must be from 0 to 2**64 - 1 milliseconds")
    return ms


def _text(value: OptionValue) -> str:
    """An option's value as the library reads it."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (float, timedelta)):
        return f"{milliseconds(value)}ms"
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if not isinstance(value, (str, int)):
        raise TypeError(f"an option's value is text, a path, a number or a time, not {type(value).__name__}")
    return str(value)


def _listener(hear: Callable[[Event], object]) -> Any:
    def listen(_: int, at: Any) -> None:
        event = at.contents
        key = _abi.bytes_at(event.key.data, event.key.len)
        value = _abi.bytes_at(event.value.data, event.value.len)
        # What it raises goes to `sys.unraisablehook`, by ctypes: nobody's call is there to raise it in.
        cause = CAUSES.get(event.cause, str(event.cause))
        hear(Event(key, value, event.version, cause, name_of(event.codec)))

    return _abi.Listener(listen)


def _logger(say: Callable[[str], object]) -> Any:
    def log(_: int, line: int, length: int) -> None:
        say(string_at(line, length).decode("utf-8", "replace"))

    return _abi.Logger(log)


class Weighing:
    """A weigher that was handed to the library."""

    def __init__(self, weigh: Weigher) -> None:
        self.weigh = weigh


# The function below is there for as long as the process: a write that goes on when its store is closed may still ask.
_weighing: Numbered[Weighing] = Numbered()


def _ask(number: int, key: int, key_length: int, value: int, length: int, weight: Any) -> int:
    weighing = _weighing.get(number)
    # What is raised goes to `sys.unraisablehook`, by ctypes; then the bytes stand that are there already.
    if weighing is not None:
        said = operator.index(weighing.weigh(_abi.bytes_at(key, key_length), _abi.bytes_at(value, length)))
        if not 0 <= said < 2**32:
            raise ValueError(f"weight {said}: must be from 0 to 2**32 - 1")
        weight[0] = said
    return _abi.OK


_asked = _abi.Weigher(_ask)


class Options:
    """The library's options object, and what must outlive the stores that are opened with it."""

    def __init__(
        self,
        by_name: Dict[str, OptionValue],
        clock: Optional[Clock],
        listener: Optional[Callable[[Event], object]],
        logger: Optional[Callable[[str], object]],
    ) -> None:
        self.keep: List[Any] = []
        self.handle: int = lib.kv_options_new()
        if not self.handle:
            raise failure(_abi.INTERNAL)
        try:
            for name, value in by_name.items():
                if name == "tier_encoder" and isinstance(value, Encoder):
                    self.keep.append(set_encoder(self.handle, value))
                    continue
                if name == "weigher" and callable(value):
                    self.keep.append(Weighing(value))
                    check(lib.kv_options_set_weigher(self.handle, _asked, _weighing.add(self.keep[-1])))
                    continue
                error = c_void_p()
                name_and_value = name.encode(), _text(value).encode()
                check(lib.kv_options_set(self.handle, *name_and_value, byref(error)), error)
            if clock is not None:
                self.keep.append(clock)
                check(lib.kv_options_set_clock(self.handle, clock._handle))
            if listener is not None:
                self.keep.append(_listener(listener))
                check(lib.kv_options_set_listener(self.handle, self.keep[-1], None))
            if logger is not None:
                self.keep.append(_logger(logger))
                check(lib.kv_options_set_logger(self.handle, self.keep[-1], None))
        except BaseException:
            self.free()
            raise

    def free(self) -> None:
        lib.kv_options_free(self.handle)
