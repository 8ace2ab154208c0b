"""Check whether a site's files still match its catalogue."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from trackserver.catalogue.init import check_fasta
from trackserver.catalogue.site import Site
from trackserver.catalogue.store import TilesetRecord
from trackserver.catalogue.tilesets import check_tileset
from trackserver.errors import TrackserverError
from trackserver.models import registry
from trackserver.progress import Progress


@dataclass(frozen=True)
class Finding:
    """The result for one part of the site; `fault` is a sentence, or empty if all is well."""

    what: str
    name: str
    fault: str = ""


def check_site(site: Site, report: Progress) -> list[Finding]:
    """Check every assembly, tileset and model; one finding each."""
    checks = list(_checks(site))
    findings = []
    for number, (what, name, check) in enumerate(checks, start=1):
        try:
            check()
        except TrackserverError as error:
            findings.append(Finding(what, name, str(error)))
        else:
            findings.append(Finding(what, name))
        report(number, len(checks))
    return findings


def _checks(site: Site) -> Iterator[tuple[str, str, Callable[[], object]]]:
    for name in site.assembly_names:
        yield "assembly", name, lambda name=name: _check_assembly(site, name)  # type: ignore[misc]
    for record in site.catalogue.tilesets():
        yield "tileset", record.uid, lambda record=record: _check_record(site, record)  # type: ignore[misc]
    for model_id in registry.installed_models(site.models):
        yield "model", model_id, lambda model_id=model_id: _check_model(site, model_id)  # type: ignore[misc]


def _check_assembly(site: Site, name: str) -> None:
    site.assembly(name)
    site.reference(name).genes()
    if site.reference(name).has_genome:
        site.reference(name).build_missing_index()
        check_fasta(site, name)


def _check_record(site: Site, record: TilesetRecord) -> None:
    if check_tileset(site, record).sha256 != record.sha256:
        raise TrackserverError(f"{record.path} has changed since it was added; add it again if that is intended.")


def _check_model(site: Site, model_id: str) -> None:
    card = registry.card(site.models, model_id)
    registry.check_weights(card, registry.weights_path(site.models, card))
