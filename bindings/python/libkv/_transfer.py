"""Export and import, through files and file objects; verify and salvage, of stores that may be damaged."""

from __future__ import annotations

import ctypes
import json
from ctypes import byref, c_uint64, c_void_p
from typing import IO, Any, Callable, Dict, List, NamedTuple, Optional, Union

from . import _abi
from ._errors import check
from ._handle import Path, path_bytes
from ._scan import Selection, options_of

lib = _abi.lib
FORMATS = {"ndjson": _abi.FORMAT_NDJSON, "json": _abi.FORMAT_JSON}
#: What a callback answers that raised.
_FAILED = -1


class Transferred(NamedTuple):
    """What an export or import has done."""

    #: Entries written or set.
    entries: int
    #: Entries of an import whose time was over.
    expired: int
    #: Bytes of their keys and values.
    bytes: int


class Report(NamedTuple):
    """What `verify` or `salvage` found."""

    #: Whether nothing is damaged.
    ok: bool
    #: Each with "path", "offset" and "reason".
    damage: List[Dict[str, Any]]
    #: These and all other figures, as the library gives them.
    figures: Dict[str, Any]


def format_of(name: str) -> int:
    try:
        return FORMATS[name]
    except KeyError:
        raise ValueError(f"no format {name!r}; known are {', '.join(FORMATS)}") from None


def _done(done: _abi.Transferred) -> Transferred:
    return Transferred(done.entries, done.expired, done.bytes)


def export(handle: Any, to: Union[Path, IO[bytes]], format: str, selection: Selection) -> Transferred:
    kind = format_of(format)
    options, keep = options_of(selection)
    done, error = _abi.Transferred(), c_void_p()
    if not hasattr(to, "write"):
        status = lib.kv_export(handle, path_bytes(to), kind, byref(options), byref(done), byref(error))
        check(status, error)
        return _done(done)
    raised: List[BaseException] = []
    lines = 0

    def write(_: int, data: int, length: int) -> int:
        nonlocal lines
        try:
            text = _abi.bytes_at(data, length)
            written = to.write(text)
            if written is not None and written != length:
                raise BlockingIOError(f"{to!r} took {written} of {length} bytes")
            lines += text.count(b"\n")
        except BaseException as error:
            raised.append(error)
            return _FAILED
        return 0

    callback = _abi.Writer(write)
    status = lib.kv_export_to(handle, callback, None, kind, byref(options), byref(done), byref(error))
    del keep
    finish(status, error, raised)
    # Ctrl-C can strike at the first step of `write`, before its `try`: ctypes then prints it and may answer 0, "taken".
    # In both formats each entry ends a line; an object has two lines more.
    expected = done.entries if kind == _abi.FORMAT_NDJSON else done.entries + 2 if done.entries else 1
    if lines != expected:
        raise InterruptedError(f"the export was interrupted: {lines} of {expected} lines were written")
    return _done(done)


def import_(handle: Any, source: Union[Path, IO[bytes]], format: str) -> Transferred:
    kind = format_of(format)
    done, error = _abi.Transferred(), c_void_p()
    if not hasattr(source, "read"):
        status = lib.kv_import(handle, path_bytes(source), kind, byref(done), byref(error))
        check(status, error)
        return _done(done)
    raised: List[BaseException] = []

    def read(_: int, data: int, length: int, count: int) -> int:
        try:
            text = source.read(length)
            if not isinstance(text, bytes):
                raise TypeError(f"{source!r} must be open for bytes: it gave {type(text).__name__}")
            if len(text) > length:
                raise ValueError(f"{source!r} gave {len(text)} bytes, not {length}")
            ctypes.memmove(data, text, len(text))
            ctypes.c_size_t.from_address(count).value = len(text)
        except BaseException as error:
            raised.append(error)
            return _FAILED
        return 0

    status = lib.kv_import_from(handle, _abi.Reader(read), None, kind, byref(done), byref(error))
    finish(status, error, raised)
    return _done(done)


def finish(status: int, error: c_void_p, raised: List[BaseException]) -> None:
    """What a callback raised comes before what the library made of it."""
    if raised:
        if error:
            lib.kv_error_free(error)
        raise raised[0]
    check(status, error)


def take_text(call: Callable[..., int], *args: Any) -> str:
    """What a function gives that stores a text of ours to free."""
    text, error = c_void_p(), c_void_p()
    check(call(*args, byref(text), byref(error)), error)
    try:
        return ctypes.string_at(text.value or 0).decode()
    finally:
        lib.kv_free(text)


def _report(text: str) -> Report:
    figures = json.loads(text)
    return Report(figures["ok"], figures["damage"], figures)


def verify(path: Path) -> Report:
    """Reads every record of the store at `path` and checks it, without writing anything; also of a store that is open.
    Damage is what it reports, not a failure.

    Raises NotAStoreError, CorruptError when no manifest can be read, UnsupportedVersionError, IoError.
    """
    damaged = c_uint64()
    return _report(take_text(lib.kv_verify, path_bytes(path), byref(damaged)))


def salvage(source: Path, to: Path) -> Report:
    """Writes every entry of the store at `source` that is intact into a new store at `to`, a directory that is empty or
    does not exist. Where a delete or an overwrite was lost to the damage, what it hid comes back.

    Raises as `verify`; NotAStoreError when `to` holds something; DiskFullError.
    """
    entries = c_uint64()
    return _report(take_text(lib.kv_salvage, path_bytes(source), path_bytes(to), byref(entries)))
