"""Search the ENCODE portal, choose an experiment's preferred file, and add files to the catalogue."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, NamedTuple

from trackserver.bbi.bigwig import check_chromosomes, open_bigwig
from trackserver.catalogue.add import AddResult
from trackserver.catalogue.site import Site
from trackserver.catalogue.store import TilesetRecord
from trackserver.catalogue.tilesets import check_tileset
from trackserver.catalogue.uids import check_uid
from trackserver.catalogue.words import ENCODE_TITLES, signal_rank
from trackserver.encode.portal import Portal
from trackserver.encode.records import Dataset, PortalFile, find_files, read_dataset, read_file
from trackserver.errors import DataError, InvalidRequest, NotFound, TrackserverError, UnknownAssembly, listing
from trackserver.progress import Progress
from trackserver.sources.download import download_file
from trackserver.sources.source import open_remote
from trackserver.tiles.bigbed import open_bigbed
from trackserver.tiles.kinds import KINDS

# The portal's assembly names that differ from the common ones; the minimal assemblies lack some contigs.
COMMON_NAMES = {"GRCh38": "hg38", "GRCh38-minimal": "hg38", "GRCm39": "mm39", "mm10-minimal": "mm10"}
# Most files on these are archived, because ENCODE has remade them on the next assembly.
OLD_ASSEMBLIES = ("hg19", "mm9", "dm3", "ce10")

FILETYPES = {"bigWig": "bigwig", "bigBed": "bigbed"}  # by the portal's file format
PUBLIC_STATUSES = ("released", "archived")
REFUSALS = {
    "revoked": "ENCODE has revoked it, so it should not be used",
    "replaced": "ENCODE has replaced it with another",
    "deleted": "ENCODE has deleted it",
}

_ACCESSION = re.compile(r"\b(?:ENC|TST)(FF|SR)(?:\d{3}[A-Z]{3}|\d{6})\b")
_OTHER_STRAND = {"+": "-", "-": "+"}


@dataclass(frozen=True)
class SearchTerms:
    """Terms to search for, as the portal writes them; assay and assembly may be the catalogue's. Empty means any."""

    text: str = ""
    assay: str = ""
    biosample: str = ""
    target: str = ""
    assembly: str = ""
    output_type: str = ""


@dataclass(frozen=True)
class AddOptions:
    """How to add a file.

    download : copy the file into the site, instead of reading it from ENCODE's bucket
    assembly : the site's own by default
    output_type : which signal of an experiment to take, instead of the preferred one
    uid : the accession by default
    """

    download: bool = False
    assembly: str = ""
    output_type: str = ""
    uid: str = ""


class PortalMatch(NamedTuple):
    """A file to add, its experiment, and the site's name of its assembly."""

    file: PortalFile
    dataset: Dataset
    assembly: str


def open_portal(site: Site) -> Portal:
    """The portal that the site's settings name, with the site's cache."""
    return Portal(site.settings.encode_url, site.cache / "encode")


def common_name(assembly: str) -> str:
    """Translate the portal's name of an assembly to the common one: `GRCh38` -> `hg38`."""
    return COMMON_NAMES.get(assembly, assembly)


def search_files(portal: Portal, terms: SearchTerms, limit: int) -> tuple[int, list[PortalFile]]:
    """Search for bigWigs.

    Returns how many match, and the first `limit` of them: files of an experiment together, its preferred file first.
    """
    assembly = common_name(terms.assembly)
    query: dict[str, Any] = {
        "searchTerm": terms.text,
        "assay_title": ENCODE_TITLES.get(terms.assay.upper(), terms.assay),
        "biosample_ontology.term_name": terms.biosample,
        "target.label": terms.target,
        "output_type": terms.output_type,
        "assembly": assembly and [assembly, *(name for name, common in COMMON_NAMES.items() if common == assembly)],
        "file_format": "bigWig",
        "status": PUBLIC_STATUSES if assembly in OLD_ASSEMBLIES else PUBLIC_STATUSES[:1],
    }
    total, files = find_files(portal, {key: value for key, value in query.items() if value}, limit)
    experiments = list(dict.fromkeys(file.dataset for file in files))
    files.sort(key=_preference, reverse=True)
    return total, sorted(files, key=lambda file: experiments.index(file.dataset))


