"""Build the demo site: the synthetic genome's files and observed tracks, the shipped model and its predictions."""

from __future__ import annotations

import hashlib
import os
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
from trackserver.demo.files import write_chromsizes, write_fasta, write_folds, write_observed, write_refgene
from trackserver.demo.generator import NAME, Showcase, generate, showcase
from trackserver.demo.grammar import TRACKS
from trackserver.effects import effects
from trackserver.effects.question import EffectRequest, effect_question
from trackserver.errors import InvalidRequest, SiteReadOnly
from trackserver.models import registry
from trackserver.progress import StageProgress
from trackserver.sweep.prediction import predict_tracks, track_uid

MODEL = "demo"
NOTICE = "Synthetic demo: genome, measurements and model are made up, and say nothing about any organism."
_STAMP = "made-by"


def is_built(path: str | os.PathLike[str]) -> bool:
    """Whether there is a complete demo site at a path, built by this version of the package."""
    stamp = Path(path) / _STAMP
    return stamp.is_file() and stamp.read_text() == _origin()


def build_demo(path: str | os.PathLike[str], report: StageProgress = lambda fraction, stage: None) -> Site:
    """Build the demo site, replacing an older or unfinished one at the same path."""
    path = Path(path).resolve()
    _prepare_folder(path)
    report(0.0, "planting motifs")
    genome = generate()
    source = path / "source"
    write_fasta(genome, source / "genome.fa")
    write_chromsizes(genome, source / "chromsizes.tsv")
    write_refgene(genome, source / "refGene.txt.gz")
    write_folds(genome, path / "folds.bed")
    report(0.15, "measuring")
    observed = write_observed(genome, path / "tilesets")
    report(0.3, "setting up")
    example = showcase(genome)
    site = init_site(
        path, NAME, fasta=source / "genome.fa", genes=source / "refGene.txt.gz", chromsizes=source / "chromsizes.tsv"
    )
    site.catalogue.put_tilesets([_observed_record(site, number, file) for number, file in enumerate(observed)])
    install_model(site)
    predict_tracks(site, MODEL, report=lambda at: report(0.35 + 0.65 * at.bp / at.total_bp, "predicting"))
    _write_settings(site, example)
    effects.compute(site, effect_question(site, EffectRequest(MODEL, NAME, [str(example.variant)])))
    (path / _STAMP).write_text(_origin())
    return Site(path)


def _origin() -> str:
    """The package's version and a checksum of this folder; a demo site built from another origin is rebuilt."""
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


def _prepare_folder(path: Path) -> None:
    """Make an empty directory and mark it as a demo's; only an earlier demo is ever removed for it."""
    try:
        if path.exists() and any(path.iterdir()):
            if not (path / _STAMP).is_file():
                raise InvalidRequest(f"{path} holds something other than a demo; choose an empty folder with --dir.")
            shutil.rmtree(path)
        for name in ("source", "tilesets"):
            (path / name).mkdir(parents=True)
        (path / _STAMP).write_text("unfinished")
    except OSError as error:
        raise SiteReadOnly(
            f"Cannot build the demo in {path}: {error.strerror}. Choose another folder with --dir."
        ) from error


def _observed_record(site: Site, number: int, file: Path) -> TilesetRecord:
    track = TRACKS[number]
    return check_tileset(site, TilesetRecord(
        uid=uid_for(str(file)), name=track.name, kind=OBSERVED, assembly=NAME, path=str(file), assay=track.assay,
        biosample=track.biosample, target=track.target, provenance={"source": "synthetic: trackserver.demo"},
    ))  # fmt: skip


def _write_settings(site: Site, example: Showcase) -> None:
    """Open the page at the enhancer, with predicted tracks over observed ones and the example's effect on top."""
    import tomli_w

    card = registry.card(site.models, MODEL)
    observed = {record.name: record.uid for record in site.catalogue.tilesets(kind=OBSERVED)}
    settings: dict[str, Any] = {
        "title": "trackserver demo",
        "notice": NOTICE,
        "assembly": NAME,
        "model": MODEL,
        "locus": str(example.locus),
        "rows": [[track_uid(card, track.index, NAME), observed[track.name]] for track in card.tracks[:4]],
        "show": str(example.variant),
        "examples": [{"text": str(example.variant), "label": "breaks a GATA site"}],
        "assemblies": {
            NAME: {"fasta": "source/genome.fa", "genes": "source/refGene.txt.gz", "chromsizes": "source/chromsizes.tsv"}
        },
    }
    (site.path / config.FILE).write_text(tomli_w.dumps(settings))
