"""The C ABI of include/kv.h: the library, its constants, its structs, its functions. A test compares them with the header.

Two ways lead into the library. `lib` gives the interpreter's lock (the GIL) away during the call: for all that may wait.
`reads` keeps it: that costs a third less, and is right only for calls that wait for nobody. The reads of one key are such
calls (promise P6): they take no lock that a thread holds while it calls back into Python, and call nothing back
themselves. In a store with a tier they may wait for Redis: there only `get_made` and `get_many_made` are such calls, which do
not ask it.
"""

from __future__ import annotations

import ctypes
import functools
import os
import sys
from ctypes import c_char_p, c_double, c_int32, c_int64, c_size_t, c_uint32, c_uint64, c_void_p, py_object
from typing import Any, Callable, Dict, List

VERSION = (0, 1)

# Answers.
OK, NOT_FOUND, NOT_MET, TOO_SMALL = 0, 1, 2, 3
# The call cannot be carried out with these arguments or this value.
INVALID_ARGUMENT, INVALID_HANDLE, INVALID_OPTION = 10, 11, 12
KEY_TOO_LONG, VALUE_TOO_LONG, BATCH_TOO_LARGE = 13, 14, 15
NOT_AN_INTEGER, OVERFLOW, NOT_TEXT, BAD_IMPORT = 16, 17, 18, 19
# It cannot be carried out now.
CLOSED, FORKED, READ_ONLY, PINNED = 20, 21, 22, 23
WRONG_THREAD, IN_CALLBACK, LOADER_FAILED, BUSY, CANCELLED = 24, 25, 26, 27, 28
# The system.
IO, DISK_FULL, SYNC_FAILED, CORRUPT = 30, 31, 32, 33
UNSUPPORTED_VERSION, NOT_A_STORE, LOCKED, NO_MEMORY = 34, 35, 36, 37
TIER = 38
# Sessions.
KEY_LOCKED, CONFLICT, SESSION_ENDED = 41, 42, 43
LAGGED = 47
# Typed stores.
WRONG_CODEC = 50
INTERNAL = 99

KEY_BYTES_MAX = 65535
ALWAYS, IF_ABSENT, IF_PRESENT, IF_VERSION = 0, 1, 2, 3
EXPIRE_DEFAULT, EXPIRE_NEVER, EXPIRE_AFTER, EXPIRE_AT, EXPIRE_KEEP = 0, 1, 2, 3, 4
CAUSE_DELETED, CAUSE_EXPIRED, CAUSE_EVICTED, CAUSE_REPLACED = 0, 1, 2, 3
CHANGE_SET, CHANGE_DELETE = 0, 1
FORMAT_NDJSON, FORMAT_JSON, FORMAT_CSV, FORMAT_RESP = 0, 1, 2, 3
NUMBERS_DECIMAL, NUMBERS_MSGPACK = 0, 1
TTL_NEVER = 2**64 - 1
WAIT_FOREVER = 2**64 - 1
WATCH_PUT, WATCH_REMOVED, WATCH_CLEARED = 0, 1, 2
WATCH_FROM_NOW = 2**64 - 1
COMMIT_KEEP, COMMIT_KEEP_ON_FAILURE, COMMIT_DELETE = 1, 2, 4
CODEC_RAW, CODEC_JSON, CODEC_MSGPACK, CODEC_PROTOBUF = 0, 1, 2, 3
CODEC_POSTCARD, CODEC_TEXT, CODEC_GOB, CODEC_PICKLE = 4, 5, 6, 7
CODEC_USER_MIN, CODEC_USER_MAX = 64, 254


class Slice(ctypes.Structure):
    _fields_ = [("data", c_void_p), ("len", c_size_t)]


class Event(ctypes.Structure):
    _fields_ = [
        ("key", Slice),
        ("value", Slice),
        ("version", c_uint64),
        ("cause", c_uint32),
        ("codec", c_uint32),
    ]


class SetOptions(ctypes.Structure):
    _fields_ = [
        ("condition", c_uint32),
        ("expiry", c_uint32),
        ("expiry_ms", c_uint64),
        ("version", c_uint64),
        ("codec", c_uint32),
    ]


class LoadOptions(ctypes.Structure):
    _fields_ = [
        ("ttl_ms", c_uint64),
        ("fresh_for_ms", c_uint64),
        ("early", c_double),
        ("absent_for_ms", c_uint64),
        ("lease_ms", c_uint64),
        ("codec", c_uint32),
    ]


class Change(ctypes.Structure):
    _fields_ = [
        ("key", Slice),
        ("value", Slice),
        ("kind", c_uint32),
        ("expiry", c_uint32),
        ("expiry_ms", c_uint64),
        ("codec", c_uint32),
    ]


