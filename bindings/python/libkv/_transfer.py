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
FORMATS = {
    "ndjson": _abi.FORMAT_NDJSON,
    "json": _abi.FORMAT_JSON,
    "csv": _abi.FORMAT_CSV,
    "resp": _abi.FORMAT_RESP,
}
#: What a callback answers that raised.
_FAILED = -1


class Transferred(NamedTuple):
    """What an export or import has done."""

    #: Entries written or set.
    entries: int
    #: Entries of an import whose time was over.
    expired: int
    #: Keys that commands of an import have deleted.
    deleted: int
    #: Bytes of keys and values of the entries.
    bytes: int
    #: Bytes of text written or read.
    text_bytes: int
    #: Bytes of text that an import will read; None where that is not known.
    total_bytes: Optional[int]
    #: What an import has skipped, and how often: commands by their names, and those on "database N".
    skipped: Dict[str, int]


#: Hears how far an export or import has come; False ends it.
Progress = Callable[[Transferred], Optional[bool]]


class How(NamedTuple):
    """How entries are exported or imported."""

    progress: Optional[Progress] = None
    key_column: str = "key"
    value_column: str = "value"
    database: int = 0
    skip_unknown: bool = False


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


class _Telling:
    """Options for one call, which keep what the last progress told."""

    def __init__(self, how: How, raised: List[BaseException]) -> None:
        self._progress, self._raised = how.progress, raised
        self._is_ended = False
        self._skipped: Dict[str, int] = {}
        self._callback = _abi.TransferProgress(self._tell)
        if not 0 <= how.database < 2**32:
            raise ValueError(f"a database of {how.database}")
        columns = how.key_column.encode(), how.value_column.encode()
        self._keep = [ctypes.c_char_p(column) for column in columns]
        key, value = (
            _abi.Slice(c_void_p.from_buffer(kept).value, len(column))
            for kept, column in zip(self._keep, columns)
        )
        self.options = _abi.TransferOptions(
            self._callback, None, key, value, 0, how.database, how.skip_unknown
        )

    def _tell(self, _: int, done: Any, skipped: int, length: int) -> int:
        try:
            if done[0].skipped:
                self._skipped = json.loads(_abi.bytes_at(skipped, length))
            self._is_ended = self._progress is not None and self._progress(self.done(done[0])) is False
            return not self._is_ended
        except BaseException as error:
            self._raised.append(error)
            return 0

    def check(self, status: int, error: c_void_p) -> None:
        # Ctrl-C can strike at the first step of `_tell`, before its `try`: ctypes then prints it and answers 0, "end it".
        if status == _abi.CANCELLED and not self._is_ended and not self._raised:
            self._raised.append(InterruptedError("the transfer was interrupted"))
        finish(status, error, self._raised)

    def done(self, done: _abi.Transferred) -> Transferred:
        return Transferred(
            done.entries,
            done.expired,
            done.deleted,
            done.bytes,
            done.text_bytes,
            done.total_bytes or None,
            self._skipped,
        )


def export(handle: Any, to: Union[Path, IO[bytes]], format: str, selection: Selection, how: How) -> Transferred:
    kind = format_of(format)
    entries, keep = options_of(selection)
    raised: List[BaseException] = []
    telling = _Telling(how, raised)
    done, error = _abi.Transferred(), c_void_p()
    last = byref(telling.options), byref(entries), byref(done), byref(error)
    if not hasattr(to, "write"):
        telling.check(lib.kv_export(handle, path_bytes(to), kind, *last), error)
        return telling.done(done)
    taken = 0

    def write(_: int, data: int, length: int) -> int:
        nonlocal taken
        try:
            written = to.write(_abi.bytes_at(data, length))
            if written is not None and written != length:
                raise BlockingIOError(f"{to!r} took {written} of {length} bytes")
            taken += length
        except BaseException as error:
            raised.append(error)
            return _FAILED
        return 0

    status = lib.kv_export_to(handle, _abi.Writer(write), None, kind, *last)
    del keep
    telling.check(status, error)
    # Ctrl-C can strike at the first step of `write`, before its `try`: ctypes then prints it and may answer 0, "taken".
    if taken != done.text_bytes:
        raise InterruptedError(f"the export was interrupted: {taken} of {done.text_bytes} bytes were written")
    return telling.done(done)


def import_(handle: Any, source: Union[Path, IO[bytes]], format: str, how: How) -> Transferred:
    kind = format_of(format)
    raised: List[BaseException] = []
    telling = _Telling(how, raised)
    done, error = _abi.Transferred(), c_void_p()
    last = byref(telling.options), byref(done), byref(error)
    if not hasattr(source, "read"):
        telling.check(lib.kv_import(handle, path_bytes(source), kind, *last), error)
        return telling.done(done)

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

    telling.check(lib.kv_import_from(handle, _abi.Reader(read), None, kind, *last), error)
    return telling.done(done)


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
