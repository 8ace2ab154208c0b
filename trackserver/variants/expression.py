"""A variant's effect on gene expression: the fold change of each gene in the tracks that measure expression.

Tracks of transcription start sites (CAGE, PRO-cap and similar) are summed over the bins that touch 501 bp around a
gene's start site. RNA tracks are summed over the bins of its exons. AlphaGenome's gene masks and Calico's gene scores
do the same. Stranded tracks count for genes on their own strand only. A model without such tracks has no gene scores.
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

GenePart = Literal["start", "exons"]
_PARTS: tuple[GenePart, GenePart] = ("start", "exons")

_START = re.compile(r"CAGE|P?ROCAP|GROCAP|RAMPAGE|STRTSEQ")
_RNA = re.compile(r"(?!.*(SMALL|MICRO|MI)RNA).*(RNASEQ|^RNA|POLYARNA|TOTALRNA|^POLYA)")


@dataclass(frozen=True)
class GeneChange:
    """A gene's expression in one assay and biosample, for REF and ALT.

    tss_distance : bp from the gene's start site to the variants; negative upstream, in the gene's direction
    n_bins : number of bins summed; for RNA tracks, those of the exons within the effect's bins
    ref, alt : sums over these bins, in the tracks' units; the mean of `n_tracks` replicates
    log2fc : log2 of ALT over REF of these sums, after each track's pseudocount is added to each bin; the mean over
        replicates, and over the alignments of an indel
    interval : smallest and largest fold change among replicates, alignments, and the averaged strands and shifts; None
        if there is only one value
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


def gene_part(assay: str) -> GenePart | None:
    """The part of a gene where an assay measures its expression; None if the assay does not measure expression."""
    plain = re.sub(r"[^A-Z0-9]", "", assay.upper())
    if _START.search(plain):
        return "start"
    return "exons" if _RNA.match(plain) else None


def gene_changes(effect: Effect, genes: Genes) -> list[GeneChange]:
    """Expression changes of every gene within the effect's bins, largest |log2 fold change| first."""
    rows = [row for row, track in enumerate(effect.tracks) if gene_part(effect.card.tracks[track].assay)]
    if not rows:
        return []
    expression = _Expression(effect, rows)
    changes = [change for gene in genes.overlapping(_gene_region(effect)) for change in expression.changes(gene)]
    return sorted(changes, key=lambda change: (-abs(change.log2fc), change.gene, change.assay, change.biosample))


def _gene_region(effect: Effect) -> Locus:
    """The effect's locus, extended because the 501 bp around a start site just outside still touch its bins."""
    margin = NARROW // 2
    return Locus(effect.locus.chrom, max(effect.locus.start - margin, 0), effect.locus.end + margin)


class _Samples(NamedTuple):
    """Rows (R,) of an effect for genes of one strand, grouped into samples of one assay and biosample each.

    `names` are the samples' assays and biosamples; sample i has `counts[i]` rows, from index `starts[i]` on.
    """

    rows: NDArray[np.intp]
    names: list[tuple[str, str]]
    starts: NDArray[np.intp]
    counts: NDArray[np.intp]


class _Expression:
    """The rows of an effect that measure expression."""

    def __init__(self, effect: Effect, rows: list[int]):
        self.effect = effect
        self.pseudo = pseudocounts(effect)
        self.members = [(member.ref, alt) for member in effect.members for alt in member.alignments]
        self.samples = {
            (part, strand): _samples([(row, effect.card.tracks[effect.tracks[row]]) for row in rows], part, strand)
            for part in _PARTS
            for strand in "+-"
        }

    def changes(self, gene: Gene) -> Iterator[GeneChange]:
        start_site = Locus(gene.locus.chrom, gene.tss - NARROW // 2, gene.tss + NARROW // 2 + 1)
        for part, loci in zip(_PARTS, ((start_site,), gene.exons), strict=True):
            samples = self.samples[part, "-" if gene.strand == "-" else "+"]
            bins = self._bins_touching(loci)
            if samples.names and len(bins):
                yield from self._sample_changes(gene, samples, bins)

    def _sample_changes(self, gene: Gene, samples: _Samples, bins: NDArray[np.int64]) -> Iterator[GeneChange]:
        rows, _, starts, counts = samples
        cells, pseudo = np.ix_(rows, bins), self.pseudo[rows]
        ref, *alts = (values[cells].astype(np.float64) for values in (self.effect.ref, *self.effect.alignments))
        folds = np.stack([fold_change(ref, alt, pseudo) for alt in alts])  # (A, R), A alignments
        mean_alt = np.mean([alt.sum(axis=1) for alt in alts], axis=0)
        ref_sums, alt_sums, means = (
            (np.add.reduceat(values, starts) / counts).tolist()
            for values in (ref.sum(axis=1), mean_alt, folds.mean(axis=0))
        )
        single = folds if not self.members else np.stack([
            fold_change(ref[cells].astype(np.float64), alt[cells].astype(np.float64), pseudo)
            for ref, alt in self.members
        ])  # fmt: skip
        lows = np.minimum.reduceat(single.min(axis=0), starts).tolist()
        highs = np.maximum.reduceat(single.max(axis=0), starts).tolist()
        distance = (self.effect.middle - gene.tss) * (-1 if gene.strand == "-" else 1)
        for number, (assay, biosample) in enumerate(samples.names):
            has_interval = counts[number] * len(single) > 1
            yield GeneChange(
                gene.name, gene.strand, distance, assay, biosample, len(bins), int(counts[number]),
                ref_sums[number], alt_sums[number], means[number],
                (lows[number], highs[number]) if has_interval else None,
            )  # fmt: skip

    def _bins_touching(self, loci: Iterable[Locus]) -> NDArray[np.int64]:
        """The bins that touch any of the loci, sorted and unique."""
        origin, width, n_bins = self.effect.origin, self.effect.bin_width, self.effect.ref.shape[1]
        spans = [((locus.start - origin) // width, -(-(locus.end - origin) // width)) for locus in loci]
        parts = [np.arange(max(first, 0), min(end, n_bins)) for first, end in spans]
        return np.unique(np.concatenate(parts)).astype(np.int64) if parts else np.empty(0, np.int64)


def _samples(tracks: Iterable[tuple[int, Track]], part: GenePart, strand: str) -> _Samples:
    matches = [
        (track.assay, track.biosample, row)
        for row, track in tracks
        if gene_part(track.assay) == part and (track.strand not in ("+", "-") or track.strand == strand)
    ]
    matches.sort()
    names = [(assay, biosample) for assay, biosample, _ in matches]
    starts = [number for number, name in enumerate(names) if number == 0 or name != names[number - 1]]
    return _Samples(
        np.array([row for *_, row in matches], np.intp),
        [names[number] for number in starts],
        np.array(starts, np.intp),
        np.diff([*starts, len(names)]),
    )
