"""ENCODE's files in the catalogue: looked for, the right one of an experiment chosen, then attached or downloaded."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

from trackserver.bbi.bigwig import check_chromosomes, open_bigwig
from trackserver.catalogue.add import Added
from trackserver.catalogue.site import Site
from trackserver.catalogue.store import TilesetRecord
from trackserver.catalogue.tilesets import check_tileset
from trackserver.catalogue.uids import check_uid
from trackserver.catalogue.words import ENCODE_TITLES, signal_rank
from trackserver.encode.portal import Portal
from trackserver.encode.records import Dataset, PortalFile, find_files, read_dataset, read_file
from trackserver.errors import DataError, InvalidRequest, NotFound, TrackserverError, UnknownAssembly, listing
from trackserver.progress import Progress
from trackserver.sources.download import fetch
from trackserver.sources.source import open_remote
from trackserver.tiles.bigbed import open_bigbed
from trackserver.tiles.kinds import KINDS

# What the portal calls an assembly, where that is not what everybody calls it; the minimal ones lack some contigs.
ASSEMBLIES = {"GRCh38": "hg38", "GRCh38-minimal": "hg38", "GRCm39": "mm39", "mm10-minimal": "mm10"}
# Most of what lies on these is archived, for it was made anew on the assembly that came after.
SUPERSEDED = ("hg19", "mm9", "dm3", "ce10")

SERVED = {"bigWig": "bigwig", "bigBed": "bigbed"}  # the portal's formats that are read by ranges
PUBLIC = ("released", "archived")
REFUSED = {
    "revoked": "ENCODE has revoked it, so it should not be used",
    "replaced": "ENCODE has put another in its place",
    "deleted": "ENCODE has deleted it",
}

_ACCESSION = re.compile(r"\b(?:ENC|TST)(FF|SR)(?:\d{3}[A-Z]{3}|\d{6})\b")
_OTHER_STRAND = {"+": "-", "-": "+"}


@dataclass(frozen=True)
class Asked:
    """What to look for, in the portal's names; what is empty is any. Assay and assembly may be the catalogue's."""

    text: str = ""
    assay: str = ""
    biosample: str = ""
    target: str = ""
    assembly: str = ""
    output_type: str = ""


@dataclass(frozen=True)
class Wish:
    """How a file comes to the site; what is empty is the site's or the file's own."""

    how: Literal["attach", "download"] = "attach"
    assembly: str = ""
    output_type: str = ""
    uid: str = ""


class Found(NamedTuple):
    file: PortalFile
    dataset: Dataset
    assembly: str


def portal_of(site: Site) -> Portal:
    return Portal(site.settings.encode_url, site.cache / "encode")


def common_name(assembly: str) -> str:
    """`GRCh38` -> `hg38`; a name that everybody uses is itself."""
    return ASSEMBLIES.get(assembly, assembly)


def search(portal: Portal, asked: Asked, limit: int) -> tuple[int, list[PortalFile]]:
    """How many bigWigs there are, and the first of them: an experiment's together, the one to show first."""
    assembly = common_name(asked.assembly)
    query: dict[str, Any] = {
        "searchTerm": asked.text,
        "assay_title": ENCODE_TITLES.get(asked.assay.upper(), asked.assay),
        "biosample_ontology.term_name": asked.biosample,
        "target.label": asked.target,
        "output_type": asked.output_type,
        "assembly": assembly and [assembly, *(theirs for theirs, ours in ASSEMBLIES.items() if ours == assembly)],
        "file_format": "bigWig",
        "status": PUBLIC if assembly in SUPERSEDED else PUBLIC[:1],
    }
    total, files = find_files(portal, {key: value for key, value in query.items() if value}, limit)
    experiments = list(dict.fromkeys(file.dataset for file in files))
    files.sort(key=_merit, reverse=True)
    return total, sorted(files, key=lambda file: experiments.index(file.dataset))


