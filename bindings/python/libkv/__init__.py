"""libkv: an embeddable key-value engine, a concurrent map whose records live in a memory-mapped append log.

    import libkv

    with libkv.open("users", sync="100ms") as db:
        db["name"] = b"Alice"
        db.set("session", b"...", expire=300)

docs/python.md is the way in; `libkv.aio` has the same for asyncio.
"""

from __future__ import annotations

from typing import Any, Callable, Literal, Optional, TypeVar, overload

from . import _abi
from ._abi import library_path
from ._batch import Change, Delete, Key, Set
from ._codecs import Bytes, Codec, Json, MessagePack, Pickle, Protobuf, Text
from ._db import Db
from ._encoder import Encoder
from ._errors import (
    BadImportError,
    BatchTooLargeError,
    BusyError,
    CancelledError,
    ClosedError,
    ConflictError,
    CorruptError,
    DiskFullError,
    Error,
    ForkedError,
    InCallbackError,
    IncrementOverflowError,
    InternalError,
    InvalidArgumentError,
    InvalidHandleError,
    InvalidOptionError,
    IoError,
    KeyLockedError,
    KeyTooLongError,
    LaggedError,
    LoaderFailedError,
    LockedError,
    NoMemoryError,
    NotAnIntegerError,
    NotAStoreError,
    NotTextError,
    PinnedError,
    ReadOnlyError,
    SessionEndedError,
    StateError,
    StorageError,
    SyncFailedError,
    TierError,
    UnsupportedVersionError,
    UsageError,
    ValueTooLongError,
    WrongCodecError,
    WrongThreadError,
)
from ._expiry import KEEP, NEVER, Expire, ExpireAt
from ._handle import Path
from ._memoize import Memoized
from ._options import Clock, Event, OptionValue
from ._pin import Pin
from ._preload import Preloaded
from ._scan import Entry, Scan
from ._session import Metadata, Session
from ._transfer import Report, Transferred, salvage, verify
from ._watch import Watch, WatchChange

V = TypeVar("V")

__version__ = _abi.version_text(_abi.lib)

Listener = Optional[Callable[[Event], object]]
Logger = Optional[Callable[[str], object]]


@overload
def open(
    path: Path,
    *,
    codec: Literal["bytes"] = "bytes",
    clock: Optional[Clock] = None,
    listener: Listener = None,
    logger: Logger = None,
    **options: OptionValue,
) -> Db[bytes]: ...
@overload
def open(
    path: Path,
    *,
    codec: Literal["text"],
    clock: Optional[Clock] = None,
    listener: Listener = None,
    logger: Logger = None,
    **options: OptionValue,
) -> Db[str]: ...
@overload
def open(
    path: Path,
    *,
    codec: Codec[V],
    clock: Optional[Clock] = None,
    listener: Listener = None,
    logger: Logger = None,
    **options: OptionValue,
) -> Db[V]: ...
@overload
def open(
    path: Path,
    *,
    codec: str,
    clock: Optional[Clock] = None,
    listener: Listener = None,
    logger: Logger = None,
    **options: OptionValue,
) -> Db[Any]: ...
def open(path: Path, **options: Any) -> Db[Any]:
    """Opens the store in a directory, or makes one.

    `codec`: how values become bytes: "bytes", "text", "json", "msgpack" (with the package of that name), "pickle", a `Protobuf`, or an
    object with `encode` and `decode`. Values are marked with their codec, and what another one wrote raises WrongCodecError
    (docs/typed.md); `Db.typed` gives the same store with another.
    `clock`: a `Clock`, for tests. `listener`: hears of each `Event` in a thread of the store, and may use the store, but not
    close it. `logger`: takes a line whenever something happens that nobody asked about; must not use any store.
    What a listener, logger or weigher raises goes to `sys.unraisablehook`.

    Other options by name: `mode` (create, must_exist, read_only), `sync` (always, never, 100ms, 2s, 1m), `segment_bytes`,
    `value_bytes_max`, `default_ttl` (none, 500ms, 30s, 5m, 1h; also seconds as a float, or a timedelta), `compression` (off,
    zstd, zstd:LEVEL, zstd:LEVEL:THRESHOLD_BYTES, zstd-dictionary, zstd-dictionary:LEVEL: docs/compression.md), `recover` (strict, salvage), `listener_queue`,
    `listener_replaced`, `background`, `ordered_index` (True, False), `ttl_jitter_percent` (0 to 100); and of caches, docs/cache.md: `max_entries`,
    `max_bytes`, `time_to_idle` (a time as for `default_ttl`), `weigher` (a function of key and value, both bytes as they are stored but not
    compressed, that says what an entry weighs, in whatever unit `max_bytes` then limits; it must not use any store, and where it raises, or
    says what is no weight, the entry weighs its bytes).

    With `tier_url` (redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE], rediss:// for TLS, redis+unix:///PATH,
    redis+sentinel://…, redis-cluster://…) the store shares its entries through
    Redis, as docs/tier.md says; calls that read or change entries may then also raise TierError. `tier_username`,
    `tier_password`, `tier_database`, `tier_prefix`, `tier_writes` (behind, through, refused), `tier_reads` (True, False),
    `tier_fresh` (none, drop, keep), `tier_unreachable_is_miss` (True, False), `tier_timeout`, `tier_backoff_max` (times as
    for `default_ttl`), `tier_unsent_deletes_max`, `tier_ca_file`, `tier_client_certificate`, `tier_client_key` (PEM files),
    `tier_encoder` (raw, zstd, zstd:LEVEL, json-from-msgpack, msgpack-from-json, json-from-protobuf:FILE:MESSAGE,
    protobuf-from-json:FILE:MESSAGE, or an `Encoder`), `tier_hashes` (refused, json, msgpack), `tier_codec` (raw, json, msgpack,
    protobuf, postcard, text, gob, pickle, or a number: which codec wrote what comes from Redis; `codec` by default),
    `tier_resync_every` (none, or a time), `tier_shards` (1 to 64).

    Raises InvalidOptionError, LockedError, NotAStoreError, UnsupportedVersionError, CorruptError, IoError, DiskFullError.
    """
    return Db(path, **options)


