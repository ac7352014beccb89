"""Answers kept in memory up to a number of bytes, the least recently used out first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Generic, TypeVar

T = TypeVar("T")


class Kept(Generic[T]):
    """A cache that threads share.

    Parameters
    ----------
    most_bytes : int, bytes
        What the kept values may take in all.
    size : callable
        Bytes of a value.
    """

    def __init__(self, most_bytes: int, size: Callable[[T], int]) -> None:
        self._most, self._size = most_bytes, size
        self._values: OrderedDict[Hashable, tuple[T, int]] = OrderedDict()
        self._bytes = 0
        self._lock = Lock()

    def find(self, key: Hashable) -> T | None:
        """Return a value that is kept, and count it as used.

        Parameters
        ----------
        key : hashable
            What the value was kept under.

        Returns
        -------
        T or None
            None where it is not kept.
        """
        with self._lock:
            found = self._values.get(key)
            if found is None:
                return None
            self._values.move_to_end(key)
            return found[0]

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return a value, made where it is not kept.

        Parameters
        ----------
        key : hashable
            Tells values apart; whatever changes a value belongs into it.
        make : callable
            Makes the value; two threads that ask at once may both call it.

        Returns
        -------
        T
            The value; one larger than the whole cache is not kept.
        """
        found = self.find(key)
        if found is not None:
            return found
        made = make()
        size = self._size(made)
        with self._lock:
            if key not in self._values and size <= self._most:
                self._values[key] = (made, size)
                self._bytes += size
            while self._bytes > self._most:
                self._bytes -= self._values.popitem(last=False)[1][1]
        return made
