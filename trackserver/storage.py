"""Files and folders that appear whole or not at all, locks, checksums: the one place that does it.

What is written is on the disk before it has its name, and a name once given survives a power cut: readers, killed
processes and full disks never leave half a file behind. Parts lie beside what they become: `.<name>.<random>.part`.
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
    """A new path to write a file to, which gets the name `path` when the block ends without an error.

    Of a block that fails nothing is left, and what was at `path` stays.
    """
    part = part_of(path)
    try:
        yield part
        publish(part, path)
    finally:
        part.unlink(missing_ok=True)


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a text (UTF-8) or bytes as a file that is there whole or not at all."""
    with whole_file(path) as part:
        part.write_bytes(content.encode() if isinstance(content, str) else content)


def publish(part: Path, path: Path) -> None:
    """Give a finished file its name, once its content is on the disk."""
    with part.open("rb+") as file:
        os.fsync(file.fileno())
    os.replace(part, path)
    _sync_folder(path.parent)


@contextmanager
def whole_folder(path: Path, *, replace: bool = False) -> Iterator[Path]:
    """A new folder to fill, which gets the name `path` when the block ends without an error.

    Parameters
    ----------
    replace
        Whether it takes the place of a folder that is there; otherwise that one stays, and the new one is dropped:
        another process was faster.
    """
    with new_folder(path.parent, path.name) as part:
        yield part
        publish_folder(part, path, replace=replace)


@contextmanager
def new_folder(parent: Path, name: str = "new") -> Iterator[Path]:
    """A folder to fill whose name is not known yet; it is removed when the block ends, if nobody has published it."""
    parent.mkdir(parents=True, exist_ok=True)
    part = part_of(parent / name)
    part.mkdir()
    try:
        yield part
    finally:
        shutil.rmtree(part, ignore_errors=True)


def publish_folder(part: Path, path: Path, *, replace: bool = False) -> None:
    """Give a finished folder its name, once its files are on the disk; see `whole_folder`."""
    for file in part.rglob("*"):
        if file.is_file() and not file.is_symlink():
            with file.open("rb+") as opened:
                os.fsync(opened.fileno())
    if path.exists() and not replace:
        return
    if path.exists():
        old = part_of(path)
        os.replace(path, old)
        shutil.rmtree(old, ignore_errors=True)
    try:
        os.replace(part, path)
    except OSError:
        if not path.exists():  # else another process was faster in just this moment
            raise
    _sync_folder(path.parent)


def make_once(path: Path, make: Callable[[], object], is_made: Callable[[], bool]) -> None:
    """Have a file made by whoever needs it first; others, in any thread or process, wait for it.

    Parameters
    ----------
    make
        Writes the file, whole or not at all.
    is_made
        Whether the file is there already, and still right.
    """
    if is_made():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with locked(path.with_name(f".{path.name}.{LOCK}")):
        if not is_made():
            make()


@contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[IO[str]]:
    """Hold a lock file for this block; what a killed process held is free. The open file is the lock.

    Raises
    ------
    Busy
        Another holds it, and it is not to be waited for.
    """
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Busy(path) from None
        yield lock


def sha256(path: Path, progress: Progress = no_progress) -> str:
    """Checksum of a file's bytes, hexadecimal."""
    digest, total, done = hashlib.sha256(), path.stat().st_size, 0
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
            done += len(block)
            progress(done, total)
    return digest.hexdigest()


def digest(value: Any) -> str:
    """A short name for a value of JSON's terms: equal values have equal names, whatever the order of their keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:20]


def part_of(path: Path) -> Path:
    """A path beside a file or folder, to write what is to become it."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}{PART}")


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
