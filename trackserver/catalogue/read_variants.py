"""Read variants that people write, on a site's assemblies."""

from __future__ import annotations

from trackserver.catalogue.site import Site
from trackserver.errors import BadVariant, InvalidRequest, listing
from trackserver.genome.liftover import LiftedVariant
from trackserver.genome.variant import Variant, check_reference, looks_like_variant, normalise, parse_variants
from trackserver.genome.variant_notation import is_rsid


def read_variant(site: Site, assembly: str, text: str, lift_from: str = "") -> tuple[Variant, LiftedVariant | None]:
    """Read one variant in its normal form on an assembly, with its origin if it was lifted from another assembly.

    Raises
    ------
    BadVariant, ReferenceMismatch, NoSequence, NotLifted, UnknownRsid
        The text is not a single variant, or its REF differs from the reference.
    """
    genome = site.reference(assembly).genome
    if lift_from and lift_from != assembly:
        lifted = site.reference(assembly).liftover(lift_from).lift(single_variant(site, lift_from, text), genome)
        return normalise(lifted.variant, genome), lifted
    variant = single_variant(site, assembly, text)
    check_reference(variant, genome, assembly)
    return normalise(variant, genome), None


def haplotype_parts(text: str) -> list[str]:
    """Split a haplotype, such as `chr1:5:A:T + rs123`, into its variants' texts; empty if the text is no variant."""
    parts = [part.strip() for part in text.split("+")]
    if all(looks_like_variant(part) or is_rsid(part) for part in parts):
        return parts
    return [text] if looks_like_variant(text) else []


def single_variant(site: Site, assembly: str, text: str) -> Variant:
    """Read one variant on an assembly, without checking its REF against the reference."""
    variants = _read_rsid(site, assembly, text) if is_rsid(text) else _parse(site, assembly, text)
    if len(variants) > 1:
        raise BadVariant(f"'{text}' has several alleles, {listing(map(str, variants))}; choose one of them.")
    return variants[0]


def _parse(site: Site, assembly: str, text: str) -> tuple[Variant, ...]:
    reference = site.reference(assembly)
    return parse_variants(text, reference.assembly, reference.genome if reference.has_genome else None)


def _read_rsid(site: Site, assembly: str, rsid: str) -> tuple[Variant, ...]:
    table = site.reference(assembly).rsids
    if table is None:
        raise InvalidRequest(
            f"This site has no table of rsIDs for {assembly}, so it cannot look up {rsid}. Write the variant as "
            f"chr1:47690516:C:T, or make a table with `trackserver rsids VCF --assembly {assembly}`."
        )
    return table.find(rsid)
