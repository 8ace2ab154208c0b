"""Every architecture through `predict` and `variant`, against its network called by hand, a window at a time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyBigWig
import pytest
import torch

from tests.tolerance import assert_close
from trackserver import models
from trackserver.catalogue.init import init_site
from trackserver.catalogue.site import Site
from trackserver.effects import effects
from trackserver.effects.question import EffectRequest, effect_question
from trackserver.genome.locus import Locus
from trackserver.genome.sequence import decode, one_hot, reverse_complement
from trackserver.models.card import ModelCard
from trackserver.models.install import InstallFiles, install
from trackserver.models.zoo import read_published_model
from trackserver.sweep.prediction import SweepOptions, predict_tracks

SIZES = {"chr1": 700_000, "chrM": 16_569}


@dataclass(frozen=True)
class Case:
    """A small network of an architecture: its weights, and how far apart windows are where that is a choice."""

    id: str
    file: str
    stride: int | None = None


CASES = [
    Case("deepsea", "deepsea/tiny.predict.pth", 64),
    Case("beluga", "beluga/tiny.pth", 200),
    Case("basset", "basset/tiny.pth", 50),
    Case("sei", "sei/tiny.pth", 128),
    Case("basenji", "basenji2018/tiny.model.tf.index"),
    Case("basenji2", "basenji2/tiny2020.h5"),
    Case("enformer", "enformer/sonnet_tiny.index"),
    Case("enformer-mouse", "enformer/sonnet_tiny.index"),
    Case("borzoi", "borzoi/tiny.pth"),
    Case("chrombpnet", "chrombpnet/chrombpnet.h5"),
    Case("chrombpnet-nobias", "chrombpnet/chrombpnet_nobias.h5"),
]


@pytest.fixture(scope="module")
def parity() -> Path:
    folder = Path(__file__).parents[2].parent / "shared" / "parity"
    if not folder.is_dir():
        pytest.skip("no weights with known answers: the folder ../shared/parity is not beside the project")
    return folder


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Site]:
    """A site of each assembly the cards name, all of one random genome."""
    folder = tmp_path_factory.mktemp("zoo")
    random = np.random.default_rng(1)
    text = "".join(f">{name}\n{decode(random.integers(0, 4, size, dtype=np.uint8))}\n" for name, size in SIZES.items())
    (folder / "genome.fa").write_text(text)
    (folder / "chrom.sizes").write_text("".join(f"{name}\t{size}\n" for name, size in SIZES.items()))
    return {
        name: init_site(folder / name, name, fasta=folder / "genome.fa", chromsizes=folder / "chrom.sizes")
        for name in ("hg38", "hg19", "mm10")
    }


class ByHand:
    """A published network, called on whole windows, in the way its card says its authors do."""

    def __init__(self, case: Case, parity: Path, card: ModelCard):
        self.card = card
        self.module = models.load(case.id, parity / case.file)

    def __call__(self, codes: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            forward = self.module(torch.from_numpy(one_hot(codes[None], self.card.n_value)))[0].numpy()
            if self.card.strands == "forward":
                return forward
            other = self.module(torch.from_numpy(one_hot(reverse_complement(codes)[None], self.card.n_value)))[
                0
            ].numpy()
        return (forward + other[:, ::-1]) / 2


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_predict_and_variant_say_what_the_network_says(case: Case, parity: Path, sites: dict[str, Site]) -> None:
    about = read_published_model(case.id)
    site = sites[about.assemblies[0]]
    card = install(site.models, about, InstallFiles(parity / case.file))
    by_hand = ByHand(case, parity, card)
    _check_variant(case, site, card, by_hand, "chr1", 350_000)
    _check_tracks(case, site, card.at_stride(case.stride) if case.stride else card, by_hand, "chr1", 300_000)
    if 16_569 > card.window * 0.3 or card.shortest:  # on a chromosome shorter than the window, or near its end
        _check_variant(case, site, card, by_hand, "chrM", 40)
        _check_variant(case, site, card, by_hand, "chrM", 16_560)
        _check_tracks(case, site, card.at_stride(case.stride) if case.stride else card, by_hand, "chrM", 16_200)


def _check_variant(case: Case, site: Site, card: ModelCard, by_hand: ByHand, chrom: str, position: int) -> None:
    assembly = card.assemblies[0]
    ref = decode(site.reference(assembly).genome.codes(Locus(chrom, position - 1, position)))
    alt = "C" if ref == "A" else "A"
    question = effect_question(site, EffectRequest(card.id, assembly, [f"{chrom}:{position}:{ref}:{alt}"]))
    found = effects.compute(site, question)
    length = card.window_length(SIZES[chrom])
    start = position - 1 - (length // 2 - 1)  # 0-based L / 2 - 1
    codes = site.reference(assembly).genome.codes(Locus(chrom, start, start + length))
    changed = codes.copy()
    changed[length // 2 - 1] = "ACGT".index(alt)
    shown = slice((found["origin"] - start - card.crop) // card.bin_width, None)
    for allele, read in (("ref", codes), ("alt", changed)):
        stored = np.load(site.effects / question.id / f"{allele}.npy")
        expected = by_hand(read)[:, shown][:, : stored.shape[1]]
        assert_close(stored, expected, by_hand.module)
    assert found["locus"]["start"] <= position - 1 < found["locus"]["end"]


def _check_tracks(case: Case, site: Site, card: ModelCard, by_hand: ByHand, chrom: str, start: int) -> None:
    """The first two bins of a region, each against windows placed by hand."""
    width = card.bin_width
    region = Locus(chrom, start // width * width, min(start // width * width + 3 * width, SIZES[chrom]))
    record = predict_tracks(site, card.id, SweepOptions(stride=case.stride), selection="0", regions=[region])[0]
    with pyBigWig.open(str(site.inside(record.path))) as reader:
        got = np.array(reader.values(chrom, region.start, region.end))
    length = card.window_length(SIZES[chrom])
    codes = site.reference(card.assemblies[0]).genome.codes(
        Locus(chrom, region.start - card.crop, region.start - card.crop + length)
    )
    expected = by_hand(codes)[0]
    kept = min(len(expected), 2)
    assert_close(got[: kept * width : width], expected[:kept], by_hand.module, scale=np.abs(expected).max())