class Pair(ctypes.Structure):
    _fields_ = [("key", Slice), ("value", Slice)]


class WatchChange(ctypes.Structure):
    _fields_ = [
        ("kind", c_uint32),
        ("cause", c_uint32),
        ("key", Slice),
        ("value", Slice),
        ("version", c_uint64),
        ("expires_at_ms", c_uint64),
        ("metadata", c_void_p),
        ("metadata_count", c_size_t),
        ("codec", c_uint32),
    ]


class CreateOptions(ctypes.Structure):
    _fields_ = [("allow_existing", c_uint32), ("initial", Slice)]


class KeyOptions(ctypes.Structure):
    _fields_ = [("prefix", Slice), ("base", c_uint32), ("width", c_uint32)]


class Host(ctypes.Structure):
    _fields_ = [
        ("make", c_void_p),
        ("share", c_void_p),
        ("item", c_void_p),
        ("bytes", c_void_p),
        ("put", c_void_p),
        ("absent", py_object),
        ("failed", py_object),
        ("len_max", c_size_t),
        ("codec", c_uint32),
    ]


class ScanOptions(ctypes.Structure):
    _fields_ = [
        ("prefix", Slice),
        ("start", Slice),
        ("end", Slice),
        ("limit", c_size_t),
        ("ordered", c_uint32),
        ("reverse", c_uint32),
        ("snapshot", c_uint32),
    ]


class Entry(ctypes.Structure):
    _fields_ = [
        ("key", Slice),
        ("value", Slice),
        ("version", c_uint64),
        ("expires_at_ms", c_uint64),
        ("codec", c_uint32),
    ]


class Transferred(ctypes.Structure):
    _fields_ = [
        ("entries", c_uint64),
        ("expired", c_uint64),
        ("deleted", c_uint64),
        ("skipped", c_uint64),
        ("bytes", c_uint64),
        ("text_bytes", c_uint64),
        ("total_bytes", c_uint64),
    ]


TransferProgress = ctypes.CFUNCTYPE(c_int32, c_void_p, ctypes.POINTER(Transferred), c_void_p, c_size_t)


class TransferOptions(ctypes.Structure):
    _fields_ = [
        ("progress", TransferProgress),
        ("progress_userdata", c_void_p),
        ("key_column", Slice),
        ("value_column", Slice),
        ("total_bytes", c_uint64),
        ("database", c_uint32),
        ("skip_unknown", c_uint32),
    ]


class Preloaded(ctypes.Structure):
    _fields_ = [
        ("cursor", c_uint64),
        ("keys", c_uint64),
        ("copied", c_uint64),
        ("removed", c_uint64),
        ("is_complete", c_uint32),
    ]


Listener = ctypes.CFUNCTYPE(None, c_void_p, ctypes.POINTER(Event))
Logger = ctypes.CFUNCTYPE(None, c_void_p, c_void_p, c_size_t)
Weigher = ctypes.CFUNCTYPE(c_int32, c_void_p, c_void_p, c_size_t, c_void_p, c_size_t, ctypes.POINTER(c_uint32))
Loader = ctypes.CFUNCTYPE(c_int32, c_void_p, c_void_p, c_size_t, c_void_p)
Release = ctypes.CFUNCTYPE(None, c_void_p)
Encoder = ctypes.CFUNCTYPE(c_int32, c_void_p, c_void_p, c_size_t, c_void_p, c_size_t, c_void_p)
Writer = ctypes.CFUNCTYPE(c_int32, c_void_p, c_void_p, c_size_t)
Reader = ctypes.CFUNCTYPE(c_int32, c_void_p, c_void_p, c_size_t, c_void_p)
Progress = ctypes.CFUNCTYPE(c_int32, c_void_p, ctypes.POINTER(Preloaded))

# Addresses of handles, structs and outputs; bytes that are read; bytes that end with NUL.
_AT, _BYTES, _TEXT = c_void_p, c_char_p, c_char_p
_KEY = [_AT, _BYTES, c_size_t]
_WRITE = [*_KEY, _BYTES, c_size_t]

