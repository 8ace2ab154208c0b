"""A site with something for every rule, and the rules of other browsers, read from their own programs and documents.

Shares nothing with the package. UCSC's are those of hubCheck (kent/src/hg/utils/hubCheck, src/hg/lib/trackHub.c) and of
the hub trackDb documentation; IGV's those of its two readers (IGVSessionReader.java, igvXmlSession.js).
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit
from xml.etree import ElementTree

from tests.conftest import write_signal
from tests.tiles.test_bigbed import write_bigbed
from trackserver.catalogue.site import Site, create_site
from trackserver.catalogue.store import OBSERVED, PREDICTED, REGISTERED, TilesetRecord
from trackserver.catalogue.tilesets import add_tileset

SIZES = {"chr1": 70_000, "chr2": 31_000}
Fetch = Callable[[str], str]


def make_hub_site(path: Path, **settings: Any) -> Site:
    """On hg38 and on an assembly of its own; of what can be shown elsewhere and of what cannot, one of each."""
    path.mkdir(parents=True)
    (path / "sizes").write_text("".join(f"{chrom}\t{size}\n" for chrom, size in SIZES.items()))
    files = {"chromsizes": "sizes"}
    printed = {"title": "Genomics\n of K562", "assembly": "hg38", "assemblies": {"hg38": files, "own": files}}
    site = create_site(path / "site", printed | settings)
    (site.path / "sizes").write_text((path / "sizes").read_text())
    for number, record in enumerate((
        TilesetRecord("ENCFF136DBS", "DNase K562", OBSERVED, "hg38", "dnase.bw", assay="DNASE", biosample="K562",
                      accession="ENCFF136DBS"),
        TilesetRecord("k562-t0", "DNASE K562", PREDICTED, "hg38", "t0.bw", assay="DNASE", biosample="K562",
                      model="random", track_index=0),
        TilesetRecord("k562_t0", 'CTCF, "predicted" = a very\nlong name of a track that says more than fits in a line',
                      PREDICTED, "hg38", "t1.bw", assay="CHIP", biosample="liver (adult)", target="CTCF",
                      model="random", track_index=1),
        TilesetRecord("1-odd", "CAGE plus", OBSERVED, "hg38", "odd.bw", assay="CAGE", biosample="liver, adult",
                      strand="+"),
        TilesetRecord("mine", "Mine", PREDICTED, "own", "mine.bw", model="random"),
    )):  # fmt: skip
        write_signal(path / record.path, SIZES, seed=number)
        add_tileset(site, TilesetRecord(**{**record.__dict__, "path": str(path / record.path)}))
    rows = [("chr1", 100, 900, "a\t5\t+"), ("chr2", 5, 700, "b\t9\t-")]
    write_bigbed(site.tilesets / "peaks.bb", SIZES, rows)
    add_tileset(site, TilesetRecord("peaks", "CTCF peaks", OBSERVED, "hg38", "tilesets/peaks.bb", filetype="bigbed",
                                    target="CTCF"))  # fmt: skip
    site.catalogue.put_tilesets([
        TilesetRecord("far", "Far away", OBSERVED, "hg38", "https://data.example.org/far.bigWig", assay="DNASE"),
        TilesetRecord("signed", "Signed", OBSERVED, "hg38", "https://data.example.org/a.bw?X-Amz-Signature=secret"),
        TilesetRecord("inside", "Inside", OBSERVED, "hg38", "http://10.0.0.5/a.bw"),
        TilesetRecord("bucket", "Bucket", OBSERVED, "hg38", "s3://ours/a.bw"),
        TilesetRecord("contacts", "Hi-C", OBSERVED, "hg38", "a.mcool", filetype="cooler", datatype="matrix"),
        TilesetRecord("gone", "Gone", OBSERVED, "hg38", "tilesets/gone.bw"),
        TilesetRecord("visitor", "A visitor's", REGISTERED, "hg38", "https://data.example.org/visitor.bw"),
    ])  # fmt: skip
    return site


LEFT_OUT = {"signed", "inside", "bucket", "contacts", "gone"}
VIEWCONF = {"views": [{"uid": "v", "initialXDomain": [69_000, 80_000], "tracks": {"top": [
    {"type": "bar", "server": "/api/v1", "tilesetUid": "k562-t0"},
    {"type": "combined", "contents": [{"type": "bar", "server": "/api/v1", "tilesetUid": "ENCFF136DBS"},
                                      {"type": "line", "server": "/api/v1", "tilesetUid": "k562-t0"}]},
    {"type": "gene-annotations", "server": "/api/v1", "tilesetUid": "genes-hg38"},
    {"type": "divergent-bar", "server": "/api/v1", "tilesetUid": f"fx-{'0' * 20}-0-delta"},
    {"type": "bar", "server": "https://other.org/api/v1", "tilesetUid": "theirs"},
]}}]}  # fmt: skip


@dataclass
class Hub:
    """What hubCheck reads: `tracks` by assembly and name, with the settings each inherits from its parents."""

    settings: dict[str, str]
    tracks: dict[str, dict[str, dict[str, str]]] = field(default_factory=dict)

    def files(self) -> Iterator[str]:
        for tracks in self.tracks.values():
            yield from (track["bigDataUrl"] for track in tracks.values() if "bigDataUrl" in track)


# Settings that trackDbHub.html knows, of those types of tracks that there can be here.
COMMON = {"track", "type", "shortLabel", "longLabel", "visibility", "parent", "bigDataUrl", "color", "metadata",
          "subGroups", "html", "priority"}  # fmt: skip
BIGWIG = {"autoScale", "alwaysZero", "maxHeightPixels", "viewLimits", "windowingFunction", "graphTypeDefault"}
COMPOSITE = {"compositeTrack", "dimensions", "sortOrder", "dragAndDrop", *(f"subGroup{i}" for i in range(1, 10))}


def check_hub(fetch: Fetch, url: str) -> Hub:
    """Read a hub as UCSC does, and hold it to hubCheck's rules."""
    (settings,) = stanzas(fetch(url))
    assert {"hub", "shortLabel", "longLabel", "genomesFile", "email"} <= settings.keys()
    assert re.fullmatch(r"\w+", settings["hub"])
    assert len(settings["shortLabel"]) <= 17 and len(settings["longLabel"]) <= 80
    assert re.fullmatch(r"[^@\s]+@[^@\s]+", settings["email"])
    hub = Hub(settings)
    genomes_url = urljoin(url, settings["genomesFile"])
    for genome in stanzas(fetch(genomes_url)):
        assert genome.keys() == {"genome", "trackDb"}
        assert genome["genome"] in ("hg38", "hg19", "mm10", "mm39", "sacCer3"), "it would need a 2bit"
        hub.tracks[genome["genome"]] = check_tracks(stanzas(fetch(urljoin(genomes_url, genome["trackDb"]))))
    assert hub.tracks
    return hub


