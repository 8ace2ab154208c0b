"""Lists of variants scored with a site's model: read, checked, scored chunk by chunk, written as a table.

A list's work lies in a folder until its table is written. It survives being killed at any moment: what is asked again
goes on after the last chunk, and the table comes out the same to the byte.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from trackserver.batches import scoring, table, vcf
from trackserver.batches.question import Batch
from trackserver.batches.rows import Answer, Head, Ledger, Waiting
from trackserver.batches.scoring import OK, Scored
from trackserver.errors import InvalidRequest, SiteReadOnly, listing
from trackserver.genome.variant import Variant
from trackserver.progress import Progress
from trackserver.storage import LOCK, Busy, locked, whole_file

ENDINGS = (".tsv", ".tsv.gz", ".vcf", ".vcf.gz", ".parquet")
_TRIED = 16  # rows that are scored to tell how long all will take


# What of a question a sentence calls what.
_WORDS = {
    "version": "the version of trackserver", "model": "the model", "weights_sha256": "the model's weights",
    "assembly": "the assembly", "fasta_sha256": "the FASTA", "input_sha256": "the list of variants",
    "tracks": "the choice of tracks", "ensemble": "how the model is asked (ensemble, shifts, squashed, placement)",
    "full": "--full", "lift_from": "the assembly the variants are written on", "every": "the columns",
    "chunk": "the size of chunks", "device": "the device", "weights": "impact_weights", "files": "the site's own files",
}  # fmt: skip


# --- Before anything is scored ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Preflight:
    """What a list holds.

    statuses : rows by what becomes of them, `ok` those that are scored
    kinds : of what can be scored, repeats too: snv, mnv, insertion, deletion, delins
    fixable : rows whose REF is not read there: `swap` of the alleles, or `shift` by one position, would fit
    windows : how many the model reads
    problems : the first sentences
    seconds : what scoring takes, about; None where it was not tried
    """

    rows: int
    to_score: int
    statuses: dict[str, int]
    kinds: dict[str, int]
    fixable: dict[str, int]
    windows: int
    problems: list[str]
    seconds: float | None = None


def preflight(chunk: int, ledger: Ledger, seconds: float | None = None) -> Preflight:
    """What is in a list that is scored so many rows at a time."""
    statuses = ledger.counts("status")
    return Preflight(
        rows=ledger.total(),
        to_score=statuses.get(OK, 0),
        statuses=statuses,
        kinds=ledger.counts("kind"),
        fixable=ledger.counts("fix"),
        windows=ledger.windows(chunk),
        problems=ledger.problems(5),
        seconds=seconds,
    )


def _seconds(asked: Batch, ledger: Ledger) -> float:
    """About how long all rows take, from some: windows, what they share, and indels are timed apart."""
    predictor, sample = asked.predictor(), ledger.sample(_TRIED)
    together = [variant for variant in sample if not variant.growth]
    indels = [variant for variant in sample if variant.growth]

    def timed(variants: Sequence[Variant]) -> float:
        began = time.perf_counter()
        scoring.score(predictor, asked.ground, variants, asked.scoring())
        return time.perf_counter() - began

    timed(sample[:1])  # the first is slow
    n_windows, kinds = ledger.windows(asked.chunk), ledger.counts("kind")
    window = timed(sample[:1])
    each = max(timed(together) - window, 0) / (len(together) - 1) if len(together) > 1 else 0.0
    n_indels = sum(kinds.get(kind, 0) for kind in ("insertion", "deletion", "delins"))
    indel = max(timed(indels) - window, 0) if together and indels else 0.0
    n_scored = ledger.counts("status").get(OK, 0)
    return n_windows * window + max(n_scored - n_windows, 0) * each + n_indels * indel


# --- Scoring ---------------------------------------------------------------------------------------------------------


def advance(asked: Batch, ledger: Ledger) -> int:
    """Score the next chunk and keep it; returns how many rows that were, 0 where none is left."""
    waiting = ledger.waiting(asked.chunk)
    if waiting:
        variants = [row.variant for row in waiting]
        found = scoring.score(asked.predictor(), asked.ground, variants, asked.scoring())
        ledger.add([_answer(asked, row, found[row.variant]) for row in waiting])
    return len(waiting)


def _answer(asked: Batch, row: Waiting, result: Scored | scoring.Refused) -> Answer:
    if isinstance(result, scoring.Refused):
        return Answer(row.number, scoring.Refused(result.status, f"Line {row.line}: {result.message}"), {})
    track = asked.card.tracks[result.track]
    genes = asked.site.reference(asked.ground.assembly.name).genes()
    near = genes.nearest(row.variant.chrom, row.variant.start) if genes else None
    gene = {"gene": near[0].name, "distance": near[1]} if near else {}
    words = {"name": track.name, "assay": track.assay, "biosample": track.biosample, "target": track.target}
    return Answer(row.number, result, gene | words)


def run(
    asked: Batch,
    out: Path,
    *,
    resume: bool = False,
    tell: Callable[[Preflight], object] = lambda found: None,
    report: Progress = lambda done, total: None,
) -> dict[str, int]:
    """Score a list into a table; returns how many rows have which status.

    Parameters
    ----------
    out
        Where to; its ending, one of `ENDINGS`, is the format. It appears whole when all is done; until then the work
        lies beside it, in a folder of the same name and `.unfinished`.
    resume
        Go on with what an earlier run of exactly this question left there.
    tell
        Called with what the list holds before it is scored.

    Raises
    ------
    InvalidRequest
        The ending is unknown; what was left is of another question, or is to be gone on with and `resume` is not set.
    SiteReadOnly
        The disk is full, or nothing can be written there.
    """
    ending(out, asked.every)
    work = out.with_name(f"{out.name}.unfinished")
    try:
        work.mkdir(exist_ok=True)
        with _alone(work):
            ledger = _begun(asked, Ledger(work / "rows.sqlite"), resume)
            tell(preflight(asked.chunk, ledger))
            left = ledger.left()
            total, done = left, 0
            while scored := advance(asked, ledger):
                done += scored
                report(done, total)
            ledger.rank()
            write(asked, ledger, out)
            statuses = ledger.counts("status")
        shutil.rmtree(work)
    except OSError as error:
        raise SiteReadOnly(
            f"The table cannot be written: {error.strerror} ({error.filename or work}). Make room on the disk or give "
            "yourself write permission; what was scored is kept, go on with --resume."
        ) from error
    return statuses


@contextmanager
def _alone(work: Path) -> Iterator[None]:
    try:
        with locked(work / LOCK, wait=False):
            yield
    except Busy:
        raise InvalidRequest(f"Another process is writing {work}; wait for it or stop it.") from None


def dry_run(asked: Batch, folder: Path) -> Preflight:
    """What the list holds and how long it will take; the folder is for what has to be noted meanwhile."""
    ledger = begin(asked, Ledger(folder / "rows.sqlite"))
    return preflight(asked.chunk, ledger, _seconds(asked, ledger) if ledger.left() else None)


def _begun(asked: Batch, ledger: Ledger, resume: bool) -> Ledger:
    """A ledger with the list's rows: the one that is there, if it is of this question, or a new one."""
    if ledger.exists():
        changed = changes(ledger.question(), asked.question)
        if resume and changed:
            raise InvalidRequest(
                f"What was begun cannot be gone on with: since then {listing(changed)} changed. "
                "Ask as before, or begin anew without --resume."
            )
        if not changed and not resume and (scored := ledger.counts("status").get(OK, 0) - ledger.left()):
            raise InvalidRequest(
                f"An earlier run of this has scored {scored:,} rows already: go on with --resume, or delete "
                f"{ledger.path.parent} to begin anew."
            )
        if resume:
            return ledger
    return begin(asked, ledger)


