"""Score a list of variants: read and check it, score it in chunks, and write the table.

Until the table is written, the scores are in a work folder. A run may be killed at any moment: the next one continues
after the last complete chunk, and the table is the same to the byte.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from trackserver.batches import scoring, table, vcf
from trackserver.batches.question import Batch
from trackserver.batches.rows import Ledger, PendingRow, RowResult, TableHeader
from trackserver.batches.scoring import OK, Refusal, RowScores
from trackserver.errors import InvalidRequest, SiteReadOnly, listing
from trackserver.genome.variant import Variant
from trackserver.progress import Progress, no_progress
from trackserver.storage import LOCK, Busy, locked, whole_file

ENDINGS = (".tsv", ".tsv.gz", ".vcf", ".vcf.gz", ".parquet")
TRIAL_ROWS = 16  # rows scored to estimate the time of a list

# What error messages call each part of a question.
_LABELS = {
    "version": "the version of trackserver", "model": "the model", "weights_sha256": "the model's weights",
    "assembly": "the assembly", "fasta_sha256": "the FASTA", "input_sha256": "the list of variants",
    "tracks": "the selected tracks", "ensemble": "the ensemble (strands, shifts, squashed, placement)",
    "full": "--full", "lift_from": "the assembly of the variants", "score_columns": "the score columns",
    "chunk": "the size of chunks", "device": "the device", "weights": "impact_weights", "files": "the site's own files",
}  # fmt: skip


# --- Before anything is scored ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Preflight:
    """The contents of a list, before it is scored.

    statuses : number of rows by status; `ok` are those to score
    kinds : number of variants, repeats included, by kind: snv, mnv, insertion, deletion, delins
    fixable : number of rows whose REF does not match, but would after a `swap` of the alleles or a `shift` by one base
    windows : number of windows that the model predicts
    problems : messages of the first rows that cannot be scored
    seconds : about how long scoring takes; None if unknown
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
    """Summarise a list that is to be scored in chunks of so many rows."""
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


def _estimate_seconds(batch: Batch, ledger: Ledger) -> float:
    """Estimate the time for all rows by timing some: separately for windows, variants within a window, and indels."""
    predictor, sample = batch.predictor(), ledger.sample(TRIAL_ROWS)
    substitutions = [variant for variant in sample if not variant.length_change]
    indels = [variant for variant in sample if variant.length_change]

    def time_scoring(variants: Sequence[Variant]) -> float:
        began = time.perf_counter()
        scoring.score(predictor, batch.references, variants, batch.scoring())
        return time.perf_counter() - began

    time_scoring(sample[:1])  # the first call is slower than the rest
    n_windows, kinds = ledger.windows(batch.chunk), ledger.counts("kind")
    per_window = time_scoring(sample[:1])
    per_variant = 0.0
    if len(substitutions) > 1:
        per_variant = max(time_scoring(substitutions) - per_window, 0) / (len(substitutions) - 1)
    n_indels = sum(kinds.get(kind, 0) for kind in ("insertion", "deletion", "delins"))
    per_indel = max(time_scoring(indels) - per_window, 0) if substitutions and indels else 0.0
    n_variants = ledger.counts("status").get(OK, 0)
    return n_windows * per_window + max(n_variants - n_windows, 0) * per_variant + n_indels * per_indel


# --- Scoring ---------------------------------------------------------------------------------------------------------


def score_chunk(batch: Batch, ledger: Ledger) -> int:
    """Score the next chunk and store it; returns its number of rows, 0 if none is left."""
    pending = ledger.pending(batch.chunk)
    if pending:
        variants = [row.variant for row in pending]
        results = scoring.score(batch.predictor(), batch.references, variants, batch.scoring())
        ledger.add([_row_result(batch, row, results[row.variant]) for row in pending])
    return len(pending)


def _row_result(batch: Batch, row: PendingRow, result: RowScores | Refusal) -> RowResult:
    if isinstance(result, Refusal):
        return RowResult(row.number, Refusal(result.status, f"Line {row.line}: {result.message}"), {})
    track = batch.card.tracks[result.track]
    genes = batch.site.reference(batch.references.assembly.name).genes()
    near = genes.nearest(row.variant.chrom, row.variant.start) if genes else None
    gene = {"gene": near[0].name, "distance": near[1]} if near else {}
    labels = {"name": track.name, "assay": track.assay, "biosample": track.biosample, "target": track.target}
    return RowResult(row.number, result, gene | labels)


