"""Generate a small synthetic genome: sequence, genes, planted elements, folds and observed tracks, all from one seed.

Nothing in it comes from a real genome. Chromosomes are named chrS1 to chrS3, genes SYN0001 and so on; the observed
tracks are the grammar's truth with counting noise. The same seed gives the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from trackserver.demo.grammar import BIN_WIDTH, COMPOSITE_GAPS, MOTIFS, TRACKS, Floats, Motif, truth, truth_between
from trackserver.errors import NothingFound
from trackserver.genome.assembly import Assembly
from trackserver.genome.genes import Gene
from trackserver.genome.locus import Locus
from trackserver.genome.sequence import BASES, Codes, reverse_complement
from trackserver.genome.variant import Variant

SEED = 1
NAME = "synthetic"
SIZES = {"chrS1": 1_600_000, "chrS2": 1_300_000, "chrS3": 1_100_000}
TEST_CHROM = "chrS3"
DEMO_GENE = "DEMO1"
VALID_LENGTH = 262_144
DEPTH = 100.0  # reads per unit of signal and bin: the counting noise of the observed tracks

_DNASE = [row for row, track in enumerate(TRACKS) if track.assay == "DNASE"]
_BASES = np.arange(4, dtype=np.uint8)
_A, _C, _G, _T = _BASES
_EDGE = 4_000  # bp without elements at either end of a chromosome
_STEP = 64  # bp between two values of the background's GC content
_ISLAND = 600  # bp of a CpG island
_CLEARANCE = 150  # bp around an element's middle that no repeat touches
_SUBSTITUTION_RATE = 0.2  # share of planted sites that carry one random substitution

# Kinds of elements: their share and their sites. EBOX+GATA is a composite; a site with ? is left out half the time.
KINDS: dict[str, tuple[float, tuple[str, ...]]] = {
    "enhancer": (0.33, ("EBOX+GATA", "EBOX+GATA?", "GATA?", "ETS?")),
    "promoter": (0.10, ("ETS", "NRF1", "NRF1?", "CTCF?")),
    "distal": (0.19, ("ETS", "NRF1?", "CTCF?")),
    "insulator": (0.22, ("CTCF", "CTCF?")),
    "lone GATA": (0.06, ("GATA",)),
    "lone E-box": (0.02, ("EBOX",)),
    "wrong spacing": (0.08, ("EBOX~GATA",)),
}
_WRONG_GAPS = tuple(gap for gap in range(2, 21) if gap not in COMPOSITE_GAPS)


@dataclass(frozen=True)
class Site:
    """A planted motif: its first base on the forward strand, and its strand.

    `composite` marks the two sites of a composite with a spacing that works.
    """

    motif: str
    start: int
    strand: str
    composite: bool = False

    @property
    def end(self) -> int:
        return self.start + MOTIFS[self.motif].width


@dataclass(frozen=True)
class Element:
    """Sites planted together."""

    kind: str
    locus: Locus
    sites: tuple[Site, ...]


@dataclass(frozen=True)
class Chromosome:
    """`codes` uint8 (L,); `masked` bool (L,), the repeats, lower case in the FASTA."""

    name: str
    codes: Codes
    masked: NDArray[np.bool_]
    elements: tuple[Element, ...]


@dataclass(frozen=True)
class Showcase:
    """A variant that breaks the GATA site of an active composite on the held-out chromosome."""

    variant: Variant
    element: Element
    gene: Gene
    locus: Locus  # to show in the browser
    sentence: str


@dataclass(frozen=True)
class SyntheticGenome:
    """A synthetic genome; its truth and observed tracks are computed at first use."""

    seed: int
    chromosomes: tuple[Chromosome, ...]
    genes: tuple[Gene, ...]

    @property
    def assembly(self) -> Assembly:
        return Assembly(NAME, tuple(c.name for c in self.chromosomes), tuple(len(c.codes) for c in self.chromosomes))

    @property
    def folds(self) -> tuple[tuple[Locus, str], ...]:
        """Loci with their fold: `train`, `valid` or `test`."""
        return tuple(_folds(self.assembly))

    @cached_property
    def truth(self) -> dict[str, Floats]:
        """Expected signal of each chromosome, float32 (T, bins)."""
        return {chromosome.name: truth(chromosome.codes) for chromosome in self.chromosomes}

    @cached_property
    def observed(self) -> dict[str, Floats]:
        """Truth with counting noise, float32 (T, bins): Poisson at `DEPTH` reads per unit."""
        seeds = np.random.SeedSequence([self.seed, 1]).spawn(len(self.truth))
        return {
            chrom: (np.random.default_rng(seed).poisson(DEPTH * expected) / DEPTH).astype(np.float32)
            for (chrom, expected), seed in zip(self.truth.items(), seeds, strict=True)
        }

    def chromosome(self, name: str) -> Chromosome:
        return next(chromosome for chromosome in self.chromosomes if chromosome.name == name)


def generate(seed: int = SEED, sizes: dict[str, int] | None = None) -> SyntheticGenome:
    """Generate the genome of a seed; smaller `sizes` must be multiples of the bin width."""
    sizes = sizes or SIZES
    seeds = np.random.SeedSequence(seed).spawn(len(sizes) + 1)
    families = _repeat_families(np.random.default_rng(seeds[-1]))
    chromosomes = tuple(
        _chromosome(name, size, families, np.random.default_rng(child))
        for (name, size), child in zip(sizes.items(), seeds, strict=False)
    )
    genes = tuple(_genes(chromosomes, np.random.default_rng([seed, 2])))
    return SyntheticGenome(seed, chromosomes, _with_demo_gene(genes, chromosomes[-1]))


def _folds(assembly: Assembly) -> Iterator[tuple[Locus, str]]:
    """Hold out the third chromosome for tests, and the end of the second to decide when to stop training."""
    for number, (chrom, size) in enumerate(assembly.chromsizes.items()):
        if chrom == TEST_CHROM:
            yield Locus(chrom, 0, size), "test"
        elif number == 1 and size > VALID_LENGTH:
            yield Locus(chrom, 0, size - VALID_LENGTH), "train"
            yield Locus(chrom, size - VALID_LENGTH, size), "valid"
        else:
            yield Locus(chrom, 0, size), "train"


# --- sequence ---------------------------------------------------------------------------------------------------


def _chromosome(name: str, size: int, families: list[Codes], rng: np.random.Generator) -> Chromosome:
    plan = _plan(size, rng)
    islands = np.zeros(size, dtype=bool)
    for kind, middle in plan:
        if kind == "promoter":
            islands[middle - _ISLAND // 2 : middle + _ISLAND // 2] = True
    codes = _background(size, islands, rng)
    masked = _plant_repeats(codes, [middle for _, middle in plan], families, rng)
    elements = tuple(_plant(name, kind, middle, codes, rng) for kind, middle in plan)
    return Chromosome(name, codes, masked, elements)


def _plan(size: int, rng: np.random.Generator) -> list[tuple[str, int]]:
    """Place elements left to right, one in 500 bp with deserts between; returns the kind and middle of each."""
    kinds, shares = list(KINDS), [share for share, _ in KINDS.values()]
    plan: list[tuple[str, int]] = []
    at = _EDGE
    while True:
        at += 360 + int(rng.exponential(140)) + (int(rng.exponential(4_000)) if rng.random() < 0.05 else 0)
        if at > size - _EDGE:
            return plan
        plan.append((str(rng.choice(kinds, p=shares)), at))


def _background(size: int, islands: NDArray[np.bool_], rng: np.random.Generator) -> Codes:
    """Draw bases with a GC content that drifts slowly and quickly; three quarters of CpGs outside islands decay."""
    steps = -(-size // _STEP)
    content = 0.42 + _drift(steps, 40_000, 0.05, rng) + _drift(steps, 3_000, 0.03, rng)
    gc = np.repeat(np.clip(content, 0.30, 0.65), _STEP)[:size]
    gc[islands] = 0.66
    strong = rng.random(size) < gc
    coin = rng.random(size) < 0.5
    codes = np.where(strong, np.where(coin, _C, _G), np.where(coin, _A, _T)).astype(np.uint8)
    cpg = np.flatnonzero((codes[:-1] == _C) & (codes[1:] == _G) & ~islands[:-1])
    decayed = cpg[rng.random(len(cpg)) < 0.75]
    forward = rng.random(len(decayed)) < 0.5
    codes[decayed[forward]] = _T
    codes[decayed[~forward] + 1] = _A
    return codes


def _drift(steps: int, length: float, sd: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """An Ornstein-Uhlenbeck walk with correlation length `length` bp."""
    decay = math.exp(-_STEP / length)
    kicks = rng.normal(0, sd * math.sqrt(1 - decay**2), steps).tolist()
    walk, value = [], float(rng.normal(0, sd))
    for kick in kicks:
        value = decay * value + kick
        walk.append(value)
    return np.array(walk)


def _repeat_families(rng: np.random.Generator) -> list[Codes]:
    return [rng.choice(_BASES, size=length, p=[0.32, 0.18, 0.18, 0.32]) for length in (260, 310, 420, 700)]


def _plant_repeats(
    codes: Codes, middles: list[int], families: list[Codes], rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Copy mutated family members into the gaps between elements; returns their mask, bool (L,)."""
    masked = np.zeros(len(codes), dtype=bool)
    for left, right in pairwise(middles):
        at = left + _CLEARANCE + int(rng.integers(200))
        while True:
            family = families[rng.integers(len(families))]
            if at + len(family) > right - _CLEARANCE:
                break
            copy = family if rng.random() < 0.5 else reverse_complement(family)
            decayed = rng.random(len(copy)) < 0.15
            codes[at : at + len(copy)] = np.where(decayed, rng.choice(_BASES, len(copy)), copy)
            masked[at : at + len(copy)] = True
            at += len(copy) + int(rng.exponential(600))
    return masked


