"""What the library knows by a number."""

from __future__ import annotations

import itertools
import weakref
from typing import Generic, Optional, TypeVar

T = TypeVar("T")


class Numbered(Generic[T]):
    """
    Objects that callbacks find by their number while somebody else keeps them: a call that is on its way when its store is closed
    finds nothing, where the object's own address would lead to what is gone.
    """

    def __init__(self) -> None:
        self._held: "weakref.WeakValueDictionary[int, T]" = weakref.WeakValueDictionary()
        self._numbers = itertools.count(1)

    def add(self, held: T) -> int:
        number = next(self._numbers)
        self._held[number] = held
        return number

    def get(self, number: int) -> Optional[T]:
        return self._held.get(number)