def run(
    batch: Batch,
    out: str | os.PathLike[str],
    *,
    resume: bool = False,
    on_preflight: Callable[[Preflight], object] = lambda preflight: None,
    report: Progress = no_progress,
) -> dict[str, int]:
    """Score a list and write its table; returns the number of rows by status.

    Parameters
    ----------
    out
        The table to write; its ending, one of `ENDINGS`, is the format. It appears when all rows are scored. Until
        then the scores are beside it, in a folder of the same name plus `.unfinished`.
    resume
        Continue an earlier run of the same question.
    on_preflight
        Called with a summary of the list before it is scored.

    Raises
    ------
    InvalidRequest
        The ending is unknown, the unfinished run is of another question, or it could be resumed and `resume` is False.
    SiteReadOnly
        The disk is full, or the folder cannot be written to.
    """
    out = Path(out)
    ending(out, batch.score_columns)
    work = out.with_name(f"{out.name}.unfinished")
    try:
        work.mkdir(exist_ok=True)
        with _exclusive(work):
            ledger = _open_ledger(batch, Ledger(work / "rows.sqlite"), resume)
            on_preflight(preflight(batch.chunk, ledger))
            total, done = ledger.remaining(), 0
            while scored := score_chunk(batch, ledger):
                done += scored
                report(done, total)
            ledger.rank()
            write(batch, ledger, out)
            statuses = ledger.counts("status")
        shutil.rmtree(work)
    except OSError as error:
        raise SiteReadOnly(
            f"The table cannot be written: {error.strerror} ({error.filename or work}). Make room on the disk or give "
            "yourself write permission, then continue with --resume; the scored rows are kept."
        ) from error
    return statuses


@contextmanager
def _exclusive(work: Path) -> Iterator[None]:
    try:
        with locked(work / LOCK, wait=False):
            yield
    except Busy:
        raise InvalidRequest(f"Another process is writing {work}; wait for it or stop it.") from None


def dry_run(batch: Batch, folder: str | os.PathLike[str]) -> Preflight:
    """Summarise a list and estimate the time to score it; `folder` is for temporary files."""
    ledger = create_ledger(batch, Ledger(Path(folder) / "rows.sqlite"))
    return preflight(batch.chunk, ledger, _estimate_seconds(batch, ledger) if ledger.remaining() else None)


def _open_ledger(batch: Batch, ledger: Ledger, resume: bool) -> Ledger:
    """The ledger of the run to resume, or a new one."""
    if ledger.exists():
        changed = _changed_parts(ledger.question(), batch.question)
        if resume and changed:
            raise InvalidRequest(
                f"Cannot resume, because these have changed: {listing(changed)}. "
                "Restore them, or start again without --resume."
            )
        if not changed and not resume and (scored := ledger.counts("status").get(OK, 0) - ledger.remaining()):
            raise InvalidRequest(
                f"An earlier run has scored {scored:,} rows already: continue it with --resume, or delete "
                f"{ledger.path.parent} to start again."
            )
        if resume:
            return ledger
    return create_ledger(batch, ledger)


def create_ledger(batch: Batch, ledger: Ledger) -> Ledger:
    """Insert the list's rows into a new ledger."""
    with closing(batch.entries()) as entries:
        ledger.create(batch.question, table_header(batch), entries)
    return ledger


def table_header(batch: Batch) -> TableHeader:
    return TableHeader(batch.about(), batch.track_columns())


def _changed_parts(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Labels of the parts of a question that differ."""
    return [label for name, label in _LABELS.items() if old.get(name) != new.get(name)]


# --- Writing ---------------------------------------------------------------------------------------------------------


def ending(out: Path, score_columns: str | None = None) -> str:
    """The ending of a table's file name, which is its format.

    Raises
    ------
    InvalidRequest
        The ending is unknown, its format has no room for every track's scores, or its library is missing.
    """
    known = next((known for known in sorted(ENDINGS, key=len, reverse=True) if out.name.endswith(known)), "")
    if not known:
        raise InvalidRequest(f"The name of the table, {out.name}, must end in {listing(ENDINGS)}.")
    if score_columns and ".vcf" in known:
        raise InvalidRequest("A VCF has the top track's scores only; write .tsv or .parquet for score columns.")
    if known == ".parquet":
        table.import_pyarrow()
    return known


def write(batch: Batch, ledger: Ledger, out: Path) -> None:
    """Write the table, whole or not at all."""
    kind = ending(out, batch.score_columns)
    with whole_file(out) as part:
        if kind == ".parquet":
            table.write_parquet(part, *ledger.header(), ledger.rows())
        else:
            with part.open("wb") as raw:
                write_text(batch, ledger, raw, kind)


def write_text(batch: Batch, ledger: Ledger, raw: IO[bytes], kind: str) -> None:
    """Write the table as TSV or VCF, compressed if its ending says so."""
    out = table.bgzip_file(raw) if kind.endswith(".gz") else raw
    if ".vcf" in kind:
        vcf.write_vcf(out, batch.open_list, batch.references.source, ledger.header().about, ledger.rows())
    else:
        table.write_tsv(out, *ledger.header(), ledger.rows())
    if out is not raw:
        out.close()
