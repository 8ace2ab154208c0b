"""Where a tileset's bytes lie: a file, read piece by piece, that may be replaced at any moment.

A source is one version of a file. What is read from it is that version or an error, never a mix of two.
"""

from __future__ import annotations

import os
import time
import weakref
from pathlib import Path
from typing import Protocol

import fsspec

from trackserver.errors import FileChanged, UnreadableFile
from trackserver.sources.guard import Guard, fetch, shown

WEB_HEAD = 1 << 16  # a bigWig's header, zoom levels and, as a rule, chromosome names


class Source(Protocol):
    """Bytes that can be asked for by place.

    name : what the file is called, for people
    size : bytes in all
    identity : another for every version of the file, so what is cached by it cannot go stale
    near : a read costs next to nothing
    """

    name: str
    size: int
    identity: str
    near: bool

    def read(self, start: int, length: int) -> bytes:
        """Exactly these bytes; UnreadableFile where the file ends before, or cannot be reached."""
        ...

    def check_current(self) -> None:
        """Raise `FileChanged` if the file has been written to since it was opened."""
        ...


class LocalSource:
    """A file of this machine, held open: replaced by another it stays what it was."""

    near = True

    def __init__(self, path: Path):
        self.name = path.name
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise UnreadableFile(f"{path.name} is gone from {path.parent}.") from None
        except OSError as error:
            raise UnreadableFile(f"{path.name} cannot be opened: {error.strerror}.") from None
        weakref.finalize(self, os.close, self._fd)
        status = os.fstat(self._fd)
        self.size, self.identity, self._contents = status.st_size, identity_of(status), contents_of(status)

    def read(self, start: int, length: int) -> bytes:
        data = os.pread(self._fd, length, start)
        while len(data) < length:
            more = os.pread(self._fd, length - len(data), start + len(data))
            if not more:
                raise UnreadableFile(
                    f"{self.name} is truncated: byte {start + length:,} is asked for, it has {start + len(data):,}. "
                    "Copy or make it anew."
                )
            data += more
        return data

    def check_current(self) -> None:
        if contents_of(os.fstat(self._fd)) != self._contents:
            raise FileChanged(self.name)


def contents_of(status: os.stat_result) -> tuple[int, int]:
    """What changes when a file that is held open is written to, but not when it is moved or replaced."""
    return status.st_size, status.st_mtime_ns


def identity_of(status: os.stat_result) -> str:
    """What tells one version of a local file from another."""
    # The time of the last change of any kind too: inodes are used again at once, and copies may keep their age.
    return f"{status.st_dev}-{status.st_ino}-{status.st_size}-{status.st_mtime_ns}-{status.st_ctime_ns}"


def identity_at(path: str | Path) -> str:
    """The identity of what is at a path now; empty where nothing is."""
    try:
        return identity_of(os.stat(path))
    except OSError:
        return ""


class WebSource:
    """A file at an http(s) or public s3 address, read by ranges; each range must be of the version first seen.

    What is read at the file's beginning is kept: whoever opens a file asks for its header first.
    """

    near = False

    def __init__(self, url: str, guard: Guard | None):
        self.url, self.guard = url, guard
        self.name = shown(url).rpartition("/")[2]
        first = fetch(guard, url, 0, WEB_HEAD)
        self._head, self._etag, self.size = first.body, first.etag, first.size
        self.identity = f"{url} {first.etag or first.modified} {first.size}"
        self.opened = time.monotonic()

    def read(self, start: int, length: int) -> bytes:
        if start + length <= len(self._head):
            return self._head[start : start + length]
        found = fetch(self.guard, self.url, start, length, self._etag)
        if found.size != self.size:
            raise FileChanged(self.name)
        if len(found.body) < length:
            raise UnreadableFile(f"{self.name} ends at byte {start + len(found.body):,}; it is truncated.")
        return found.body

    def check_current(self) -> None:
        """Nothing: every range says which version it is of."""


class S3Source:
    """An object in a bucket that needs credentials, read with those of the server's environment."""

    near = False

    def __init__(self, url: str):
        try:
            self._files = fsspec.filesystem("s3")
            details = self._files.info(url)
        except ImportError:
            raise UnreadableFile(f"{url} needs s3fs: pip install 'trackserver[s3]'.") from None
        except (OSError, ValueError) as error:
            raise UnreadableFile(f"{url} cannot be opened: {error}.") from None
        self.url, self.name, self.size = url, url.rpartition("/")[2], int(details["size"])
        self.identity = f"{url} {details.get('ETag', '')} {details.get('LastModified', '')} {self.size}"
        self.opened = time.monotonic()

    def read(self, start: int, length: int) -> bytes:
        try:
            data: bytes = self._files.cat_file(self.url, start=start, end=start + length)
        except (OSError, ValueError) as error:
            raise UnreadableFile(f"{self.url} cannot be read: {error}.") from None
        if len(data) < length:
            raise UnreadableFile(f"{self.name} ends at byte {start + len(data):,}; it is truncated.")
        return data

    def check_current(self) -> None:
        """Nothing: an object is replaced whole, and its version is asked for anew when the source is opened again."""


def is_remote(path: str) -> bool:
    return path.lower().startswith(("http://", "https://", "s3://"))


def open_remote(url: str, guard: Guard | None) -> WebSource | S3Source:
    """An address as a source; an administrator's own (no guard) s3 address is read with the server's credentials."""
    if guard is None and url.lower().startswith("s3://"):
        return S3Source(url)
    return WebSource(url, guard)