def _plant(chrom: str, kind: str, middle: int, codes: Codes, rng: np.random.Generator) -> Element:
    """Write an element's sites into `codes`, 8 to 60 bp apart, from left to right around its middle."""
    parts = [part.rstrip("?") for part in KINDS[kind][1] if not part.endswith("?") or rng.random() < 0.5]
    rng.shuffle(parts)
    at, sites = middle - 35 * (len(parts) - 1) - 10, []
    for part in parts:
        planted = _plant_part(part, at, codes, rng)
        sites += planted
        at = planted[-1].end + int(rng.integers(8, 60))
    return Element(kind, Locus(chrom, sites[0].start, sites[-1].end), tuple(sites))


def _plant_part(part: str, at: int, codes: Codes, rng: np.random.Generator) -> list[Site]:
    """Plant one site, or an E-box and a GATA site with a gap between, from left to right."""
    strand = "+" if rng.random() < 0.5 else "-"
    if part in MOTIFS:
        return [_plant_site(Site(part, at, strand), codes, rng)]
    gap = int(rng.choice(COMPOSITE_GAPS if "+" in part else _WRONG_GAPS))
    first, second = ("EBOX", "GATA") if strand == "+" else ("GATA", "EBOX")
    starts = at, at + MOTIFS[first].width + gap
    return [
        _plant_site(Site(motif, start, strand, composite="+" in part), codes, rng)
        for motif, start in zip((first, second), starts, strict=True)
    ]