def stanzas(text: str) -> list[dict[str, str]]:
    result = []
    for part in re.split(r"\n\s*\n", text.strip("\n")):
        lines = [line.strip().partition(" ") for line in part.splitlines()]
        assert all(setting and value.strip() for setting, _, value in lines), part
        assert len({setting for setting, *_ in lines}) == len(lines), f"a setting is there twice: {part}"
        result.append({setting: value.strip() for setting, _, value in lines})
    return result


def check_tracks(listed: list[dict[str, str]]) -> dict[str, dict[str, str]]:
    tracks: dict[str, dict[str, str]] = {}
    for track in listed:
        name = track["track"]
        assert re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name) and len(name) <= 128, name
        assert name not in tracks, f"more than one track is called {name}"
        assert {"shortLabel", "longLabel", "type"} <= track.keys(), name
        assert len(track["shortLabel"]) <= 17 and len(track["longLabel"]) <= 76, name
        tracks[name] = track
        check_composite(track) if "compositeTrack" in track else check_data(track, tracks)
    for name, track in tracks.items():
        if "compositeTrack" in track:
            assert any(other.get("parent", "").split()[0:1] == [name] for other in listed), f"{name} has no subtracks"
    return tracks


def check_composite(track: dict[str, str]) -> None:
    assert track.keys() <= COMMON | COMPOSITE
    assert "bigDataUrl" not in track
    assert track["compositeTrack"] == "on"
    assert track["type"].split()[0] in ("bigWig", "bigBed")
    assert track.get("visibility", "hide") in ("hide", "dense", "squish", "pack", "full")
    groups = groups_of(track)
    for words in (track.get("dimensions", ""), track.get("sortOrder", "")):
        for word in words.split():
            left, _, right = word.partition("=")
            assert (right if left.startswith("dim") else left) in groups
    for word in track.get("sortOrder", "").split():
        assert word.endswith(("=+", "=-"))


def groups_of(track: dict[str, str]) -> dict[str, dict[str, str]]:
    groups = {}
    for number in range(1, 10):
        if text := track.get(f"subGroup{number}"):
            assert number == 1 or f"subGroup{number - 1}" in track, "they are numbered without a gap"
            tag, title, *choices = text.split()
            assert title and choices and tag not in groups
            members = dict(choice.split("=") for choice in choices)
            assert len(members) == len(choices), f"a tag of {tag} is there twice"
            assert all(re.fullmatch(r"\w+", tag) for tag in members)
            groups[tag] = members
    return groups


