"""One exception for each status that is a failure, under a group each (docs/python.md has the table)."""

from __future__ import annotations

from ctypes import c_void_p
from typing import Dict, Iterator, Optional, Type

from . import _abi


class Error(Exception):
    """A call of libkv failed. Nothing was changed unless the method's doc says so."""

    #: The `kv_status` of the C ABI.
    status = _abi.INTERNAL


class UsageError(Error):
    """The call cannot be carried out with these arguments or this value."""


class StateError(Error):
    """The call cannot be carried out now."""


class StorageError(Error):
    """The system refused, or the files are not what they should be."""


class InvalidArgumentError(UsageError, ValueError):
    """An argument that means nothing."""

    status = _abi.INVALID_ARGUMENT


class InvalidHandleError(UsageError):
    """A handle of another kind: a defect of this package."""

    status = _abi.INVALID_HANDLE


class InvalidOptionError(UsageError, ValueError):
    """An unknown option, or a value that it does not take."""

    status = _abi.INVALID_OPTION


class KeyTooLongError(UsageError, ValueError):
    """The key is longer than 65,535 bytes."""

    status = _abi.KEY_TOO_LONG


class ValueTooLongError(UsageError, ValueError):
    """The value is longer than the store accepts."""

    status = _abi.VALUE_TOO_LONG


class BatchTooLargeError(UsageError, ValueError):
    """The members of a batch need more bytes than one frame of the log can hold."""

    status = _abi.BATCH_TOO_LARGE


class NotAnIntegerError(UsageError, ValueError):
    """The value is no decimal 64-bit integer, so it cannot be incremented."""

    status = _abi.NOT_AN_INTEGER


class IncrementOverflowError(UsageError, OverflowError):
    """The increment would leave the range of 64 bits."""

    status = _abi.OVERFLOW


class NotTextError(UsageError, ValueError):
    """An export to one JSON object met bytes that are not UTF-8."""

    status = _abi.NOT_TEXT


class BadImportError(UsageError, ValueError):
    """An import met a line that it cannot take."""

    status = _abi.BAD_IMPORT


class ClosedError(StateError):
    """The store was closed."""

    status = _abi.CLOSED


class ForkedError(StateError):
    """The store belongs to the parent of this forked process."""

    status = _abi.FORKED


class ReadOnlyError(StateError):
    """The store was opened for reading, or had no space to recover for writing."""

    status = _abi.READ_ONLY


class PinnedError(StateError):
    """This thread holds a pin, for which the call would wait without end."""

    status = _abi.PINNED


class WrongThreadError(StateError):
    """A pin was used by another thread than the one that took it."""

    status = _abi.WRONG_THREAD


class InCallbackError(StateError):
    """The call is not allowed inside a callback."""

    status = _abi.IN_CALLBACK


class LoaderFailedError(StateError):
    """A loader of another thread failed, or a loader asked for its own key."""

    status = _abi.LOADER_FAILED


class BusyError(StateError):
    """Another thread is using this cursor or session."""

    status = _abi.BUSY


class CancelledError(StateError):
    """A progress function ended its export or import."""

    status = _abi.CANCELLED


class KeyLockedError(StateError):
    """Another session has the key, and the time for which this call would wait for it is over."""

    status = _abi.KEY_LOCKED


class ConflictError(StateError):
    """The key was changed by somebody else while a session had it, so the session's commit changed nothing."""

    status = _abi.CONFLICT


class SessionEndedError(StateError):
    """The session was committed or rolled back."""

    status = _abi.SESSION_ENDED


class WrongCodecError(UsageError, ValueError):
    """The value was written by another codec than the one that is to read it."""

    status = _abi.WRONG_CODEC


class LaggedError(StateError):
    """A watch comes too late for what it has missed: whoever keeps what it was told has to forget that, since what stands follows."""

    status = _abi.LAGGED


class IoError(StorageError, OSError):
    """The operating system refused a file operation."""

    status = _abi.IO


class DiskFullError(IoError):
    """The disk is full. Reads and deletes go on."""

    status = _abi.DISK_FULL


class SyncFailedError(IoError):
    """A sync failed: writes are refused until the store is reopened."""

    status = _abi.SYNC_FAILED


class CorruptError(StorageError):
    """Bytes in a file are not what libkv wrote there."""

    status = _abi.CORRUPT


class UnsupportedVersionError(StorageError):
    """The files have a format version that this library does not read."""

    status = _abi.UNSUPPORTED_VERSION


class NotAStoreError(StorageError):
    """The path holds something that is not a libkv store."""

    status = _abi.NOT_A_STORE


class LockedError(StorageError):
    """Another process, or another object of this one, has the store open."""

    status = _abi.LOCKED


class NoMemoryError(StorageError, MemoryError):
    """The system has no memory left."""

    status = _abi.NO_MEMORY


class TierError(StorageError):
    """Redis could not be asked, or did not acknowledge in time. A change that was made stands in the store all the same, and is
    sent when Redis answers, unless the message says that it was refused."""

    status = _abi.TIER


class InternalError(Error):
    """A defect of the library: a panic was caught."""

    status = _abi.INTERNAL


def _below(group: Type[Error]) -> Iterator[Type[Error]]:
    for each in group.__subclasses__():
        yield each
        yield from _below(each)


_BY_STATUS: Dict[int, Type[Error]] = {each.status: each for each in _below(Error) if "status" in vars(each)}


def failure(status: int, error: Optional[c_void_p] = None) -> Error:
    """The exception for a status. `error`: where the call stored its facts; they are freed."""
    text: bytes = _abi.lib.kv_strerror(status)
    if error:
        text = _abi.lib.kv_error_message(error)
        _abi.lib.kv_error_free(error)
    return _BY_STATUS.get(status, Error)(text.decode())


def check(status: int, error: Optional[c_void_p] = None) -> int:
    """Raises what a failed call says; else gives the status, which is the call's answer."""
    if status >= _abi.INVALID_ARGUMENT:
        raise failure(status, error)
    return status