def choose_files(files: Sequence[PortalFile], assembly: str, output_type: str = "") -> list[PortalFile]:
    """Choose the preferred file of an experiment, or both strands of a stranded one.

    Files on the assembly are ordered by: released before archived; signal (ChIP: fold change over control; DNase and
    ATAC: read-depth normalized; RNA: unique reads); the portal's preferred default; most replicates pooled; newest
    analysis.

    Parameters
    ----------
    output_type
        Choose this signal instead, or peaks (a bigBed), as the portal calls it; the strand may be left out.

    Raises
    ------
    InvalidRequest
        There is no such file; the message lists the assemblies or output types there are.
    """
    readable = [f for f in files if f.url and f.file_format in FILETYPES and f.status in PUBLIC_STATUSES]
    kind = f"'{output_type}'" if output_type else "bigWig"
    matches = [file for file in readable if _matches(file, output_type)]
    candidates = [file for file in matches if common_name(file.assembly) == common_name(assembly)]
    if not matches:
        types = sorted({file.output_type for file in readable})
        raise InvalidRequest(
            f"It has no {kind} that can be shown; the output types of its bigWigs and bigBeds: {listing(types, 20)}."
        )
    if not candidates:
        others = sorted({common_name(file.assembly) for file in matches})
        raise InvalidRequest(f"It has no {kind} on {assembly}, but has one on {listing(others)} (--assembly).")
    best = max(candidates, key=_preference)
    opposite = [f for f in candidates if (f.signal, f.strand) == (best.signal, _OTHER_STRAND.get(best.strand))]
    mates = sorted(
        opposite, key=lambda f: (f.replicates == best.replicates, f.analysis == best.analysis, *_preference(f))
    )
    return sorted([best, *mates[-1:]], key=lambda file: file.strand)


def _matches(file: PortalFile, output_type: str) -> bool:
    return output_type in (file.output_type, file.signal) if output_type else file.file_format == "bigWig"


def _preference(file: PortalFile) -> tuple[bool, int, bool, int, tuple[int, ...], str]:
    """Sort key of `choose_files`; the greatest is preferred."""
    rank = signal_rank(file.assay, file.signal)
    return file.status == "released", -rank, file.preferred, len(file.replicates), file.analysis, file.created


def add_files(
    site: Site, portal: Portal, accessions: Iterable[str], options: AddOptions, report: Progress
) -> AddResult:
    """Check files and add them to the catalogue; a file that fails is reported, and the others are added.

    Parameters
    ----------
    accessions
        For a file (ENCFF...), add it. For an experiment (ENCSR...), add its preferred file, or both strands. The
        address of its page on the portal works too.
    report
        Called with the bytes downloaded so far and the size of the file.

    Raises
    ------
    Unavailable
        The portal cannot be reached; nothing is added.
    InvalidRequest
        One uid is given for several files.
    """
    site.check_writable()
    matches: dict[str, PortalMatch] = {}
    faults, records = [], []
    for text in dict.fromkeys(accessions):
        try:
            matches |= {match.file.accession: match for match in _match_accession(site, portal, text, options)}
        except (NotFound, InvalidRequest, DataError) as error:
            faults.append(f"{text}: {error}")
    if options.uid and len(matches) > 1:
        raise InvalidRequest(
            f"{listing(matches)} cannot all have the uid '{options.uid}'; without --uid each has its accession."
        )
    for accession, match in matches.items():
        try:
            records.append(_prepare_record(site, match, options, report))
        except TrackserverError as error:
            faults.append(f"{accession}: {error}")
    return AddResult(site.catalogue.put_tilesets(records), faults)


def _match_accession(site: Site, portal: Portal, text: str, options: AddOptions) -> list[PortalMatch]:
    """Find the files that an accession stands for, and check that they are public and on an assembly of the site."""
    accession = _ACCESSION.search(text.upper())
    if not accession:
        raise InvalidRequest(
            "this is not an ENCODE accession; write a file's, such as ENCFF136DBS, or an experiment's, such as "
            "ENCSR000EOT."
        )
    if accession[1] == "FF":
        return [_match_file(site, portal, accession[0], options)]
    assembly = _site_name(site, options.assembly or site.default_assembly)
    dataset = read_dataset(portal, f"/{accession[0]}/")
    _check_public(dataset.status, "look for another with `trackserver encode search`")
    _, files = find_files(portal, {"dataset": dataset.path, "status": PUBLIC_STATUSES}, "all")
    return [PortalMatch(file, dataset, assembly) for file in choose_files(files, assembly, options.output_type)]


