"""Download files, verify their checksums, and resume interrupted downloads. Uses no torch."""

from __future__ import annotations

import logging
import os
import re
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlsplit

import pooch
import requests

from trackserver.errors import DataError, InvalidRequest, Unavailable
from trackserver.progress import Progress
from trackserver.storage import publish

_CHUNK_BYTES = 2**18
_TIMEOUT_S = (10, 60)  # to connect, and between two pieces of data
_CHECKSUM = re.compile(r"md5:[0-9a-f]{32}|sha256:[0-9a-f]{64}", re.IGNORECASE)


def download_file(url: str, path: str | os.PathLike[str], known_hash: str | None, report: Progress) -> Path:
    """Download a file unless it exists already; an interrupted download continues where it stopped.

    An incomplete file is called `<name>.partial`, and `<name>.partial.from` records its address and version.

    Parameters
    ----------
    known_hash
        `md5:...` or `sha256:...`; None accepts any content, also that of an existing file.
    report
        Called after every piece with the bytes so far and the total bytes, 0 if the server does not give the total.

    Returns
    -------
    Path
        `path`.

    Raises
    ------
    InvalidRequest
        The address is not http(s), or the checksum has another form.
    Unavailable
        The host cannot be reached or answers with an error, or the connection broke.
    DataError
        The checksum differs, and the file was removed; or the file cannot be written.
    """
    path = Path(path)
    if not _is_web_address(url):
        raise InvalidRequest(f"'{url}' is not a web address; it should begin with https://.")
    if known_hash is not None and not _CHECKSUM.fullmatch(known_hash):
        raise InvalidRequest(f"'{known_hash}' is not a checksum; write md5: or sha256: and hexadecimal digits.")

    def download(url: str, output_file: str, _: object) -> None:
        partial = path.with_name(f"{path.name}.partial")
        _download(url, partial, known_hash is not None, report)
        publish(partial, Path(output_file))
        _origin_file(partial).unlink()

    pooch.get_logger().setLevel(logging.CRITICAL)  # pooch logs to the terminal
    try:
        pooch.retrieve(url, known_hash, path.name, path.parent, downloader=download)
    except ValueError as error:
        raise DataError(f"{str(error).partition('. ')[0]}; the file was removed.") from None
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror or error}.") from None
    return path


def _is_web_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)


def _download(url: str, partial: Path, has_checksum: bool, report: Progress) -> None:
    host = urlsplit(url).hostname
    try:
        response = _request(url, partial, has_checksum)
    except requests.Timeout:
        raise Unavailable(f"{host} does not answer; try again later.") from None
    except requests.RequestException:
        raise Unavailable(f"{host} cannot be reached for {url}; check the address and the connection.") from None
    with response:
        if response.status_code not in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT):
            raise Unavailable(f"{url} answers {response.status_code} {response.reason}.")
        _receive(response, url, partial, report)


def _request(url: str, partial: Path, has_checksum: bool) -> requests.Response:
    """Request the rest of a partial file, or the whole file if the server cannot send that rest."""
    size = partial.stat().st_size if partial.exists() else 0
    response = _get(url, _range_headers(url, partial, size, has_checksum))
    content_range = response.headers.get("Content-Range", "")
    if response.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE or (
        response.status_code == HTTPStatus.PARTIAL_CONTENT and not content_range.startswith(f"bytes {size}-")
    ):
        response.close()
        response = _get(url, {})
    return response


def _get(url: str, headers: dict[str, str]) -> requests.Response:
    return requests.get(url, headers={"Accept-Encoding": "identity", **headers}, stream=True, timeout=_TIMEOUT_S)


def _origin_file(partial: Path) -> Path:
    """Return the path of the file that records a partial file's address and version (ETag or modification time)."""
    return partial.with_name(f"{partial.name}.from")


def _range_headers(url: str, partial: Path, size: int, has_checksum: bool) -> dict[str, str]:
    """Return the headers that request the rest; none if a mix of two versions would go unnoticed."""
    try:
        origin, version = _origin_file(partial).read_text("utf-8").split("\n")
    except (OSError, ValueError):
        return {}
    if not size or origin != url or not (version or has_checksum):
        return {}
    return {"Range": f"bytes={size}-"} | ({"If-Range": version} if version else {})


def _version(response: requests.Response) -> str:
    tag = response.headers.get("ETag", "")
    return tag if tag.startswith('"') else response.headers.get("Last-Modified", "")  # weak tags do not work for ranges


def _receive(response: requests.Response, url: str, partial: Path, report: Progress) -> None:
    resumes = response.status_code == HTTPStatus.PARTIAL_CONTENT
    with partial.open("ab" if resumes else "wb") as file:
        _origin_file(partial).write_text(f"{url}\n{_version(response)}", "utf-8")
        done = file.tell()
        length = response.headers.get("Content-Length", "")
        total = done + int(length) if length.isdecimal() and "Content-Encoding" not in response.headers else 0
        report(done, total)
        try:
            for piece in response.iter_content(_CHUNK_BYTES):
                file.write(piece)
                done += len(piece)
                report(done, total)
        except requests.RequestException:
            raise Unavailable(
                f"The connection to {url} broke after {done:,} bytes; run the command again to continue from there."
            ) from None
