import gzip

import numpy as np
import pyBigWig
import pytest

from tests.tolerance import STORED
from trackserver.demo import files
from trackserver.demo.grammar import BIN_WIDTH, TRACKS
from trackserver.genome.assembly import from_chromsizes
from trackserver.genome.genes import read_refgene
from trackserver.genome.locus import Locus
from trackserver.genome.sequence import Genome, build_index
from trackserver.training.targets import read_folds


@pytest.fixture
def fasta(small, tmp_path):
    path = tmp_path / "synthetic.fa"
    files.write_fasta(small, path)
    build_index(path, tmp_path / "synthetic.fa.fai")
    return path


def test_the_fasta_reads_back(small, fasta):
    genome = Genome(fasta)
    for chromosome in small.chromosomes:
        read = genome.codes(Locus(chromosome.name, 0, len(chromosome.codes)))
        np.testing.assert_array_equal(read, chromosome.codes)


def test_repeats_are_lower_case_and_nothing_else_is(small, fasta):
    records = fasta.read_text().split(">")[1:]
    for record, chromosome in zip(records, small.chromosomes, strict=True):
        header, *lines = record.splitlines()
        assert "synthetic" in header
        letters = np.frombuffer("".join(lines).encode(), dtype=np.uint8)
        np.testing.assert_array_equal(letters >= ord("a"), chromosome.masked)


def test_chromsizes_and_folds_read_back(small, tmp_path):
    files.write_chromsizes(small, tmp_path / "sizes")
    files.write_folds(small, tmp_path / "folds.bed")
    assembly = from_chromsizes(small.assembly.name, tmp_path / "sizes")
    assert assembly == small.assembly
    read = read_folds(tmp_path / "folds.bed", assembly)
    assert [(window.locus, window.fold) for window in read] == list(small.folds)


def test_genes_read_back(small, tmp_path):
    path = tmp_path / "refGene.txt.gz"
    files.write_refgene(small, path)
    assert list(read_refgene(path, small.assembly)) == sorted(small.genes, key=lambda g: (g.locus.chrom, g.locus.start))


def test_the_gene_table_is_the_same_bytes_each_time(small, tmp_path):
    for name in ("one.gz", "two.gz"):
        files.write_refgene(small, tmp_path / name)
    assert (tmp_path / "one.gz").read_bytes() == (tmp_path / "two.gz").read_bytes()
    assert all(line.count("\t") == 15 for line in gzip.open(tmp_path / "one.gz", "rt"))


def test_observed_tracks_read_back_bin_by_bin(small, tmp_path):
    paths = files.write_observed(small, tmp_path)
    assert len({path.name for path in paths}) == len(TRACKS)
    assert all("synthetic" in path.name for path in paths)
    for number, path in enumerate(paths):
        with pyBigWig.open(str(path)) as bigwig:
            assert bigwig.chroms() == small.assembly.chromsizes
            values = bigwig.values("chrS3", 0, small.assembly.chromsizes["chrS3"], numpy=True)
        bins = values.reshape(-1, BIN_WIDTH)
        assert (bins == bins[:, :1]).all()
        np.testing.assert_allclose(bins[:, 0], small.observed["chrS3"][number], rtol=STORED)
