from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator

import pytest
import trustme

from tests.sources.origin import Origin, serving
from trackserver.errors import FileChanged, RemoteRefused, TrackserverError, Unavailable, UnreadableFile
from trackserver.sources import connection
from trackserver.sources import guard as guards
from trackserver.sources.guard import (
    MAX_REDIRECTS,
    Guard,
    check_address,
    fetch_range,
    is_public,
    redact,
    resolve,
    web_address,
)

OPEN = Guard(private=True, timeout=5)
WHOLE = bytes(range(256)) * 40


@pytest.fixture
def origin() -> Iterator[Origin]:
    with serving() as served:
        served.files["/a.bw"] = WHOLE
        yield served
    guards._connections.close()
    guards._unresponsive.clear()


@pytest.mark.parametrize("guard", [None, OPEN])
def test_a_range_is_just_that_range(origin: Origin, guard: Guard | None) -> None:
    got = fetch_range(guard, origin.url("/a.bw"), 1000, 50)
    assert got == (WHOLE[1000:1050], len(WHOLE), '"v1"', "Fri, 21 Nov 2025 12:00:00 GMT")
    assert fetch_range(guard, origin.url("/a.bw"), len(WHOLE) - 5, 100).body == WHOLE[-5:]
    assert fetch_range(guard, origin.url("/a.bw"), 10_000, None).body == WHOLE[10_000:]
    assert [span for _, span, _ in origin.asked] == ["bytes=1000-1049", "bytes=10235-10334", "bytes=10000-"]


def test_ranges_share_a_connection_and_one_that_was_closed_is_opened_anew(origin: Origin) -> None:
    for _ in range(3):
        fetch_range(OPEN, origin.url("/a.bw"), 0, 10)
    assert origin.connections == 1
    origin.faults["/a.bw"] = "closing"
    for _ in range(3):
        assert fetch_range(OPEN, origin.url("/a.bw"), 5, 10).body == WHOLE[5:15]
    assert origin.connections == 3


def test_several_threads_at_once(origin: Origin) -> None:
    got: list[bool] = []

    def read(start: int) -> None:
        got.extend(
            fetch_range(OPEN, origin.url("/a.bw"), at, 20).body == WHOLE[at : at + 20] for at in range(start, 9000, 97)
        )

    threads = [threading.Thread(target=read, args=(start,)) for start in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) > 700
    assert all(got)


@pytest.mark.parametrize(
    ("fault", "error", "words"),
    [
        ("404", UnreadableFile, "no file"),
        ("403", UnreadableFile, "not public"),
        ("412", FileChanged, "changed while"),
        ("429", Unavailable, "busy"),
        ("500", Unavailable, "answers 500"),
        ("503", Unavailable, "busy"),
        ("304", Unavailable, "answers 304"),
        ("no ranges", UnreadableFile, "does not send parts"),
        ("unsaid size", UnreadableFile, "does not send parts"),
        ("compressed", UnreadableFile, "compresses it"),
        ("wrong range", Unavailable, "connection broke"),
        ("dropped", Unavailable, "connection broke after 50 bytes of 100"),
    ],
)
def test_what_goes_wrong_is_a_sentence(origin: Origin, fault: str, error: type[TrackserverError], words: str) -> None:
    origin.faults["/a.bw"] = fault
    with pytest.raises(error, match=words) as raised:
        fetch_range(OPEN, origin.url("/a.bw?signature=secret"), 0, 100)
    assert str(raised.value).endswith(".")
    assert "secret" not in str(raised.value)
    origin.faults.clear()
    assert fetch_range(OPEN, origin.url("/a.bw"), 0, 100).body == WHOLE[:100]


@pytest.mark.parametrize("fault", ["silent", "dripping"])
def test_a_slow_server_is_left_at_the_deadline(origin: Origin, fault: str) -> None:
    origin.faults["/a.bw"] = fault
    with pytest.raises(Unavailable, match="in time"):
        fetch_range(Guard(private=True, timeout=0.3), origin.url("/a.bw"), 0, 100)
    origin.faults.clear()
    with pytest.raises(Unavailable, match="a moment ago"):
        fetch_range(Guard(private=True), origin.url("/a.bw"), 0, 100)
    assert fetch_range(None, origin.url("/a.bw"), 0, 100).body == WHOLE[:100]


