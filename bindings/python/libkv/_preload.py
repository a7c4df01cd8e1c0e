"""Copies of what Redis holds, before anybody asks for them."""

from __future__ import annotations

from ctypes import byref, c_void_p
from typing import Any, Callable, List, NamedTuple, Optional

from . import _abi
from ._transfer import finish

lib = _abi.lib


class Preloaded(NamedTuple):
    """How far a preload has come."""

    #: Where to go on.
    cursor: int
    #: Nothing is left to do.
    is_complete: bool
    #: Keys looked at in Redis, some perhaps twice.
    keys: int
    #: Copies that were made, or replaced because Redis holds something else.
    copied: int
    #: Entries that were removed because Redis does not hold them.
    removed: int


def _told(done: _abi.Preloaded) -> Preloaded:
    return Preloaded(done.cursor, done.is_complete != 0, done.keys, done.copied, done.removed)


def preload(
    handle: Any, pattern: bytes, cursor: int, progress: Optional[Callable[[Preloaded], Optional[bool]]]
) -> Preloaded:
    if not 0 <= cursor < 2**64:
        raise ValueError(f"a cursor of {cursor}")
    raised: List[BaseException] = []
    is_broken_off = False

    def tell(_: int, done: Any) -> int:
        nonlocal is_broken_off
        try:
            is_broken_off = progress is not None and progress(_told(done[0])) is False
        except BaseException as error:
            raised.append(error)
            return 0
        return not is_broken_off

    done, error = _abi.Preloaded(), c_void_p()
    callback = _abi.Progress(tell)
    status = lib.kv_preload(handle, pattern, len(pattern), cursor, callback, None, byref(done), byref(error))
    finish(status, error, raised)
    # Ctrl-C can strike at the first step of `tell`, before its `try`: ctypes then prints it and answers 0, "break off".
    if not done.is_complete and not is_broken_off:
        raise InterruptedError(f"the preload was interrupted: go on at cursor {done.cursor}")
    return _told(done)
