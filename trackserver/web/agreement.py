"""How well predicted and measured tracks agree: in the window a person looks at, and genome-wide where it is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from flask import Blueprint, Response, jsonify, request

from trackserver.agreement.compare import Pair, compare, kept, pair, peaks_of
from trackserver.agreement.figures import Agreement
from trackserver.errors import InvalidRequest
from trackserver.genome.locus import Locus, parse_locus
from trackserver.web.state import asked_number, here

blueprint = Blueprint("agreement", __name__, url_prefix="/api/v1")

MOST_BASES, MOST_BINS = 20_000_000, 10_000  # of one question: what takes a fraction of a second
WIDEST = 1_000_000  # bp a bin


@blueprint.get("/agreement/")
def agreement() -> Response:
    """`locus` may be repeated; without one there are genome-wide figures only."""
    opened, uid = here().tilesets, request.args.get("peaks")
    two = pair(opened, _uid("predicted"), _uid("observed"), peaks_of(opened, uid) if uid else None)
    loci = [two.assembly.check(parse_locus(text)) for text in request.args.getlist("locus")]
    return jsonify(
        **two.named,
        loci=[asdict(locus) for locus in loci],
        figures=asdict(_figures(two, loci)) if loci else None,
        genome=kept(here().site, two),
    )


def _uid(name: str) -> str:
    uid = request.args.get(name, "")
    if not uid:
        raise InvalidRequest(
            "Name the tilesets to compare: ?predicted=UID&observed=UID&locus=chr1:1,000,001-2,000,000."
        )
    return uid


def _figures(two: Pair, loci: Sequence[Locus]) -> Agreement:
    n_bases = sum(map(len, loci))
    if n_bases > MOST_BASES:
        raise InvalidRequest(
            f"{n_bases:,} bp are more than the {MOST_BASES:,} that are compared while somebody waits; come closer, or "
            f"run `trackserver agree {two.predicted.uid} {two.observed.uid}`."
        )
    fitting = two.bin_width(loci, MOST_BINS)
    width = asked_number("bin", fitting, WIDEST, least=1)
    if two.n_bins(loci, width) > MOST_BINS:
        raise InvalidRequest(
            f"{n_bases:,} bp in bins of {width:,} bp are more than {MOST_BINS:,} bins; take {fitting:,} bp a bin."
        )
    return compare(two, loci, width)
