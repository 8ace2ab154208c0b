from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from Bio import bgzf

from trackserver.errors import BadTileId, ChromosomesDoNotFit, UnreadableFile
from trackserver.genome.assembly import Assembly
from trackserver.genome.sequence import build_index
from trackserver.tiles.grid import TILE_SIZE, Grid
from trackserver.tiles.sequence import MAX_BASES_PER_TILE, ROWS, SequenceTileset, check_fasta, open_fasta
from trackserver.tiles.tileset import TileId
from trackserver.tiles.wire import decode_dense


@pytest.fixture
def fasta(files: Path, tmp_path: Path) -> Path:
    """The genome's FASTA, indexed."""
    path = tmp_path / "genome.fa"
    shutil.copy(files / "genome.fa", path)
    build_index(path, Path(f"{path}.fai"))
    return path


@pytest.fixture
def tileset(fasta: Path, assembly: Assembly) -> SequenceTileset:
    return open_fasta(fasta, Grid(assembly), "Sequence")


def test_letters_and_counts_are_the_genomes(
    tileset: SequenceTileset, assembly: Assembly, sequences: dict[str, str]
) -> None:
    """Every tile of every zoom that is shown, across joins and past the end."""
    grid = Grid(assembly)
    letters = "".join(sequences.values()).upper()
    shown = 0
    for zoom in range(grid.max_zoom + 1):
        for x in range(1 << zoom):
            edges = grid.edges(zoom, x)
            if edges[-1] - edges[0] > MAX_BASES_PER_TILE:
                continue
            payload = tileset.tile(TileId("s", zoom, x))
            expected = letters[edges[0] : edges[-1]].ljust(int(edges[-1] - edges[0]))
            assert payload["sequence"] == expected
            counts = decode_dense(payload).reshape(len(ROWS), TILE_SIZE)
            bins = [expected[i : i + grid.bin_width(zoom)] for i in range(0, len(expected), grid.bin_width(zoom))]
            for row, base in zip(counts, "ATGCN ", strict=True):
                assert row.tolist() == [held.count(base) for held in bins]
            shown += 1
    assert shown > 100


def test_a_tile_too_wide_says_so_and_still_holds_an_array(tileset: SequenceTileset) -> None:
    payload = tileset.tile(TileId("s", 0, 0))
    assert payload["error"] == "Zoom in to 65,536 bp or less to see bases."
    assert payload["shape"] == [6, TILE_SIZE]
    assert np.isnan(decode_dense(payload)).all()


def test_info(tileset: SequenceTileset) -> None:
    info = tileset.info()
    assert (info["shape"], info["row_infos"], info["max_tile_width"]) == (
        [TILE_SIZE, 6],
        list(ROWS),
        MAX_BASES_PER_TILE,
    )
    assert info["resolutions"][-1] == 1
    with pytest.raises(BadTileId):
        tileset.tile(TileId("s", 99, 0))


def test_names_and_order_of_the_fasta_do_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "x.fa"
    path.write_text(">MT\nACGT\n>2\nTTTTT\n>9\nAAAA\n")
    build_index(path, Path(f"{path}.fai"))
    assembly = Assembly("x", ("chr1", "chr2", "chrM"), (3, 5, 4))
    check_fasta(path, assembly)
    assert open_fasta(path, Grid(assembly), "x").tile(TileId("x", 0, 0))["sequence"].rstrip() == "   TTTTTACGT"


def test_what_cannot_be_served(fasta: Path, assembly: Assembly, tmp_path: Path) -> None:
    check_fasta(fasta, assembly)
    with pytest.raises(ChromosomesDoNotFit, match="its chrA is 70,000 bp long, but in other it is 9"):
        check_fasta(fasta, Assembly("other", ("chrA",), (9,)))
    with pytest.raises(UnreadableFile, match="is missing"):
        check_fasta(tmp_path / "none.fa", assembly)
    whole = fasta.read_bytes()
    fasta.write_bytes(whole[:-2])
    with pytest.raises(UnreadableFile, match="is shorter than its index says"):
        check_fasta(fasta, assembly)
    Path(f"{fasta}.fai").unlink()
    with pytest.raises(UnreadableFile, match=r"has no index genome.fa.fai; make one with: samtools faidx"):
        check_fasta(fasta, assembly)


def test_bgzip(tmp_path: Path, sequences: dict[str, str], assembly: Assembly) -> None:
    path = tmp_path / "x.fa.gz"
    with bgzf.BgzfWriter(path) as file:
        for chrom, letters in sequences.items():
            file.write(f">{chrom}\n{letters}\n".encode())
    build_index(path, Path(f"{path}.fai"))
    check_fasta(path, assembly)
    grid = Grid(assembly)
    got = open_fasta(path, grid, "x").tile(TileId("x", grid.max_zoom, 3))["sequence"]
    assert got == sequences["chrA"][3 * TILE_SIZE : 4 * TILE_SIZE].upper()
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(UnreadableFile, match="is truncated"):
        check_fasta(path, assembly)