def test_past_the_end(origin: Origin) -> None:
    with pytest.raises(UnreadableFile, match="ends before"):
        fetch_range(OPEN, origin.url("/a.bw"), len(WHOLE), 10)


def test_a_small_file_may_come_whole(origin: Origin) -> None:
    origin.faults["/a.bw"] = "no ranges"
    assert fetch_range(OPEN, origin.url("/a.bw"), 0, 20_000).body == WHOLE


def test_a_file_that_was_replaced_is_noticed(origin: Origin) -> None:
    etag = fetch_range(OPEN, origin.url("/a.bw"), 0, 10).etag
    fetch_range(OPEN, origin.url("/a.bw"), 10, 10, etag)
    origin.etags["/a.bw"] = '"v2"'
    with pytest.raises(FileChanged, match="changed while it was being read"):
        fetch_range(OPEN, origin.url("/a.bw"), 10, 10, etag)


def test_a_file_larger_than_allowed(origin: Origin) -> None:
    with pytest.raises(RemoteRefused, match="10,240 bytes"):
        fetch_range(Guard(private=True, max_bytes=10_000), origin.url("/a.bw"), 0, 10)


def test_redirects_are_followed_and_each_is_checked(origin: Origin) -> None:
    origin.redirects["/moved"] = "/a.bw?x=1"
    assert fetch_range(OPEN, origin.url("/moved"), 3, 4).body == WHOLE[3:7]
    origin.redirects["/away"] = origin.url("/a.bw", host="localhost")
    only = Guard(hosts=("127.0.0.1",), private=True)
    with pytest.raises(RemoteRefused, match="does not read from localhost; it reads from 127"):
        fetch_range(only, origin.url("/away"), 0, 4)
    for scheme in ("file:///etc/passwd", "ftp://127.0.0.1/x", "gopher://x/", "//"):
        origin.redirects["/odd"] = scheme
        with pytest.raises(TrackserverError):
            fetch_range(OPEN, origin.url("/odd"), 0, 4)


