"""Turn a request for an effect into a checked question with everything that its effect depends on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from trackserver.catalogue.read_variants import read_variant
from trackserver.catalogue.site import Site
from trackserver.models import registry
from trackserver.models.card import select
from trackserver.predict.ensemble import EnsembleOptions
from trackserver.variants.effect import Question, check_variants


@dataclass(frozen=True)
class EffectRequest:
    """A request for the effect of variants, as it came in.

    variants : one variant, or several on one haplotype, in any form of `genome.variant.parse_variant`, or rsIDs
    selection : tracks, in the syntax of `models.card.select_tracks`; None for all
    full : run two full predictions, as a check, instead of computing only what the change can reach
    lift_from : the assembly that the variants are given on, if it is another one
    """

    model: str
    assembly: str
    variants: Sequence[str]
    selection: str | None = None
    ensemble: EnsembleOptions = field(default_factory=EnsembleOptions)
    full: bool = False
    lift_from: str = ""

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> EffectRequest:
        """From a flat request, where the selection is called `tracks` and each ensemble option is a field."""
        rest = dict(fields)
        return cls(ensemble=EnsembleOptions.pop(rest), selection=rest.pop("tracks", None), **rest)


def effect_question(site: Site, request: EffectRequest) -> Question:
    """Resolve and check a request: its model, reference, variants, window and tracks."""
    card = registry.card(site.models, request.model)
    ensemble, reference = request.ensemble.resolve(card), site.reference(request.assembly)
    parsed = [read_variant(site, request.assembly, text, request.lift_from) for text in request.variants]
    variants = tuple(sorted(variant for variant, _ in parsed))
    window = check_variants(variants, ensemble.place_variants(card), reference.genome, reference.assembly)
    return Question(
        model=card.id,
        weights_sha256=card.weights_sha256,
        assembly=request.assembly,
        fasta_sha256=reference.fasta_sha256(),
        variants=variants,
        tracks=select(card, request.selection),
        ensemble=ensemble,
        window=window,
        full=request.full,
        lifted=tuple(str(lifted) for _, lifted in parsed if lifted),
    )
