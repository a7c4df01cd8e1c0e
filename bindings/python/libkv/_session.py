"""One entry for oneself: locked, edited, committed. And keys that the store makes up."""

from __future__ import annotations

import warnings
from ctypes import Array, byref, c_char_p, c_size_t, c_uint32, c_uint64, c_void_p
from datetime import timedelta
from types import TracebackType
from typing import Any, Callable, Dict, Generic, List, Literal, Optional, Tuple, Type, TypeVar, Union, overload

from . import _abi
from ._batch import Key, address_of, key_bytes
from ._codecs import check_codec
from ._errors import KeyLockedError, SessionEndedError, check
from ._expiry import KEEP, Expire, ExpireAt, expiry_of
from ._options import milliseconds

lib = _abi.lib
V = TypeVar("V")

_NOTHING: Any = None

#: Names, and what they hold, beside an entry's value.
Metadata = Dict[str, bytes]
#: Seconds or a timedelta; 0: does not wait; None: as long as it takes.
Timeout = Union[float, timedelta, None]


def wait_of(timeout: Timeout) -> int:
    """A timeout in the C ABI. What is more than nothing stays that."""
    if timeout is None:
        return _abi.WAIT_FOREVER
    ms = milliseconds(timeout)
    return 1 if ms == 0 and timeout else min(ms, _abi.WAIT_FOREVER - 1)


def pairs_at(at: Optional[int], count: int) -> Metadata:
    """A copy of pairs of the library."""
    pairs: Any = (_abi.Pair * count).from_address(at) if at and count else ()
    return {
        _abi.bytes_at(pair.key.data, pair.key.len).decode(): _abi.bytes_at(pair.value.data, pair.value.len)
        for pair in pairs
    }


def _pairs_of(metadata: Metadata) -> Tuple["Array[_abi.Pair]", List[bytes]]:
    """Pairs for the library, and what must outlive them."""
    pairs = (_abi.Pair * len(metadata))()
    keep: List[bytes] = []
    for pair, (name, held) in zip(pairs, metadata.items()):
        if not isinstance(name, str) or not isinstance(held, (bytes, bytearray, memoryview)):
            raise TypeError("metadata is a dict of str and bytes")
        for to, data in ((pair.key, name.encode()), (pair.value, bytes(held))):
            keep.append(data)
            to.data, to.len = address_of(data), len(data)
    return pairs, keep


