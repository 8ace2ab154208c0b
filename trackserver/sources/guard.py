"""Read byte ranges from the web, and control which addresses may be read.

A visitor who registers an address makes this server send requests to it, from inside the server's own network. So each
host name is resolved once, all of its IP addresses must be allowed, and the connection goes to exactly these: a name
that resolves differently a moment later gains nothing. Every redirect is checked like the first address.
"""

from __future__ import annotations

import http.client
import ipaddress
import re
import socket
import ssl
import threading
import time
from dataclasses import dataclass
from fnmatch import fnmatchcase
from http import HTTPStatus
from typing import NamedTuple
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from cachetools import TTLCache

from trackserver import __version__
from trackserver.errors import FileChanged, RemoteRefused, TrackserverError, Unavailable, UnreadableFile, listing
from trackserver.sources.connection import PORTS, Connections, Response, Target

MAX_REDIRECTS = 5
UNRESPONSIVE_TTL_S = 10.0  # a host that timed out gets no requests for this long, because each one blocks a thread
MAX_RANGE_BYTES = 64_000_000
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
_SAFE_CHARACTERS = "/%:@!$&'()*+,;=~"  # sent unquoted in an address

_connections = Connections()
_unresponsive: TTLCache[Target, bool] = TTLCache(1000, UNRESPONSIVE_TTL_S)
_unresponsive_lock = threading.Lock()


@dataclass(frozen=True)
class Guard:
    """The rules for visitors' addresses. `hosts` are patterns such as `*.encodeproject.org`; empty allows any host."""

    hosts: tuple[str, ...] = ()
    private: bool = False
    timeout: float = 20.0  # seconds for one range, including redirects
    max_bytes: int = 50_000_000_000  # of the whole file


class FileRange(NamedTuple):
    """A range of a file. `size` is that of the whole file, in bytes; `etag` and `modified` may be empty."""

    body: bytes
    size: int
    etag: str
    modified: str


def fetch_range(guard: Guard | None, url: str, start: int, length: int | None, etag: str = "") -> FileRange:
    """Read one range of the file at an http(s) address, or at a public s3 address.

    Parameters
    ----------
    guard
        None for an administrator's own address: any host, public or private, and any file size.
    length
        In bytes; fewer are returned at the end of the file. None reads everything from `start` on.
    etag
        The etag of an earlier range of the same file.

    Raises
    ------
    RemoteRefused
        The site does not read from this address, or from one that it redirects to.
    UnreadableFile
        The file does not exist, or its server does not support ranges.
    FileChanged
        The file now has another etag.
    Unavailable
        The host cannot be reached, is too slow or too busy, or the connection broke.
    """
    deadline = time.monotonic() + (guard or Guard()).timeout
    address = web_address(url)
    for _ in range(MAX_REDIRECTS + 1):
        response = _request(guard, check_address(guard, address), start, length, deadline)
        location = response.headers.get("Location", "")
        if not (300 <= response.status < 400 and location):
            break
        address = urljoin(address, location)
    else:
        raise UnreadableFile(f"{redact(url)} redirects more than {MAX_REDIRECTS} times.")
    file_range = _parse_response(redact(url), response, start, length)
    if guard and file_range.size > guard.max_bytes:
        raise RemoteRefused(
            f"{redact(url)} has {file_range.size:,} bytes; this site reads files of at most {guard.max_bytes:,}."
        )
    if etag and file_range.etag and file_range.etag != etag:
        raise FileChanged(redact(url))
    return file_range


def web_address(url: str) -> str:
    """Convert `s3://bucket/key` to its public https address; other addresses stay as they are."""
    if not url.lower().startswith("s3://"):
        return url
    bucket, _, key = url[5:].partition("/")
    # The certificate covers one level of subdomains only, so a bucket with a dot in its name goes into the path.
    host_and_bucket = f"s3.amazonaws.com/{bucket}" if "." in bucket else f"{bucket}.s3.amazonaws.com"
    return f"https://{host_and_bucket}/{quote(key)}"


def redact(url: str) -> str:
    """Remove the user, password and query from an address, so that errors do not reveal secrets."""
    return re.sub(r"//[^/@]*@", "//", re.split(r"[?#]", url, maxsplit=1)[0])


def check_address(guard: Guard | None, url: str) -> Target:
    """Split an address into its parts, and check its form and its host's name; `resolve` checks the IP addresses."""
    parts, port = _split(url)
    host = (parts.hostname or "").rstrip(".")
    if parts.scheme not in PORTS or not host:
        raise RemoteRefused(f"'{redact(url)}' is not a web address; it should begin with https://, http:// or s3://.")
    if "@" in parts.netloc or "%" in parts.netloc or re.search(r"[\x00-\x20\x7f\\]", url):
        raise RemoteRefused(
            f"'{redact(url)}' has a user, a zone or a character that is not allowed in an address here."
        )
    try:
        host = host if ":" in host else host.encode("idna").decode("ascii").lower()
    except UnicodeError:
        raise RemoteRefused(f"'{host}' is not a valid host name.") from None
    target = Target(parts.scheme, host, PORTS[parts.scheme] if port is None else port, _path(parts))
    names = (host, f"{host}:{target.port}")
    if guard and guard.hosts and not any(fnmatchcase(name, rule.lower()) for name in names for rule in guard.hosts):
        raise RemoteRefused(f"This site does not read from {host}; it reads from {listing(guard.hosts)}.")
    return target


