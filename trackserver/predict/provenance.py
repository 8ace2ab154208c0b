"""The provenance of a prediction: one record, the same wherever a prediction is stored or sent."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from trackserver import __version__
from trackserver.models.card import ModelCard
from trackserver.predict.ensemble import Ensemble


def provenance(card: ModelCard, assembly: str, fasta_sha256: str, ensemble: Ensemble, **more: Any) -> dict[str, Any]:
    """Record the model, the sequence, the ensemble, the version and the date, as strict JSON.

    Parameters
    ----------
    more
        Further fields, which depend on the kind of prediction.
    """
    return {
        "model": card.id,
        "title": card.title,
        "licence": card.licence,
        "weights_sha256": card.weights_sha256,
        "assembly": assembly,
        "fasta_sha256": fasta_sha256,
        "strands": ensemble.description(),
        **more,
        **version_and_date(),
    }


def version_and_date() -> dict[str, str]:
    """Record the version of this package and the current date."""
    return {"version": __version__, "date": datetime.now(UTC).isoformat(timespec="seconds")}
