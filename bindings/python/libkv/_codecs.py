"""How values become bytes, and bytes become values."""

from __future__ import annotations

import json
import pickle
from typing import Any, Dict, Generic, Protocol, Type, TypeVar, Union

from . import _abi
from ._errors import WrongCodecError

V = TypeVar("V")
M = TypeVar("M", bound="Message")

#: The names of tags, by their numbers; those of users' own have none.
_TAGS = ["raw", "json", "msgpack", "protobuf", "postcard", "text", "gob", "pickle"]


class Codec(Protocol[V]):
    """Turns values into bytes and back. Objects of your own may be given wherever a codec's name is.

    One that has an attribute `tag`, a number from 64 to 254, marks what it writes with it, and reads nothing else; without one
    values are raw bytes to everybody else, and it reads whatever stands there (docs/typed.md).
    """

    def encode(self, value: V) -> bytes:
        """The bytes that are stored."""

    def decode(self, data: bytes) -> V:
        """The value that bytes of the store stand for."""


class Bytes:
    """Values are bytes, stored as they are. The default."""

    def encode(self, value: bytes | bytearray | memoryview) -> bytes:
        if isinstance(value, (bytes, bytearray, memoryview)):
            return bytes(value)
        raise TypeError(f"a value must be bytes, not {type(value).__name__}; give the store a codec for others")

    def decode(self, data: bytes) -> bytes:
        return data


class Text:
    """Values are str, stored as UTF-8."""

    tag = _abi.CODEC_TEXT

    def encode(self, value: str) -> bytes:
        if not isinstance(value, str):
            raise TypeError(f"a value must be str, not {type(value).__name__}")
        return value.encode()

    def decode(self, data: bytes) -> str:
        return data.decode()


class MessagePack:
    """Values are what MessagePack can say. Needs the package `msgpack`."""

    tag = _abi.CODEC_MSGPACK

    def __init__(self) -> None:
        import msgpack

        self._pack, self._unpack = msgpack.packb, msgpack.unpackb

    def encode(self, value: Any) -> bytes:
        packed: bytes = self._pack(value)
        return packed

    def decode(self, data: bytes) -> Any:
        return self._unpack(data, strict_map_key=False)


class Message(Protocol):
    """What the classes have that `protoc` makes."""

    def SerializeToString(self) -> bytes: ...
    def ParseFromString(self, data: bytes) -> Any: ...


class Protobuf(Generic[M]):
    """Values are Protocol Buffers messages of a class that `protoc` made."""

    tag = _abi.CODEC_PROTOBUF

    def __init__(self, message: Type[M]) -> None:
        self._message = message

    def encode(self, value: M) -> bytes:
        if not isinstance(value, self._message):
            raise TypeError(f"a value must be a {self._message.__name__}, not a {type(value).__name__}")
        return value.SerializeToString()

    def decode(self, data: bytes) -> M:
        message = self._message()
        message.ParseFromString(data)
        return message


class Json:
    """Values are what JSON can say, stored as UTF-8: no NaN and no infinity, which are a ValueError."""

    tag = _abi.CODEC_JSON

    def encode(self, value: Any) -> bytes:
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()

    def decode(self, data: bytes) -> Any:
        return json.loads(data)


class Pickle:
    """Values are Python objects. Whoever can write to the store can run code in the process that reads it: only for stores
    that nobody else writes."""

    tag = _abi.CODEC_PICKLE

    def encode(self, value: Any) -> bytes:
        return pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)

    def decode(self, data: bytes) -> Any:
        return pickle.loads(data)


_NAMED: Dict[str, Type[Any]] = {
    "bytes": Bytes,
    "text": Text,
    "json": Json,
    "msgpack": MessagePack,
    "pickle": Pickle,
}

CodecName = Union[str, "Codec[Any]"]


def codec_of(name: CodecName) -> Codec[Any]:
    """The codec of a name; a codec is one already."""
    if not isinstance(name, str):
        return name
    if name not in _NAMED:
        raise ValueError(f"no codec {name!r}; known are {', '.join(_NAMED)}")
    found: Codec[Any] = _NAMED[name]()
    return found


def tag_of(codec: Codec[Any]) -> int:
    """What a codec's values are marked with."""
    tag = getattr(codec, "tag", _abi.CODEC_RAW)
    if tag not in range(len(_TAGS)) and tag not in range(_abi.CODEC_USER_MIN, _abi.CODEC_USER_MAX + 1):
        raise ValueError(f"a codec's tag is a number from {_abi.CODEC_USER_MIN} to {_abi.CODEC_USER_MAX}, not {tag!r}")
    return int(tag)


def name_of(tag: int) -> str:
    return _TAGS[tag] if tag < len(_TAGS) else str(tag)


def check_codec(key: bytes, expected: int, found: int) -> None:
    """As the library refuses a value of another codec."""
    if expected not in (_abi.CODEC_RAW, found):
        written = "raw bytes" if found == _abi.CODEC_RAW else name_of(found)
        raise WrongCodecError(
            f"the value of a key of {len(key)} bytes was written as {written}, not as {name_of(expected)}"
        )
