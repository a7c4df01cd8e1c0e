"""Functions whose results a store remembers."""

from __future__ import annotations

import functools
import hashlib
from typing import TYPE_CHECKING, Any, Callable, Generic, Optional, TypeVar

from . import _abi
from ._load import How

if TYPE_CHECKING:
    from ._db import Db

F = TypeVar("F", bound=Callable[..., Any])
R = TypeVar("R")

# Longer keys are hashed, which also keeps them below the library's limit.
_READABLE_KEY_BYTES = 200


def _word(argument: Any) -> str:
    """Text that equal arguments share, and no others."""
    kind = type(argument)
    if argument is None or kind in (bool, int, float, str, bytes):
        return repr(argument)
    if kind in (tuple, list):
        inner = ",".join(map(_word, argument))
        return f"({inner},)" if kind is tuple else f"[{inner}]"
    if kind is dict:
        return "{" + ",".join(sorted(f"{_word(key)}:{_word(value)}" for key, value in argument.items())) + "}"
    raise TypeError(f"memoize knows no key for an argument of type {kind.__name__}: give it `key=`")


def key_of(function: Callable[..., Any], args: Any, kwargs: Any) -> bytes:
    """The key of a call: the function's name and its arguments."""
    words = [*map(_word, args), *(f"{name}={_word(kwargs[name])}" for name in sorted(kwargs))]
    name = f"memoize:{function.__module__}.{function.__qualname__}"
    key = f"{name}({','.join(words)})".encode()
    if len(key) <= _READABLE_KEY_BYTES:
        return key
    return f"{name}#".encode()[: _abi.KEY_BYTES_MAX - 64] + hashlib.sha256(key).hexdigest().encode()


class Memoized(Generic[R]):
    """A function whose results a store remembers: `Db.memoize` makes it."""

    def __init__(
        self,
        db: Db[Any],
        function: Callable[..., R],
        how: How,
        key: Optional[Callable[..., bytes]],
        keeps_none: bool,
    ) -> None:
        functools.update_wrapper(self, function)
        self._db, self._function, self._how, self._key, self._keeps_none = db, function, how, key, keeps_none

    def __call__(self, *args: Any, **kwargs: Any) -> R:
        load = functools.partial(self._function, *args, **kwargs)
        found: R = self._db._load(self.key(*args, **kwargs), load, None, self._how, self._keeps_none)
        return found

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else functools.partial(self, instance)

    def key(self, *args: Any, **kwargs: Any) -> bytes:
        """The key under which the result of a call is stored."""
        return self._key(*args, **kwargs) if self._key else key_of(self._function, args, kwargs)

    def forget(self, *args: Any, **kwargs: Any) -> bool:
        """Deletes the result of a call; False: there was none."""
        return self._db.delete(self.key(*args, **kwargs))
