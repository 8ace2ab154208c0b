"""Byte ranges from the web, and which addresses may be asked for them.

Whoever may register an address makes this server ask it, from inside whatever network the server stands in. So a name
is resolved once, every address it has must be allowed, and the connection goes to just those addresses: a name that
answers differently a moment later gains nothing. Redirects are followed by hand, each checked like the first address.
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
from trackserver.sources.connection import PORTS, Answer, Connections, Target

MOST_REDIRECTS = 5
SILENCE = 10.0  # seconds for which a host that did not answer in time is not asked again: each try holds a thread
MOST_BYTES = 64_000_000  # of one range, whatever the server would send
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_SPAN = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
_SIGNS = "/%:@!$&'()*+,;=~"  # signs of an address that are sent as they are

_connections = Connections()
_silent: TTLCache[Target, bool] = TTLCache(1000, SILENCE)
_silent_lock = threading.Lock()


@dataclass(frozen=True)
class Guard:
    """What a visitor's address may be: `hosts` are patterns such as `*.encodeproject.org`, none means any."""

    hosts: tuple[str, ...] = ()
    private: bool = False
    timeout: float = 20.0  # seconds for one range, redirects and all
    max_bytes: int = 50_000_000_000  # of the whole file


class Fetched(NamedTuple):
    """A range of a file, and what its server says of the whole: `size` in bytes; `etag` and `modified` may be empty."""

    body: bytes
    size: int
    etag: str
    modified: str


def fetch(guard: Guard | None, url: str, start: int, length: int | None, etag: str = "") -> Fetched:
    """One range of the file at an http(s) address, or at an s3 address that everybody may read.

    Parameters
    ----------
    guard
        None for an administrator's own address: any host, public or private, and a file of any size.
    length
        In bytes, fewer where the file ends; None for all from `start` on.
    etag
        What an earlier range of the same file came with.

    Raises
    ------
    RemoteRefused
        The address, or one it redirects to, is none that this site reads from.
    UnreadableFile
        There is no such file, or its server gives no ranges.
    FileChanged
        The file is not the one of `etag`.
    Unavailable
        Out of reach, too slow, broken off, or too busy.
    """
    deadline = time.monotonic() + (guard or Guard()).timeout
    address = web_address(url)
    for _ in range(MOST_REDIRECTS + 1):
        answer = _ask(guard, check_address(guard, address), start, length, deadline)
        location = answer.headers.get("Location", "")
        if not (300 <= answer.status < 400 and location):
            break
        address = urljoin(address, location)
    else:
        raise UnreadableFile(f"{shown(url)} redirects more than {MOST_REDIRECTS} times.")
    fetched = _fetched(shown(url), answer, start, length)
    if guard and fetched.size > guard.max_bytes:
        raise RemoteRefused(
            f"{shown(url)} has {fetched.size:,} bytes; this site reads files of at most {guard.max_bytes:,}."
        )
    if etag and fetched.etag and fetched.etag != etag:
        raise FileChanged(shown(url))
    return fetched


def web_address(url: str) -> str:
    """`s3://bucket/key` as the address under which everybody reads it; any other address as it is."""
    if not url.lower().startswith("s3://"):
        return url
    bucket, _, key = url[5:].partition("/")
    # A dot in a bucket's name does not fit the one level of subdomains that the certificate covers.
    place = f"s3.amazonaws.com/{bucket}" if "." in bucket else f"{bucket}.s3.amazonaws.com"
    return f"https://{place}/{quote(key)}"


def shown(url: str) -> str:
    """An address as errors show it: the signature of a signed one is nobody else's business."""
    return re.sub(r"//[^/@]*@", "//", re.split(r"[?#]", url, maxsplit=1)[0])


def check_address(guard: Guard | None, url: str) -> Target:
    """The address taken apart, once its form and its host's name are allowed; `resolve` checks where the name leads."""
    parts, port = _split(url)
    host = (parts.hostname or "").rstrip(".")
    if parts.scheme not in PORTS or not host:
        raise RemoteRefused(f"'{shown(url)}' is not an address on the web; one begins with https://, http:// or s3://.")
    if "@" in parts.netloc or "%" in parts.netloc or re.search(r"[\x00-\x20\x7f\\]", url):
        raise RemoteRefused(f"'{shown(url)}' has a user, a zone or a sign in it that an address here may not have.")
    try:
        host = host if ":" in host else host.encode("idna").decode("ascii").lower()
    except UnicodeError:
        raise RemoteRefused(f"'{host}' cannot be the name of a host.") from None
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
        raise RemoteRefused(f"'{shown(url)}' is not an address on the web: it cannot be read.") from None


def _path(parts: SplitResult) -> str:
    query = f"?{quote(parts.query, safe=f'{_SIGNS}?')}" if parts.query else ""
    return quote(parts.path or "/", safe=_SIGNS) + query


