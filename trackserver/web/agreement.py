"""Agreement of predicted and observed tracks: in the loci of a request, and genome-wide where it was computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from flask import Blueprint, Response, jsonify, request

from trackserver.agreement.compare import ComparedPair, compare, open_pair, peaks_from_tileset, stored_agreement
from trackserver.agreement.figures import Agreement
from trackserver.errors import InvalidRequest
from trackserver.genome.locus import Locus, parse_locus
from trackserver.web.state import here, query_number

blueprint = Blueprint("agreement", __name__, url_prefix="/api/v1")

MAX_BASES, MAX_BINS = 20_000_000, 10_000  # in one request, so that it takes a fraction of a second
MAX_BIN_WIDTH = 1_000_000  # bp


@blueprint.get("/agreement/")
def agreement() -> Response:
    """Figures for each repeated `locus`; without one, only the genome-wide figures."""
    tilesets, uid = here().tilesets, request.args.get("peaks")
    peaks = peaks_from_tileset(tilesets, uid) if uid else None
    pair = open_pair(tilesets, _uid("predicted"), _uid("observed"), peaks)
    loci = [pair.assembly.check(parse_locus(text)) for text in request.args.getlist("locus")]
    return jsonify(
        **pair.names,
        loci=[asdict(locus) for locus in loci],
        figures=asdict(_figures(pair, loci)) if loci else None,
        genome=stored_agreement(here().site, pair),
    )


def _uid(name: str) -> str:
    uid = request.args.get(name, "")
    if not uid:
        raise InvalidRequest(
            "Name the tilesets to compare: ?predicted=UID&observed=UID&locus=chr1:1,000,001-2,000,000."
        )
    return uid


def _figures(pair: ComparedPair, loci: Sequence[Locus]) -> Agreement:
    n_bases = sum(map(len, loci))
    if n_bases > MAX_BASES:
        raise InvalidRequest(
            f"{n_bases:,} bp is more than the server compares in one request ({MAX_BASES:,} bp); zoom in, or run "
            f"`trackserver agree {pair.predicted.uid} {pair.observed.uid}`."
        )
    default_width = pair.bin_width(loci, MAX_BINS)
    width = query_number("bin", default_width, MAX_BIN_WIDTH, minimum=1)
    if pair.n_bins(loci, width) > MAX_BINS:
        raise InvalidRequest(
            f"{n_bases:,} bp in bins of {width:,} bp would be more than {MAX_BINS:,} bins; use bins of "
            f"{default_width:,} bp or wider."
        )
    return compare(pair, loci, width)