class Session(Generic[V]):
    """One entry, locked for whoever holds this, with its value and metadata to edit.

        with db.get_and_lock("cart") as cart:
            cart.value += b", pears"
            cart.metadata["by"] = b"Alice"

    The end of the `with` commits, an exception in it rolls back. Nobody sees the edits before; readers meanwhile see what was
    committed last, and wait for nothing. The lock is among sessions: plain writes do not ask for it, and a commit after one
    changes nothing and raises ConflictError. A session serves one thread at a time, any, and may be kept for long; one that is
    forgotten is rolled back, with a ResourceWarning.
    """

    #: The value to be committed. None where there is none yet, whatever its type.
    value: V
    #: Stored with the value, in one record; it counts for the longest value. A plain write drops it, as an increment does; a
    #: change of the expiry keeps it. Redis gets the value alone.
    metadata: Metadata

    def __init__(
        self, handle: int, encode: Callable[[V], bytes], decode: Callable[[bytes], V], codec: int, key: bytes
    ) -> None:
        self._session: Optional[int] = handle
        self._encode, self._decode, self._tag = encode, decode, codec
        #: The key that is locked.
        self.key = key
        #: The version of the entry that the edits began from; 0: the key had no value.
        self.version = 0

    def _call(self, call: Callable[..., int], *args: Any) -> None:
        if self._session is None:
            raise SessionEndedError("the session was committed or rolled back")
        error = c_void_p()
        check(call(self._session, *args, byref(error)), error)

    def _read(self) -> None:
        """Takes over what the library holds."""
        version, value, length = c_uint64(), c_void_p(), c_size_t()
        pairs, count, codec = c_void_p(), c_size_t(), c_uint32()
        self._call(lib.kv_session_version, byref(version))
        self._call(lib.kv_session_codec, byref(codec))
        if version.value:
            check_codec(self.key, self._tag, codec.value)
        self._call(lib.kv_session_value, byref(value), byref(length))
        self._call(lib.kv_session_metadata, byref(pairs), byref(count))
        try:
            self.metadata = pairs_at(pairs.value, count.value)
        finally:
            lib.kv_free(pairs)
        self.version = version.value
        self.value = self._decode(_abi.bytes_at(value.value, length.value)) if self.version else _NOTHING

    def commit(
        self,
        *,
        expire: Expire = KEEP,
        expire_at: Optional[ExpireAt] = None,
        keep: bool = False,
        keep_on_failure: bool = False,
        delete: bool = False,
    ) -> int:
        """Makes the edits visible, all at once, gives up the lock, and gives the new version.

        `expire`, `expire_at`: as for `Db.set`; without them the entry expires when it would have, a new one after the store's
        default. `keep`: keeps the lock, also after a failure, and goes on with what was committed. `keep_on_failure`: keeps lock
        and edits after a failure. `delete`: removes the entry instead, and gives 0.

        Raises ConflictError when somebody else has changed the entry, its expiry included, or when it has expired: nothing was
        changed. What comes after the end raises SessionEndedError.
        """
        try:
            return self._commit(expire, expire_at, delete, keep)
        except BaseException:
            if not keep and not keep_on_failure:
                self.rollback()
            raise

    def _commit(self, expire: Expire, expire_at: Optional[ExpireAt], delete: bool, keep: bool) -> int:
        if expire_at is not None and expire is KEEP:
            expire = None
        if self._session is None:
            raise SessionEndedError("the session was committed or rolled back")
        if not delete:
            if self.value is None:
                raise ValueError("the session has no value to commit")
            value = self._encode(self.value)
            pairs, keep_alive = _pairs_of(self.metadata)
            self._call(lib.kv_session_set_value, value, len(value))
            if self._tag:
                self._call(lib.kv_session_set_codec, self._tag)
            self._call(lib.kv_session_set_metadata, pairs, len(pairs))
            self._call(lib.kv_session_set_expiry, *expiry_of(expire, expire_at))
            del keep_alive
        version = c_uint64()
        options = _abi.COMMIT_KEEP | (_abi.COMMIT_DELETE if delete else 0)
        self._call(lib.kv_session_commit, options, byref(version))
        self.version = version.value
        if delete:
            self.value, self.metadata = _NOTHING, {}
        if not keep:
            self.rollback()
        return version.value

    def reload(self) -> None:
        """Gives up the edits and reads the entry anew: after ConflictError, the next commit replaces what stands there now. The
        lock stays."""
        self._call(lib.kv_session_reload)
        self._read()

    def rollback(self) -> None:
        """Gives up edits and lock. A second call, or one after a commit, does nothing."""
        session, self._session = self._session, None
        if session is not None and lib.kv_session_free(session) == _abi.BUSY:
            # Another thread commits, of which nobody waits for the end any more: this goes when that has ended.
            self._session = session

    def __enter__(self) -> Session[V]:
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        if error is None and self._session is not None:
            self.commit()
        self.rollback()

    def __del__(self) -> None:
        if getattr(self, "_session", None) is not None:
            warnings.warn("a session was neither committed nor rolled back", ResourceWarning, source=self)
            self.rollback()