def begin(asked: Batch, ledger: Ledger) -> Ledger:
    """Enter the list's rows."""
    with closing(asked.entries()) as entered:
        ledger.begin(asked.question, head(asked), entered)
    return ledger


def head(asked: Batch) -> Head:
    return Head(asked.about(), asked.more())


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What of a question is not as it was, in words."""
    return [words for name, words in _WORDS.items() if old.get(name) != new.get(name)]


# --- Writing ---------------------------------------------------------------------------------------------------------


def ending(out: Path, every: str = "") -> str:
    """The format a file's name asks for.

    Raises
    ------
    InvalidRequest
        There is none of this name, or it has no room for every track's scores, or its library is missing.
    """
    found = next((known for known in sorted(ENDINGS, key=len, reverse=True) if out.name.endswith(known)), "")
    if not found:
        raise InvalidRequest(f"{out.name} is no table's name; end it in {listing(ENDINGS)}.")
    if every and ".vcf" in found:
        raise InvalidRequest("A VCF has the top track's scores only; write .tsv or .parquet to have every track's.")
    if found == ".parquet":
        table.parquet()
    return found


def write(asked: Batch, ledger: Ledger, out: Path) -> None:
    """Write the table, whole or not at all."""
    kind = ending(out, asked.every)
    with whole_file(out) as part:
        if kind == ".parquet":
            table.write_parquet(part, *ledger.head(), ledger.rows())
        else:
            with part.open("wb") as raw:
                write_text(asked, ledger, raw, kind)


def write_text(asked: Batch, ledger: Ledger, raw: IO[bytes], kind: str) -> None:
    """The table as TSV or VCF, packed if its ending says so."""
    out = table.packed(raw) if kind.endswith(".gz") else raw
    if ".vcf" in kind:
        vcf.write_vcf(out, asked.read, asked.ground.source, ledger.head().about, ledger.rows())
    else:
        table.write_tsv(out, *ledger.head(), ledger.rows())
    if out is not raw:
        out.close()
