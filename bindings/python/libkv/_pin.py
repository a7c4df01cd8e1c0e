"""Reading in place."""

from __future__ import annotations

import ctypes
import threading
import warnings
import weakref
from ctypes import byref, c_size_t, c_void_p
from types import TracebackType
from typing import Any, List, Optional, Tuple, Type

from . import _abi
from ._batch import Key, key_bytes
from ._errors import WrongThreadError, check

lib = _abi.lib


class Pin:
    """Lets values be read in place, within a `with`. It belongs to the thread that took it.

    While it is held, memory of what is removed is not given back: hold it for moments.

        with db.pin() as pin:
            view = pin.get(b"image")      # a memoryview of the store's own memory

    At the end of the `with` every view is released: to touch one is a ValueError. A view that something else still
    holds (a slice of it, an array made from it) cannot be taken back: then the end raises BufferError, and the pin
    stays held until those are gone and `release` was called.
    """

    def __init__(self, handle: Any, owner: Any) -> None:
        self._pin: Optional[int] = None
        pin, error = c_void_p(), c_void_p()
        check(lib.kv_pin_open(handle, byref(pin), byref(error)), error)
        self._pin = pin.value
        self._owner = owner
        self._thread = threading.get_ident()
        # Each view, and the object that it and all that is made from it lead to.
        self._views: List[Tuple[memoryview, "weakref.ref[Any]"]] = []

    def get(self, key: Key) -> Optional[memoryview]:
        """The value of a key, as the store holds it (no codec is applied): read-only, without a copy unless it is stored
        compressed. `None` when it has none."""
        if self._pin is None:
            raise ValueError("the pin was released")
        name = key_bytes(key)
        at, length, error = c_void_p(), c_size_t(), c_void_p()
        status = lib.kv_pin_get(self._pin, name, len(name), byref(at), byref(length), byref(error))
        if check(status, error) == _abi.NOT_FOUND:
            return None
        memory = (ctypes.c_ubyte * length.value).from_address(at.value or 0)
        # Whoever holds the memory holds the pin.
        memory._pin = self  # type: ignore[attr-defined]
        view = memoryview(memory).cast("B").toreadonly()
        self._views.append((view, weakref.ref(memory)))
        return view

    def __getitem__(self, key: Key) -> memoryview:
        view = self.get(key)
        if view is None:
            raise KeyError(key)
        return view

    def release(self) -> None:
        """Takes the views back and gives the pin up. A second call does nothing."""
        if self._pin is None:
            return
        if threading.get_ident() != self._thread:
            raise WrongThreadError("the pin belongs to the thread that took it")
        for view, _ in self._views:
            view.release()
        self._views = [each for each in self._views if each[1]() is not None]
        if self._views:
            raise BufferError(f"{len(self._views)} values of the pin are still in use; release what was made from them")
        check(lib.kv_pin_release(self._pin))
        self._pin = None

    def __enter__(self) -> Pin:
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self.release()

    def __del__(self) -> None:
        if getattr(self, "_pin", None) is not None:
            warnings.warn("a pin was not released", ResourceWarning, source=self)
            # Refused in another thread than the pin's: then it is held for good.
            lib.kv_pin_release(self._pin)
