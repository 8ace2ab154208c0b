"""Every error the package raises on purpose; `str(error)` is a sentence for people.

There is one family for each thing a caller can do: ask for something that exists (`NotFound`), change the request
(`InvalidRequest`), repair the data or the site (`DataError`), or try again later (`Unavailable`).
`web/errors.py` maps families to HTTP status codes. This module imports nothing else of the package.
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
        """Pickle the finished error: subclass constructors take other arguments than the message."""
        return copyreg.__newobj__, (type(self), *self.args), self.__dict__  # type: ignore[attr-defined]


class NotFound(TrackserverError):
    code = "not_found"


class InvalidRequest(TrackserverError):
    code = "invalid_request"


class DataError(TrackserverError):
    code = "data_error"


class Unavailable(TrackserverError):
    code = "unavailable"


def listing(names: Iterable[object], limit: int = 8) -> str:
    """List the names that exist, at most `limit` of them, for the end of a sentence."""
    known = [str(name) for name in names]
    if not known:
        return "none"
    more = len(known) - limit
    return ", ".join(known[:limit]) + (f" and {more} more" if more > 0 else "")


def shorten(text: str, limit: int = 60) -> str:
    """Shorten user input to fit into a sentence: a long text is given by its beginning and its length."""
    return text if len(text) <= limit else f"{text[: limit // 2]}… ({len(text):,} letters)"


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
        super().__init__(f"No tileset '{uid}' here; `trackserver list` or /api/v1/tilesets/ lists all tilesets.")


class NoFile(NotFound):
    """The tileset's file cannot be downloaded."""

    code = "no_file"

    def __init__(self, uid: str, reason: str):
        self.uid, self.reason = uid, reason
        super().__init__(f"The file of '{uid}' cannot be downloaded here: {reason}.")


class UnknownModel(NotFound):
    code = "unknown_model"

    def __init__(self, model: str, known: Iterable[str]):
        self.model = model
        super().__init__(f"No model '{model}' on this site; installed: {listing(known)}.")


class UnknownTrack(NotFound):
    code = "unknown_track"

    def __init__(self, selection: object, model: str, n_tracks: int, nearest: Iterable[str] = ()):
        self.selection, self.nearest = selection, tuple(nearest)
        suggestion = f"Closest matches: {'; '.join(self.nearest)}. " if self.nearest else ""
        super().__init__(
            f"'{model}' has no track '{selection}'; it has {n_tracks}, numbered 0 to {n_tracks - 1}. {suggestion}"
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
        super().__init__(f"No view '{view}' here; the link may be incomplete or from another server.")


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
            "or a variant (chr1:47690516:C:T; positions count from 1)."
        )


class AssemblyNotShown(InvalidRequest):
    """The other genome browsers do not know this assembly."""

    code = "assembly_not_shown"

    def __init__(self, assembly: str, supported: Iterable[str]):
        self.assembly = assembly
        super().__init__(
            f"UCSC, IGV and WashU do not know the assembly '{assembly}', so they cannot show its tracks; they know "
            f"{listing(supported, limit=20)}. JBrowse shows any assembly."
        )


class BadLocus(InvalidRequest):
    code = "bad_locus"


class BadVariant(InvalidRequest):
    code = "bad_variant"


class ReferenceMismatch(InvalidRequest):
    """The assembly's sequence at the variant's position is not REF."""

    code = "reference_mismatch"

    def __init__(
        self,
        variant: object,
        sequence: str,
        assembly: str,
        swapped: object | None = None,
        shifted: object | None = None,
        shift_reason: str = "",
    ):
        self.variant, self.sequence, self.swapped, self.shifted = variant, sequence, swapped, shifted
        hints = []
        if swapped:
            hints.append(f"{assembly} has ALT there: did you mean {shorten(str(swapped))}?")
        if shifted:
            hints.append(f"{shift_reason}, and positions count from 1: did you mean {shorten(str(shifted))}?")
        if not swapped:
            hints.append("Check the assembly (hg19 or hg38?) and that positions count from 1.")
        mismatch = f"{assembly} has {shorten(sequence)} there, not the REF of {shorten(str(variant))}."
        super().__init__(" ".join([mismatch, *hints]))


class UnknownRsid(NotFound):
    code = "unknown_rsid"

    def __init__(self, rsid: str, table: str):
        self.rsid = rsid
        super().__init__(
            f"{table} has no {shorten(rsid)}; it may be newer than the table, or merged into another rsID. "
            "Write the variant as chr1:47690516:C:T instead."
        )


class NotLifted(InvalidRequest):
    """The variant has no unique position, or a different reference, on the other assembly."""

    code = "not_lifted"


class NoSequence(InvalidRequest):
    code = "no_sequence"


class BadTileId(InvalidRequest):
    code = "bad_tile_id"

    def __init__(self, text: str):
        self.text = text
        super().__init__(f"'{text}' is not a tile id; write uid.zoom.x, such as k562.12.845.")


class BadSetting(InvalidRequest):
    code = "bad_setting"


class SiteMissing(InvalidRequest):
    code = "site_missing"


class SiteReadOnly(DataError):
    code = "site_read_only"


class NoRoom(DataError):
    """The disk has too little space."""

    code = "no_room"


class RemoteRefused(InvalidRequest):
    """The site does not read files from this address."""

    code = "remote_refused"


class PortInUse(InvalidRequest):
    code = "port_in_use"

    def __init__(self, host: str, port: int):
        self.host, self.port = host, port
        super().__init__(
            f"Port {port} on {host} is in use; stop the program that uses it or choose another with --port."
        )


class UnreadableFile(DataError):
    code = "unreadable_file"


class ChromosomesDoNotFit(DataError):
    code = "chromosomes_do_not_fit"


class ComputingFails(Unavailable):
    code = "computing_fails"

    def __init__(self, status: int):
        super().__init__(
            f"The server cannot compute: its compute process stops as soon as it starts (status {status}). "
            "See the server's log for the cause; once it is fixed, try again."
        )


class FileChanged(Unavailable):
    code = "file_changed"

    def __init__(self, name: str):
        self.name = name
        super().__init__(f"{name} changed while it was being read; try again.")


class NeedsTorch(Unavailable):
    code = "needs_torch"

    def __init__(self) -> None:
        super().__init__(
            "This server serves tracks but cannot predict, because torch is not installed; "
            "install it with: pip install 'trackserver[models]'."
        )


@contextmanager
def needing_torch() -> Iterator[None]:
    """Raise NeedsTorch if torch, or a package installed along with it, cannot be imported in this block."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise NeedsTorch() from error


class NeedsRay(Unavailable):
    code = "needs_ray"

    def __init__(self) -> None:
        super().__init__("A cluster needs Ray, which is not installed here: pip install 'trackserver[cluster]'.")


class NotOffered(Unavailable):
    """A route of the original HiGlass server that this server does not implement."""

    code = "not_offered"


class QueueFull(Unavailable):
    code = "queue_full"

    def __init__(self, length: int):
        self.length = length
        super().__init__(f"{length} requests are already waiting; try again in a minute.")
