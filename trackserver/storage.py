"""Atomic files and folders, locks and checksums.

Content is written and synced under a temporary name, `.<name>.<random>.part` in the same folder, and then renamed. So
neither a killed process nor a full disk nor a power cut leaves half a file behind, and no reader ever sees one.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from trackserver.progress import Progress, no_progress

PART = ".part"
LOCK = "lock"


class Busy(Exception):
    """Another process holds the lock."""


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path to write to; it is renamed to `path` when the block ends without an error.

    If the block fails, the temporary file is removed and an existing file at `path` stays as it is.
    """
    part = temporary_path(path)
    try:
        yield part
        publish(part, path)
    finally:
        part.unlink(missing_ok=True)


def write_whole(path: Path, content: str | bytes) -> None:
    """Write text (as UTF-8) or bytes to a file atomically."""
    with whole_file(path) as part:
        part.write_bytes(content.encode() if isinstance(content, str) else content)


def publish(part: Path, path: Path) -> None:
    """Sync a finished file to disk and rename it."""
    with part.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(part, path)
    _sync_folder(path.parent)


@contextmanager
def whole_folder(path: Path, *, replace: bool = False) -> Iterator[Path]:
    """Yield a temporary folder to fill; it is renamed to `path` when the block ends without an error.

    Parameters
    ----------
    replace
        Whether to replace an existing folder. Otherwise the existing folder stays and the new one is removed, because
        another process was faster.
    """
    with new_folder(path.parent, path.name) as part:
        yield part
        publish_folder(part, path, replace=replace)


@contextmanager
def new_folder(parent: Path, name: str = "new") -> Iterator[Path]:
    """Yield a temporary folder to fill; it is removed when the block ends, unless it was published."""
    parent.mkdir(parents=True, exist_ok=True)
    part = temporary_path(parent / name)
    part.mkdir()
    try:
        yield part
    finally:
        shutil.rmtree(part, ignore_errors=True)


def publish_folder(part: Path, path: Path, *, replace: bool = False) -> None:
    """Sync the files of a finished folder to disk and rename it; see `whole_folder`."""
    for path_in_part in part.rglob("*"):
        if path_in_part.is_file() and not path_in_part.is_symlink():
            with path_in_part.open("rb") as file:
                os.fsync(file.fileno())
    if path.exists() and not replace:
        return
    old = temporary_path(path)
    if path.exists():
        os.replace(path, old)
    try:
        os.replace(part, path)
    except OSError:
        if old.exists():
            os.replace(old, path)
            raise
        if not path.exists():  # if it exists, another process was faster just now
            raise
    shutil.rmtree(old, ignore_errors=True)
    _sync_folder(path.parent)


def make_once(path: Path, make: Callable[[], object], is_made: Callable[[], bool]) -> None:
    """Make a file if it is missing; other threads and processes that need it wait until it is finished.

    Parameters
    ----------
    make
        Writes the file atomically.
    is_made
        Whether the file exists and is up to date.
    """
    if is_made():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with locked(path.with_name(f".{path.name}.{LOCK}")):
        if not is_made():
            make()


@contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[IO[str]]:
    """Hold a lock file during the block. The lock is on the open file, so it is released if the process is killed.

    Raises
    ------
    Busy
        Another process holds the lock and `wait` is False.
    """
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Busy(path) from None
        yield lock


def sha256(path: Path, progress: Progress = no_progress) -> str:
    """Return the SHA-256 checksum of a file, in hexadecimal."""
    checksum, total, done = hashlib.sha256(), path.stat().st_size, 0
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            checksum.update(block)
            done += len(block)
            progress(done, total)
    return checksum.hexdigest()


def digest(value: Any) -> str:
    """Return a short hash of a JSON value; the order of keys does not matter."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:20]


def temporary_path(path: Path) -> Path:
    """Return a new temporary path in the same folder as a file or folder."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}{PART}")


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
