"""Fixtures: a small site with three short chromosomes, sequence, genes, an observed bigWig and a random model."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyBigWig
import pytest
from hypothesis import settings

from trackserver.catalogue.init import init_site
from trackserver.catalogue.site import Site
from trackserver.catalogue.store import TilesetRecord
from trackserver.catalogue.tilesets import add_tileset
from trackserver.genome.assembly import Assembly

# Use the same examples in every run; --hypothesis-profile=default searches for new ones.
settings.register_profile("repeatable", derandomize=True, database=None)
settings.load_profile("repeatable")

CHROMSIZES = {"chrA": 70_000, "chrB": 31_000, "chrC": 12_345}
BIN = 32


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with real human data next to the project; tests that need it are skipped if it is missing."""
    folder = Path(__file__).parents[1].parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no real data: the folder ../shared/data is missing")
    return folder


@pytest.fixture(scope="session")
def assembly() -> Assembly:
    return Assembly("tiny", tuple(CHROMSIZES), tuple(CHROMSIZES.values()))


@pytest.fixture(scope="session")
def sequences() -> dict[str, str]:
    """Random bases; chrB begins with 3 kb of N, and chrA has a soft-masked region."""
    rng = np.random.default_rng(1)
    bases = {chrom: "".join(rng.choice(list("ACGT"), size)) for chrom, size in CHROMSIZES.items()}
    bases["chrB"] = "N" * 3000 + bases["chrB"][3000:]
    bases["chrA"] = bases["chrA"][:500] + bases["chrA"][500:900].lower() + bases["chrA"][900:]
    return bases


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory, sequences: dict[str, str]) -> Path:
    """genome.fa, refGene.txt, chrom.sizes and signal.bw."""
    folder = tmp_path_factory.mktemp("files")
    lines = (f">{chrom}\n" + "\n".join(s[i : i + 60] for i in range(0, len(s), 60)) for chrom, s in sequences.items())
    (folder / "genome.fa").write_text("\n".join(lines) + "\n")
    (folder / "chrom.sizes").write_text("".join(f"{chrom}\t{size}\n" for chrom, size in CHROMSIZES.items()))
    (folder / "refGene.txt").write_text(
        refgene_line("NM_1", "chrA", "+", 10_000, 20_000, "ALPHA1")
        + refgene_line("NM_2", "chrA", "+", 10_000, 14_000, "ALPHA1")
        + refgene_line("NR_3", "chrA", "-", 40_000, 41_000, "ALPHA10", coding=False)
        + refgene_line("NM_4", "chrB", "-", 5_000, 9_000, "BETA")
        + refgene_line("NM_5", "chrUn", "-", 5_000, 9_000, "ELSEWHERE")
    )
    write_signal(folder / "signal.bw")
    return folder


def refgene_line(name: str, chrom: str, strand: str, start: int, end: int, symbol: str, coding: bool = True) -> str:
    cds = (start + 100, end - 100) if coding else (end, end)
    fields = [0, name, chrom, strand, start, end, *cds, 2, f"{start},{end - 300},", f"{start + 200},{end},"]
    return "\t".join(map(str, [*fields, 0, symbol, "cmpl", "cmpl", "0,0,"])) + "\n"


def write_signal(path: Path, chromsizes: dict[str, int] | None = None, seed: int = 2) -> None:
    """Random values in 32-bp bins, with a gap of 1,600 bp on each chromosome."""
    rng = np.random.default_rng(seed)
    chromsizes = chromsizes or CHROMSIZES
    with pyBigWig.open(str(path), "w") as writer:
        writer.addHeader(list(chromsizes.items()))
        for chrom, size in chromsizes.items():
            starts = np.arange(0, size, BIN)
            starts = starts[(starts < 3200) | (starts >= 4800)]
            ends = np.minimum(starts + BIN, size)
            values = rng.gamma(0.5, 2.0, len(starts))
            writer.addEntries([chrom] * len(starts), starts.tolist(), ends=ends.tolist(), values=values.tolist())


def make_site(path: Path, files: Path) -> Site:
    site = init_site(
        path, "tiny", fasta=files / "genome.fa", genes=files / "refGene.txt", chromsizes=files / "chrom.sizes"
    )
    add_tileset(site, TilesetRecord("signal", "DNase K562", "observed", "tiny", str(files / "signal.bw"),
                                    assay="DNASE", biosample="K562"))  # fmt: skip
    install_random_model(site.models / "random")
    return site


def install_random_model(directory: Path, n_tracks: int = 3, seed: int = 0) -> None:
    """A compact network with random weights: 32-bp bins, an 8,192-bp window."""
    import torch

    from trackserver.models import compact
    from trackserver.models.card import ModelCard, Track, write_card
    from trackserver.models.weights import save_weights
    from trackserver.storage import sha256

    directory.mkdir(parents=True)
    torch.manual_seed(seed)
    config = {
        "stem_channels": 8, "stem_kernel": 9, "stem_pool": 4, "tower_channels": [8, 8], "tower_kernel": 5,
        "tower_pools": [4, 2], "residual_channels": 4, "dilations": [1, 2], "hidden": 8, "dropout": 0.0,
    }  # fmt: skip
    network = compact.build(config, n_tracks)
    with torch.no_grad():
        for name, tensor in network.named_parameters():
            if tensor.ndim >= 2:
                tensor.copy_(torch.randn(tensor.shape) / tensor[0].numel() ** 0.5)
            del name
    save_weights(network.state_dict(), directory / "weights.safetensors")
    names = ("DNase K562", "CAGE K562 +", "CAGE K562 -")
    pairs = (None, 2, 1)
    tracks = tuple(
        Track(i, names[i % 3], "DNASE" if i % 3 == 0 else "CAGE", "K562", strand=".+-"[i % 3],
              strand_pair=pairs[i] if n_tracks == 3 else None)
        for i in range(n_tracks)
    )  # fmt: skip
    card = ModelCard(
        id=directory.name,
        architecture="compact",
        title="Random weights",
        assemblies=("tiny",),
        window=8192,
        crop=1024,
        bin_width=32,
        tracks=tracks,
        config=config,
        weights_sha256=sha256(directory / "weights.safetensors"),
        shortest=2080,
    )
    write_card(card, directory / "card.json")


@pytest.fixture(scope="session")
def shared_site(tmp_path_factory: pytest.TempPathFactory, files: Path) -> Site:
    """A site that tests share; they must not change it."""
    return make_site(tmp_path_factory.mktemp("sites") / "shared", files)


@pytest.fixture
def site(tmp_path: Path, files: Path) -> Site:
    """A new site for each test."""
    return make_site(tmp_path / "site", files)


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """A Ray cluster on this machine with room for two workers, to which this process is connected."""
    import ray

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))  # otherwise Ray stores a token in the home folder
        ray.init("local", num_cpus=2, include_dashboard=False, logging_level="warning")
        yield
        ray.shutdown()
