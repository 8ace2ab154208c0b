"""What the ENCODE portal says of a file and of the experiment it belongs to.

Its JSON is taken as it comes: fields may be missing, a list may stand where a string is expected, and an object that is
linked may be there itself or only as its path.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar
from urllib.parse import urljoin

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from trackserver.catalogue.store import OBSERVED, PREDICTED
from trackserver.encode.portal import Portal, Query
from trackserver.errors import DataError
from trackserver.validation import first_problem


@dataclass(frozen=True)
class PortalFile:
    """A file as the portal describes it, in the portal's words; what it does not say is empty.

    dataset : path of the experiment (or annotation) it belongs to
    biosample_id : the biosample's term in its ontology, such as EFO:0002067
    lab : who made this file, which may be ENCODE's own pipelines
    replicates : the biological replicates it was made of
    size : bytes
    md5 : hexadecimal
    url : where everybody reads it; empty where ENCODE gives it to nobody
    analysis : version of the ENCODE pipeline, such as (4, 1, 6, 0); empty where it is a lab's own
    """

    accession: str
    dataset: str
    status: str
    file_format: str
    output_type: str
    assembly: str
    assay: str
    biosample: str
    biosample_id: str
    target: str
    lab: str
    replicates: tuple[int, ...]
    size: int
    md5: str
    url: str
    preferred: bool
    analysis: tuple[int, ...]
    created: str

    @property
    def experiment(self) -> str:
        return _last(self.dataset)

    @property
    def strand(self) -> str:
        found = _STRAND.search(self.output_type)
        return {"plus": "+", "minus": "-"}[found[1]] if found else "."

    @property
    def signal(self) -> str:
        """Its output type, the same on both strands."""
        return " ".join(_STRAND.sub(" ", self.output_type).split())

    @property
    def kind(self) -> str:
        return PREDICTED if _PREDICTED.search(self.output_type) else OBSERVED


@dataclass(frozen=True)
class Dataset:
    """An experiment or annotation; `lab` is who produced the data."""

    path: str
    accession: str
    status: str
    lab: str


_STRAND = re.compile(r"\(?\b(plus|minus) strand\b\)?")
_PREDICTED = re.compile(r"\bpredicted\b|sequence contribution scores")
_PIPELINE = re.compile(r"ENCODE(\d+)(?: v([\d.]*\d))?")
_TERM = re.compile(r"_([A-Za-z]+)_(\d+)$")

# A search says no more of a file than what it is asked for; checksums and addresses are not among what it says unasked.
FIELDS = (
    "accession", "dataset", "status", "file_format", "output_type", "assembly", "assay_title", "assay_term_name",
    "biosample_ontology.term_name", "biosample_ontology.term_id", "simple_biosample_summary", "target.label",
    "targets.label", "lab.title", "biological_replicates", "file_size", "md5sum", "href", "cloud_metadata.url",
    "cloud_metadata.md5sum_base64", "preferred_default", "analyses.title", "date_created", "restricted",
    "no_file_available",
)  # fmt: skip


def read_file(portal: Portal, accession: str) -> PortalFile:
    """A file by its accession; one that has been replaced is the one in its place."""
    return _file(portal, portal.get(f"/files/{accession}/", {"frame": "embedded"}))


def find_files(portal: Portal, query: Query, limit: int | str) -> tuple[int, list[PortalFile]]:
    """How many files there are with these properties, and the first of them; `limit` "all" for every one."""
    answer = portal.get("/search/", {"type": "File", **query, "field": FIELDS, "limit": limit})
    rows = answer.get("@graph", [])
    return answer.get("total", len(rows)), [_file(portal, row) for row in rows]


def read_dataset(portal: Portal, path: str) -> Dataset:
    """An experiment or annotation by its path, or by `/ENCSR.../`."""
    body = portal.get(path, {"frame": "object"})  # embedded it is megabytes, for its files come along
    found = _valid(_Dataset, body, path)
    lab = found.lab
    if lab.path and not lab.title:
        lab = _valid(_Linked, portal.get(lab.path, {"frame": "object"}), lab.path)
    return Dataset(found.path or path, found.accession, found.status, lab.title)


def _text(value: Any) -> Any:
    """A list of words as one text."""
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "" if value is None else value


def _object(value: Any) -> Any:
    """A linked object; of one that is only named by its path, that."""
    if isinstance(value, list):
        value = value[0] if value else None
    return {"@id": value} if isinstance(value, str) else value or {}


def _objects(value: Any) -> Any:
    return [_object(item) for item in (value if isinstance(value, list) else [value] if value else [])]


def _several(value: Any) -> Any:
    return value if isinstance(value, list) else [] if value is None else [value]


Text = Annotated[str, BeforeValidator(_text)]
Accession = Annotated[str, Field(pattern="^[A-Z0-9]{5,20}$")]  # it becomes a file's name


M = TypeVar("M", bound=BaseModel)


class _Said(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class _Linked(_Said):
    path: Text = Field(default="", validation_alias="@id")
    title: Text = ""
    label: Text = ""
    term_name: Text = ""
    term_id: Text = ""

    @property
    def term(self) -> str:
        """`EFO:0002067`, also of `/biosample-types/cell_line_EFO_0002067/`."""
        found = _TERM.search(_last(self.path))
        return self.term_id or (f"{found[1]}:{found[2]}" if found else "")

    @property
    def factor(self) -> str:
        """`GATA1`, also of `/targets/GATA1-human/`."""
        return self.label or _last(self.path).rpartition("-")[0]


Linked = Annotated[_Linked, BeforeValidator(_object)]


class _Cloud(_Said):
    url: Text = ""
    md5sum_base64: Text = ""


class _File(_Said):
    accession: Accession
    status: Text = ""
    dataset: Linked = _Linked()
    file_format: Text = ""
    output_type: Text = ""
    assembly: Text = ""
    assay_title: Text = ""
    assay_term_name: Text = ""
    biosample_ontology: Linked = _Linked()
    simple_biosample_summary: Text = ""
    target: Linked = _Linked()
    targets: Annotated[list[_Linked], BeforeValidator(_objects)] = []
    lab: Linked = _Linked()
    biological_replicates: Annotated[tuple[int, ...], BeforeValidator(_several)] = ()
    file_size: int | None = None
    md5sum: Text = ""
    href: Text = ""
    cloud_metadata: Annotated[_Cloud, BeforeValidator(_object)] = _Cloud()
    preferred_default: bool | None = None
    analyses: Annotated[list[_Linked], BeforeValidator(_objects)] = []
    date_created: Text = ""
    restricted: bool | None = None
    no_file_available: bool | None = None


class _Dataset(_Said):
    path: Text = Field(default="", validation_alias="@id")
    accession: Accession
    status: Text = ""
    lab: Linked = _Linked()


def _valid(model: type[M], body: object, of: str) -> M:
    try:
        return model.model_validate(body)
    except ValidationError as error:
        raise DataError(f"What the ENCODE portal says of {of} cannot be read: {first_problem(error)}.") from None


def _file(portal: Portal, row: dict[str, Any]) -> PortalFile:
    said = _valid(_File, row, row.get("@id", "a file"))
    given = not (said.restricted or said.no_file_available)
    place = said.cloud_metadata.url or (said.href and urljoin(f"{portal.url}/", said.href))
    return PortalFile(
        accession=said.accession,
        dataset=said.dataset.path,
        status=said.status,
        file_format=said.file_format,
        output_type=said.output_type,
        assembly=said.assembly,
        assay=said.assay_title or said.assay_term_name,
        biosample=said.biosample_ontology.term_name or said.simple_biosample_summary,
        biosample_id=said.biosample_ontology.term,
        target=said.target.factor or ", ".join(target.factor for target in said.targets),
        lab=said.lab.title or _last(said.lab.path),
        replicates=said.biological_replicates,
        size=said.file_size or 0,
        md5=said.md5sum or _hexadecimal(said.cloud_metadata.md5sum_base64),
        url=place if given else "",
        preferred=bool(said.preferred_default),
        analysis=max((_pipeline(analysis.title) for analysis in said.analyses), default=()),
        created=said.date_created,
    )


def _hexadecimal(md5_base64: str) -> str:
    try:
        return base64.b64decode(md5_base64, validate=True).hex()
    except binascii.Error:
        return ""


def _pipeline(title: str) -> tuple[int, ...]:
    """`ENCODE4 v1.6.0 GRCh38` -> (4, 1, 6, 0)."""
    found = _PIPELINE.search(title)
    return tuple(int(number) for number in f"{found[1]}.{found[2] or 0}".split(".")) if found else ()


def _last(path: str) -> str:
    return path.strip("/").rpartition("/")[2]
