"""Tiles of genes, and the tileset of chromosome names."""

from __future__ import annotations

from typing import Any

import numpy as np

from trackserver.genome.assembly import Assembly
from trackserver.genome.genes import Gene, Genes
from trackserver.tiles.grid import Grid
from trackserver.tiles.intervals import Intervals
from trackserver.tiles.tileset import TileId, check_on_grid, pyramid_info

MAX_GENES_PER_TILE = 60


class GenesTileset:
    """Gene models. A tile with more genes than the client can draw shows the most important, always the same ones."""

    def __init__(self, genes: Genes, grid: Grid, name: str):
        self.genes, self.grid, self.name = list(genes), grid, name
        starts = [grid.assembly.absolute(gene.locus.chrom, gene.locus.start) for gene in self.genes]
        ends = [start + len(gene.locus) for start, gene in zip(starts, self.genes, strict=True)]
        columns = (starts, ends, [importance(gene) for gene in self.genes])
        self._intervals = Intervals(*(np.array(column, np.int64) for column in columns))

    def info(self) -> dict[str, Any]:
        return pyramid_info(self.grid, name=self.name, datatype="gene-annotation")

    def tile(self, tile: TileId) -> list[dict[str, Any]]:
        check_on_grid(self.grid, tile)
        edges = self.grid.edges(tile.zoom, tile.x)
        rows = self._intervals.overlapping(int(edges[0]), int(edges[-1]), MAX_GENES_PER_TILE)
        by_rank = rows[np.argsort(self._intervals.ranks[rows])]
        return [gene_entry(self.genes[row], self.grid.assembly) for row in by_rank.tolist()]


def importance(gene: Gene) -> int:
    """Rank coding genes before others, and long genes before short ones."""
    return len(gene.locus) + (10_000_000 if gene.coding else 0)


def gene_entry(gene: Gene, assembly: Assembly) -> dict[str, Any]:
    """Return a gene as HiGlass' gene track reads it, with fourteen fields.

    The fields have positions on the chromosome; xStart and xEnd are absolute.
    """
    offset = assembly.offsets[gene.locus.chrom]
    fields = [
        gene.locus.chrom, gene.locus.start, gene.locus.end, gene.name, importance(gene), gene.strand,
        gene.transcript, gene.transcript, "protein-coding" if gene.coding else "other", gene.name,
        gene.cds_start, gene.cds_end,
        ",".join(map(str, gene.exon_starts)), ",".join(map(str, gene.exon_ends)),
    ]  # fmt: skip
    return {
        "uid": f"{gene.transcript}-{gene.locus.chrom}-{gene.locus.start}",
        "xStart": offset + gene.locus.start,
        "xEnd": offset + gene.locus.end,
        "chrOffset": offset,
        "importance": importance(gene),
        "strand": gene.strand,
        "name": gene.name,
        "fields": [str(field) for field in fields],
    }


class ChromSizesTileset:
    """An assembly's chromosomes; only a description, because HiGlass requests no tiles of them."""

    def __init__(self, assembly: Assembly):
        self.assembly = assembly

    def info(self) -> dict[str, Any]:
        return pyramid_info(Grid(self.assembly), name=f"Chromosomes ({self.assembly.name})", datatype="chromsizes")

    def tile(self, tile: TileId) -> list[Any]:
        return []