@pytest.mark.parametrize("hops", [MAX_REDIRECTS, MAX_REDIRECTS + 1])
def test_redirects_end(origin: Origin, hops: int) -> None:
    origin.redirects |= {f"/{hop}": f"/{hop + 1}" for hop in range(hops)}
    origin.files[f"/{hops}"] = WHOLE
    if hops == MAX_REDIRECTS:
        assert fetch_range(OPEN, origin.url("/0"), 0, 4).body == WHOLE[:4]
    else:
        with pytest.raises(UnreadableFile, match="redirects more than 5 times"):
            fetch_range(OPEN, origin.url("/0"), 0, 4)


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[list[str]]]:
    """Addresses by name, one list a look-up, the last one for good: a resolver under somebody else's control."""
    book: dict[str, list[list[str]]] = {}
    real = socket.getaddrinfo

    def getaddrinfo(host: str, port: int, *args: object, **kwargs: object) -> object:
        if host not in book:
            return real(host, port, *args, **kwargs)  # type: ignore[arg-type]
        answers = book[host]
        addresses = answers.pop(0) if len(answers) > 1 else answers[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return book


@pytest.fixture
def public_127(monkeypatch: pytest.MonkeyPatch) -> None:
    """127.0.0.1 counts as public, as the tests have no other; 127.0.0.2 and all else stay what they are."""
    monkeypatch.setattr(guards, "is_public", lambda address: address == "127.0.0.1" or is_public(address))


def test_a_redirect_from_a_public_server_into_a_private_network(
    origin: Origin, public_127: None, names: dict[str, list[list[str]]]
) -> None:
    names |= {"data.example": [["127.0.0.1"]], "inside.example": [["10.0.0.1"]]}
    guard = Guard(timeout=5)
    assert fetch_range(guard, origin.url("/a.bw", host="data.example"), 0, 4).body == WHOLE[:4]
    assert origin.asked[-1][2] == f"data.example:{origin.port}"
    for place in (
        "inside.example",
        "127.0.0.2",
        "169.254.169.254",
        "[::1]",
        "0x7f000002",
        "017700000002",
        "2130706434",
    ):
        origin.redirects["/trap"] = f"http://{place}:{origin.port}/a.bw"
        with pytest.raises(RemoteRefused, match="private network"):
            fetch_range(guard, origin.url("/trap", host="data.example"), 0, 4)


def test_a_name_that_answers_differently_a_moment_later_gains_nothing(
    origin: Origin, public_127: None, names: dict[str, list[list[str]]]
) -> None:
    """Connected is to the address that was checked, so there is no second look-up that could be rebound."""
    names["rebound.example"] = [["127.0.0.1"], ["127.0.0.2"]]
    guard = Guard(timeout=5)
    assert fetch_range(guard, origin.url("/a.bw", host="rebound.example"), 0, 4).body == WHOLE[:4]
    guards._connections.close()
    with pytest.raises(RemoteRefused):
        fetch_range(guard, origin.url("/a.bw", host="rebound.example"), 0, 4)


def test_one_private_address_among_public_ones_is_enough(names: dict[str, list[list[str]]]) -> None:
    names["mixed.example"] = [["93.184.215.14", "192.168.0.1"]]
    with pytest.raises(RemoteRefused):
        resolve(Guard(), check_address(Guard(), "http://mixed.example/x"))
    assert len(resolve(None, check_address(None, "http://mixed.example/x"))) == 2


def test_the_next_address_is_tried_where_the_first_is_dead(origin: Origin, names: dict[str, list[list[str]]]) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.3", 0))
        names["two.example"] = [["127.0.0.3", "127.0.0.1"]]
        assert fetch_range(OPEN, origin.url("/a.bw", host="two.example"), 0, 4).body == WHOLE[:4]


def test_an_administrators_connection_is_not_lent_to_a_visitor(origin: Origin) -> None:
    fetch_range(None, origin.url("/a.bw"), 0, 4)
    with pytest.raises(RemoteRefused, match="private network"):
        fetch_range(Guard(), origin.url("/a.bw"), 0, 4)


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.215.14", True),
        ("2606:2800:21f:cb07:6820:80da:af6b:8b2c", True),
        ("::ffff:93.184.215.14", True),
        ("64:ff9b::5db8:d70e", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.1.1", False),
        ("255.255.255.255", False),
        ("::", False),
        ("::1", False),
        ("::127.0.0.1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:7f00:1", False),
        ("2002:7f00:1::", False),
        ("64:ff9b::7f00:1", False),
        ("64:ff9b::a9fe:a9fe", False),
        ("fe80::1%eth0", False),
        ("fc00::1", False),
        ("fec0::1", False),
        ("ff02::1", False),
    ],
)
def test_which_addresses_are_public(address: str, public: bool) -> None:
    assert is_public(address) == public


@pytest.mark.parametrize(
    "url",
    [
        "", "x", "/etc/passwd", "file:///etc/passwd", "ftp://a.org/x", "javascript:alert(1)", "data:,x", "http://",
        "http:///x", "http://.../x", "http://a.org:99999/x", "http://a.org:x/", "http://[::1/x", "http://user@a.org/x",
        "http://a.org@10.0.0.1/x", "http://a.org\\@10.0.0.1/x", "http://a.org/x\r\nHost: b", "http://a.org/a b",
        "http://[fe80::1%25eth0]/x", "http://%31%32%37.0.0.1/", "http://a\x00.org/", f"http://{'a' * 300}.org/",
        "s3://", "s3:///key",
    ],
)  # fmt: skip
def test_what_is_no_address(url: str) -> None:
    for guard in (None, Guard()):
        with pytest.raises(RemoteRefused) as raised:
            check_address(guard, web_address(url))
        assert str(raised.value).endswith(".")


@pytest.mark.parametrize(
    "host",
    ["2130706433", "0x7f.1", "0177.0.0.1", "127.1", "[::ffff:127.0.0.1]", "localhost", "LOCALHOST.", "①②⑦.0.0.1"],
)
def test_other_ways_to_write_this_machine(host: str) -> None:
    with pytest.raises(RemoteRefused, match="private network"):
        fetch_range(Guard(), f"http://{host}/x", 0, 1)


