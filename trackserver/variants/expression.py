"""What a variant does to genes: fold changes of the tracks that measure expression, gene by gene.

Tracks of transcription's beginning (CAGE, PRO-cap and the like) are read over the bins that touch 501 bp around a
gene's start site, tracks of RNA over its exons' bins, as AlphaGenome's gene masks and Calico's gene scores do; stranded
tracks are read for genes on their strand only. A model without such tracks says nothing about genes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from trackserver.genome.genes import Gene, Genes
from trackserver.genome.locus import Locus
from trackserver.models.card import Track
from trackserver.variants.effect import Effect
from trackserver.variants.scores import NARROW, fold_change, pseudocounts

Part = Literal["start", "exons"]
_PARTS: tuple[Part, Part] = ("start", "exons")

_START = re.compile(r"CAGE|P?ROCAP|GROCAP|RAMPAGE|STRTSEQ")
_RNA = re.compile(r"(?!.*(SMALL|MICRO|MI)RNA).*(RNASEQ|^RNA|POLYARNA|TOTALRNA|^POLYA)")


@dataclass(frozen=True)
class GeneChange:
    """A gene's expression in one assay and biosample, REF and ALT.

    tss_distance : bp from the gene's start site to the variants, negative upstream of it as the gene is read
    n_bins : how many bins were read; of an RNA track those of the exons that lie among the effect's
    ref, alt : sums over these bins, in the tracks' units; the mean of `n_tracks` replicates
    log2fc : log2 of ALT over REF of these sums, with each track's pseudocount added to each bin; the mean over
        replicates, and over the alignments of an indel
    interval : the smallest and the largest fold change, over replicates, alignments and the strands and shifts that
        are averaged; None where there is but one
    """

    gene: str
    strand: str
    tss_distance: int
    assay: str
    biosample: str
    n_bins: int
    n_tracks: int
    ref: float
    alt: float
    log2fc: float
    interval: tuple[float, float] | None


def reads(assay: str) -> Part | None:
    """Which part of a gene an assay measures the expression at; None of assays that do not measure it."""
    plain = re.sub(r"[^A-Z0-9]", "", assay.upper())
    if _START.search(plain):
        return "start"
    return "exons" if _RNA.match(plain) else None


def gene_changes(effect: Effect, genes: Genes) -> list[GeneChange]:
    """Every gene that the effect's expression tracks can be read at, the largest |log2 fold change| first."""
    rows = [row for row, track in enumerate(effect.tracks) if reads(effect.card.tracks[track].assay)]
    if not rows:
        return []
    read = _Read(effect, rows)
    found = [change for gene in genes.within(_around(effect)) for change in read.gene(gene)]
    return sorted(found, key=lambda change: (-abs(change.log2fc), change.gene, change.assay, change.biosample))


def _around(effect: Effect) -> Locus:
    """Genes that begin or end this near to the first or last bin are still read in part."""
    near = NARROW // 2
    return Locus(effect.locus.chrom, max(effect.locus.start - near, 0), effect.locus.end + near)


class _Samples(NamedTuple):
    """Rows (R,) of an effect for genes of one strand, ordered by assay and biosample; a sample begins at each `begins`.

    `names` are the samples' assays and biosamples, `counts` how many rows each has.
    """

    rows: NDArray[np.intp]
    names: list[tuple[str, str]]
    begins: NDArray[np.intp]
    counts: NDArray[np.intp]


class _Read:
    """An effect's tracks that measure expression, read gene by gene."""

    def __init__(self, effect: Effect, rows: list[int]):
        self.effect = effect
        self.pseudo = pseudocounts(effect)
        self.members = [(member.ref, alt) for member in effect.members for alt in member.alignments]
        self.samples = {
            (part, strand): _samples([(row, effect.card.tracks[effect.tracks[row]]) for row in rows], part, strand)
            for part in _PARTS
            for strand in "+-"
        }

    def gene(self, gene: Gene) -> Iterator[GeneChange]:
        around = Locus(gene.locus.chrom, gene.tss - NARROW // 2, gene.tss + NARROW // 2 + 1)
        for part, loci in zip(_PARTS, ((around,), gene.exons), strict=True):
            samples = self.samples[part, "-" if gene.strand == "-" else "+"]
            bins = self._touched(loci)
            if samples.names and len(bins):
                yield from self._changes(gene, samples, bins)

    def _changes(self, gene: Gene, samples: _Samples, bins: NDArray[np.int64]) -> Iterator[GeneChange]:
        rows, _, begins, counts = samples
        at, pseudo = np.ix_(rows, bins), self.pseudo[rows]
        ref, *alts = (values[at].astype(np.float64) for values in (self.effect.ref, *self.effect.alignments))
        folds = np.stack([fold_change(ref, alt, pseudo) for alt in alts])  # (A, R), A alignments
        of_alts = np.mean([alt.sum(axis=1) for alt in alts], axis=0)
        ref_sums, alt_sums, means = (
            (np.add.reduceat(values, begins) / counts).tolist()
            for values in (ref.sum(axis=1), of_alts, folds.mean(axis=0))
        )
        each = folds if not self.members else np.stack([
            fold_change(one[at].astype(np.float64), other[at].astype(np.float64), pseudo) for one, other in self.members
        ])  # fmt: skip
        lows = np.minimum.reduceat(each.min(axis=0), begins).tolist()
        highs = np.maximum.reduceat(each.max(axis=0), begins).tolist()
        distance = (self.effect.middle - gene.tss) * (-1 if gene.strand == "-" else 1)
        for number, (assay, biosample) in enumerate(samples.names):
            several = counts[number] * len(each) > 1
            yield GeneChange(
                gene.name, gene.strand, distance, assay, biosample, len(bins), int(counts[number]),
                ref_sums[number], alt_sums[number], means[number],
                (lows[number], highs[number]) if several else None,
            )  # fmt: skip

    def _touched(self, loci: Iterable[Locus]) -> NDArray[np.int64]:
        """The bins that touch one of the loci, each once, by place."""
        origin, width, n_bins = self.effect.origin, self.effect.bin_width, self.effect.ref.shape[1]
        spans = [((locus.start - origin) // width, -(-(locus.end - origin) // width)) for locus in loci]
        parts = [np.arange(max(first, 0), min(end, n_bins)) for first, end in spans]
        return np.unique(np.concatenate(parts)).astype(np.int64) if parts else np.empty(0, np.int64)


def _samples(tracks: Iterable[tuple[int, Track]], part: Part, strand: str) -> _Samples:
    fit = [
        (track.assay, track.biosample, row)
        for row, track in tracks
        if reads(track.assay) == part and (track.strand not in ("+", "-") or track.strand == strand)
    ]
    fit.sort()
    names = [(assay, biosample) for assay, biosample, _ in fit]
    begins = [number for number, name in enumerate(names) if number == 0 or name != names[number - 1]]
    return _Samples(
        np.array([row for *_, row in fit], np.intp),
        [names[number] for number in begins],
        np.array(begins, np.intp),
        np.diff([*begins, len(names)]),
    )
