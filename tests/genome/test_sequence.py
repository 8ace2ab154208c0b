from __future__ import annotations

import gzip
import pickle
from pathlib import Path

import numpy as np
import pytest
from Bio import bgzf
from hypothesis import given
from hypothesis import strategies as st

from trackserver.errors import DataError, UnknownChromosome
from trackserver.genome.locus import Locus
from trackserver.genome.sequence import Genome, build_index, decode, encode, one_hot, reverse_complement

dna = st.text("ACGTN", max_size=60)


@given(dna)
def test_codes_and_back(sequence: str) -> None:
    assert decode(encode(sequence)) == sequence
    assert decode(encode(sequence.lower())) == sequence


def test_anything_but_acgt_is_n() -> None:
    assert decode(encode("ARYkz-é")) == "ANNNNNN"


@given(dna)
def test_reverse_complement_is_its_own_inverse(sequence: str) -> None:
    codes = encode(sequence)
    assert decode(reverse_complement(codes)) == sequence.translate(str.maketrans("ACGT", "TGCA"))[::-1]
    assert (reverse_complement(reverse_complement(codes)) == codes).all()


def test_one_hot_rows_are_a_c_g_t_and_n_is_what_the_model_says() -> None:
    assert one_hot(encode("ACGTN"), 0.25).tolist() == [
        [1, 0, 0, 0, 0.25], [0, 1, 0, 0, 0.25], [0, 0, 1, 0, 0.25], [0, 0, 0, 1, 0.25],
    ]  # fmt: skip
    assert one_hot(np.stack([encode("AC"), encode("GN")])).shape == (2, 4, 2)


@pytest.fixture(params=["plain", "bgzip"])
def genome(request: pytest.FixtureRequest, files: Path, tmp_path: Path) -> Genome:
    plain = (files / "genome.fa").read_bytes()
    path = tmp_path / ("genome.fa" if request.param == "plain" else "genome.fa.gz")
    if request.param == "plain":
        path.write_bytes(plain)
    else:
        with bgzf.BgzfWriter(str(path)) as writer:
            writer.write(plain)
    index = tmp_path / "elsewhere" / f"{path.name}.fai"
    index.parent.mkdir()
    seen: list[int] = []
    build_index(path, index, lambda done, total: seen.append(total))
    assert seen
    return Genome(path, index)


def test_windows_read_as_the_file_does(genome: Genome, sequences: dict[str, str]) -> None:
    for chrom, sequence in sequences.items():
        for start, end in ((0, 1), (37, 200), (len(sequence) - 61, len(sequence))):
            assert decode(genome.codes(Locus(chrom, start, end))) == sequence[start:end].upper()


def test_beyond_the_ends_is_n(genome: Genome, sequences: dict[str, str]) -> None:
    size = len(sequences["chrC"])
    assert decode(genome.codes(Locus("chrC", -3, 2))) == "NNN" + sequences["chrC"][:2]
    assert decode(genome.codes(Locus("chrC", size - 2, size + 2))) == sequences["chrC"][-2:] + "NN"
    assert decode(genome.codes(Locus("chrC", size + 5, size + 8))) == "NNN"
    assert decode(genome.codes(Locus("chrC", -9, -5))) == "NNNN"


def test_an_unknown_chromosome_lists_the_files(genome: Genome) -> None:
    with pytest.raises(UnknownChromosome, match="chrA, chrB, chrC"):
        genome.codes(Locus("chr1", 0, 5))


def test_a_genome_pickles(genome: Genome) -> None:
    copy = pickle.loads(pickle.dumps(genome))
    assert (copy.codes(Locus("chrA", 0, 50)) == genome.codes(Locus("chrA", 0, 50))).all()


def test_our_index_is_pyfaidx_own(files: Path, tmp_path: Path) -> None:
    import pyfaidx

    (tmp_path / "g.fa").write_bytes((files / "genome.fa").read_bytes())
    pyfaidx.Faidx(str(tmp_path / "g.fa")).close()
    build_index(tmp_path / "g.fa", tmp_path / "ours.fai")
    assert (tmp_path / "ours.fai").read_text() == (tmp_path / "g.fa.fai").read_text()


@pytest.mark.parametrize("text", ["ACGT\n", ">a\nACGT\nAC\nACGT\n", ">a\nAC\nACGT\n", "", "\x1f"])
def test_what_is_no_fasta_leaves_no_index(text: str, tmp_path: Path) -> None:
    (tmp_path / "x.fa").write_text(text)
    with pytest.raises(DataError):
        build_index(tmp_path / "x.fa", tmp_path / "x.fa.fai")
    assert [path.name for path in tmp_path.iterdir()] == ["x.fa"]


def test_plain_gzip_is_told_to_be_bgzip(files: Path, tmp_path: Path) -> None:
    (tmp_path / "g.fa.gz").write_bytes(gzip.compress((files / "genome.fa").read_bytes()))
    with pytest.raises(DataError, match="bgzip"):
        build_index(tmp_path / "g.fa.gz", tmp_path / "g.fa.gz.fai")


def test_a_missing_index_and_a_missing_fasta_are_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is missing"):
        Genome(tmp_path / "x.fa").codes(Locus("a", 0, 1))
    (tmp_path / "x.fa").write_text(">a\nACGT\n")
    with pytest.raises(DataError, match="no index"):
        Genome(tmp_path / "x.fa").codes(Locus("a", 0, 1))