def _plant_site(site: Site, codes: Codes, rng: np.random.Generator) -> Site:
    letters = _draw(MOTIFS[site.motif], rng)
    codes[site.start : site.end] = letters if site.strand == "+" else reverse_complement(letters)
    return site


def _draw(motif: Motif, rng: np.random.Generator) -> Codes:
    """Draw a site from the motif's probabilities; one in five has a random substitution on top."""
    below = motif.probabilities.cumsum(axis=1)[:, :3]
    letters = (rng.random((motif.width, 1)) > below).sum(axis=1).astype(np.uint8)
    if rng.random() < _SUBSTITUTION_RATE:
        letters[rng.integers(motif.width)] = rng.integers(4)
    return letters


# --- genes ------------------------------------------------------------------------------------------------------


def _genes(chromosomes: tuple[Chromosome, ...], rng: np.random.Generator) -> Iterator[Gene]:
    """Start a gene at the middle of each promoter that has room for one."""
    number = 0
    for chromosome in chromosomes:
        taken = 0
        for promoter in chromosome.elements:
            tss = (promoter.locus.start + promoter.locus.end) // 2
            length = int(np.clip(rng.lognormal(9, 0.8), 1_500, 45_000))
            strand = "+" if rng.random() < 0.5 else "-"
            start, end = (tss, tss + length) if strand == "+" else (tss + 1 - length, tss + 1)
            if promoter.kind != "promoter" or start < taken + 500 or end > len(chromosome.codes) - 500:
                continue
            taken, number = end, number + 1
            yield _gene(f"SYN{number:04d}", Locus(chromosome.name, start, end), strand, rng)


