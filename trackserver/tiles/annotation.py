"""Genes and chromosome names as tiles."""

from __future__ import annotations

from typing import Any

import numpy as np

from trackserver.genome.assembly import Assembly
from trackserver.genome.genes import Gene, Genes
from trackserver.tiles.grid import Grid
from trackserver.tiles.intervals import Intervals
from trackserver.tiles.tileset import TileId, check_on_grid, pyramid_info

MOST_GENES_A_TILE = 60


class GenesTileset:
    """Gene models; where a tile holds more than the client can draw, the most important are kept, always the same."""

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
        rows = self._intervals.within(int(edges[0]), int(edges[-1]), MOST_GENES_A_TILE)
        shown = rows[np.argsort(self._intervals.ranks[rows])]
        return [gene_entry(self.genes[row], self.grid.assembly) for row in shown.tolist()]


def importance(gene: Gene) -> int:
    """Coding genes before others, longer before shorter: what a reader looks for first when zoomed out."""
    return len(gene.locus) + (10_000_000 if gene.coding else 0)


def gene_entry(gene: Gene, assembly: Assembly) -> dict[str, Any]:
    """A gene in the fourteen fields that HiGlass's gene track reads; fields are chromosome positions, x is absolute."""
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
    """An assembly's chromosomes: a description only, HiGlass asks for no tiles."""

    def __init__(self, assembly: Assembly):
        self.assembly = assembly

    def info(self) -> dict[str, Any]:
        return pyramid_info(Grid(self.assembly), name=f"Chromosomes ({self.assembly.name})", datatype="chromsizes")

    def tile(self, tile: TileId) -> list[Any]:
        return []
