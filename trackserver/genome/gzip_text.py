"""Open plain, gzip and bgzip text files alike, whatever their names end in."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import IO

from isal import igzip
from isal.igzip_lib import IsalError  # igzip raises it too

from trackserver.errors import UnreadableFile

_READ_AHEAD_BYTES = 1 << 20


@contextmanager
def open_text(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """Open a text file for reading bytes, unzipped if it is gzip; errors while reading become UnreadableFile."""
    path = Path(path)
    try:
        with path.open("rb") as raw:
            is_gzip = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            yield BufferedReader(igzip.open(raw), _READ_AHEAD_BYTES) if is_gzip else raw
    except FileNotFoundError:
        raise UnreadableFile(f"{path.name} is missing from {path.parent}.") from None
    except (OSError, EOFError, IsalError) as error:  # type: ignore[misc]  # its stubs declare it as a value
        raise UnreadableFile(f"{path.name} is damaged or truncated: {error}. Copy or make it again.") from error
