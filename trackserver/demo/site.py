"""The demo as a site: the synthetic genome's files, its measured tracks, the shipped model and what it predicts."""

from __future__ import annotations

import hashlib
import shutil
from importlib.resources import files
from pathlib import Path
from typing import Any

from trackserver import __version__, config
from trackserver.catalogue.init import init_site
from trackserver.catalogue.site import Site
from trackserver.catalogue.store import OBSERVED, TilesetRecord
from trackserver.catalogue.tilesets import check_tileset
from trackserver.catalogue.uids import uid_for
from trackserver.demo.files import write_chromsizes, write_fasta, write_folds, write_measured, write_refgene
from trackserver.demo.generator import NAME, Showcase, generate, showcase
from trackserver.demo.grammar import TRACKS
from trackserver.effects import effects
from trackserver.effects.question import EffectRequest, effect_question
from trackserver.errors import InvalidRequest, SiteReadOnly
from trackserver.models import registry
from trackserver.progress import StageProgress
from trackserver.sweep.prediction import predict_tracks, uid

MODEL = "demo"
NOTICE = "Synthetic demo: genome, measurements and model are made up, and say nothing about any organism."
_STAMP = "made-by"


def is_built(path: Path) -> bool:
    """Whether a demo site stands there complete, made from what this package holds."""
    stamp = path / _STAMP
    return stamp.is_file() and stamp.read_text() == _origin()


def build_demo(path: Path, report: StageProgress = lambda done, said: None) -> Site:
    """Make the demo site; an older or unfinished one in the same place is made anew."""
    path = path.resolve()
    _begin(path)
    report(0.0, "planting motifs")
    genome = generate()
    source = path / "source"
    write_fasta(genome, source / "genome.fa")
    write_chromsizes(genome, source / "chromsizes.tsv")
    write_refgene(genome, source / "refGene.txt.gz")
    write_folds(genome, path / "folds.bed")
    report(0.15, "measuring")
    measured = write_measured(genome, path / "tilesets")
    report(0.3, "setting up")
    shown = showcase(genome)
    site = init_site(
        path, NAME, fasta=source / "genome.fa", genes=source / "refGene.txt.gz", chromsizes=source / "chromsizes.tsv"
    )
    site.catalogue.put_tilesets([_measured_record(site, number, file) for number, file in enumerate(measured)])
    install_model(site)
    predict_tracks(site, MODEL, report=lambda at: report(0.35 + 0.65 * at.bp / at.of_bp, "predicting"))
    _write_first_view(site, shown)
    effects.compute(site, effect_question(site, EffectRequest(MODEL, NAME, [str(shown.variant)])))
    (path / _STAMP).write_text(_origin())
    return Site(path)


def _origin() -> str:
    """Version, and checksum of the generator, the grammar and the weights: another one makes another demo."""
    digest = hashlib.sha256()
    for part in sorted(files("trackserver.demo").iterdir(), key=lambda part: part.name):
        if part.is_file():
            digest.update(part.read_bytes())
    return f"{__version__} {digest.hexdigest()}"


def install_model(site: Site) -> None:
    """Copy the shipped card and weights into the site."""
    target = site.models / MODEL
    target.mkdir(exist_ok=True)
    shipped = files("trackserver.demo")
    for name in (registry.CARD, registry.WEIGHTS):
        (target / name).write_bytes((shipped / name).read_bytes())


def _begin(path: Path) -> None:
    """An empty directory marked as a demo's; nothing but an earlier demo is ever removed for it."""
    try:
        if path.exists() and any(path.iterdir()):
            if not (path / _STAMP).is_file():
                raise InvalidRequest(f"{path} holds something else than a demo; choose an empty place with --dir.")
            shutil.rmtree(path)
        for name in ("source", "tilesets"):
            (path / name).mkdir(parents=True)
        (path / _STAMP).write_text("unfinished")
    except OSError as error:
        raise SiteReadOnly(
            f"The demo cannot be made in {path}: {error.strerror}. Choose another place with --dir."
        ) from error


def _measured_record(site: Site, number: int, file: Path) -> TilesetRecord:
    track = TRACKS[number]
    return check_tileset(site, TilesetRecord(
        uid=uid_for(str(file)), name=track.name, kind=OBSERVED, assembly=NAME, path=str(file), assay=track.assay,
        biosample=track.biosample, target=track.target, provenance={"source": "synthetic: trackserver.demo"},
    ))  # fmt: skip


def _write_first_view(site: Site, shown: Showcase) -> None:
    """Open at the enhancer, every predicted track over its measurement, the ready-made variant's effect on top."""
    import tomli_w

    card = registry.card(site.models, MODEL)
    measured = {record.name: record.uid for record in site.catalogue.tilesets(kind=OBSERVED)}
    settings: dict[str, Any] = {
        "title": "trackserver demo",
        "notice": NOTICE,
        "assembly": NAME,
        "model": MODEL,
        "locus": str(shown.locus),
        "rows": [[uid(card, track.index, NAME), measured[track.name]] for track in card.tracks[:4]],
        "show": str(shown.variant),
        "examples": [{"text": str(shown.variant), "label": "breaks a GATA site"}],
        "assemblies": {
            NAME: {"fasta": "source/genome.fa", "genes": "source/refGene.txt.gz", "chromsizes": "source/chromsizes.tsv"}
        },
    }
    (site.path / config.FILE).write_text(tomli_w.dumps(settings))
