"""Files from the web, whole and with the right checksum or not at all. No torch."""

from __future__ import annotations

import logging
import re
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlsplit

import pooch
import requests

from trackserver.errors import DataError, InvalidRequest, Unavailable
from trackserver.progress import Progress
from trackserver.storage import publish

_CHUNK = 2**18
_PATIENCE = (10, 60)  # seconds to connect, and of silence
_CHECKSUM = re.compile(r"md5:[0-9a-f]{32}|sha256:[0-9a-f]{64}", re.IGNORECASE)


def fetch(url: str, path: Path, known_hash: str | None, report: Progress) -> Path:
    """The file at an address, unless it is there already; one that was cut short goes on where it stopped.

    Until it is whole it is `<name>.partial`, beside which `<name>.partial.from` says what it is a part of.

    Parameters
    ----------
    known_hash
        `md5:...` or `sha256:...`; None takes what comes, and what is there.
    report
        Called after every piece with the bytes here and the bytes in all, 0 where the server does not say.

    Returns
    -------
    Path
        `path`.

    Raises
    ------
    InvalidRequest
        The address is not http(s), or the checksum none of those.
    Unavailable
        The host is out of reach or answers with an error, or the connection broke.
    DataError
        The checksum is another, and what came is removed; or the file cannot be written.
    """
    if not _is_web_address(url):
        raise InvalidRequest(f"'{url}' is not an address on the web; one begins with https://.")
    if known_hash is not None and not _CHECKSUM.fullmatch(known_hash):
        raise InvalidRequest(f"'{known_hash}' is not a checksum; one reads md5: or sha256: and hexadecimal digits.")

    def download(url: str, output_file: str, _: object) -> None:
        partial = path.with_name(f"{path.name}.partial")
        _download(url, partial, known_hash is not None, report)
        publish(partial, Path(output_file))
        _origin(partial).unlink()

    pooch.get_logger().setLevel(logging.CRITICAL)  # it would write to the terminal
    try:
        pooch.retrieve(url, known_hash, path.name, path.parent, downloader=download)
    except ValueError as error:
        raise DataError(f"{str(error).partition('. ')[0]}; it is removed.") from None
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror or error}.") from None
    return path


def _is_web_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)


def _download(url: str, partial: Path, checked: bool, report: Progress) -> None:
    host = urlsplit(url).hostname
    try:
        response = _ask(url, partial, checked)
    except requests.Timeout:
        raise Unavailable(f"{host} does not answer; try again later.") from None
    except requests.RequestException:
        raise Unavailable(f"{host} cannot be reached for {url}; check the address and the connection.") from None
    with response:
        if response.status_code not in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT):
            raise Unavailable(f"{url} answers {response.status_code} {response.reason}.")
        _receive(response, url, partial, report)


def _ask(url: str, partial: Path, checked: bool) -> requests.Response:
    """The rest of a partial file, or all of it where the server has no such rest."""
    have = partial.stat().st_size if partial.exists() else 0
    response = _get(url, _rest(url, partial, have, checked))
    span = response.headers.get("Content-Range", "")
    if response.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE or (
        response.status_code == HTTPStatus.PARTIAL_CONTENT and not span.startswith(f"bytes {have}-")
    ):
        response.close()
        response = _get(url, {})
    return response


def _get(url: str, headers: dict[str, str]) -> requests.Response:
    return requests.get(url, headers={"Accept-Encoding": "identity", **headers}, stream=True, timeout=_PATIENCE)


def _origin(partial: Path) -> Path:
    """Beside a partial file: the address it is from, and what its server knows this version of it by."""
    return partial.with_name(f"{partial.name}.from")


def _rest(url: str, partial: Path, have: int, checked: bool) -> dict[str, str]:
    """The headers that ask for the rest; none where a part of another version would not be noticed."""
    try:
        came_from, version = _origin(partial).read_text("utf-8").split("\n")
    except (OSError, ValueError):
        return {}
    if not have or came_from != url or not (version or checked):
        return {}
    return {"Range": f"bytes={have}-"} | ({"If-Range": version} if version else {})


def _version(response: requests.Response) -> str:
    tag = response.headers.get("ETag", "")
    return tag if tag.startswith('"') else response.headers.get("Last-Modified", "")  # a weak one is not for ranges


def _receive(response: requests.Response, url: str, partial: Path, report: Progress) -> None:
    goes_on = response.status_code == HTTPStatus.PARTIAL_CONTENT
    with partial.open("ab" if goes_on else "wb") as file:
        _origin(partial).write_text(f"{url}\n{_version(response)}", "utf-8")
        done = file.tell()
        length = response.headers.get("Content-Length", "")
        total = done + int(length) if length.isdecimal() and "Content-Encoding" not in response.headers else 0
        report(done, total)
        try:
            for piece in response.iter_content(_CHUNK):
                file.write(piece)
                done += len(piece)
                report(done, total)
        except requests.RequestException:
            raise Unavailable(
                f"{url} broke off after {done:,} bytes; run it again and it goes on from there."
            ) from None
