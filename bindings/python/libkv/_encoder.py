"""What stands in Redis for a value, as functions of Python say."""

from __future__ import annotations

from ctypes import byref, c_void_p
from typing import Any, Callable, Protocol, runtime_checkable

from . import _abi
from ._errors import check
from ._numbered import Numbered

lib = _abi.lib

_NUMBERS = {"decimal": _abi.NUMBERS_DECIMAL, "msgpack": _abi.NUMBERS_MSGPACK}


@runtime_checkable
class Encoder(Protocol):
    """Stands between the bytes of a value here and the string in Redis: `open(path, tier_url=…, tier_encoder=encoder)`. All stores
    that share a prefix need the same.

    Its methods are called by threads of the store that send and ask, and by `preload`; while one runs nothing else is sent. They must
    not use a store. What one raises concerns that value alone. An attribute `numbers` says how whole numbers are written, for `incr` and
    `incr_shared`: "decimal" (as without it) or "msgpack".
    """

    def encode(self, key: bytes, value: bytes) -> bytes:
        """The string for a value. A value that it raises for stands here alone: the logger is told, and its key is removed in Redis."""

    def decode(self, key: bytes, data: bytes) -> bytes:
        """The value for a string, which means the same as what `encode` was given. Where it raises the reader gets TierError."""


class Encoding:
    """An encoder that was handed to the library."""

    def __init__(self, encoder: Encoder) -> None:
        self.encode, self.decode = encoder.encode, encoder.decode


# The library knows each by its number: the functions below are there for as long as the process, so that a preload that goes on
# when its store is closed calls none that is gone.
_handed: Numbered[Encoding] = Numbered()


def _call(function: Callable[[Encoding], Callable[[bytes, bytes], bytes]]) -> Any:
    def call(number: int, key: int, key_length: int, data: int, length: int, sink: int) -> int:
        try:
            encoding = _handed.get(number)
            if encoding is None:
                raise RuntimeError("the store is closed")
            found = function(encoding)(_abi.bytes_at(key, key_length), _abi.bytes_at(data, length))
            return int(lib.kv_sink_write(sink, found, len(found)))
        except BaseException as error:
            _abi.fail(sink, error)
            return _abi.INVALID_ARGUMENT

    return _abi.Encoder(call)


_encode = _call(lambda encoding: encoding.encode)
_decode = _call(lambda encoding: encoding.decode)


def set_encoder(options: int, encoder: Encoder) -> Encoding:
    """Gives options an encoder; what comes back has to outlive the stores."""
    encoding, error = Encoding(encoder), c_void_p()
    name = getattr(encoder, "numbers", "decimal")
    if name not in _NUMBERS:
        raise ValueError(f"numbers {name!r}: must be one of {', '.join(_NUMBERS)}")
    number = _handed.add(encoding)
    check(lib.kv_options_set_tier_encoder(options, _encode, _decode, _NUMBERS[name], number, byref(error)), error)
    return encoding
