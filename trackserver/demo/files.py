"""Write the synthetic genome as the files a lab would bring: FASTA, chromsizes, refGene table, folds, bigWig."""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from trackserver.bbi.writer import Stretch, write_bigwig
from trackserver.demo.generator import Chromosome, SyntheticGenome
from trackserver.demo.grammar import BIN_WIDTH, TRACKS
from trackserver.genome.genes import Gene
from trackserver.genome.locus import Locus

_LINE = 60
_UPPER = np.frombuffer(b"ACGTN", dtype=np.uint8)
_LOWER = np.frombuffer(b"acgtn", dtype=np.uint8)


def write_fasta(genome: SyntheticGenome, path: str | os.PathLike[str]) -> None:
    """Write the sequence in lines of 60, repeats in lower case."""
    with Path(path).open("wb") as file:
        for chromosome in genome.chromosomes:
            file.write(f">{chromosome.name} synthetic, seed {genome.seed}\n".encode())
            file.write(_lines(chromosome))


def _lines(chromosome: Chromosome) -> bytes:
    letters = np.where(chromosome.masked, _LOWER[chromosome.codes], _UPPER[chromosome.codes])
    whole = len(letters) - len(letters) % _LINE
    lines = np.full((whole // _LINE, _LINE + 1), ord("\n"), dtype=np.uint8)
    lines[:, :_LINE] = letters[:whole].reshape(-1, _LINE)
    rest = letters[whole:].tobytes()
    return lines.tobytes() + (rest + b"\n" if rest else b"")


def write_chromsizes(genome: SyntheticGenome, path: str | os.PathLike[str]) -> None:
    Path(path).write_text("".join(f"{chrom}\t{size}\n" for chrom, size in genome.assembly.chromsizes.items()))


def write_folds(genome: SyntheticGenome, path: str | os.PathLike[str]) -> None:
    """Write BED4: chromosome, start, end, and train, valid or test."""
    lines = (f"{locus.chrom}\t{locus.start}\t{locus.end}\t{fold}\n" for locus, fold in genome.folds)
    Path(path).write_text("".join(lines))


def write_refgene(genome: SyntheticGenome, path: str | os.PathLike[str]) -> None:
    """Write UCSC's refGene table, gzip; the bytes depend on the genome alone, not on the date."""
    text = "".join("\t".join(_refgene_row(gene)) + "\n" for gene in genome.genes)
    Path(path).write_bytes(gzip.compress(text.encode(), mtime=0))


def _refgene_row(gene: Gene) -> list[str]:
    exons = [",".join(map(str, edges)) + "," for edges in (gene.exon_starts, gene.exon_ends)]
    numbers = (gene.locus.start, gene.locus.end, gene.cds_start, gene.cds_end, len(gene.exon_starts))
    frames = "0," * len(gene.exon_starts)
    return ["0", gene.transcript, gene.locus.chrom, gene.strand, *map(str, numbers), *exons,
            "0", gene.name, "cmpl", "cmpl", frames]  # fmt: skip


def write_observed(genome: SyntheticGenome, folder: str | os.PathLike[str]) -> tuple[Path, ...]:
    """Write the observed tracks as bigWigs, one for each of `TRACKS` and in their order."""
    paths = tuple(Path(folder) / f"{_slug(track.name)}.bw" for track in TRACKS)
    for number, path in enumerate(paths):
        write_bigwig(path, genome.assembly, BIN_WIDTH, _stretches(genome, number))
    return paths


def _stretches(genome: SyntheticGenome, track: int) -> Iterator[Stretch]:
    for chrom, size in genome.assembly.chromsizes.items():
        yield Stretch(Locus(chrom, 0, size), genome.observed[chrom][track])


def _slug(name: str) -> str:
    words = name.replace("(", "").replace(")", "").replace(",", "").lower().split()
    return "-".join(words)
