"""Files of tilesets, on this machine or on the web, that are read in parts and may be replaced at any time.

A source is one version of a file. Reading returns bytes of that version or raises, and never mixes two versions.
"""

from __future__ import annotations

import os
import weakref
from pathlib import Path
from typing import Protocol

import fsspec

from trackserver.errors import FileChanged, UnreadableFile
from trackserver.sources.guard import Guard, fetch_range, redact

HEAD_BYTES = 1 << 16  # includes a bigWig's header, zoom levels and usually its chromosome names


class Source(Protocol):
    """One version of a file, whose bytes can be read by position.

    name : the file's name, for people
    size : in bytes
    identity : differs between versions of the file, so that it can be used in cache keys
    is_local : whether a read is nearly free
    """

    name: str
    size: int
    identity: str
    is_local: bool

    def read(self, start: int, length: int) -> bytes:
        """Read exactly these bytes; raises UnreadableFile if the file is too short or cannot be reached."""
        ...

    def check_current(self) -> None:
        """Raise `FileChanged` if the file was modified since it was opened."""
        ...


class LocalSource:
    """An open file on this machine. If the path gets a new file, this source still reads the old one."""

    is_local = True

    def __init__(self, path: str | os.PathLike[str]):
        path = Path(path)
        self.name = path.name
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise UnreadableFile(f"{path.name} is missing from {path.parent}.") from None
        except OSError as error:
            raise UnreadableFile(f"{path.name} cannot be opened: {error.strerror}.") from None
        weakref.finalize(self, os.close, self._fd)
        status = os.fstat(self._fd)
        self.size, self.identity, self._content_stamp = status.st_size, identity_of(status), content_stamp(status)

    def read(self, start: int, length: int) -> bytes:
        data = os.pread(self._fd, length, start)
        while len(data) < length:
            more = os.pread(self._fd, length - len(data), start + len(data))
            if not more:
                raise UnreadableFile(
                    f"{self.name} is truncated: it has {start + len(data):,} bytes, at least {start + length:,} are "
                    "needed. Copy or make it again."
                )
            data += more
        return data

    def check_current(self) -> None:
        if content_stamp(os.fstat(self._fd)) != self._content_stamp:
            raise FileChanged(self.name)


def content_stamp(status: os.stat_result) -> tuple[int, int]:
    """Return values that change when an open file is written to, but not when it is moved or replaced."""
    return status.st_size, status.st_mtime_ns


def identity_of(status: os.stat_result) -> str:
    """Return a string that differs between versions of a local file."""
    # ctime is needed too, because inodes are reused at once and copies may keep their modification time.
    return f"{status.st_dev}-{status.st_ino}-{status.st_size}-{status.st_mtime_ns}-{status.st_ctime_ns}"


def identity_at(path: str | os.PathLike[str]) -> str:
    """Return the identity of the file that is at a path now; empty if there is none."""
    try:
        return identity_of(os.stat(path))
    except OSError:
        return ""


class WebSource:
    """A file at an http(s) or public s3 address, read by ranges; every range must be of the first range's version.

    The beginning of the file is cached, because readers start with the header.
    """

    is_local = False

    def __init__(self, url: str, guard: Guard | None):
        self.url, self.guard = url, guard
        self.name = redact(url).rpartition("/")[2]
        first = fetch_range(guard, url, 0, HEAD_BYTES)
        self._head, self._etag, self.size = first.body, first.etag, first.size
        self.identity = f"{url} {first.etag or first.modified} {first.size}"

    def read(self, start: int, length: int) -> bytes:
        if start + length <= len(self._head):
            return self._head[start : start + length]
        file_range = fetch_range(self.guard, self.url, start, length, self._etag)
        if file_range.size != self.size:
            raise FileChanged(self.name)
        if len(file_range.body) < length:
            raise UnreadableFile(f"{self.name} ends at byte {start + len(file_range.body):,}; it is truncated.")
        return file_range.body

    def check_current(self) -> None:
        """Do nothing, because `read` checks the version of every range."""


class S3Source:
    """An S3 object that is not public, read with the credentials from the server's environment."""

    is_local = False

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

    def read(self, start: int, length: int) -> bytes:
        try:
            data: bytes = self._files.cat_file(self.url, start=start, end=start + length)
        except (OSError, ValueError) as error:
            raise UnreadableFile(f"{self.url} cannot be read: {error}.") from None
        if len(data) < length:
            raise UnreadableFile(f"{self.name} ends at byte {start + len(data):,}; it is truncated.")
        return data

    def check_current(self) -> None:
        """Do nothing: objects are replaced as a whole, and reopening the source reads the new version."""


def is_remote(path: str) -> bool:
    """Return whether a path is a web or s3 address."""
    return path.lower().startswith(("http://", "https://", "s3://"))


def open_remote(url: str, guard: Guard | None) -> WebSource | S3Source:
    """Open an address as a source.

    An administrator's own s3 address (`guard` is None) is read with the server's credentials.
    """
    if guard is None and url.lower().startswith("s3://"):
        return S3Source(url)
    return WebSource(url, guard)
