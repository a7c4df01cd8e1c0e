"""The handle of an open store, from open to its end: by close, by the collector, or with the interpreter."""

from __future__ import annotations

import atexit
import os
import threading
import weakref
from ctypes import byref, c_void_p
from typing import Any, Callable, Dict, List, Optional, Union

from . import _abi
from ._errors import check
from ._load import Awaited
from ._options import Clock, Event, Options, OptionValue

lib = _abi.lib
Path = Union[str, bytes, "os.PathLike[str]", "os.PathLike[bytes]"]

# Addresses of the handles whose stores this process has opened. Dictionaries change in one step: no lock is needed, which a
# fork could leave locked.
_live: Dict[int, Awaited] = {}
_exiting = False


def path_bytes(path: Path) -> bytes:
    """A path for the library, which takes it up to the first NUL."""
    found = os.fsencode(path)
    if b"\0" in found:
        raise ValueError("a path must not hold a NUL")
    return found


class Handle:
    """Owns a `kv_db`."""

    def __init__(
        self,
        path: Optional[Path],
        by_name: Dict[str, OptionValue],
        clock: Optional[Clock],
        listener: Optional[Callable[[Event], object]],
        logger: Optional[Callable[[str], object]],
    ) -> None:
        if _exiting:
            # Nobody would close it, and its threads would call into an interpreter that is gone.
            raise RuntimeError("the interpreter is going: no store can be opened")
        options = Options(by_name, clock, listener, logger)
        try:
            db, error = c_void_p(), c_void_p()
            if path is None:
                status = lib.kv_open_in_memory(options.handle, byref(db), byref(error))
            else:
                status = lib.kv_open(path_bytes(path), options.handle, byref(db), byref(error))
            check(status, error)
        finally:
            options.free()
        assert db.value
        #: The address, and the same as an argument that is made once.
        self.at: int = db.value
        self.param: Any = _abi.address(self.at)
        self._keep: List[Any] = options.keep
        #: What loaders in threads of the store wait for.
        self.awaited = Awaited()
        _live[self.at] = self.awaited
        end = weakref.finalize(self, _end, self.at, os.getpid(), self._keep, self.awaited)
        # At exit stores are closed but their handles stay: threads that go on may still be calling in.
        end.atexit = False  # type: ignore[misc]

    def close(self) -> None:
        error = c_void_p()
        self.awaited.end()
        status = lib.kv_close(self.at, byref(error))
        if status in (_abi.IN_CALLBACK, _abi.FORKED):
            self.awaited.go_on()
        else:
            # The store's threads have ended, whichever thread's close ended them: nothing calls back any more.
            _live.pop(self.at, None)
            self._keep.clear()
        check(status, error)


def _end(at: int, pid: int, keep: List[Any], awaited: Awaited) -> None:
    """Closes and frees a handle that nobody has any more."""
    if pid != os.getpid():
        # A forked child: store and threads are the parent's.
        return
    was_live = _live.pop(at, None) is not None
    if _exiting and not was_live:
        # `_close_all` has it.
        return
    awaited.end()
    if lib.kv_db_free(at) == _abi.IN_CALLBACK:
        # The last reference went inside a callback of the store, which cannot wait for its own end.
        threading.Thread(target=_free, args=(at, keep)).start()


def _free(at: int, keep: List[Any]) -> None:
    lib.kv_db_free(at)
    keep.clear()


def _close_all() -> None:
    """Runs while Python still does: the listener of a store must not be called into an interpreter that is gone."""
    global _exiting
    _exiting = True
    while _live:
        try:
            at, awaited = _live.popitem()
        except KeyError:
            break
        awaited.end()
        # For a store of the parent, in a forked child, this gives KV_FORKED and does nothing.
        lib.kv_close(at, None)


atexit.register(_close_all)
