"""The question behind an effect: a request, read and checked, with everything the answer depends on."""

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
    """What somebody asks about variants, as it came in.

    variants : one, or several that are one haplotype, as `genome.variant.parse_variant` reads them, or rsIDs
    selection : tracks, as `models.card.select_tracks` reads them; None is all
    full : by two full predictions instead of what the change can reach, to check with
    lift_from : the assembly the variants are written on, where it is another
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
        """From a flat request, in which the selection is `tracks` and the options of the ensemble are fields too."""
        rest = dict(fields)
        return cls(ensemble=EnsembleOptions.pop(rest), selection=rest.pop("tracks", None), **rest)


def effect_question(site: Site, request: EffectRequest) -> Question:
    """Everything that identifies an effect, checked: the model, the reference, the window, the tracks."""
    card = registry.card(site.models, request.model)
    ensemble, reference = request.ensemble.of(card), site.reference(request.assembly)
    parsed = [read_variant(site, request.assembly, text, request.lift_from) for text in request.variants]
    variants = tuple(sorted(variant for variant, _ in parsed))
    window = check_variants(variants, ensemble.placed(card), reference.genome, reference.assembly)
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