def _gene(name: str, locus: Locus, strand: str, rng: np.random.Generator) -> Gene:
    exons = int(np.clip(len(locus) // 2_500, 1, 12))
    edges = np.sort(rng.choice(np.arange(1, len(locus) // 100), 2 * (exons - 1), replace=False)) * 100
    bounds = [locus.start, *(locus.start + edges).tolist(), locus.end]
    starts = tuple(bounds[0::2])
    # Exons are short and introns long: only the first few hundred bp after every other edge are exon.
    ends = tuple(min(end, start + int(rng.integers(90, 400))) for start, end in zip(starts, bounds[1::2], strict=True))
    if exons > 1:
        starts = (*starts[:-1], max(starts[-1], locus.end - int(rng.integers(300, 900))))
    ends = (*ends[:-1], locus.end)
    coding_start = min(starts[0] + 60, ends[0] - 1)
    coding_end = max(ends[-1] - 60, starts[-1] + 1)
    return Gene(name, f"{name}.1", locus, strand, coding_start, coding_end, starts, ends)


# --- showcase ---------------------------------------------------------------------------------------------------


def _with_demo_gene(genes: tuple[Gene, ...], chromosome: Chromosome) -> tuple[Gene, ...]:
    """Rename the gene nearest the middle of the last chromosome to DEMO1."""
    candidates = [gene for gene in genes if gene.locus.chrom == chromosome.name]
    if not candidates:
        return genes
    middle = min(candidates, key=lambda gene: abs(gene.tss - len(chromosome.codes) // 2))
    return tuple(replace(gene, name=DEMO_GENE) if gene is middle else gene for gene in genes)


def showcase(genome: SyntheticGenome) -> Showcase:
    """Find the variant in a composite's GATA site near DEMO1 that costs the erythroid-like cells most, by the truth.

    Raises
    ------
    NothingFound
        The genome is too small to hold DEMO1 and an enhancer beside it.
    """
    gene = next((gene for gene in genome.genes if gene.name == DEMO_GENE), None)
    if gene is None:
        raise NothingFound(DEMO_GENE, NAME)
    chromosome = genome.chromosome(gene.locus.chrom)
    near = [
        (element, site)
        for element in chromosome.elements
        for site in element.sites
        if site.composite and site.motif == "GATA" and 2_000 <= abs(site.start - gene.tss) <= 20_000
    ]
    if not near:
        raise NothingFound(f"an enhancer near {DEMO_GENE}", NAME)
    candidates = [_showcase_of(chromosome, gene, element, site) for element, site in near]
    return max(candidates, key=lambda candidate: candidate[0])[1]


def _showcase_of(chromosome: Chromosome, gene: Gene, element: Element, site: Site) -> tuple[float, Showcase]:
    """Erythroid-like DNase signal that GATA -> GAGA costs within 160 bp, and the showcase of that variant."""
    at = site.start + 3 if site.strand == "+" else site.end - 4
    alt = "G" if site.strand == "+" else "C"
    variant = Variant(chromosome.name, at + 1, BASES[chromosome.codes[at]], alt)
    changed = chromosome.codes.copy()
    changed[at] = BASES.index(alt)
    bins = at // BIN_WIDTH - 5, at // BIN_WIDTH + 6
    before, after = (truth_between(codes, *bins)[_DNASE].sum(axis=1) for codes in (chromosome.codes, changed))
    lost = 1 - after / before
    sentence = (
        f"{variant} breaks the GATA site of a GATA + E-box composite {abs(at - gene.tss) / 1000:.1f} kb from "
        f"{gene.name}: {lost[0]:.0%} of the true DNase signal there is lost in the erythroid-like cells, "
        f"{abs(lost[1]):.0%} in the lymphoid-like cells. All of it is synthetic."
    )
    around = min(at, gene.tss) - 6_000, max(at, gene.tss) + 6_000
    return float(before[0] - after[0]), Showcase(variant, element, gene, Locus(chromosome.name, *around), sentence)