def resolve(guard: Guard | None, target: Target) -> list[str]:
    """Every address of the target's host, all of them allowed."""
    try:
        found = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise Unavailable(f"No host {target.host} is known; check the address and the connection.") from None
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    if guard and not guard.private and not all(map(is_public, addresses)):
        raise RemoteRefused(f"{target.host} lies inside a private network, from which this site does not read.")
    return addresses


def is_public(address: str) -> bool:
    """Whether an address is of the public internet, in whichever way IPv6 may hide an IPv4 address inside."""
    parsed = ipaddress.ip_address(address)
    if isinstance(parsed, ipaddress.IPv6Address):
        hidden = [parsed.ipv4_mapped, parsed.sixtofour, *(parsed.teredo or ())]
        if parsed in _NAT64 or int(parsed) < 2**32:
            hidden.append(ipaddress.IPv4Address(int(parsed) % 2**32))
        if any(hidden):
            return all(is_public(str(inner)) for inner in hidden if inner)
        if parsed.is_site_local:
            return False
    return parsed.is_global and not parsed.is_multicast


def _ask(guard: Guard | None, target: Target, start: int, length: int | None, deadline: float) -> Answer:
    last = "" if length is None else start + length - 1
    headers = {
        "Range": f"bytes={start}-{last}",
        "Accept-Encoding": "identity",  # a range of compressed bytes is a range of something else
        "User-Agent": f"trackserver/{__version__}",
    }
    most = MOST_BYTES if length is None else min(length, MOST_BYTES)
    host = target._replace(path="")
    with _silent_lock:
        if guard and host in _silent:
            raise Unavailable(f"{target.host} did not answer in time a moment ago; try again later.")
    try:
        return _connections.get(
            target, headers, most=most, deadline=deadline, find=lambda to: resolve(guard, to), kind=guard
        )
    except TimeoutError:
        with _silent_lock:
            _silent[host] = True
        raise Unavailable(f"{target.host} does not answer in time; try again later.") from None
    except ssl.SSLError as error:
        raise Unavailable(f"{target.host} cannot be trusted: {error.reason or error}.") from None
    except (OSError, http.client.HTTPException):
        raise Unavailable(f"{target.host} cannot be reached, or broke off; try again later.") from None


def _fetched(name: str, answer: Answer, start: int, length: int | None) -> Fetched:
    """The range, once the answer is known to be just what was asked for."""
    if answer.status not in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT):
        raise _refusal(name, answer)
    if answer.headers.get("Content-Encoding", "identity") != "identity":
        raise UnreadableFile(f"{name} is sent compressed, so parts of it cannot be read; have it sent as it is.")
    first, last, size = _span(answer)
    wanted = (size if length is None else min(start + length, size)) - start
    if size < 0 or (answer.status == HTTPStatus.OK and (start or size > wanted)):
        raise UnreadableFile(
            f"The server of {name} does not send parts of a file (HTTP ranges), without which tracks cannot be read; "
            "put the file where one does (S3, nginx, Apache), or download it."
        )
    if wanted > MOST_BYTES:
        raise UnreadableFile(f"{name} is asked for {wanted:,} bytes at once; at most {MOST_BYTES:,} are read.")
    if (first, last + 1) != (start, start + wanted) or len(answer.body) != wanted:
        raise Unavailable(f"{name} broke off after {len(answer.body):,} bytes of {wanted:,}; try again later.")
    return Fetched(answer.body, size, answer.headers.get("ETag", ""), answer.headers.get("Last-Modified", ""))


def _span(answer: Answer) -> tuple[int, int, int]:
    """First and last byte of the answer, and the size of the whole file, -1 where it is not said."""
    if answer.status == HTTPStatus.OK:
        length = answer.headers.get("Content-Length", "")
        size = int(length) if length.isdecimal() else -1
        return 0, size - 1, size
    span = _SPAN.fullmatch(answer.headers.get("Content-Range", "").strip())
    return (int(span[1]), int(span[2]), int(span[3])) if span else (0, -1, -1)


def _refusal(name: str, answer: Answer) -> TrackserverError:
    """What a status other than success means for whoever wants the file."""
    match answer.status:
        case HTTPStatus.NOT_FOUND | HTTPStatus.GONE:
            return UnreadableFile(f"There is no file {name}: its server answers {answer.status}.")
        case HTTPStatus.UNAUTHORIZED | HTTPStatus.FORBIDDEN:
            return UnreadableFile(f"{name} is not public: its server answers {answer.status}.")
        case HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return UnreadableFile(f"{name} ends before the part that is wanted: it is empty, or was cut.")
        case HTTPStatus.PRECONDITION_FAILED:
            return FileChanged(name)
        case HTTPStatus.TOO_MANY_REQUESTS | HTTPStatus.SERVICE_UNAVAILABLE:
            return Unavailable(f"The server of {name} is busy (it answers {answer.status}); try again later.")
    return Unavailable(f"The server of {name} answers {answer.status} {answer.reason}".rstrip() + "; try again later.")
