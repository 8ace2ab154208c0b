"""A thread-safe cache of decoded blocks, indexes and finished tiles, with a limit in bytes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

from cachetools import LRUCache

Value = TypeVar("Value")


class ByteCache:
    """The most recently used values, at most `max_bytes` of them; safe to use from several threads.

    Keys contain the identity of a file's version, so a cached value is never out of date.
    """

    def __init__(self, max_bytes: int):
        self._entries: LRUCache[Hashable, tuple[Any, int]] = LRUCache(max_bytes, getsizeof=lambda entry: entry[1])
        self._lock = threading.Lock()
        self.hits = self.misses = 0

    def get_or_make(self, key: Hashable, make: Callable[[], tuple[Value, int]]) -> Value:
        """Return the cached value, or make and cache it; `make` returns the value and its size in bytes.

        Two threads may make the same value at the same time; then one of the two is cached.
        """
        cached: Value | None = self.get(key)
        if cached is not None:
            return cached
        value, size = make()
        self.put(key, value, size)
        return value

    def get(self, key: Hashable) -> Any:
        """Return the cached value, or None."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                self.misses += 1
                return None
            self.hits += 1
            return entry[0]

    def put(self, key: Hashable, value: Any, size: int) -> None:
        """Cache a value, unless it is larger than the whole cache."""
        with self._lock:
            if size <= self._entries.maxsize:
                self._entries[key] = value, size

    @property
    def bytes(self) -> int:
        return int(self._entries.currsize)