def _split(url: str) -> tuple[SplitResult, int | None]:
    try:
        parts = urlsplit(url)
        return parts, parts.port
    except ValueError:
        raise RemoteRefused(f"'{redact(url)}' is not a valid web address.") from None


def _path(parts: SplitResult) -> str:
    query = f"?{quote(parts.query, safe=f'{_SAFE_CHARACTERS}?')}" if parts.query else ""
    return quote(parts.path or "/", safe=_SAFE_CHARACTERS) + query


def resolve(guard: Guard | None, target: Target) -> list[str]:
    """Return all IP addresses of the target's host; raises RemoteRefused if one of them is not allowed."""
    try:
        entries = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise Unavailable(f"There is no host {target.host}; check the address and the connection.") from None
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in entries))
    if guard and not guard.private and not all(map(is_public, addresses)):
        raise RemoteRefused(f"{target.host} is inside a private network; this site does not read from those.")
    return addresses


def is_public(address: str) -> bool:
    """Return whether an IP address is on the public internet, including an IPv4 address embedded in an IPv6 one."""
    parsed = ipaddress.ip_address(address)
    if isinstance(parsed, ipaddress.IPv6Address):
        embedded = [parsed.ipv4_mapped, parsed.sixtofour, *(parsed.teredo or ())]
        if parsed in _NAT64 or int(parsed) < 2**32:
            embedded.append(ipaddress.IPv4Address(int(parsed) % 2**32))
        if any(embedded):
            return all(is_public(str(inner)) for inner in embedded if inner)
        if parsed.is_site_local:
            return False
    return parsed.is_global and not parsed.is_multicast


def _request(guard: Guard | None, target: Target, start: int, length: int | None, deadline: float) -> Response:
    last = "" if length is None else start + length - 1
    headers = {
        "Range": f"bytes={start}-{last}",
        "Accept-Encoding": "identity",  # a range of a compressed file would be of no use
        "User-Agent": f"trackserver/{__version__}",
    }
    max_bytes = MAX_RANGE_BYTES if length is None else min(length, MAX_RANGE_BYTES)
    host = target._replace(path="")
    with _unresponsive_lock:
        if guard and host in _unresponsive:
            raise Unavailable(f"{target.host} did not answer in time a moment ago; try again later.")
    try:
        return _connections.get(
            target, headers, max_bytes=max_bytes, deadline=deadline, resolve=lambda to: resolve(guard, to), pool=guard
        )
    except TimeoutError:
        with _unresponsive_lock:
            _unresponsive[host] = True
        raise Unavailable(f"{target.host} does not answer in time; try again later.") from None
    except ssl.SSLError as error:
        raise Unavailable(f"{target.host} cannot be trusted: {error.reason or error}.") from None
    except (OSError, http.client.HTTPException):
        raise Unavailable(f"{target.host} cannot be reached, or the connection broke; try again later.") from None


def _parse_response(name: str, response: Response, start: int, length: int | None) -> FileRange:
    """Return the range, after checking that the response is exactly what was requested."""
    if response.status not in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT):
        raise _error_of_status(name, response)
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise UnreadableFile(
            f"The server of {name} compresses it, so parts of it cannot be read; turn off compression for this file."
        )
    first, last, size = _byte_range(response)
    expected = (size if length is None else min(start + length, size)) - start
    if size < 0 or (response.status == HTTPStatus.OK and (start or size > expected)):
        raise UnreadableFile(
            f"The server of {name} does not send parts of a file (HTTP ranges), which tracks need; "
            "move the file to a server that does (S3, nginx, Apache), or download it."
        )
    if expected > MAX_RANGE_BYTES:
        raise UnreadableFile(f"A read of {expected:,} bytes of {name} is too large; the limit is {MAX_RANGE_BYTES:,}.")
    if (first, last + 1) != (start, start + expected) or len(response.body) != expected:
        raise Unavailable(
            f"{name}: the connection broke after {len(response.body):,} bytes of {expected:,}; try again later."
        )
    return FileRange(response.body, size, response.headers.get("ETag", ""), response.headers.get("Last-Modified", ""))


def _byte_range(response: Response) -> tuple[int, int, int]:
    """Return the first and last byte of the response, and the size of the whole file, -1 if it is not given."""
    if response.status == HTTPStatus.OK:
        length = response.headers.get("Content-Length", "")
        size = int(length) if length.isdecimal() else -1
        return 0, size - 1, size
    match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
    return (int(match[1]), int(match[2]), int(match[3])) if match else (0, -1, -1)


def _error_of_status(name: str, response: Response) -> TrackserverError:
    """Return the error for a status code other than success."""
    match response.status:
        case HTTPStatus.NOT_FOUND | HTTPStatus.GONE:
            return UnreadableFile(f"There is no file {name}: its server answers {response.status}.")
        case HTTPStatus.UNAUTHORIZED | HTTPStatus.FORBIDDEN:
            return UnreadableFile(f"{name} is not public: its server answers {response.status}.")
        case HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return UnreadableFile(f"{name} ends before the requested part; it is empty or truncated.")
        case HTTPStatus.PRECONDITION_FAILED:
            return FileChanged(name)
        case HTTPStatus.TOO_MANY_REQUESTS | HTTPStatus.SERVICE_UNAVAILABLE:
            return Unavailable(f"The server of {name} is busy (it answers {response.status}); try again later.")
    return Unavailable(
        f"The server of {name} answers {response.status} {response.reason}".rstrip() + "; try again later."
    )
