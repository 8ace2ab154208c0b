"""Several that need something for the first time at once: one computes it, nobody fails, all have the same."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import make_site
from trackserver.catalogue import reference as module
from trackserver.catalogue.site import Site
from trackserver.effects import background
from trackserver.effects.background import DrawOptions, build
from trackserver.genome.rsids import Rsids, index_rsids
from trackserver.storage import make_once, write_whole

N = 6
CHAIN = "chain 1 chrA 70000 + 0 70000 chrA 70000 + 0 70000 1\n70000\n\n"
VCF = "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\n" + "".join(f"chrA\t{i}\trs{i}\tA\tC\n" for i in range(1, 5000))


@pytest.fixture
def fresh(tmp_path: Path, files: Path) -> Site:
    """A site with a FASTA, genes and a chain, of which nothing is remembered."""
    site = make_site(tmp_path / "site", files)
    for remembered in site.cache.iterdir():
        if remembered.is_file():
            remembered.unlink()
    fasta = tmp_path / "own.fa"
    fasta.write_bytes((files / "genome.fa").read_bytes())
    (tmp_path / "old.chain").write_text(CHAIN)
    (tmp_path / "old.sizes").write_text((files / "chrom.sizes").read_text())
    settings = site.path / "trackserver.toml"
    text = settings.read_text().replace(str(files / "genome.fa"), str(fasta))
    settings.write_text(
        text + f'\n[assemblies.tiny.chains]\nold = "{tmp_path / "old.chain"}"\n'
        f'[assemblies.old]\nchromsizes = "{tmp_path / "old.sizes"}"\n'
    )
    return Site(site.path)


def counted(monkeypatch: pytest.MonkeyPatch, target: object, name: str) -> list[int]:
    """How often a function is called; it waits a moment, so that others come meanwhile."""
    calls: list[int] = []
    really = getattr(target, name)

    def counting(*args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        threading.Event().wait(0.2)
        return really(*args, **kwargs)

    monkeypatch.setattr(target, name, counting)
    return calls


def at_once(ask: Callable[[], Any]) -> list[Any]:
    barrier = threading.Barrier(N)

    def one() -> Any:
        barrier.wait()
        return ask()

    with ThreadPoolExecutor(N) as pool:
        return [future.result() for future in [pool.submit(one) for _ in range(N)]]


@pytest.mark.parametrize(
    ("target", "function", "ask"),
    [
        (module, "sha256", lambda site: site.reference("tiny").fasta_sha256()),
        (module, "known_sequence", lambda site: site.reference("tiny").known_sequence()),
        (module, "build_index", lambda site: site.reference("tiny").build_missing_index()),
        (module, "read_genes", lambda site: site.reference("tiny").genes()),
        (module.Liftover, "read", lambda site: site.reference("tiny").liftover("old")),
        (module.assemblies, "from_chromsizes", lambda site: site.assembly("old")),
    ],
    ids=["checksum", "known sequence", "index", "genes", "chain", "assembly"],
)  # fmt: skip
def test_threads_compute_once(
    target: object, function: str, ask: Callable[[Site], Any], fresh: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    if function != "build_index":
        fresh.reference("tiny").build_missing_index()
    calls = counted(monkeypatch, target, function)
    found = at_once(lambda: ask(fresh))
    assert all(one == found[0] for one in found)
    assert len(calls) == 1


SCRIPT = """
import sys
from pathlib import Path
from trackserver.catalogue.site import Site
site = Site(Path(sys.argv[1]))
reference = site.reference("tiny")
sys.stdin.readline()
reference.build_missing_index()
print(reference.fasta_sha256(), len(reference.known_sequence()))
"""


def test_processes_never_fail(fresh: Site) -> None:
    command = [sys.executable, "-c", SCRIPT, str(fresh.path)]
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(N)
    ]
    for process in processes:
        assert process.stdin
        process.stdin.write("\n")
        process.stdin.flush()
    found = [process.communicate(timeout=120) for process in processes]
    assert [error for _, error in found] == [""] * N
    assert len({said for said, _ in found}) == 1
    assert not list(fresh.cache.glob("*.part")) and not list(fresh.cache.glob(".*.part"))


def test_a_file_is_made_once_over_processes(tmp_path: Path) -> None:
    path, calls = tmp_path / "made", []

    def make() -> None:
        calls.append(1)
        threading.Event().wait(0.1)
        write_whole(path, "done")

    at_once(lambda: make_once(path, make, path.exists))
    assert calls == [1] and path.read_text() == "done"


def test_a_file_whose_making_fails_is_made_by_the_next(tmp_path: Path) -> None:
    path, calls = tmp_path / "made", []

    def make() -> None:
        calls.append(1)
        if len(calls) == 1:
            raise OSError("no room")
        write_whole(path, "done")

    with pytest.raises(OSError, match="no room"):
        make_once(path, make, path.exists)
    make_once(path, make, path.exists)
    assert path.read_text() == "done" and sorted(p.name for p in tmp_path.iterdir()) == [".made.lock", "made"]


def test_tables_of_rsids_made_at_once_are_whole(fresh: Site, tmp_path: Path) -> None:
    vcf, table = tmp_path / "in.vcf", fresh.reference("tiny").rsid_table
    vcf.write_text(VCF)
    table.parent.mkdir()
    assert at_once(lambda: index_rsids(vcf, table, fresh.assembly("tiny"))) == [4999] * N
    assert Rsids(table, fresh.assembly("tiny")).find("rs17")[0].position == 17
    assert not [path for path in table.parent.iterdir() if path.name.endswith(".part")]


def test_a_background_is_computed_once(fresh: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    fresh.reference("tiny").build_missing_index()
    calls = counted(monkeypatch, background, "_chunks")
    found = at_once(lambda: build(fresh, "random", "tiny", DrawOptions(4)))
    assert len(calls) == 1
    assert all(one == found[0] for one in found)


def test_every_reading_of_a_table_waits_for_no_lock(fresh: Site) -> None:
    """What is there is read without a lock, also where nothing can be written."""
    reference = fresh.reference("tiny")
    reference.build_missing_index()
    digest, known = reference.fasta_sha256(), reference.known_sequence()
    for lock in fresh.cache.glob(".*.lock"):
        lock.unlink()
    again = Site(fresh.path).reference("tiny")
    assert (again.fasta_sha256(), again.known_sequence()) == (digest, known)
    assert not list(fresh.cache.glob(".*.lock"))
