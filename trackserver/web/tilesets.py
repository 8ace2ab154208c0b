"""HiGlass's API besides tiles: chromosome sizes, gene suggestions, the catalogue, and routes of its old server."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, jsonify, request, url_for

from trackserver.catalogue.facets import FACETS, TilesetQuery, normalise_facets
from trackserver.catalogue.pairs import TrackPair
from trackserver.catalogue.store import TilesetRecord
from trackserver.catalogue.tilesets import assembly_records
from trackserver.catalogue.uids import CHROMSIZES, GENES
from trackserver.errors import InvalidRequest, NotOffered, UnknownTileset, listing
from trackserver.genome.genes import Gene
from trackserver.tiles.annotation import importance
from trackserver.web.state import here, query_number

blueprint = Blueprint("tilesets", __name__, url_prefix="/api/v1")

DEFAULT_LIMIT, MAX_LIMIT = 100, 10_000  # tilesets a page; HiGlass's dialog requests 10,000
MAX_OFFSET = 10**9
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
    results = [
        _record_json(record, None) for record in assembly_records(here().site) if record.datatype == "chromsizes"
    ]
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
    """The catalogue, by facets or by higlass-server's parameters.

    `ac` is text, `t` and `dt` are types, `o` is the order and `r` reverses it.
    """
    query, pairs = _tileset_query(), here().listing.pairs()
    offset, limit = query_number("offset", 0, MAX_OFFSET), query_number("limit", DEFAULT_LIMIT, MAX_LIMIT)
    records = here().listing.find(query)
    return jsonify(
        count=len(records),
        next=_page_url(offset + limit, limit) if limit and offset + limit < len(records) else None,
        previous=_page_url(max(0, offset - limit), limit) if offset else None,
        results=[_record_json(record, pairs.get(record.uid)) for record in records[offset : offset + limit]],
    )


@blueprint.get("/tilesets/<uid>/")
def tileset(uid: str) -> Response:
    record = here().listing.tileset(uid)
    return jsonify(**_record_json(record, here().listing.pairs().get(uid)), provenance=record.provenance)


@blueprint.get("/facets/")
def facets() -> Response:
    """Counts of tilesets by assay, biosample and so on; takes the same parameters as the catalogue."""
    return jsonify(here().listing.count(_tileset_query()).as_json())


def _tileset_query() -> TilesetQuery:
    """Read which tilesets the request's query selects."""
    order = request.args.get("o", "name")
    if order not in ORDERS:
        raise InvalidRequest(f"Tilesets have no order '{order}'; they have {listing(ORDERS)}.")
    facets = {name: request.args.getlist(name) for name in FACETS}
    # A plus that was not written as %2B arrives as a blank.
    facets["strand"] = ["+" if value == " " else value for value in facets["strand"]]
    return TilesetQuery(
        text=request.args.get("ac", ""),
        filetypes=tuple(request.args.getlist("t")),
        datatypes=tuple(request.args.getlist("dt")),
        facets=normalise_facets(facets),
        order=ORDERS[order],
        descending=bool(request.args.get("r")),
    )


@blueprint.get("/fragments_by_loci/", defaults={"route": "fragments_by_loci"})
@blueprint.post("/fragments_by_loci/", defaults={"route": "fragments_by_loci"})
@blueprint.get("/uids_by_filename/", defaults={"route": "uids_by_filename"})
@blueprint.get("/link_tile/", defaults={"route": "link_tile"})
@blueprint.post("/link_tile/", defaults={"route": "link_tile"})
def not_offered(route: str) -> Response:
    raise NotOffered(f"This server does not offer {route}, which HiGlass's old server had; see /docs for its routes.")


def _page_url(offset: int, limit: int) -> str:
    query = request.args.to_dict(flat=False) | {"offset": [str(offset)], "limit": [str(limit)]}
    return url_for("tilesets.tilesets", _external=True, **query)  # type: ignore[arg-type]


def _record_json(record: TilesetRecord, pair: TrackPair | None) -> dict[str, Any]:
    group = f"Predicted by {record.model}" if record.model else record.kind.capitalize()
    return {
        "uuid": record.uid, "name": record.name, "datatype": record.datatype, "filetype": record.filetype,
        "coordSystem": record.assembly, "coordSystem2": "", "private": False, "owner": "", "project_owner": "",
        "project_name": group, "description": "", "created": record.created.isoformat(),
        "kind": record.kind, "assay": record.assay, "biosample": record.biosample, "target": record.target,
        "strand": record.strand, "accession": record.accession, "source": record.source, "model": record.model,
        "track_index": record.track_index, "original": record.provenance.get("original", {}),
        "pair": pair and pair.other(record.uid), "pair_reason": pair and pair.reason,
        "pair_confidence": pair and pair.confidence,
    }  # fmt: skip
