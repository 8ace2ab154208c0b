"""What people ask about, read and checked: variants in any spelling, of any assembly that can be lifted, or by name."""

from __future__ import annotations

from collections.abc import Sequence

from trackserver.catalogue.site import Site
from trackserver.errors import BadVariant, InvalidRequest, listing
from trackserver.genome.liftover import Lifted
from trackserver.genome.notation import is_rsid
from trackserver.genome.variant import Variant, check_reference, looks_like_variant, normalised, parse_variants
from trackserver.models import registry
from trackserver.models.card import select
from trackserver.predict.reading import Placement, reading
from trackserver.variants.effect import Question, check_variants


def ask(
    site: Site,
    model: str,
    assembly: str,
    variants: Sequence[str],
    tracks: str | None = None,
    *,
    ensemble: Sequence[str] | None = None,
    shifts: Sequence[int] | None = None,
    squashed: bool = False,
    placement: Placement | None = None,
    full: bool = False,
    lift_from: str = "",
) -> Question:
    """Everything that identifies an effect, checked: the model, the reference, the window, the tracks.

    Parameters
    ----------
    variants
        One, or several that are one haplotype, as `genome.variant.parse_variant` reads them, or rsIDs.
    ensemble, shifts, squashed, placement
        How the window is read, as in `predict.reading.reading`.
    full
        By two full predictions instead of what the change can reach, to check with.
    lift_from
        The assembly the variants are written on, where it is another.
    """
    card = registry.card(site.models, model)
    how = reading(card, ensemble, shifts, squashed, placement)
    parsed = [read_variant(site, assembly, text, lift_from) for text in variants]
    asked = tuple(sorted(variant for variant, _ in parsed))
    check_variants(asked, how.placed(card), site.genome(assembly), site.assembly(assembly))
    return Question(
        model=card.id,
        weights_sha256=card.weights_sha256,
        assembly=assembly,
        fasta_sha256=site.fasta_sha256(assembly),
        variants=asked,
        tracks=select(card, tracks),
        reading=how,
        full=full,
        lifted=tuple(str(lifted) for _, lifted in parsed if lifted),
    )


def read_variant(site: Site, assembly: str, text: str, lift_from: str = "") -> tuple[Variant, Lifted | None]:
    """One variant in its normal form on an assembly, and where it came from if that is another.

    Raises
    ------
    BadVariant, ReferenceMismatch, NoSequence, NotLifted, UnknownRsid
        It is none, is several, or is not what the reference reads.
    """
    genome = site.genome(assembly)
    if lift_from and lift_from != assembly:
        lifted = site.liftover(lift_from, assembly).lift(single_variant(site, lift_from, text), genome)
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
    return parse_variants(text, site.assembly(assembly), site.genome(assembly) if site.has_genome(assembly) else None)


def _by_name(site: Site, assembly: str, rsid: str) -> tuple[Variant, ...]:
    table = site.rsids(assembly)
    if table is None:
        raise InvalidRequest(
            f"This site has no table of rsIDs for {assembly}, so it does not know where {rsid} is; write it as "
            f"chr1:47690516:C:T, or make one with `trackserver rsids VCF --assembly {assembly}`."
        )
    return table.find(rsid)
