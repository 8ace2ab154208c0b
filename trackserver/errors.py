"""What can go wrong, in families; `str(error)` is a sentence for people. Imports nothing of ours.

The families are what a caller does about it: ask for something that exists (`NotFound`), ask differently
(`InvalidRequest`), repair the data or the site (`DataError`), or come back later (`Unavailable`).
`web/errors.py` owns the table from family to HTTP status.
"""

from __future__ import annotations

import copyreg
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any


class TrackserverError(Exception):
    """Base of every error this package raises on purpose."""

    code = "error"

    def __reduce__(self) -> tuple[Any, ...]:
        """As it is, for other processes: constructors would ask for what the sentence was made of."""
        return copyreg.__newobj__, (type(self), *self.args), self.__dict__  # type: ignore[attr-defined]


class NotFound(TrackserverError):
    code = "not_found"


class InvalidRequest(TrackserverError):
    code = "invalid_request"


class DataError(TrackserverError):
    code = "data_error"


class Unavailable(TrackserverError):
    code = "unavailable"


def listing(names: Iterable[object], most: int = 8) -> str:
    """The names that do exist, shortened, for the end of a sentence."""
    known = [str(name) for name in names]
    if not known:
        return "none"
    more = len(known) - most
    return ", ".join(known[:most]) + (f" and {more} more" if more > 0 else "")


def shortened(text: str, most: int = 60) -> str:
    """A text from outside, short enough for a sentence; of a long sequence its beginning and its length."""
    return text if len(text) <= most else f"{text[: most // 2]}… ({len(text):,} letters)"


class UnknownChromosome(NotFound):
    code = "unknown_chromosome"

    def __init__(self, chrom: str, assembly: str, known: Iterable[str]):
        self.chrom, self.assembly = chrom, assembly
        super().__init__(f"{assembly} has no chromosome '{chrom}'; it has {listing(known)}.")


class UnknownAssembly(NotFound):
    code = "unknown_assembly"

    def __init__(self, name: str, known: Iterable[str]):
        self.name = name
        super().__init__(f"No assembly '{name}' here; known: {listing(known)}.")


class UnknownTileset(NotFound):
    code = "unknown_tileset"

    def __init__(self, uid: str):
        self.uid = uid
        super().__init__(f"No tileset '{uid}' here; `trackserver list` or /api/v1/tilesets/ shows what is.")


class NoFile(NotFound):
    """A tileset whose file is not handed out."""

    code = "no_file"

    def __init__(self, uid: str, why: str):
        self.uid, self.why = uid, why
        super().__init__(f"The file of '{uid}' is not to be had here: {why}.")


class UnknownModel(NotFound):
    code = "unknown_model"

    def __init__(self, model: str, known: Iterable[str]):
        self.model = model
        super().__init__(f"No model '{model}' on this site; installed: {listing(known)}.")


class UnknownTrack(NotFound):
    code = "unknown_track"

    def __init__(self, selection: object, model: str, n_tracks: int, nearest: Iterable[str] = ()):
        self.selection, self.nearest = selection, tuple(nearest)
        meant = f"Nearest to that: {'; '.join(self.nearest)}. " if self.nearest else ""
        super().__init__(
            f"'{model}' has no track '{selection}'; it has {n_tracks}, numbered 0 to {n_tracks - 1}. {meant}"
            "Select by index (0-9,25), by field (assay=DNASE,biosample=K562) or by name (CTCF*)."
        )


class UnknownEffect(NotFound):
    code = "unknown_effect"

    def __init__(self, effect: str):
        self.effect = effect
        super().__init__(f"No effect '{effect}' here; POST the variant to /api/v1/effects/ to compute it.")


class UnknownMutagenesis(NotFound):
    code = "unknown_mutagenesis"

    def __init__(self, mutagenesis: str):
        self.mutagenesis = mutagenesis
        super().__init__(f"No mutagenesis '{mutagenesis}' here; POST the locus to /api/v1/mutagenesis/ to compute it.")


class UnknownView(NotFound):
    code = "unknown_view"

    def __init__(self, view: str):
        self.view = view
        super().__init__(f"No view '{view}' here; the link may be incomplete, or made on another server.")


class UnknownJob(NotFound):
    code = "unknown_job"

    def __init__(self, job: str):
        self.job = job
        super().__init__(f"No job '{job}' here.")


class NothingFound(NotFound):
    code = "nothing_found"

    def __init__(self, query: str, assembly: str):
        self.query = query
        super().__init__(
            f"Nothing in {assembly} matches '{query}'. Type a gene (TAL1), a locus (chr1:47,680,000-47,700,000) "
            "or a variant (chr1:47690516:C:T, positions counted from 1)."
        )