class Sessions(Generic[V]):
    """What `Db` does with sessions and generated keys."""

    _at: Any
    _encode: Callable[[V], bytes]
    _decode: Callable[[bytes], V]
    _tag: int

    def _lock(self, key: bytes, call: Callable[..., int], *args: Any) -> Optional[Session[V]]:
        handle, error = c_void_p(), c_void_p()
        session = None
        try:
            # A signal that comes meanwhile is raised behind the call, which may have brought a session.
            status = call(self._at, key, len(key), *args, byref(handle), byref(error))
            if check(status, error) != _abi.OK or handle.value is None:
                return None
            session = Session(handle.value, self._encode, self._decode, self._tag, key)
            session._read()
        except BaseException:
            if session is not None:
                session.rollback()
            elif handle.value is not None:
                lib.kv_session_free(handle.value)
            raise
        return session

    def get_and_lock(self, key: Key, *, timeout: Timeout = None) -> Session[V]:
        """Locks a key that has a value, to edit it. Sessions get a key in the order in which they ask. Raises KeyError for a key
        without a value.

        `timeout`: for how long another session is waited for, in seconds; 0: not at all; None: until it ends. Then KeyLockedError
        is raised. A wait without end is not interrupted by signals. Who asks for a key that he has already waits for himself,
        as do those who ask for two keys in different orders: lock in the order of the keys, or with a timeout.
        """
        session = self._lock(key_bytes(key), lib.kv_get_and_lock, wait_of(timeout))
        if session is None:
            raise KeyError(key)
        return session

    @overload
    def create_and_lock(
        self, key: Key, *, initial: Optional[V] = None, allow_existing: Literal[True], timeout: Timeout = None
    ) -> Session[V]: ...
    @overload
    def create_and_lock(
        self, key: Key, *, initial: Optional[V] = None, allow_existing: bool = False, timeout: Timeout = None
    ) -> Optional[Session[V]]: ...
    def create_and_lock(
        self,
        key: Key,
        *,
        initial: Optional[V] = None,
        allow_existing: bool = False,
        timeout: Timeout = None,
    ) -> Optional[Session[V]]:
        """Locks a key that has no value, to make one, which is there when it is committed; None: it has one. With
        `allow_existing` a key that has a value is taken as it is; `initial` is what the others begin with. See
        `get_and_lock`."""
        options = _abi.CreateOptions()
        options.allow_existing = allow_existing
        session = self._lock(key_bytes(key), lib.kv_create_and_lock, wait_of(timeout), byref(options))
        if session is not None and session.version == 0:
            session.value = _NOTHING if initial is None else initial
        return session

    def create_generated_and_lock(
        self, *, initial: Optional[V] = None, prefix: Key = b"", base: int = 10, width: int = 0
    ) -> Session[V]:
        """Locks a key that `generate_key` gives and that has no value, to make one. It waits for nobody: a key that has a value,
        or that another session has, is passed over."""
        while True:
            key = self.generate_key(prefix=prefix, base=base, width=width)
            try:
                session = self.create_and_lock(key, initial=initial, timeout=0)
            except KeyLockedError:
                continue
            if session is not None:
                return session

    def generate_key(self, *, prefix: Key = b"", base: int = 10, width: int = 0) -> bytes:
        """A key that the store has never given before and that sorts, bytewise, after all that it gave with the same arguments:
        also across reopens, the death of the process and the loss of power. Nothing is stored under it; whether somebody else
        has set it is for `add` or `create_generated_and_lock` to find out. A copy of the store (a backup, a salvaged or imported
        one) does not know what the other gives afterwards.

        `base`: of the digits, 2 to 62: 0-9a-z up to 36, 0-9A-Za-z above. `width`: digits, 64 at most; 0: as many as the largest
        number of this base has. Numbers grow by one for each 32 bytes that the log takes.
        """
        name = key_bytes(prefix)
        options = _abi.KeyOptions()
        keep = c_char_p(name)
        options.prefix.data, options.prefix.len = c_void_p.from_buffer(keep).value, len(name)
        for number in (base, width):
            if not 0 <= number < 2**32:
                raise ValueError(f"{number}: must be from 0 to 2**32 - 1")
        options.base, options.width = base, width
        key, length, error = c_void_p(), c_size_t(), c_void_p()
        check(lib.kv_generate_key(self._at, byref(options), byref(key), byref(length), byref(error)), error)
        try:
            return _abi.bytes_at(key.value, length.value)
        finally:
            lib.kv_free(key)

    def get_with_metadata(self, key: Key) -> Optional[Tuple[V, Metadata]]:
        """The value of a key with its metadata, as one commit left them; None when it has none."""
        name = key_bytes(key)
        value, length, pairs, count, error = c_void_p(), c_size_t(), c_void_p(), c_size_t(), c_void_p()
        outputs = byref(value), byref(length), byref(pairs), byref(count), byref(error)
        if check(lib.kv_get_with_metadata_as(self._at, name, len(name), self._tag, *outputs), error) == _abi.NOT_FOUND:
            return None
        try:
            return self._decode(_abi.bytes_at(value.value, length.value)), pairs_at(pairs.value, count.value)
        finally:
            lib.kv_free(value)
            lib.kv_free(pairs)
