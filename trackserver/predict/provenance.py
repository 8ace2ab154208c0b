"""Where a prediction comes from: one record, the same wherever a prediction is stored or sent."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from trackserver import __version__
from trackserver.models.card import ModelCard
from trackserver.predict.ensemble import Ensemble


def provenance(card: ModelCard, assembly: str, fasta_sha256: str, ensemble: Ensemble, **more: Any) -> dict[str, Any]:
    """The model, the sequence it read, how it was asked, by which version and when; strict JSON.

    Parameters
    ----------
    more
        What one kind of prediction has besides.
    """
    return {
        "model": card.id,
        "title": card.title,
        "licence": card.licence,
        "weights_sha256": card.weights_sha256,
        "assembly": assembly,
        "fasta_sha256": fasta_sha256,
        "strands": ensemble.words(),
        **more,
        **made_now(),
    }


def made_now() -> dict[str, str]:
    """Version and date of something that is made now."""
    return {"version": __version__, "date": datetime.now(UTC).isoformat(timespec="seconds")}