def check_data(track: dict[str, str], before: dict[str, dict[str, str]]) -> None:
    name, (kind, *numbers) = track["track"], track["type"].split()
    assert track.keys() <= COMMON | (BIGWIG if kind == "bigWig" else set()), name
    assert urlsplit(track["bigDataUrl"]).scheme in ("http", "https")
    assert re.fullmatch(r"\S+", track["bigDataUrl"])
    parent, on = track["parent"].split()
    assert on in ("on", "off")
    assert "compositeTrack" in before[parent], f"{name} comes before its parent, or it has none"
    assert before[parent]["type"].split()[0] == kind
    assert all(0 <= int(part) <= 255 for part in track["color"].split(",")) and track["color"].count(",") == 2
    groups = groups_of(before[parent])
    membership = dict(word.split("=") for word in track.get("subGroups", "").split())
    assert membership.keys() == groups.keys(), f"{name} is no member of every subgroup"
    assert all(tag in groups[group] for group, tag in membership.items())
    assert all("=" in word for word in shlex.split(track["metadata"])), track["metadata"]
    if kind == "bigWig":
        assert len(numbers) in (0, 2)
        assert not numbers or float(numbers[0]) < float(numbers[1])
        assert track["autoScale"] in ("on", "off")
        if limits := track.get("viewLimits"):
            assert re.fullmatch(r"-?[\d.e+-]+:-?[\d.e+-]+", limits)
            low, high = map(float, limits.split(":"))
            assert low < high
    else:
        assert kind == "bigBed"
        assert re.fullmatch(r"bigBed ([3-9]|1[0-5])( [+.])?", track["type"]), track["type"]


@dataclass
class Session:
    genome: str
    locus: str
    tracks: list[dict[str, Any]]


def read_igv(text: str) -> Session:
    """A session as igv.js makes a configuration of it: tracks are resources, matched by path and id."""
    root = ElementTree.fromstring(text)
    assert root.tag == "Session"
    assert int(root.attrib["version"]) >= 3
    assert root.attrib["genome"] in ("hg38", "hg19", "mm10", "mm39", "sacCer3"), (
        "IGV would look for a FASTA of that name"
    )
    resources = {resource.attrib["path"]: resource for resource in root.iterfind("Resources/Resource")}
    tracks = []
    for track in root.iter("Track"):
        url = track.attrib["id"]
        assert url in resources, "it would be passed over"
        path = urlsplit(url).path.lower()
        assert path.endswith((".bw", ".bigwig", ".bb", ".bigbed")), "the extension tells the format"
        assert re.fullmatch(r"\d+,\d+,\d+", track.attrib["color"])
        assert track.attrib["autoScale"] in ("true", "false")
        tracks.append({"url": url, **track.attrib})
    assert len({track["url"] for track in tracks}) == len(tracks) == len(resources)
    return Session(root.attrib["genome"], root.attrib.get("locus", ""), tracks)


ADAPTERS = {
    "QuantitativeTrack": {"BigWigAdapter": "bigWigLocation"},
    "FeatureTrack": {"BigBedAdapter": "bigBedLocation"},
}
DISPLAYS = {"QuantitativeTrack": {"LinearWiggleDisplay"}, "FeatureTrack": {"LinearBasicDisplay"}}


def check_jbrowse(config: dict[str, Any]) -> list[str]:
    """Hold a JBrowse 2 config to its schema; the addresses of the tracks' files."""
    json.dumps(config, allow_nan=False)
    names = [assembly["name"] for assembly in config["assemblies"]]
    assert names and len(set(names)) == len(names)
    for assembly in config["assemblies"]:
        sequence = assembly["sequence"]
        assert sequence["type"] == "ReferenceSequenceTrack" and sequence["trackId"]
        adapter = sequence["adapter"]
        needed = {"TwoBitAdapter": "twoBitLocation", "ChromSizesAdapter": "chromSizesLocation"}[adapter["type"]]
        check_location(adapter[needed])
    urls, ids = [], {assembly["sequence"]["trackId"] for assembly in config["assemblies"]}
    for track in config["tracks"]:
        assert track["trackId"] not in ids, "trackIds are unique"
        ids.add(track["trackId"])
        assert track["name"]
        assert set(track["assemblyNames"]) <= set(names)
        urls.append(check_location(track["adapter"][ADAPTERS[track["type"]][track["adapter"]["type"]]]))
        assert {display["type"] for display in track.get("displays", [])} <= DISPLAYS[track["type"]]
        assert all(display["displayId"] for display in track.get("displays", []))
    for view in config["defaultSession"]["views"]:
        assert view["type"] == "LinearGenomeView" and view["bpPerPx"] > 0 and view["offsetPx"] >= 0
        for region in view["displayedRegions"]:
            assert region["assemblyName"] in names and 0 <= region["start"] < region["end"]
        of_type = {track["trackId"]: track["type"] for track in config["tracks"]}
        for shown in view["tracks"]:
            assert of_type[shown["configuration"]] == shown["type"]
            assert {display["type"] for display in shown["displays"]} <= DISPLAYS[shown["type"]]
    return urls


def check_location(location: dict[str, str]) -> str:
    assert location["locationType"] == "UriLocation"
    assert urlsplit(location["uri"]).scheme in ("http", "https")
    return location["uri"]


def check_washu(hub: list[dict[str, Any]]) -> list[str]:
    """Hold a WashU datahub to its documentation; the addresses of the tracks' files."""
    for track in hub:
        assert track["type"].lower() in ("bigwig", "bigbed")
        assert track["name"]
        assert urlsplit(track["url"]).scheme in ("http", "https")
        assert isinstance(track["showOnHubLoad"], bool)
        assert all(isinstance(value, str) for value in track["metadata"].values())
        assert re.fullmatch("#[0-9a-f]{6}", track["options"]["color"])
    return [track["url"] for track in hub]
