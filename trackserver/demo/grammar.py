"""The known truth of the synthetic genome: the expected signal of every track, from sequence alone.

Both strands are scanned for five motifs. A site's occupancy is a logistic function of its score in bits; GATA and an
E-box with 6 or 7 bp between them, the E-box 5' of the GATA site, form a composite that drives the erythroid-like
cells far more strongly than either site alone or both at another spacing. ETS and NRF1 sites drive the
lymphoid-like cells, CTCF sites bind in both. None of it describes a real cell.

The truth of a reverse complement is the truth reversed: a site's signal is centred on its middle, which for an even
width lies between two bases and is shared by them, and the composite's spacing counts the bases between its sites.

Axis letters: T tracks, L positions; a cell is `CELL` bp, the resolution at which sites are added up.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from trackserver.errors import InvalidRequest
from trackserver.genome.sequence import BASES, Codes, N

Floats = NDArray[np.float32]

BIN_WIDTH = 32
CELL = 8

ERYTHROID = "erythroid-like, synthetic"
LYMPHOID = "lymphoid-like, synthetic"


@dataclass(frozen=True)
class DemoTrack:
    """What one track of the synthetic genome stands for."""

    name: str
    assay: str
    biosample: str
    target: str = ""


# In the order of their files' names, which is the order a site's tracks are trained in.
TRACKS = (
    DemoTrack("CTCF, erythroid-like (synthetic)", "CHIP", ERYTHROID, "CTCF"),
    DemoTrack("DNase, erythroid-like (synthetic)", "DNASE", ERYTHROID),
    DemoTrack("DNase, lymphoid-like (synthetic)", "DNASE", LYMPHOID),
    DemoTrack("GATA1, erythroid-like (synthetic)", "CHIP", ERYTHROID, "GATA1"),
    DemoTrack("H3K27ac, erythroid-like (synthetic)", "CHIP", ERYTHROID, "H3K27ac"),
    DemoTrack("H3K27ac, lymphoid-like (synthetic)", "CHIP", LYMPHOID, "H3K27ac"),
)

_IUPAC = {
    "A": "A", "C": "C", "G": "G", "T": "T", "W": "AT", "S": "CG", "M": "AC", "K": "GT", "R": "AG", "Y": "CT",
}  # fmt: skip
_KEPT = {True: 0.94, False: 0.70}  # share of sites that read the consensus: upper-case letter, lower-case letter
_N_BITS = -4.0  # an unknown base makes no site
_SLOPE = 1.2 * math.log(2)  # per bit


@dataclass(frozen=True)
class Motif:
    """A binding site: IUPAC consensus, well kept (upper case) or loosely kept (lower case) letters.

    `tolerance` is how many bits below the best score a site is half occupied.
    """

    name: str
    consensus: str
    tolerance: float

    @property
    def width(self) -> int:
        return len(self.consensus)

    @property
    def probabilities(self) -> NDArray[np.float64]:
        """(width, 4), order A C G T."""
        return np.array([_letter(letter) for letter in self.consensus])

    @property
    def bits(self) -> NDArray[np.float64]:
        """(width, 5) log2 odds against a uniform background; the last column is N."""
        odds = np.log2(self.probabilities * len(BASES))
        return np.hstack([odds, np.full((self.width, 1), _N_BITS)])


def _letter(letter: str) -> list[float]:
    members, kept = _IUPAC[letter.upper()], _KEPT[letter.isupper()]
    other = (1 - kept) / (len(BASES) - len(members))
    return [kept / len(members) if base in members else other for base in BASES]


MOTIFS: Mapping[str, Motif] = MappingProxyType(
    {
        motif.name: motif
        for motif in (
            Motif("GATA", "WGATAAg", 3.0),
            Motif("EBOX", "CAGCTG", 3.0),
            Motif("CTCF", "CCASYAGRKGGC", 4.5),
            Motif("ETS", "aCCGGAAgt", 4.0),
            Motif("NRF1", "GCGCATGCGC", 4.0),
        )
    }
)

# Bases between the end of the E-box and the start of the GATA site, read on the GATA site's strand.
COMPOSITE_GAPS = (6, 7)

# How far a signal spreads, bp (standard deviation); every kernel ends at _ENDS of them, so that reach is bounded.
_NEIGHBOURS, _OPEN, _BOUND, _FLANK, _DIP = 80, 40, 60, 256, 96
_ENDS = 4

# No base changes the truth further away than this: neighbours, then flank, then a motif and the edges of two bins.
REACH = 1664


def truth(codes: Codes) -> Floats:
    """Expected signal of every track, without noise.

    Parameters
    ----------
    codes
        Base codes (L,), L a multiple of `BIN_WIDTH`; beyond both ends there is nothing, neither site nor activity.

    Returns
    -------
    float32 (T, L // BIN_WIDTH)
        Mean signal of each bin, tracks as in `TRACKS`.

    Raises
    ------
    InvalidRequest
        L is not a multiple of the bin width.
    """
    if len(codes) % BIN_WIDTH:
        raise InvalidRequest(f"The truth is known by bins of {BIN_WIDTH} bp; {len(codes):,} bp is not a multiple.")
    sites = _sites(codes)
    erythroid = _activity(0.35 * sites["GATA"] + 0.12 * sites["EBOX"] + 2.8 * sites["COMPOSITE"] + 0.5 * sites["ETS"])
    lymphoid = _activity(sites["ETS"] + 1.6 * sites["NRF1"])
    bound = _binned(_spread(sites["CTCF"], _peak(_BOUND, CELL)))
    gata = _binned(_spread(sites["GATA"] * (0.12 + 0.88 * erythroid), _peak(_BOUND, CELL)))
    return np.stack([
        0.05 + 6.6 * bound,
        0.05 + 6.0 * _open(erythroid) + 0.9 * bound,
        0.05 + 6.0 * _open(lymphoid) + 0.9 * bound,
        0.05 + 4.0 * gata,
        _acetylated(erythroid),
        _acetylated(lymphoid),
    ])  # fmt: skip


def truth_between(codes: Codes, first_bin: int, last_bin: int) -> Floats:
    """`truth(codes)[:, first_bin:last_bin]` from no more sequence than can reach those bins.

    Returns
    -------
    float32 (T, last_bin - first_bin)
        Equal to the whole sequence's truth to float32 rounding.
    """
    margin = -(-REACH // BIN_WIDTH)
    left = max(first_bin - margin, 0)
    right = min(last_bin + margin, len(codes) // BIN_WIDTH)
    local = truth(codes[left * BIN_WIDTH : right * BIN_WIDTH])
    return local[:, first_bin - left : last_bin - left]


def occupancy(codes: Codes, motif: Motif) -> tuple[Floats, Floats]:
    """How full each site is, 0 to 1, on the forward and on the reverse strand.

    Returns
    -------
    two float32 (L,)
        Indexed by the site's first base on the forward strand, whichever strand it is read on.
    """
    words = _words(codes)
    return _occupied(words, motif, forward=True), _occupied(words, motif, forward=False)


# A word is the base-5 number of _WORD codes: one look-up scores up to seven bases of a motif.
_WORD = 7


def _words(codes: Codes) -> NDArray[np.int32]:
    padded = np.concatenate([codes, np.full(2 * _WORD, N, dtype=np.uint8)])
    words = np.zeros(len(codes) + _WORD, dtype=np.int32)
    for place in range(_WORD):
        words = words * 5 + padded[place : place + len(words)]
    return words


def _occupied(words: NDArray[np.int32], motif: Motif, *, forward: bool) -> Floats:
    length = len(words) - _WORD
    score = np.zeros(length, dtype=np.float32)
    for number, scores in enumerate(_tables(motif, forward)):
        score += scores[words[number * _WORD : number * _WORD + length]]
    half = np.float32(motif.bits[:, :4].max(axis=1).sum() - motif.tolerance)
    occupied: Floats = 1 / (1 + np.exp(np.float32(_SLOPE) * (half - score)))
    occupied[length - motif.width + 1 :] = 0  # a site that hangs over an end counts at neither end
    return occupied


@cache
def _tables(motif: Motif, forward: bool) -> tuple[Floats, ...]:
    """What each word scores under each run of _WORD rows of a motif, float32 (5 ** _WORD,)."""
    bits = motif.bits if forward else motif.bits[::-1, [3, 2, 1, 0, 4]]
    return tuple(_word_scores(bits[start : start + _WORD]) for start in range(0, len(bits), _WORD))


def _word_scores(bits: NDArray[np.float64]) -> Floats:
    scores = np.zeros(1)
    for place in range(_WORD):
        row = bits[place] if place < len(bits) else np.zeros(5)
        scores = (scores[:, None] + row).ravel()
    return scores.astype(np.float32)


def _sites(codes: Codes) -> dict[str, Floats]:
    """Summed occupancy in each cell (L // CELL,) of the motifs and of the composite."""
    words = _words(codes)
    forward = {name: _occupied(words, motif, forward=True) for name, motif in MOTIFS.items()}
    reverse = {name: _occupied(words, motif, forward=False) for name, motif in MOTIFS.items()}
    # Palindromes read alike on both strands: a place is as full as its better strand.
    either = {name: np.maximum(forward[name], reverse[name]) for name in MOTIFS}
    cells = {name: _celled(occupied, MOTIFS[name].width) for name, occupied in either.items()}
    cells["COMPOSITE"] = _celled(_composite(forward["GATA"], reverse["GATA"], either["EBOX"]), MOTIFS["GATA"].width)
    return cells


def _composite(forward: Floats, reverse: Floats, ebox: Floats) -> Floats:
    """Occupancy of GATA sites times that of the E-box at the right spacing 5' of them; by GATA's first base."""
    before = [MOTIFS["EBOX"].width + gap for gap in COMPOSITE_GAPS]
    after = [MOTIFS["GATA"].width + gap for gap in COMPOSITE_GAPS]
    upstream = np.maximum.reduce([_shifted(ebox, -distance) for distance in before])
    downstream = np.maximum.reduce([_shifted(ebox, distance) for distance in after])
    return np.maximum(forward * upstream, reverse * downstream)


def _shifted(values: Floats, by: int) -> Floats:
    """`values[i + by]` at i, 0 beyond the ends."""
    out = np.zeros_like(values)
    if by >= 0:
        out[: len(values) - by] = values[by:]
    else:
        out[-by:] = values[:by]
    return out


def _celled(occupied: Floats, width: int) -> Floats:
    """Sum into cells at each site's middle, shared by the two middle bases of an even width."""
    middle = (_shifted(occupied, -((width - 1) // 2)) + _shifted(occupied, -(width // 2))) / 2
    sums: Floats = middle.reshape(-1, CELL).sum(axis=1)
    return sums


def _activity(drive: Floats) -> Floats:
    """How active each cell is, 0 to 1: sites within a neighbourhood help one another (Hill, exponent 2)."""
    together = _spread(drive, _peak(_NEIGHBOURS, CELL)) ** 2
    return together / (together + np.float32(1.5**2))


def _open(activity: Floats) -> Floats:
    return _binned(_spread(activity, _area(_OPEN, CELL)))


def _acetylated(activity: Floats) -> Floats:
    """Nucleosomes to both sides of an active element carry the mark, the open middle less."""
    bins = _binned(activity)
    mark = 2.4 * _spread(bins, _area(_FLANK, BIN_WIDTH)) - 0.6 * _spread(bins, _area(_DIP, BIN_WIDTH))
    squared = np.maximum(mark, 0) ** 2
    return (0.08 + 4 * squared / (squared + 0.4**2)).astype(np.float32)


def _binned(cells: Floats) -> Floats:
    means: Floats = cells.reshape(-1, BIN_WIDTH // CELL).mean(axis=1)
    return means


def _peak(sigma: int, step: int) -> Floats:
    """A Gaussian of height 1 that ends at _ENDS standard deviations."""
    reach = _ENDS * sigma // step
    at = np.arange(-reach, reach + 1) * (step / sigma)
    return np.exp(-0.5 * at**2).astype(np.float32)


def _area(sigma: int, step: int) -> Floats:
    """The same Gaussian with area 1."""
    peak = _peak(sigma, step)
    return peak / peak.sum()


def _spread(values: Floats, kernel: Floats) -> Floats:
    if len(values) >= len(kernel):
        return np.convolve(values, kernel, mode="same").astype(np.float32, copy=False)
    # numpy's "same" follows the longer of the two
    reach = len(kernel) // 2
    return np.convolve(values, kernel)[reach : reach + len(values)].astype(np.float32, copy=False)
