"""Records of the ENCODE portal: files, and the experiments they belong to.

The portal's JSON varies: fields may be missing, a list may stand in place of a string, and a linked object may be
embedded or given by its path.
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
    """A file as the portal describes it, in the portal's terms; missing values are empty.

    dataset : path of the experiment (or annotation) it belongs to
    biosample_id : ontology term of the biosample, such as EFO:0002067
    lab : who made this file, which may be ENCODE's own pipelines
    replicates : the biological replicates it was made from
    size : bytes
    md5 : hexadecimal
    url : public address; empty if ENCODE does not distribute the file
    analysis : version of the ENCODE pipeline, such as (4, 1, 6, 0); empty for a lab's own analysis
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
        return _last_part(self.dataset)

    @property
    def strand(self) -> str:
        match = _STRAND.search(self.output_type)
        return {"plus": "+", "minus": "-"}[match[1]] if match else "."

    @property
    def signal(self) -> str:
        """The output type without the strand."""
        return " ".join(_STRAND.sub(" ", self.output_type).split())

    @property
    def kind(self) -> str:
        return PREDICTED if _PREDICTED.search(self.output_type) else OBSERVED


@dataclass(frozen=True)
class Dataset:
    """An experiment or annotation; `lab` produced the data."""

    path: str
    accession: str
    status: str
    lab: str


_STRAND = re.compile(r"\(?\b(plus|minus) strand\b\)?")
_PREDICTED = re.compile(r"\bpredicted\b|sequence contribution scores")
_PIPELINE = re.compile(r"ENCODE(\d+)(?: v([\d.]*\d))?")
_TERM = re.compile(r"_([A-Za-z]+)_(\d+)$")

# Fields to request in a search; by default the portal leaves out checksums and addresses.
FIELDS = (
    "accession", "dataset", "status", "file_format", "output_type", "assembly", "assay_title", "assay_term_name",
    "biosample_ontology.term_name", "biosample_ontology.term_id", "simple_biosample_summary", "target.label",
    "targets.label", "lab.title", "biological_replicates", "file_size", "md5sum", "href", "cloud_metadata.url",
    "cloud_metadata.md5sum_base64", "preferred_default", "analyses.title", "date_created", "restricted",
    "no_file_available",
)  # fmt: skip


def read_file(portal: Portal, accession: str) -> PortalFile:
    """Read a file's record by accession. The portal redirects a replaced accession to the new file."""
    return _to_file(portal, portal.get(f"/files/{accession}/", {"frame": "embedded"}))


def find_files(portal: Portal, query: Query, limit: int | str) -> tuple[int, list[PortalFile]]:
    """Search for files. Returns how many match, and the first `limit` of them; the limit may be "all"."""
    response = portal.get("/search/", {"type": "File", **query, "field": FIELDS, "limit": limit})
    rows = response.get("@graph", [])
    return response.get("total", len(rows)), [_to_file(portal, row) for row in rows]


def read_dataset(portal: Portal, path: str) -> Dataset:
    """Read an experiment or annotation by its path, such as `/ENCSR.../`."""
    body = portal.get(path, {"frame": "object"})  # frame=embedded would include its files, megabytes of them
    dataset = _validate(_Dataset, body, path)
    lab = dataset.lab
    if lab.path and not lab.title:
        lab = _validate(_Linked, portal.get(lab.path, {"frame": "object"}), lab.path)
    return Dataset(dataset.path or path, dataset.accession, dataset.status, lab.title)


def _text(value: Any) -> Any:
    """Join a list of words."""
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "" if value is None else value


def _object(value: Any) -> Any:
    """A linked object, or an object that holds only its path."""
    if isinstance(value, list):
        value = value[0] if value else None
    return {"@id": value} if isinstance(value, str) else value or {}


def _objects(value: Any) -> Any:
    return [_object(item) for item in (value if isinstance(value, list) else [value] if value else [])]