#: What each function returns and takes.
SIGNATURES: Dict[str, List[Any]] = {
    "kv_strerror": [c_char_p, c_int32],
    "kv_version": [c_uint32],
    "kv_version_text": [c_char_p],
    "kv_error_status": [c_int32, _AT],
    "kv_error_message": [c_char_p, _AT],
    "kv_error_free": [c_int32, _AT],
    "kv_free": [None, _AT],
    "kv_options_new": [_AT],
    "kv_options_free": [c_int32, _AT],
    "kv_options_set": [c_int32, _AT, _TEXT, _TEXT, _AT],
    "kv_options_set_mode": [c_int32, _AT, c_uint32],
    "kv_options_set_sync": [c_int32, _AT, c_uint32, c_uint64],
    "kv_options_set_segment_bytes": [c_int32, _AT, c_uint64],
    "kv_options_set_value_bytes_max": [c_int32, _AT, c_uint32],
    "kv_options_set_default_ttl": [c_int32, _AT, c_uint64],
    "kv_options_set_compression": [c_int32, _AT, c_int32, c_size_t],
    "kv_options_set_recover": [c_int32, _AT, c_uint32],
    "kv_options_set_background": [c_int32, _AT, c_int32],
    "kv_options_set_listener_queue": [c_int32, _AT, c_size_t],
    "kv_options_set_clock": [c_int32, _AT, _AT],
    "kv_clock_new": [_AT, c_uint64],
    "kv_clock_advance": [c_int32, _AT, c_uint64],
    "kv_clock_free": [c_int32, _AT],
    "kv_options_set_listener": [c_int32, _AT, Listener, _AT],
    "kv_options_set_logger": [c_int32, _AT, Logger, _AT],
    "kv_bar_thread": [c_int32],
    "kv_options_set_weigher": [c_int32, _AT, Weigher, _AT],
    "kv_open": [c_int32, _TEXT, _AT, _AT, _AT],
    "kv_open_in_memory": [c_int32, _AT, _AT, _AT],
    "kv_close": [c_int32, _AT, _AT],
    "kv_db_free": [c_int32, _AT],
    "kv_get": [c_int32, *_KEY, _AT, c_size_t, _AT, _AT],
    "kv_get_owned": [c_int32, *_KEY, _AT, _AT, _AT],
    "kv_contains": [c_int32, *_KEY, _AT],
    "kv_key_version": [c_int32, *_KEY, _AT, _AT],
    "kv_len": [c_int32, _AT, _AT, _AT],
    "kv_pin_open": [c_int32, _AT, _AT, _AT],
    "kv_pin_get": [c_int32, *_KEY, _AT, _AT, _AT],
    "kv_pin_release": [c_int32, _AT],
    "kv_set": [c_int32, *_WRITE, _AT],
    "kv_set_with": [c_int32, *_WRITE, _AT, _AT, _AT],
    "kv_add": [c_int32, *_WRITE, _AT],
    "kv_replace": [c_int32, *_WRITE, _AT],
    "kv_compare_and_swap": [c_int32, *_KEY, c_uint64, _BYTES, c_size_t, _AT, _AT],
    "kv_increment": [c_int32, *_KEY, c_int64, _AT, _AT],
    "kv_delete": [c_int32, *_KEY, _AT],
    "kv_take": [c_int32, *_KEY, _AT, _AT, _AT],
    "kv_expire": [c_int32, *_KEY, c_uint64, _AT],
    "kv_expire_at": [c_int32, *_KEY, c_uint64, _AT],
    "kv_touch": [c_int32, *_KEY, _AT],
    "kv_persist": [c_int32, *_KEY, _AT],
    "kv_ttl": [c_int32, *_KEY, _AT, _AT],
    "kv_get_many": [c_int32, _AT, _AT, c_size_t, _AT, _AT],
    "kv_get_made": [py_object, *_KEY, _AT],
    "kv_get_many_made": [c_int32, _AT, _AT, py_object, py_object, c_size_t, c_size_t, _AT],
    "kv_set_many": [c_int32, _AT, _AT, c_size_t, _AT],
    "kv_delete_many": [c_int32, _AT, _AT, c_size_t, _AT, _AT],
    "kv_apply": [c_int32, _AT, _AT, c_size_t, _AT],
    "kv_generate_key": [c_int32, _AT, _AT, _AT, _AT, _AT],
    "kv_get_and_lock": [c_int32, *_KEY, c_uint64, _AT, _AT],
    "kv_create_and_lock": [c_int32, *_KEY, c_uint64, _AT, _AT, _AT],
    "kv_create_generated_and_lock": [c_int32, _AT, _AT, _BYTES, c_size_t, _AT, _AT],
    "kv_session_key": [c_int32, _AT, _AT, _AT, _AT],
    "kv_session_version": [c_int32, _AT, _AT, _AT],
    "kv_session_value": [c_int32, _AT, _AT, _AT, _AT],
    "kv_session_set_value": [c_int32, _AT, _BYTES, c_size_t, _AT],
    "kv_session_metadata": [c_int32, _AT, _AT, _AT, _AT],
    "kv_session_set_metadata": [c_int32, _AT, _AT, c_size_t, _AT],
    "kv_session_set_expiry": [c_int32, _AT, c_uint32, c_uint64, _AT],
    "kv_session_commit": [c_int32, _AT, c_uint32, _AT, _AT],
    "kv_session_reload": [c_int32, _AT, _AT],
    "kv_session_rollback": [c_int32, _AT, _AT],
    "kv_session_free": [c_int32, _AT],
    "kv_get_with_metadata": [c_int32, *_KEY, _AT, _AT, _AT, _AT, _AT],
    "kv_get_as": [c_int32, *_KEY, c_uint32, _AT, c_size_t, _AT, _AT],
    "kv_get_owned_as": [c_int32, *_KEY, c_uint32, _AT, _AT, _AT],
    "kv_get_many_as": [c_int32, _AT, _AT, c_size_t, c_uint32, _AT, _AT],
    "kv_get_with_metadata_as": [c_int32, *_KEY, c_uint32, _AT, _AT, _AT, _AT, _AT],
    "kv_take_as": [c_int32, *_KEY, c_uint32, _AT, _AT, _AT],
    "kv_increment_as": [c_int32, *_KEY, c_int64, c_uint32, _AT, _AT],
    "kv_key_codec": [c_int32, *_KEY, _AT, _AT],
    "kv_session_codec": [c_int32, _AT, _AT, _AT],
    "kv_session_set_codec": [c_int32, _AT, c_uint32, _AT],
    "kv_sink_write": [c_int32, _AT, _BYTES, c_size_t],
    "kv_sink_fail": [c_int32, _AT, _BYTES, c_size_t],
    "kv_get_or_load": [c_int32, *_KEY, _AT, Loader, _AT, _AT, _AT, _AT],
    "kv_get_or_load_with": [c_int32, *_KEY, _AT, Loader, _AT, Release, _AT, _AT, _AT],
    "kv_get_loaded": [c_int32, *_KEY, _AT, _AT, _AT, _AT, _AT],
    "kv_load_behind": [c_int32, *_KEY, _AT, Loader, _AT, Release, _AT],
    "kv_options_set_tier_encoder": [c_int32, _AT, Encoder, Encoder, c_uint32, _AT, _AT],
    "kv_scan_open": [c_int32, _AT, _AT, _AT, _AT],
    "kv_scan_next": [c_int32, _AT, c_size_t, _AT, _AT, _AT],
    "kv_scan_free": [c_int32, _AT],
    "kv_watch_open": [c_int32, *_KEY, c_uint64, _AT, _AT],
    "kv_watch_next": [c_int32, _AT, c_uint64, _AT, _AT],
    "kv_watch_position": [c_int32, _AT, _AT, _AT],
    "kv_watch_wake": [c_int32, _AT],
    "kv_watch_free": [c_int32, _AT],
    "kv_clear": [c_int32, _AT, _AT],
    "kv_sync": [c_int32, _AT, _AT],
    "kv_compact": [c_int32, _AT, _AT],
    "kv_sweep": [c_int32, _AT, _AT],
    "kv_pause": [c_int32, _AT, _AT],
    "kv_resume": [c_int32, _AT, _AT],
    "kv_backup": [c_int32, _AT, _TEXT, _AT],
    "kv_now": [c_int32, _AT, _AT, _AT],
    "kv_stats_get": [c_int32, _AT, _TEXT, _AT, _AT],
    "kv_stats_json": [c_int32, _AT, _AT, _AT],
    "kv_stats_prometheus": [c_int32, _AT, _AT, _AT],
    "kv_damage_json": [c_int32, _AT, _AT, _AT],
    "kv_flush": [c_int32, _AT, c_uint64, _AT],
    "kv_tier_stats_json": [c_int32, _AT, _AT, _AT],
    "kv_tier_stats_prometheus": [c_int32, _AT, _AT, _AT],
    "kv_increment_shared": [c_int32, *_KEY, c_int64, _AT, _AT],
    "kv_add_shared": [c_int32, *_WRITE, _AT, _AT],
    "kv_compare_and_swap_shared": [c_int32, *_KEY, _AT, _BYTES, c_size_t, _AT],
    "kv_preload": [c_int32, *_KEY, c_uint64, Progress, _AT, _AT, _AT],
    "kv_export": [c_int32, _AT, _TEXT, c_uint32, _AT, _AT, _AT, _AT],
    "kv_export_to": [c_int32, _AT, Writer, _AT, c_uint32, _AT, _AT, _AT, _AT],
    "kv_import": [c_int32, _AT, _TEXT, c_uint32, _AT, _AT, _AT],
    "kv_import_from": [c_int32, _AT, Reader, _AT, c_uint32, _AT, _AT, _AT],
    "kv_verify": [c_int32, _TEXT, _AT, _AT, _AT],
    "kv_salvage": [c_int32, _TEXT, _TEXT, _AT, _AT, _AT],
}


