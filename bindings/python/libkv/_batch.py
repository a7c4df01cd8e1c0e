"""Many keys in one call: how they cross the boundary, packed so that Python's own C code does the work for each key."""

from __future__ import annotations

import itertools
from array import array
from ctypes import byref, c_char_p, c_size_t, c_void_p
from typing import Any, Iterable, List, NamedTuple, Optional, Sequence, Tuple, Union

from . import _abi
from ._errors import check
from ._expiry import Expire, ExpireAt, expiry_of

lib = _abi.lib
# Values that are made before another thread may take the interpreter's lock.
_PORTION = 1000

#: A key: bytes, or text that stands for its UTF-8.
Key = Union[bytes, bytearray, memoryview, str]


class Set(NamedTuple):
    """A change of `Db.apply`: sets a key."""

    key: Key
    value: Any
    #: As for `Db.set`; "keep" counts as the store's default.
    expire: Expire = None
    expire_at: Optional[ExpireAt] = None


class Delete(NamedTuple):
    """A change of `Db.apply`: deletes a key."""

    key: Key


Change = Union[Set, Delete]


def key_bytes(key: Key) -> bytes:
    """A key as bytes. The library would take other objects for what they are not."""
    if type(key) is bytes:
        return key
    if isinstance(key, str):
        return key.encode()
    if isinstance(key, (bytes, bytearray, memoryview)):
        return bytes(key)
    raise TypeError(f"a key must be bytes or str, not {type(key).__name__}")


def keys_bytes(keys: Iterable[Key]) -> List[bytes]:
    return [key if type(key) is bytes else key_bytes(key) for key in keys]


def get_many(handle: Any, keys: List[Key], host: Any) -> List[Optional[bytes]]:
    """Copies of the values, in the order of the keys."""
    values: List[Optional[bytes]] = [None] * len(keys)
    for begin in range(0, len(keys), _PORTION):
        error = c_void_p()
        end = min(begin + _PORTION, len(keys))
        try:
            status = _abi.get_many_made(handle, host, keys, values, begin, end, byref(error))
        except BaseException as raised:
            # The interpreter's own, from a function of it that the library has called.
            lib.kv_error_free(error)
            if isinstance(raised, TypeError):
                # A key that is no bytes. To look at each key first would cost a fifth of the call.
                return get_many(handle, list(keys_bytes(keys)), host)
            raise
        check(status, error)
    return values


def address_of(data: bytes) -> int:
    """Where bytes stand; valid while they live."""
    return c_void_p.from_buffer(c_char_p(data)).value or 0


def _addresses(parts: Sequence[bytes]) -> Tuple[bytes, "array[int]", "array[int]"]:
    """The parts in one piece, where each begins, and how long it is."""
    whole = b"".join(parts)
    lens = array("Q", map(len, parts))
    starts = array("Q", itertools.accumulate(lens, initial=address_of(whole)))
    starts.pop()
    return whole, starts, lens


def _slices(parts: Sequence[bytes]) -> Tuple[bytes, "array[int]"]:
    """Memory that holds a `kv_slice` for each part; valid while both results live."""
    whole, starts, lens = _addresses(parts)
    slices = array("Q", bytes(16 * len(parts)))
    slices[0::2], slices[1::2] = starts, lens
    return whole, slices


def ask_many(handle: Any, keys: Sequence[bytes], codec: int) -> List[Optional[bytes]]:
    """As `get_many`, of a store that may have to wait for Redis: without the interpreter's lock."""
    whole, slices = _slices(keys)
    table, error = c_void_p(), c_void_p()
    outputs = byref(table), byref(error)
    check(lib.kv_get_many_as(handle, slices.buffer_info()[0], len(keys), codec, *outputs), error)
    del whole
    try:
        found = (_abi.Slice * len(keys)).from_address(table.value or 0)
        return [None if value.data is None else _abi.bytes_at(value.data, value.len) for value in found]
    finally:
        lib.kv_free(table)


def set_many(handle: Any, keys: Sequence[bytes], values: Sequence[bytes]) -> None:
    # A kv_pair is two slices.
    both = [part for pair in zip(keys, values) for part in pair]
    whole, slices = _slices(both)
    error = c_void_p()
    check(lib.kv_set_many(handle, slices.buffer_info()[0], len(keys), byref(error)), error)
    del whole


def delete_many(handle: Any, keys: Sequence[bytes]) -> int:
    whole, slices = _slices(keys)
    removed, error = c_size_t(), c_void_p()
    status = lib.kv_delete_many(handle, slices.buffer_info()[0], len(keys), byref(removed), byref(error))
    check(status, error)
    del whole
    return removed.value


def apply(
    handle: Any, changes: Sequence[Tuple[bytes, Optional[bytes], Expire, Optional[ExpireAt]]], codec: int
) -> None:
    """Key, value (`None`: delete), and expiry of each; the codec of all values."""
    parts = [part for key, value, _, _ in changes for part in (key, value or b"")]
    whole, starts, lens = _addresses(parts)
    native = (_abi.Change * len(changes))()
    for at, (change, (_, value, expire, expire_at)) in enumerate(zip(native, changes)):
        change.key.data, change.key.len = starts[2 * at], lens[2 * at]
        change.value.data, change.value.len = starts[2 * at + 1], lens[2 * at + 1]
        if value is None:
            change.kind = _abi.CHANGE_DELETE
        else:
            change.expiry, change.expiry_ms = expiry_of(expire, expire_at)
            change.codec = codec
    error = c_void_p()
    check(lib.kv_apply(handle, byref(native), len(changes), byref(error)), error)
    del whole