def _as_list(value: Any) -> Any:
    return value if isinstance(value, list) else [] if value is None else [value]


Text = Annotated[str, BeforeValidator(_text)]
Accession = Annotated[str, Field(pattern="^[A-Z0-9]{5,20}$")]  # strict, because it becomes a file name


M = TypeVar("M", bound=BaseModel)


class _PortalModel(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class _Linked(_PortalModel):
    path: Text = Field(default="", validation_alias="@id")
    title: Text = ""
    label: Text = ""
    term_name: Text = ""
    term_id: Text = ""

    @property
    def term(self) -> str:
        """`EFO:0002067`; taken from the path `/biosample-types/cell_line_EFO_0002067/` if need be."""
        match = _TERM.search(_last_part(self.path))
        return self.term_id or (f"{match[1]}:{match[2]}" if match else "")

    @property
    def factor(self) -> str:
        """`GATA1`; taken from the path `/targets/GATA1-human/` if need be."""
        return self.label or _last_part(self.path).rpartition("-")[0]


Linked = Annotated[_Linked, BeforeValidator(_object)]


class _Cloud(_PortalModel):
    url: Text = ""
    md5sum_base64: Text = ""


class _File(_PortalModel):
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
    biological_replicates: Annotated[tuple[int, ...], BeforeValidator(_as_list)] = ()
    file_size: int | None = None
    md5sum: Text = ""
    href: Text = ""
    cloud_metadata: Annotated[_Cloud, BeforeValidator(_object)] = _Cloud()
    preferred_default: bool | None = None
    analyses: Annotated[list[_Linked], BeforeValidator(_objects)] = []
    date_created: Text = ""
    restricted: bool | None = None
    no_file_available: bool | None = None


class _Dataset(_PortalModel):
    path: Text = Field(default="", validation_alias="@id")
    accession: Accession
    status: Text = ""
    lab: Linked = _Linked()


def _validate(model: type[M], body: object, name: str) -> M:
    try:
        return model.model_validate(body)
    except ValidationError as error:
        raise DataError(f"Cannot read the ENCODE portal's record of {name}: {first_problem(error)}.") from None


def _to_file(portal: Portal, row: dict[str, Any]) -> PortalFile:
    file = _validate(_File, row, row.get("@id", "a file"))
    is_available = not (file.restricted or file.no_file_available)
    url = file.cloud_metadata.url or (file.href and urljoin(f"{portal.url}/", file.href))
    return PortalFile(
        accession=file.accession,
        dataset=file.dataset.path,
        status=file.status,
        file_format=file.file_format,
        output_type=file.output_type,
        assembly=file.assembly,
        assay=file.assay_title or file.assay_term_name,
        biosample=file.biosample_ontology.term_name or file.simple_biosample_summary,
        biosample_id=file.biosample_ontology.term,
        target=file.target.factor or ", ".join(target.factor for target in file.targets),
        lab=file.lab.title or _last_part(file.lab.path),
        replicates=file.biological_replicates,
        size=file.file_size or 0,
        md5=file.md5sum or _hexadecimal(file.cloud_metadata.md5sum_base64),
        url=url if is_available else "",
        preferred=bool(file.preferred_default),
        analysis=max((_pipeline(analysis.title) for analysis in file.analyses), default=()),
        created=file.date_created,
    )


def _hexadecimal(md5_base64: str) -> str:
    try:
        return base64.b64decode(md5_base64, validate=True).hex()
    except binascii.Error:
        return ""


def _pipeline(title: str) -> tuple[int, ...]:
    """`ENCODE4 v1.6.0 GRCh38` -> (4, 1, 6, 0)."""
    match = _PIPELINE.search(title)
    return tuple(int(number) for number in f"{match[1]}.{match[2] or 0}".split(".")) if match else ()


def _last_part(path: str) -> str:
    return path.strip("/").rpartition("/")[2]