@pytest.mark.parametrize(
    ("rules", "url", "allowed"),
    [
        (("*.encodeproject.org",), "https://www.encodeproject.org/x", True),
        (("*.encodeproject.org",), "https://WWW.EncodeProject.org./x", True),
        (("*.encodeproject.org",), "https://encodeproject.org.evil.net/x", False),
        (("*.encodeproject.org",), "https://evil.net/?.encodeproject.org", False),
        (("*.encodeproject.org",), "https://evil.net#.encodeproject.org", False),
        (("data.lab.org:8080",), "http://data.lab.org:8080/x", True),
        (("data.lab.org:8080",), "http://data.lab.org/x", False),
        (("encode-public.s3.amazonaws.com",), "s3://encode-public/2020/x.bigWig", True),
        ((), "https://any.org/x", True),
    ],
)
def test_the_hosts_a_site_reads_from(rules: tuple[str, ...], url: str, allowed: bool) -> None:
    if allowed:
        check_address(Guard(hosts=rules), web_address(url))
    else:
        with pytest.raises(RemoteRefused, match="it reads from"):
            check_address(Guard(hosts=rules), web_address(url))


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("https://a.org/x y".replace(" ", "%20"), ("https", "a.org", 443, "/x%20y")),
        ("HTTP://A.org:81", ("http", "a.org", 81, "/")),
        ("http://bücher.example/ä?q=1&b=ö#frag", ("http", "xn--bcher-kva.example", 80, "/%C3%A4?q=1&b=%C3%B6")),
        ("http://[2001:DB8::1]:8080/x", ("http", "2001:db8::1", 8080, "/x")),
        ("s3://bucket/a b/c.bw", ("https", "bucket.s3.amazonaws.com", 443, "/a%20b/c.bw")),
        ("s3://dotted.bucket/c.bw", ("https", "s3.amazonaws.com", 443, "/dotted.bucket/c.bw")),
    ],
)
def test_an_address_taken_apart(url: str, target: tuple[str, str, int, str]) -> None:
    assert check_address(None, web_address(url)) == target


def test_what_is_shown_of_an_address() -> None:
    assert redact("https://me:secret@a.org/x.bw?sig=secret#y") == "https://a.org/x.bw"


def test_a_host_that_is_not_there() -> None:
    with pytest.raises(Unavailable, match="There is no host nowhere"):
        fetch_range(None, "http://nowhere.invalid/x", 0, 1)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        with pytest.raises(Unavailable, match="cannot be reached"):
            fetch_range(OPEN, f"http://127.0.0.1:{probe.getsockname()[1]}/x", 0, 1)


@pytest.mark.parametrize("talk", [b"", b"hello\r\n\r\n", b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 200])
def test_what_does_not_speak_http(talk: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            for _ in range(1):
                with server.accept()[0] as wire:
                    wire.recv(4096)
                    wire.sendall(talk)

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(Unavailable, match="cannot be reached, or the connection broke"):
            fetch_range(OPEN, f"http://127.0.0.1:{server.getsockname()[1]}/x", 0, 1)
        thread.join()


def test_a_certificate_is_checked_for_the_name_not_the_address(
    origin: Origin, public_127: None, names: dict[str, list[list[str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = trustme.CA()
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    monkeypatch.setattr(connection, "_tls", lambda: trusting)
    names |= {"data.example": [["127.0.0.1"]], "other.example": [["127.0.0.1"]]}
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("data.example").configure_cert(context)
    asked: list[str | None] = []
    context.sni_callback = lambda _, name, __: asked.append(name)
    with serving(tls=context) as served:
        served.files["/a.bw"] = WHOLE
        for start in (0, 7):
            url = f"https://data.example:{served.port}/a.bw"
            assert fetch_range(Guard(timeout=5), url, start, 4).body == WHOLE[start : start + 4]
        assert asked == ["data.example"]
        with pytest.raises(Unavailable, match=r"other\.example cannot be trusted: CERTIFICATE_VERIFY_FAILED"):
            fetch_range(Guard(timeout=5), f"https://other.example:{served.port}/a.bw", 0, 4)


def test_a_handshake_that_never_ends(origin: Origin) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(Unavailable, match="in time"):
        fetch_range(Guard(private=True, timeout=0.3), f"https://127.0.0.1:{silent.getsockname()[1]}/x", 0, 1)
