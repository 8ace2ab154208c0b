"""A stand-in for the ENCODE portal: a real web server that responds as the portal does.

It imitates the default fields of a search, the paths that `frame=object` leaves, 404 for a search without hits, 307 to
a signed address, and the public bucket, here under /bucket/. Values are made up.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from trackserver.catalogue.init import init_site
from trackserver.catalogue.site import Site

Object = dict[str, Any]

COLUMNS = (
    "title", "accession", "dataset", "assembly", "technical_replicates", "biological_replicates", "file_format",
    "file_type", "file_size", "assay_term_name", "biosample_ontology.term_name", "simple_biosample_summary",
    "target.label", "href", "preferred_default", "output_category", "output_type", "lab.title", "award.project",
    "date_created", "restricted", "status",
)  # fmt: skip
K562 = {
    "@id": "/biosample-types/cell_line_EFO_0002067/", "term_id": "EFO:0002067", "term_name": "K562",
    "classification": "cell line", "organ_slims": ["blood", "bodily fluid"],
}  # fmt: skip
PIPELINE = {"@id": "/labs/encode-processing-pipeline/", "title": "ENCODE Processing Pipeline"}
LAB = {"@id": "/labs/michael-snyder/", "@type": ["Lab", "Item"], "title": "Michael Snyder, Stanford"}
SIGNED = "X-Amz-Signature=0123456789abcdef&X-Amz-Expires=129600"


@dataclass
class StandIn:
    """The portal's contents, its faults, and the requests it received.

    objects : by path
    bytes_of : contents of files, by accession
    answers : statuses to respond with first, once each
    lost : accessions whose bytes are gone
    spoilt : accessions whose bytes are wrong
    cut : break off one transfer after this many bytes
    requests : paths requested, with their queries
    times : when the portal, not its bucket, was requested
    """

    port: int = 0
    objects: dict[str, Object] = field(default_factory=dict)
    bytes_of: dict[str, bytes] = field(default_factory=dict)
    answers: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    moved: dict[str, str] = field(default_factory=dict)
    lost: set[str] = field(default_factory=set)
    spoilt: set[str] = field(default_factory=set)
    cut: int = 0
    page: bytes = b""
    requests: list[str] = field(default_factory=list)
    ranges: list[str] = field(default_factory=list)
    times: list[float] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def experiment(self, accession: str, kind: str = "experiments", **more: Any) -> str:
        path = f"/{kind}/{accession}/"
        made = {
            "@id": path, "@type": ["Experiment", "Dataset", "Item"], "accession": accession, "status": "released",
            "lab": LAB, "files": [],
        }  # fmt: skip
        self.objects[path] = made | more
        self.objects[LAB["@id"]] = LAB
        return path

    def file(self, accession: str, data: bytes, without: tuple[str, ...] = (), **more: Any) -> Object:
        """A released bigWig of K562, `without` some of its fields."""
        dataset = more.pop("dataset", None) or self.experiment(accession.replace("FF", "SR"))
        ending = more.get("file_format", "bigWig")
        digest = hashlib.md5(data)
        made = {
            "@id": f"/files/{accession}/", "@type": ["File", "Item"], "accession": accession, "title": accession,
            "file_format": ending, "file_type": ending, "output_type": "fold change over control",
            "output_category": "signal", "assembly": "GRCh38", "status": "released", "preferred_default": True,
            "biological_replicates": [1, 2], "technical_replicates": ["1_1", "2_1"], "file_size": len(data),
            "md5sum": digest.hexdigest(), "href": f"/files/{accession}/@@download/{accession}.{ending}",
            "s3_uri": f"s3://encode-public/{accession}.{ending}",
            "cloud_metadata": {"url": f"{self.url}/bucket/{accession}.{ending}", "file_size": len(data),
                               "md5sum_base64": base64.b64encode(digest.digest()).decode()},
            "assay_title": "TF ChIP-seq", "assay_term_name": "ChIP-seq", "dataset": dataset,
            "biosample_ontology": K562, "target": {"@id": "/targets/GATA1-human/", "label": "GATA1"}, "lab": PIPELINE,
            "award": {"@id": "/awards/U41HG006992/", "project": "ENCODE"},
            "analyses": [{"@id": "/analyses/ENCAN000AAA/", "status": "released", "title": "ENCODE4 v1.6.0 GRCh38"}],
            "date_created": "2020-09-24T01:02:03.000000+00:00",
        } | more  # fmt: skip
        self.bytes_of[accession] = data
        self.objects[made["@id"]] = {key: value for key, value in made.items() if key not in without}
        return self.objects[made["@id"]]


@contextmanager
def standing_in() -> Iterator[StandIn]:
    stand_in = StandIn()

    class Handler(_Handler):
        here = stand_in

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        stand_in.port = server.server_address[1]
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield stand_in
        finally:
            server.shutdown()


def site_with(stand_in: StandIn, path: Path, files: Path) -> Site:
    """A site with this portal: hg38 and hg19, both with the three short chromosomes of all tests."""
    init_site(path, "hg38", chromsizes=files / "chrom.sizes")
    settings, sizes = path / "trackserver.toml", json.dumps(str(files / "chrom.sizes"))
    settings.write_text(
        f'encode_url = "{stand_in.url}"\n{settings.read_text()}\n[assemblies.hg19]\nchromsizes = {sizes}\n'
    )
    return Site(path)


class _Handler(BaseHTTPRequestHandler):
    here: StandIn
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        path, query = urlsplit(self.path).path, parse_qs(urlsplit(self.path).query)
        self.here.requests.append(self.path)
        if path.startswith(("/bucket/", "/signed/")):
            return self._bytes(path)
        self.here.times.append(time.monotonic())
        if self.here.answers:
            status, headers = self.here.answers.pop(0)
            return self._json(status, {"code": status, "status": "error"}, **headers)
        if self.here.page:
            return self._say(200, self.here.page)
        if path in self.here.moved:
            return self._say(301, Location=f"{self.here.moved[path]}?{urlsplit(self.path).query}")
        if path == "/search/":
            return self._search(query)
        if "/@@download/" in path:
            return self._download(path)
        return self._object(path, query)

    def _object(self, path: str, query: dict[str, list[str]]) -> None:
        item = self.here.objects.get(path)
        if re.fullmatch(r"/\w+/", path):  # by accession alone
            item = next((o for o in self.here.objects.values() if o.get("accession") == path.strip("/")), None)
            if item:
                return self._say(301, Location=f"{item['@id']}?{urlsplit(self.path).query}")
        if item is None:
            return self._json(404, {"@type": ["HTTPNotFound"], "status": "error", "code": 404, "title": "Not Found"})
        if item.get("status") in ("in progress", "deleted"):
            return self._json(403, {"@type": ["HTTPForbidden"], "status": "error", "code": 403})
        return self._json(200, _as_paths(item) if query.get("frame") == ["object"] else item)

    def _search(self, query: dict[str, list[str]]) -> None:
        terms = {key: values for key, values in query.items() if key not in ("format", "limit", "field", "frame")}
        files = [item for item in self.here.objects.values() if _fits(item, terms)]
        files.sort(key=lambda item: str(item.get("date_created", "")), reverse=True)
        limit = query.get("limit", ["25"])[0]
        shown = files if limit == "all" else files[: int(limit)]
        rows = shown if "frame" in query else [_only(item, query.get("field", COLUMNS)) for item in shown]
        self._json(200 if files else 404, {
            "@context": "/terms/", "@id": self.path, "@type": ["Search"], "@graph": rows, "total": len(files),
            "notification": "Success" if files else "No results result", "facets": [], "filters": [], "title": "Search",
        })  # fmt: skip

    def _download(self, path: str) -> None:
        item = self.here.objects.get(path.partition("@@")[0])
        if item is None or path != item.get("href"):
            return self._json(404, {"status": "error", "code": 404})
        name = path.rpartition("/")[2]
        return self._say(307, Location=f"{self.here.url}/signed/{name}?{SIGNED}")

    def _bytes(self, path: str) -> None:
        accession = path.rpartition("/")[2].partition(".")[0]
        if accession in self.here.lost:
            return self._say(404, b"<Code>NoSuchKey</Code>")
        if path.startswith("/signed/") and SIGNED not in self.path:
            return self._say(403, b"<Code>AccessDenied</Code>")
        whole = self.here.bytes_of[accession]
        whole = whole[:-1] + b"?" if accession in self.here.spoilt else whole
        self.here.ranges.append(self.headers.get("Range", ""))
        span = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        first = int(span[1]) if span else 0
        body = whole[first : int(span[2]) + 1 if span and span[2] else None]
        headers = {"ETag": f'"{hashlib.md5(whole).hexdigest()}"', "Accept-Ranges": "bytes"}
        if span:
            headers["Content-Range"] = f"bytes {first}-{first + len(body) - 1}/{len(whole)}"
        cut, self.here.cut = self.here.cut, 0
        self._say(206 if span else 200, body[: cut or None], length=len(body), **headers)
        self.close_connection = bool(cut)

    def _json(self, status: int, body: Object, **headers: str) -> None:
        self._say(status, json.dumps(body).encode(), **{"Content-Type": "application/json"} | headers)

    def _say(self, status: int, body: bytes = b"", length: int | None = None, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)


def _values(item: object, path: str) -> list[str]:
    """The values under a dotted path, as words."""
    if isinstance(item, list):
        return [value for part in item for value in _values(part, path)]
    if path and isinstance(item, dict):
        first, _, rest = path.partition(".")
        return _values(item.get(first), rest)
    return [] if item is None or path else [str(item)]


def _fits(item: Object, terms: dict[str, list[str]]) -> bool:
    """Whether an object matches: any of a key's values, none of them with `!=`, or `searchTerm` anywhere."""
    for key, wanted in terms.items():
        if key == "type":
            fits = wanted[0] in item.get("@type", [])
        elif key == "searchTerm":
            fits = wanted[0].lower() in json.dumps(item).lower()
        elif key.endswith("!"):
            fits = not set(_values(item, key[:-1])) & set(wanted)
        else:
            values = _values(item, key)
            fits = bool(values) if wanted == ["*"] else bool(set(values) & set(wanted))
        if not fits:
            return False
    return True


def _only(item: Object, fields: list[str] | tuple[str, ...]) -> Object:
    """The requested fields, and those that a row always has."""
    row = {key: item[key] for key in ("@id", "@type") if key in item}
    for path in fields:
        key, _, inner = path.partition(".")
        if key not in item:
            continue
        value = item[key]
        if inner and isinstance(value, list):
            parts = row.setdefault(key, [{} for _ in value])
            for part, element in zip(parts, value, strict=True):
                part |= {inner: element[inner]} if inner in element else {}
        elif inner and isinstance(value, dict):
            row.setdefault(key, {}).update({inner: value[inner]} if inner in value else {})
        else:
            row[key] = value
    return row


def _as_paths(item: Object) -> Object:
    """`frame=object`: linked objects by their paths."""

    def path(value: Any) -> Any:
        return value["@id"] if isinstance(value, dict) and "@id" in value else value

    return {key: [path(v) for v in value] if isinstance(value, list) else path(value) for key, value in item.items()}
