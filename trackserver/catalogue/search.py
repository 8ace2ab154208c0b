"""Search for a variant, a locus or a gene."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from trackserver.catalogue.read_variants import haplotype_parts, single_variant
from trackserver.catalogue.site import Site
from trackserver.errors import BadLocus, InvalidRequest, NothingFound, UnknownChromosome, shorten
from trackserver.genome.assembly import Assembly
from trackserver.genome.genes import Gene
from trackserver.genome.locus import Locus, parse_locus
from trackserver.genome.variant import Variant

VARIANT_MARGIN_BP = 5_000  # shown on each side of a variant
POSITION_MARGIN_BP = 500  # shown on each side of a single position


def search(site: Site, text: str, assembly_name: str) -> dict[str, Any]:
    """Interpret a search: its `kind`, the locus to show, a `label`, and the variants if there are any.

    Several variants of one haplotype are joined by `+`.

    Raises
    ------
    BadVariant, BadLocus, UnknownChromosome
        It looks like a variant or a locus, but is not valid on this assembly.
    NothingFound
        It is neither, and no gene has this name.
    """
    query = text.strip()
    if not query:
        raise InvalidRequest("Type a gene, a locus or a variant.")
    assembly = site.assembly(assembly_name)
    if parts := haplotype_parts(query):
        return _variants(query, assembly, [single_variant(site, assembly_name, part) for part in parts])
    if gene := _gene(site, assembly_name, query):
        return _result(query, assembly, "gene", _widen(assembly, gene.locus, len(gene.locus) // 4), gene.name)
    locus = _locus(query, assembly)
    shown = _widen(assembly, locus, POSITION_MARGIN_BP) if len(locus) == 1 else locus
    return _result(query, assembly, "locus", shown, str(locus))


def _variants(query: str, assembly: Assembly, variants: list[Variant]) -> dict[str, Any]:
    first = min(variants)
    end = max(variant.end for variant in variants if variant.chrom == first.chrom)
    locus = _widen(assembly, Locus(first.chrom, first.start, end), VARIANT_MARGIN_BP)
    labels = [f"{v.chrom}:{v.position:,} {shorten(v.ref, 12)}>{shorten(v.alt, 12)}" for v in variants]
    described = [{"text": str(variant), **asdict(variant)} for variant in variants]
    result = _result(query, assembly, "variant", locus, " + ".join(labels))
    return result | {"variant": described[0], "variants": described}


def _gene(site: Site, assembly: str, name: str) -> Gene | None:
    genes = site.reference(assembly).genes()
    if not genes:
        return None
    if exact := genes.by_name(name):
        return exact
    return next(iter(genes.search(name, limit=1)), None) if name.isalnum() and ":" not in name else None


def _locus(query: str, assembly: Assembly) -> Locus:
    try:
        chrom = assembly.resolve(query)
        return Locus(chrom, 0, assembly.chromsizes[chrom])
    except UnknownChromosome:
        pass
    try:
        return assembly.check(parse_locus(query))
    except BadLocus:
        if ":" in query:
            raise
        raise NothingFound(query, assembly.name) from None


def _widen(assembly: Assembly, locus: Locus, margin: int) -> Locus:
    size = assembly.chromsizes[locus.chrom]
    return Locus(locus.chrom, max(0, locus.start - margin), min(size, locus.end + margin))


def _result(query: str, assembly: Assembly, kind: str, locus: Locus, label: str) -> dict[str, Any]:
    return {"query": query, "kind": kind, **asdict(locus), "label": label, "assembly": assembly.name}