def _match_file(site: Site, portal: Portal, accession: str, options: AddOptions) -> PortalMatch:
    file = read_file(portal, accession)
    hint = f"`trackserver encode add {file.experiment}` adds the preferred file of its experiment"
    if file.accession != accession:
        raise InvalidRequest(f"ENCODE has replaced it with {file.accession}; add that one.")
    _check_public(file.status, hint)
    if file.file_format not in FILETYPES:
        raise InvalidRequest(f"This is a {file.file_format} ({file.output_type}), not a bigWig; {hint}.")
    if not file.url:
        raise InvalidRequest(f"ENCODE does not distribute this file, because it is restricted or lost; {hint}.")
    assembly, names = common_name(file.assembly), listing(site.assembly_names)
    if assembly not in map(common_name, site.assembly_names):
        raise InvalidRequest(f"It is on {assembly}, but this site has {names}; {hint}.")
    if options.assembly and common_name(options.assembly) != assembly:
        raise InvalidRequest(f"It is on {assembly}, not on {options.assembly}; {hint}.")
    dataset = read_dataset(portal, file.dataset)
    _check_public(dataset.status, "look for another experiment with `trackserver encode search`")
    return PortalMatch(file, dataset, _site_name(site, assembly))


def _site_name(site: Site, assembly: str) -> str:
    """The site's name of an assembly."""
    for name in site.assembly_names:
        if common_name(name) == common_name(assembly):
            return name
    raise UnknownAssembly(assembly, site.assembly_names)


def _check_public(status: str, hint: str) -> None:
    if status not in PUBLIC_STATUSES:
        raise InvalidRequest(f"{REFUSALS.get(status, f'ENCODE has not released it (its status is {status})')}; {hint}.")


def _prepare_record(site: Site, match: PortalMatch, options: AddOptions, report: Progress) -> TilesetRecord:
    """Check a file, download it if asked to, and make its record."""
    record = _make_record(match, options.uid or match.file.accession)
    check_uid(record.uid)
    for known in site.catalogue.tilesets(uid=record.uid):
        if known.accession != record.accession:
            raise InvalidRequest(
                f"The uid '{known.uid}' already belongs to another file ({known.path}); choose another with --uid."
            )
    if options.download:
        return _download(site, record, match.file, report)
    return _attach(site, record, match.file)


def _attach(site: Site, record: TilesetRecord, file: PortalFile) -> TilesetRecord:
    """Check the first bytes of a remote file, which stays where it is, and complete its record."""
    source = open_remote(record.path, None)
    if file.size and source.size != file.size:
        raise DataError(
            f"{source.name} has {source.size:,} bytes, but the portal says {file.size:,}; report this to ENCODE."
        )
    bbi = open_bigwig(source) if record.filetype == "bigwig" else open_bigbed(source)
    check_chromosomes(bbi, site.assembly(record.assembly))
    return replace(record, size=source.size)


def _download(site: Site, record: TilesetRecord, file: PortalFile, report: Progress) -> TilesetRecord:
    """Copy a file into the site, read all of it, and complete its record; the copy is removed if it does not fit."""
    if not file.md5:
        raise DataError("ENCODE gives no checksum for it, so a copy could not be checked; add it without --download.")
    path = site.tilesets / "encode" / f"{file.accession}.{file.file_format}"
    download_file(file.url, path, f"md5:{file.md5}", report)
    try:
        return check_tileset(site, replace(record, path=str(path)))
    except TrackserverError:
        path.unlink()
        raise


def _make_record(match: PortalMatch, uid: str) -> TilesetRecord:
    file, dataset, assembly = match
    filetype = FILETYPES[file.file_format]
    return TilesetRecord(
        uid=uid,
        name=_display_name(file),
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
                "retrieved": datetime.now(UTC).date().isoformat(),
            },
        },
    )


def _display_name(file: PortalFile) -> str:
    """`DNase-seq K562 (ENCFF136DBS)`, `total RNA-seq K562 + (ENCFF000AAA)`; predictions and peaks name their type."""
    sign = {"+": "+", "-": "−"}.get(file.strand, "")
    is_signal = file.file_format == "bigWig" and file.kind == "observed"
    words = [file.assay, file.target, file.biosample, "" if is_signal and file.assay else file.signal, sign]
    return f"{' '.join(filter(None, words))} ({file.accession})"