def library_path() -> str:
    """The library that is loaded: the one of this package, or what the environment variable LIBKV_LIBRARY names."""
    given = os.environ.get("LIBKV_LIBRARY")
    return given or os.path.join(os.path.dirname(os.path.abspath(__file__)), "libkv.so")


def _load() -> ctypes.CDLL:
    path = library_path()
    try:
        found = ctypes.CDLL(path)
    except OSError as error:
        raise ImportError(
            f"libkv cannot load its library: {error}. Install the wheel ('pip install bindings/python'), or name a "
            "libkv.so in the environment variable LIBKV_LIBRARY."
        ) from None
    for name, (returns, *takes) in SIGNATURES.items():
        try:
            function = getattr(found, name)
        except AttributeError:
            raise ImportError(f"{path} has no {name}: it is another version of libkv") from None
        function.restype, function.argtypes = returns, takes
    version = found.kv_version()
    if (version >> 16, version >> 8 & 0xFF) != VERSION:
        raise ImportError(f"{path} is libkv {version_text(found)}; this package needs {VERSION[0]}.{VERSION[1]}")
    return found


def version_text(found: ctypes.CDLL) -> str:
    text: bytes = found.kv_version_text()
    return text.decode()


lib = _load()
_reads = ctypes.PyDLL(lib._name)