@overload
def open_in_memory(
    *,
    codec: Literal["bytes"] = "bytes",
    clock: Optional[Clock] = None,
    listener: Listener = None,
    logger: Logger = None,
    **options: OptionValue,
) -> Db[bytes]: ...
@overload
def open_in_memory(
    *,
    codec: Literal["text"],
    clock: Optional[Clock] = None,
    listener: Listener = None,
    logger: Logger = None,
    **options: OptionValue,
) -> Db[str]: ...
@overload
def open_in_memory(
    *,
    codec: Codec[V],
    clock: Optional[Clock] = None,
    listener: Listener = None,
    logger: Logger = None,
    **options: OptionValue,
) -> Db[V]: ...
@overload
def open_in_memory(
    *,
    codec: str,
    clock: Optional[Clock] = None,
    listener: Listener = None,
    logger: Logger = None,
    **options: OptionValue,
) -> Db[Any]: ...
def open_in_memory(**options: Any) -> Db[Any]:
    """Makes a store in memory: the same engine without files. Options as for `open`."""
    return Db(None, **options)


__all__ = [
    "BadImportError",
    "BatchTooLargeError",
    "BusyError",
    "CancelledError",
    "Bytes",
    "Change",
    "Clock",
    "ClosedError",
    "Codec",
    "ConflictError",
    "CorruptError",
    "Db",
    "Delete",
    "DiskFullError",
    "Encoder",
    "Entry",
    "Error",
    "Event",
    "Expire",
    "ExpireAt",
    "ForkedError",
    "InCallbackError",
    "IncrementOverflowError",
    "InternalError",
    "InvalidArgumentError",
    "InvalidHandleError",
    "InvalidOptionError",
    "IoError",
    "Json",
    "KEEP",
    "Key",
    "KeyLockedError",
    "KeyTooLongError",
    "LaggedError",
    "LoaderFailedError",
    "LockedError",
    "Memoized",
    "MessagePack",
    "Metadata",
    "NEVER",
    "NoMemoryError",
    "NotAStoreError",
    "NotAnIntegerError",
    "NotTextError",
    "Pickle",
    "Pin",
    "PinnedError",
    "Preloaded",
    "Protobuf",
    "ReadOnlyError",
    "Report",
    "Scan",
    "Session",
    "SessionEndedError",
    "Set",
    "StateError",
    "StorageError",
    "SyncFailedError",
    "Text",
    "TierError",
    "Transferred",
    "UnsupportedVersionError",
    "UsageError",
    "ValueTooLongError",
    "Watch",
    "WatchChange",
    "WrongCodecError",
    "WrongThreadError",
    "library_path",
    "open",
    "open_in_memory",
    "salvage",
    "verify",
]
