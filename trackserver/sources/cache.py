"""What tiles share: decoded blocks, indexes and finished payloads, by version of the file, within a bound of bytes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

from cachetools import LRUCache

Value = TypeVar("Value")


class ByteCache:
    """The most recently used values, at most `most` bytes of them; safe from several threads.

    Keys hold the identity of the file's version, so nothing in here is ever stale: it is only forgotten.
    """

    def __init__(self, most: int):
        self._held: LRUCache[Hashable, tuple[Any, int]] = LRUCache(most, getsizeof=lambda entry: entry[1])
        self._lock = threading.Lock()
        self.hits = self.misses = 0

    def get(self, key: Hashable, make: Callable[[], tuple[Value, int]]) -> Value:
        """The value of a key, made where it is not held; `make` also says its bytes.

        Two threads may make the same value at once; both are right, one is kept.
        """
        found = self.held(key)
        if found is not None:
            return found
        value, size = make()
        self.keep(key, value, size)
        return value

    def held(self, key: Hashable) -> Any:
        """The value of a key, or None."""
        with self._lock:
            found = self._held.get(key)
            if found is None:
                self.misses += 1
                return None
            self.hits += 1
            return found[0]

    def keep(self, key: Hashable, value: Any, size: int) -> None:
        """Unless it is larger than all of the cache."""
        with self._lock:
            if size <= self._held.maxsize:
                self._held[key] = value, size

    @property
    def bytes(self) -> int:
        return int(self._held.currsize)