# Without `argtypes`, ctypes takes arguments as they are: three times as fast, but whoever calls must have made them with
# `address`, `size` or `byref`, or pass bytes.
get_made: Callable[..., object] = _reads["kv_get_made"]
get_made.restype = py_object  # type: ignore[attr-defined]
contains: Callable[..., int] = _reads["kv_contains"]
key_version: Callable[..., int] = _reads["kv_key_version"]
ttl: Callable[..., int] = _reads["kv_ttl"]
set_with: Callable[..., int] = lib["kv_set_with"]

# With the interpreter's lock and `argtypes`: it handles lists.
get_many_made: Callable[..., int] = _reads["kv_get_many_made"]
get_many_made.argtypes = SIGNATURES["kv_get_many_made"][1:]  # type: ignore[attr-defined]


def _runtime(name: str) -> int | None:
    """The address of a function of the interpreter."""
    return ctypes.cast(getattr(ctypes.pythonapi, name), c_void_p).value


#: What `get_made` gives for a key without a value, and when it fails. Never NULL, which ctypes cannot bear.
ABSENT: Any = object()
FAILED: Any = object()
# Longer values are copied without the interpreter's lock.
MADE_BYTES_LIMIT = 1 << 16
_RUNTIME = [
    _runtime("PyBytes_FromStringAndSize"),
    _runtime("Py_IncRef"),
    _runtime("PyList_GetItem"),
    _runtime("PyBytes_AsStringAndSize"),
    _runtime("PyList_SetItem"),
]


@functools.lru_cache(maxsize=None)
def host_of(codec: int) -> Any:
    """This interpreter as the library sees it, for values of a codec. One each, for as long as the process."""
    return ctypes.byref(Host(*_RUNTIME, ABSENT, FAILED, MADE_BYTES_LIMIT, codec))


def address(at: int) -> Any:
    """An address as an argument, made once for many calls."""
    return c_void_p.from_param(at)


SIZES_KNOWN = 1024
SIZES: List[Any] = [c_size_t.from_param(n) for n in range(SIZES_KNOWN)]


def size(n: int) -> Any:
    """A length as an argument. ctypes would pass a plain integer as one of 32 bits."""
    return SIZES[n] if n < SIZES_KNOWN else c_size_t(n)


# All memory as one array: a slice of it makes bytes from an address and a length, four times as fast as `string_at`.
memory: Any = (ctypes.c_char * sys.maxsize).from_address(0)


def bytes_at(at: int | None, length: int) -> bytes:
    """A copy of memory of the library."""
    found: bytes = memory[at : at + length] if at and length else b""
    return found


def fail(sink: int, error: BaseException) -> None:
    """Tells the library why a callback fails."""
    try:
        reason = f"{type(error).__name__}: {error}".encode("utf-8", "replace")
    except Exception:
        reason = type(error).__name__.encode()
    lib.kv_sink_fail(sink, reason, len(reason))
