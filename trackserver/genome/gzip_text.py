"""Text files as people have them: plain, gzip or bgzip, whatever their names say."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import IO

from isal import igzip
from isal.igzip_lib import IsalError  # of igzip too

from trackserver.errors import UnreadableFile

_READ_AHEAD = 1 << 20  # bytes


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """A file's bytes, unpacked where it is gzip; what goes wrong while they are read is one sentence."""
    try:
        with path.open("rb") as raw:
            zipped = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            yield BufferedReader(igzip.open(raw), _READ_AHEAD) if zipped else raw
    except FileNotFoundError:
        raise UnreadableFile(f"{path.name} is gone from {path.parent}.") from None
    except (OSError, EOFError, IsalError) as error:  # type: ignore[misc]  # its stubs take it for a value
        raise UnreadableFile(f"{path.name} is damaged or truncated: {error}. Copy or make it anew.") from error
