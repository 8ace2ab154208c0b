from __future__ import annotations

import gzip
from itertools import groupby
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackserver.errors import UnreadableFile
from trackserver.genome import known_sequence as module
from trackserver.genome.known_sequence import known_sequence
from trackserver.genome.locus import Locus
from trackserver.genome.sequence import build_index

sequences = st.lists(st.text("ACGTacgtNnRY", min_size=0, max_size=90), min_size=1, max_size=4)


def slowly(sequences: list[str]) -> list[Locus]:
    found = []
    for number, text in enumerate(sequences):
        start = 0
        for is_base, run in groupby(text, lambda letter: letter.upper() in "ACGT"):
            end = start + len(list(run))
            found += [Locus(f"c{number}", start, end)] if is_base else []
            start = end
    return found


def fasta(path: Path, sequences: list[str], width: int, newline: str = "\n") -> Path:
    lines = []
    for number, text in enumerate(sequences):
        lines += [f">c{number} and words", *(text[i : i + width] for i in range(0, len(text), width))]
    data = newline.join(lines).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


@given(
    sequences, st.integers(1, 30), st.sampled_from(["\n", "\r\n"]), st.sampled_from([1, 7, 64, 1 << 24]), st.booleans()
)  # fmt: skip
def test_every_known_base_and_no_other(
    tmp_path_factory: pytest.TempPathFactory,
    sequences: list[str],
    width: int,
    newline: str,
    chunk_bytes: int,
    ends: bool,
) -> None:
    """Whatever the lines, the pieces that are read at a time, and whether the last line has an end."""
    folder = tmp_path_factory.mktemp("fasta")
    path = fasta(folder / "x.fa", [*sequences, "AC"], width, newline)
    if ends:
        path.write_bytes(path.read_bytes() + newline.encode())
    build_index(path, folder / "x.fai")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "CHUNK_BYTES", chunk_bytes)
        assert list(known_sequence(path, folder / "x.fai")) == slowly([*sequences, "AC"])


def test_gzip_progress_and_damage(tmp_path: Path) -> None:
    texts = ["ACGT" * 100 + "N" * 100, "N" * 50, "A" * 75]
    plain, packed = (fasta(tmp_path / name, texts, 60) for name in ("x.fa", "x.fa.gz"))
    build_index(plain, tmp_path / "x.fai")
    told: list[tuple[int, int]] = []
    found = list(known_sequence(packed, tmp_path / "x.fai", lambda done, total: told.append((done, total))))
    assert found == slowly(texts) == list(known_sequence(plain, tmp_path / "x.fai"))
    assert told == [(500, 625), (550, 625), (625, 625)]
    for damaged in (plain, packed):
        damaged.write_bytes(damaged.read_bytes()[: damaged.stat().st_size // 2])
        with pytest.raises(UnreadableFile, match="damaged or truncated"):
            list(known_sequence(damaged, tmp_path / "x.fai"))
