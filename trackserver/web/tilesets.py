"""What HiGlass's clients ask besides tiles: chromosome sizes, suggestions, the catalogue, and old clients' extras."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, jsonify, request, url_for

from trackserver.catalogue.facets import FACETS, Wanted, normal
from trackserver.catalogue.pairs import Pair
from trackserver.catalogue.store import TilesetRecord
from trackserver.catalogue.tilesets import assembly_records
from trackserver.catalogue.uids import CHROMSIZES, GENES
from trackserver.errors import InvalidRequest, NotOffered, UnknownTileset, listing
from trackserver.genome.genes import Gene
from trackserver.tiles.annotation import importance
from trackserver.web.state import asked_number, here

blueprint = Blueprint("tilesets", __name__, url_prefix="/api/v1")

PAGE, MOST = 100, 10_000  # tilesets a page; HiGlass's dialog asks for 10,000
MOST_OFFSET = 10**9
ORDERS = {
    "name": "name", "uuid": "uid", "created": "created", "datatype": "datatype", "filetype": "filetype",
    "coordSystem": "assembly",
}  # fmt: skip


@blueprint.get("/chrom-sizes/")
def chrom_sizes() -> Response:
    """`name<TAB>size` lines in drawing order; `type=json` with `cum=1` adds offsets."""
    uid = request.args.get("id", "")
    info = here().tilesets.get(uid or f"{CHROMSIZES}{here().site.default_assembly}").tileset.info()
    if request.args.get("type") != "json":
        lines = "".join(f"{name}\t{size}\n" for name, size in info["chromsizes"])
        return Response(lines, mimetype="text/tab-separated-values")
    sizes, offset = {}, 0
    for name, size in info["chromsizes"]:
        sizes[name] = {"size": size, "offset": offset} if request.args.get("cum") else {"size": size}
        offset += size
    return jsonify(sizes)


@blueprint.get("/available-chrom-sizes/")
def available_chrom_sizes() -> Response:
    results = [_listed(record, None) for record in assembly_records(here().site) if record.datatype == "chromsizes"]
    return jsonify(count=len(results), results=results)


@blueprint.get("/suggest/")
def suggest() -> Response:
    uid = request.args.get("d", "")
    name = uid.removeprefix(GENES)
    site = here().site
    genes = site.reference(name).genes() if uid.startswith(GENES) and name in site.assembly_names else None
    if genes is None:
        raise UnknownTileset(uid)
    return jsonify([_suggestion(gene) for gene in genes.search(request.args.get("ac", ""))])


def _suggestion(gene: Gene) -> dict[str, Any]:
    locus = gene.locus
    return {
        "chr": locus.chrom, "txStart": locus.start, "txEnd": locus.end,
        "score": importance(gene), "geneName": gene.name,
    }  # fmt: skip


@blueprint.get("/tilesets/")
def tilesets() -> Response:
    """The catalogue by higlass-server's words, `ac` text, `t` and `dt` types, `o` order, `r` reversed; or by facets."""
    wanted, pairs = _wanted(), here().listing.pairs()
    offset, limit = asked_number("offset", 0, MOST_OFFSET), asked_number("limit", PAGE, MOST)
    found = here().listing.find(wanted)
    return jsonify(
        count=len(found),
        next=_page(offset + limit, limit) if limit and offset + limit < len(found) else None,
        previous=_page(max(0, offset - limit), limit) if offset else None,
        results=[_listed(record, pairs.get(record.uid)) for record in found[offset : offset + limit]],
    )


@blueprint.get("/tilesets/<uid>/")
def tileset(uid: str) -> Response:
    record = here().listing.tileset(uid)
    return jsonify(**_listed(record, here().listing.pairs().get(uid)), provenance=record.provenance)


@blueprint.get("/facets/")
def facets() -> Response:
    """How many tilesets there are of each assay, biosample and so on; asked as the catalogue is."""
    return jsonify(here().listing.count(_wanted()).described())


def _wanted() -> Wanted:
    """Which tilesets a request's query means."""
    order = request.args.get("o", "name")
    if order not in ORDERS:
        raise InvalidRequest(f"Tilesets have no order '{order}'; they have {listing(ORDERS)}.")
    asked = {name: request.args.getlist(name) for name in FACETS}
    # A plus that was not written as %2B arrives as a blank.
    asked["strand"] = ["+" if value == " " else value for value in asked["strand"]]
    return Wanted(
        text=request.args.get("ac", ""),
        filetypes=tuple(request.args.getlist("t")),
        datatypes=tuple(request.args.getlist("dt")),
        facets=normal(asked),
        order=ORDERS[order],
        backwards=bool(request.args.get("r")),
    )


@blueprint.get("/fragments_by_loci/", defaults={"what": "fragments_by_loci"})
@blueprint.post("/fragments_by_loci/", defaults={"what": "fragments_by_loci"})
@blueprint.get("/uids_by_filename/", defaults={"what": "uids_by_filename"})
@blueprint.get("/link_tile/", defaults={"what": "link_tile"})
@blueprint.post("/link_tile/", defaults={"what": "link_tile"})
def not_offered(what: str) -> Response:
    raise NotOffered(f"This server has no {what}, which HiGlass's old server had; /docs lists what it has.")


def _page(offset: int, limit: int) -> str:
    words = request.args.to_dict(flat=False) | {"offset": [str(offset)], "limit": [str(limit)]}
    return url_for("tilesets.tilesets", _external=True, **words)  # type: ignore[arg-type]


def _listed(record: TilesetRecord, pair: Pair | None) -> dict[str, Any]:
    group = f"Predicted by {record.model}" if record.model else record.kind.capitalize()
    return {
        "uuid": record.uid, "name": record.name, "datatype": record.datatype, "filetype": record.filetype,
        "coordSystem": record.assembly, "coordSystem2": "", "private": False, "owner": "", "project_owner": "",
        "project_name": group, "description": "", "created": record.created.isoformat(),
        "kind": record.kind, "assay": record.assay, "biosample": record.biosample, "target": record.target,
        "strand": record.strand, "accession": record.accession, "source": record.source, "model": record.model,
        "track_index": record.track_index, "said": record.provenance.get("said", {}),
        "pair": pair and pair.other(record.uid), "pair_reason": pair and pair.reason, "pair_sure": pair and pair.sure,
    }  # fmt: skip
