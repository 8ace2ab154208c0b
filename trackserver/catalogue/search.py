"""What people type into one box: a variant, a locus or a gene."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from trackserver.catalogue.read_variants import haplotype_parts, single_variant
from trackserver.catalogue.site import Site
from trackserver.errors import BadLocus, InvalidRequest, NothingFound, UnknownChromosome, shortened
from trackserver.genome.assembly import Assembly
from trackserver.genome.genes import Gene
from trackserver.genome.locus import Locus, parse_locus
from trackserver.genome.variant import Variant

AROUND_VARIANT = 5_000  # bp shown at each side of a variant
AROUND_POSITION = 500  # bp shown at each side of a single position


def search(site: Site, text: str, assembly_name: str) -> dict[str, Any]:
    """What the text means and where to look for it: `kind`, the locus to show, `label`, and the variants if it
    is one, or several on one haplotype joined by `+`.

    Raises
    ------
    BadVariant, BadLocus, UnknownChromosome
        It reads like a variant or a locus, but not on this assembly.
    NothingFound
        It reads like neither, and no gene is called so.
    """
    query = text.strip()
    if not query:
        raise InvalidRequest("Type a gene, a locus or a variant.")
    assembly = site.assembly(assembly_name)
    if written := haplotype_parts(query):
        return _variants(query, assembly, [single_variant(site, assembly_name, part) for part in written])
    if gene := _gene(site, assembly_name, query):
        return _found(query, assembly, "gene", _around(assembly, gene.locus, len(gene.locus) // 4), gene.name)
    locus = _locus(query, assembly)
    shown = _around(assembly, locus, AROUND_POSITION) if len(locus) == 1 else locus
    return _found(query, assembly, "locus", shown, str(locus))


def _variants(query: str, assembly: Assembly, variants: list[Variant]) -> dict[str, Any]:
    first = min(variants)
    end = max(variant.end for variant in variants if variant.chrom == first.chrom)
    locus = _around(assembly, Locus(first.chrom, first.start, end), AROUND_VARIANT)
    labels = [f"{v.chrom}:{v.position:,} {shortened(v.ref, 12)}>{shortened(v.alt, 12)}" for v in variants]
    described = [{"text": str(variant), **asdict(variant)} for variant in variants]
    found = _found(query, assembly, "variant", locus, " + ".join(labels))
    return found | {"variant": described[0], "variants": described}


def _gene(site: Site, assembly: str, name: str) -> Gene | None:
    genes = site.reference(assembly).genes()
    if not genes:
        return None
    if exact := genes.named(name):
        return exact
    return next(iter(genes.search(name, most=1)), None) if name.isalnum() and ":" not in name else None


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


def _around(assembly: Assembly, locus: Locus, margin: int) -> Locus:
    size = assembly.chromsizes[locus.chrom]
    return Locus(locus.chrom, max(0, locus.start - margin), min(size, locus.end + margin))


def _found(query: str, assembly: Assembly, kind: str, locus: Locus, label: str) -> dict[str, Any]:
    return {"query": query, "kind": kind, **asdict(locus), "label": label, "assembly": assembly.name}