def choose(files: Sequence[PortalFile], assembly: str, output_type: str = "") -> list[PortalFile]:
    """The file of an experiment to show, or the two of a stranded one.

    On the assembly, released before archived, then by signal (fold change over control of ChIP, read-depth normalized
    of DNase and ATAC, unique reads of RNA), the portal's preferred default, most replicates pooled, newest analysis.

    Parameters
    ----------
    output_type
        The portal's name of another signal, or of peaks (a bigBed); on either strand.

    Raises
    ------
    InvalidRequest
        There is none; the sentence says which assemblies, or output types, there are.
    """
    shown = [file for file in files if file.url and file.file_format in SERVED and file.status in PUBLIC]
    kind = f"'{output_type}'" if output_type else "bigWig"
    wanted = [file for file in shown if _is_wanted(file, output_type)]
    here = [file for file in wanted if common_name(file.assembly) == common_name(assembly)]
    if not wanted:
        types = sorted({file.output_type for file in shown})
        raise InvalidRequest(f"It has no {kind} that can be shown; of bigWig and bigBed it has: {listing(types, 20)}.")
    if not here:
        others = sorted({common_name(file.assembly) for file in wanted})
        raise InvalidRequest(f"It has no {kind} on {assembly}; it has that on {listing(others)} (--assembly).")
    best = max(here, key=_merit)
    opposite = [f for f in here if (f.signal, f.strand) == (best.signal, _OTHER_STRAND.get(best.strand))]
    mates = sorted(opposite, key=lambda f: (f.replicates == best.replicates, f.analysis == best.analysis, *_merit(f)))
    return sorted([best, *mates[-1:]], key=lambda file: file.strand)


def _is_wanted(file: PortalFile, output_type: str) -> bool:
    return output_type in (file.output_type, file.signal) if output_type else file.file_format == "bigWig"


def _merit(file: PortalFile) -> tuple[bool, int, bool, int, tuple[int, ...], str]:
    """The greater, the rather it is shown; see `choose`."""
    rank = signal_rank(file.assay, file.signal)
    return file.status == "released", -rank, file.preferred, len(file.replicates), file.analysis, file.created


def add(site: Site, portal: Portal, accessions: Iterable[str], wish: Wish, report: Progress) -> Added:
    """Put files into the catalogue, each checked before; those that cannot be are said, and the others are added.

    Parameters
    ----------
    accessions
        Of files (ENCFF...), or of experiments (ENCSR...), of which `choose` takes the file; or their pages' addresses.
    report
        Called with the bytes here and in all of the file that is being downloaded.

    Raises
    ------
    Unavailable
        The portal is out of reach; nothing is added.
    InvalidRequest
        One uid is given for several files.
    """
    site.check_writable()
    found: dict[str, Found] = {}
    faults, good = [], []
    for given in dict.fromkeys(accessions):
        try:
            found |= {one.file.accession: one for one in _find(site, portal, given, wish)}
        except (NotFound, InvalidRequest, DataError) as error:
            faults.append(f"{given}: {error}")
    if wish.uid and len(found) > 1:
        raise InvalidRequest(
            f"{listing(found)} cannot all have the uid '{wish.uid}'; without --uid each has its accession."
        )
    for accession, one in found.items():
        try:
            good.append(_bring(site, one, wish, report))
        except TrackserverError as error:
            faults.append(f"{accession}: {error}")
    return Added(site.catalogue.put_tilesets(good), faults)


def _find(site: Site, portal: Portal, given: str, wish: Wish) -> list[Found]:
    """The files that an accession stands for, all of them public and on an assembly of the site."""
    accession = _ACCESSION.search(given.upper())
    if not accession:
        raise InvalidRequest(
            "this is no accession of a file or an experiment of ENCODE; they read ENCFF136DBS and ENCSR000EOT."
        )
    if accession[1] == "FF":
        return [_find_file(site, portal, accession[0], wish)]
    assembly = _own_name(site, wish.assembly or site.default_assembly)
    dataset = read_dataset(portal, f"/{accession[0]}/")
    _check_public(dataset.status, "look for another with `trackserver encode search`")
    _, files = find_files(portal, {"dataset": dataset.path, "status": PUBLIC}, "all")
    return [Found(file, dataset, assembly) for file in choose(files, assembly, wish.output_type)]


