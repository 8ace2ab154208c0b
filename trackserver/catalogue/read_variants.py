"""Variants as people write them, read on a site."""

from __future__ import annotations

from trackserver.catalogue.site import Site
from trackserver.errors import BadVariant, InvalidRequest, listing
from trackserver.genome.liftover import Lifted
from trackserver.genome.variant import Variant, check_reference, looks_like_variant, normalised, parse_variants
from trackserver.genome.variant_notation import is_rsid


def read_variant(site: Site, assembly: str, text: str, lift_from: str = "") -> tuple[Variant, Lifted | None]:
    """One variant in its normal form on an assembly, and where it came from if that is another.

    Raises
    ------
    BadVariant, ReferenceMismatch, NoSequence, NotLifted, UnknownRsid
        It is none, is several, or is not what the reference reads.
    """
    genome = site.reference(assembly).genome
    if lift_from and lift_from != assembly:
        lifted = site.reference(assembly).liftover(lift_from).lift(single_variant(site, lift_from, text), genome)
        return normalised(lifted.variant, genome), lifted
    variant = single_variant(site, assembly, text)
    check_reference(variant, genome, assembly)
    return normalised(variant, genome), None


def haplotype_parts(text: str) -> list[str]:
    """What each variant of a haplotype is written like, such as `chr1:5:A:T + rs123`; empty where it is none."""
    parts = [part.strip() for part in text.split("+")]
    if all(looks_like_variant(part) or is_rsid(part) for part in parts):
        return parts
    return [text] if looks_like_variant(text) else []


def single_variant(site: Site, assembly: str, text: str) -> Variant:
    """One variant as written, on an assembly; whether the reference reads so is not looked at."""
    found = _by_name(site, assembly, text) if is_rsid(text) else _written(site, assembly, text)
    if len(found) > 1:
        raise BadVariant(f"'{text}' is several alleles, {listing(map(str, found))}; ask for one of them.")
    return found[0]


def _written(site: Site, assembly: str, text: str) -> tuple[Variant, ...]:
    reference = site.reference(assembly)
    return parse_variants(text, reference.assembly, reference.genome if reference.has_genome else None)


def _by_name(site: Site, assembly: str, rsid: str) -> tuple[Variant, ...]:
    table = site.reference(assembly).rsids
    if table is None:
        raise InvalidRequest(
            f"This site has no table of rsIDs for {assembly}, so it does not know where {rsid} is; write it as "
            f"chr1:47690516:C:T, or make one with `trackserver rsids VCF --assembly {assembly}`."
        )
    return table.find(rsid)