class AssemblyNotShown(InvalidRequest):
    """An assembly that other genome browsers do not know."""

    code = "assembly_not_shown"

    def __init__(self, assembly: str, shown: Iterable[str]):
        self.assembly = assembly
        super().__init__(
            f"UCSC, IGV and WashU do not know the assembly '{assembly}', so they cannot show its tracks; they know "
            f"{listing(shown, most=20)}. JBrowse shows any assembly."
        )


class BadLocus(InvalidRequest):
    code = "bad_locus"


class BadVariant(InvalidRequest):
    code = "bad_variant"


class ReferenceMismatch(InvalidRequest):
    """The assembly does not read REF at the variant's position."""

    code = "reference_mismatch"

    def __init__(
        self,
        variant: object,
        reads: str,
        assembly: str,
        swapped: object | None = None,
        shifted: object | None = None,
        next_reads: str = "",
    ):
        self.variant, self.reads, self.swapped, self.shifted = variant, reads, swapped, shifted
        hints = []
        if swapped:
            hints.append(f"ALT is what {assembly} reads: did you mean {shortened(str(swapped))}?")
        if shifted:
            hints.append(f"{next_reads}, and positions count from 1: did you mean {shortened(str(shifted))}?")
        if not swapped:
            hints.append("Check the assembly (hg19 or hg38?) and that positions are counted from 1.")
        found = f"{assembly} reads {shortened(reads)} there, not the REF of {shortened(str(variant))}."
        super().__init__(" ".join([found, *hints]))


class UnknownRsid(NotFound):
    code = "unknown_rsid"

    def __init__(self, rsid: str, table: str):
        self.rsid = rsid
        super().__init__(
            f"{table} has no {shortened(rsid)}; it may be newer than the table, or merged into another rsID. "
            "Write the variant as chr1:47690516:C:T instead."
        )


class NotLifted(InvalidRequest):
    """A variant that has no one place, or not the same reference, on another assembly."""

    code = "not_lifted"


class NoSequence(InvalidRequest):
    code = "no_sequence"


class BadTileId(InvalidRequest):
    code = "bad_tile_id"

    def __init__(self, text: str):
        self.text = text
        super().__init__(f"'{text}' is not a tile id; one reads uid.zoom.x, such as k562.12.845.")


class BadSetting(InvalidRequest):
    code = "bad_setting"


class SiteMissing(InvalidRequest):
    code = "site_missing"


class SiteReadOnly(DataError):
    code = "site_read_only"


class NoRoom(DataError):
    """Something that will not fit on the disk."""

    code = "no_room"


class RemoteRefused(InvalidRequest):
    """An address from which this site does not read."""

    code = "remote_refused"


class PortInUse(InvalidRequest):
    code = "port_in_use"

    def __init__(self, host: str, port: int):
        self.host, self.port = host, port
        super().__init__(f"Port {port} on {host} is in use; stop what runs there or choose another with --port.")


class UnreadableFile(DataError):
    code = "unreadable_file"


class ChromosomesDoNotFit(DataError):
    code = "chromosomes_do_not_fit"


class ComputingFails(Unavailable):
    code = "computing_fails"

    def __init__(self, status: int):
        super().__init__(
            "Nothing can be computed: the process that computes ends as soon as it is started "
            f"(status {status}). The server's log says why; once that is mended, ask again."
        )


class FileChanged(Unavailable):
    code = "file_changed"

    def __init__(self, name: str):
        self.name = name
        super().__init__(f"{name} was replaced while it was read; ask again.")


class NeedsTorch(Unavailable):
    code = "needs_torch"

    def __init__(self) -> None:
        super().__init__(
            "This server runs without torch, so it serves tracks but cannot predict; "
            "install it with: pip install 'trackserver[models]'."
        )


@contextmanager
def needing_torch() -> Iterator[None]:
    """Raise NeedsTorch where torch, or what comes with it, cannot be imported in this block."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise NeedsTorch() from error


class NeedsRay(Unavailable):
    code = "needs_ray"

    def __init__(self) -> None:
        super().__init__("A cluster needs Ray, which is not installed here: pip install 'trackserver[cluster]'.")


class NotOffered(Unavailable):
    """A route of HiGlass's server that this one knows of and does not have."""

    code = "not_offered"


class QueueFull(Unavailable):
    code = "queue_full"

    def __init__(self, length: int):
        self.length = length
        super().__init__(f"{length} questions are waiting already; try again in a minute.")
