"""How values become bytes, and bytes become values."""

from __future__ import annotations

import json
import pickle
from typing import Any, Dict, Protocol, TypeVar, Union

V = TypeVar("V")


class Codec(Protocol[V]):
    """Turns values into bytes and back. Objects of your own may be given wherever a codec's name is."""

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

    def encode(self, value: str) -> bytes:
        if not isinstance(value, str):
            raise TypeError(f"a value must be str, not {type(value).__name__}")
        return value.encode()

    def decode(self, data: bytes) -> str:
        return data.decode()


class Json:
    """Values are what JSON can say, stored as UTF-8."""

    def encode(self, value: Any) -> bytes:
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()

    def decode(self, data: bytes) -> Any:
        return json.loads(data)


class Pickle:
    """Values are Python objects. Whoever can write to the store can run code in the process that reads it: only for stores
    that nobody else writes."""

    def encode(self, value: Any) -> bytes:
        return pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)

    def decode(self, data: bytes) -> Any:
        return pickle.loads(data)


_NAMED: Dict[str, "Codec[Any]"] = {"bytes": Bytes(), "text": Text(), "json": Json(), "pickle": Pickle()}

CodecName = Union[str, "Codec[Any]"]


def codec_of(name: CodecName) -> Codec[Any]:
    """The codec of a name; a codec is one already."""
    if not isinstance(name, str):
        return name
    try:
        return _NAMED[name]
    except KeyError:
        raise ValueError(f"no codec {name!r}; known are {', '.join(_NAMED)}") from None