def _find_file(site: Site, portal: Portal, accession: str, wish: Wish) -> Found:
    file = read_file(portal, accession)
    instead = f"`trackserver encode add {file.experiment}` takes the right one of its experiment"
    if file.accession != accession:
        raise InvalidRequest(f"ENCODE has put {file.accession} in its place; add that one.")
    _check_public(file.status, instead)
    if file.file_format not in SERVED:
        raise InvalidRequest(f"This is a {file.file_format} ({file.output_type}), not a bigWig; {instead}.")
    if not file.url:
        raise InvalidRequest(f"ENCODE gives this file to nobody: it is restricted, or lost; {instead}.")
    lies_on, names = common_name(file.assembly), listing(site.assembly_names)
    if lies_on not in map(common_name, site.assembly_names):
        raise InvalidRequest(f"It lies on {lies_on}, and this site has {names}; {instead}.")
    if wish.assembly and common_name(wish.assembly) != lies_on:
        raise InvalidRequest(f"It lies on {lies_on}, not on {wish.assembly}; {instead}.")
    dataset = read_dataset(portal, file.dataset)
    _check_public(dataset.status, "look for another experiment with `trackserver encode search`")
    return Found(file, dataset, _own_name(site, lies_on))


def _own_name(site: Site, assembly: str) -> str:
    """What the site calls an assembly."""
    for name in site.assembly_names:
        if common_name(name) == common_name(assembly):
            return name
    raise UnknownAssembly(assembly, site.assembly_names)


def _check_public(status: str, instead: str) -> None:
    if status not in PUBLIC:
        raise InvalidRequest(f"{REFUSED.get(status, f'ENCODE has not released it (it is {status})')}; {instead}.")


def _bring(site: Site, found: Found, wish: Wish, report: Progress) -> TilesetRecord:
    record = _record(found, wish.uid or found.file.accession)
    check_uid(record.uid)
    for known in site.catalogue.tilesets(uid=record.uid):
        if known.accession != record.accession:
            raise InvalidRequest(
                f"There is a tileset '{known.uid}' already, of another file ({known.path}); choose another with --uid."
            )
    if wish.how == "download":
        return _download(site, record, found.file, report)
    return _attach(site, record, found.file)


def _attach(site: Site, record: TilesetRecord, file: PortalFile) -> TilesetRecord:
    """The record of a file that stays where it is, once its first bytes are known to be good."""
    source = open_remote(record.path, None)
    if file.size and source.size != file.size:
        raise DataError(f"{source.name} has {source.size:,} bytes, and {file.size:,} by ENCODE's account; ask ENCODE.")
    bbi = open_bigwig(source) if record.filetype == "bigwig" else open_bigbed(source)
    check_chromosomes(bbi, site.assembly(record.assembly))
    return replace(record, size=source.size)


def _download(site: Site, record: TilesetRecord, file: PortalFile, report: Progress) -> TilesetRecord:
    """The record of a file that was copied into the site and read from end to end; one that does not fit is removed."""
    if not file.md5:
        raise DataError("ENCODE gives no checksum for it, so a copy could not be checked; use --how attach.")
    place = site.tilesets / "encode" / f"{file.accession}.{file.file_format}"
    fetch(file.url, place, f"md5:{file.md5}", report)
    try:
        return check_tileset(site, replace(record, path=str(place)))
    except TrackserverError:
        place.unlink()
        raise


def _record(found: Found, uid: str) -> TilesetRecord:
    file, dataset, assembly = found
    filetype = SERVED[file.file_format]
    return TilesetRecord(
        uid=uid,
        name=_name(file),
        kind=file.kind,
        assembly=assembly,
        path=file.url,
        filetype=filetype,
        datatype=KINDS[filetype].datatype,
        assay=file.assay,
        biosample=file.biosample,
        target=file.target,
        strand=file.strand,
        accession=file.accession,
        provenance={
            "source": file.url,
            "encode": {
                "experiment": dataset.accession,
                "lab": dataset.lab or file.lab,
                "processed_by": file.lab,
                "assay_title": file.assay,
                "biosample": file.biosample,
                "biosample_term_id": file.biosample_id,
                "target": file.target,
                "output_type": file.output_type,
                "assembly": file.assembly,
                "biological_replicates": list(file.replicates),
                "status": file.status,
                "md5sum": file.md5,
                "date_created": file.created,
                "asked": datetime.now(UTC).date().isoformat(),
            },
        },
    )


def _name(file: PortalFile) -> str:
    """`DNase-seq K562 (ENCFF136DBS)`, `total RNA-seq K562 + (ENCFF000AAA)`; predictions and peaks say what they are."""
    sign = {"+": "+", "-": "−"}.get(file.strand, "")
    is_signal = file.file_format == "bigWig" and file.kind == "observed"
    words = [file.assay, file.target, file.biosample, "" if is_signal and file.assay else file.signal, sign]
    return f"{' '.join(filter(None, words))} ({file.accession})"
