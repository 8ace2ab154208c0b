"""Known truth of the synthetic genome: the expected signal of every track, from sequence alone.

Both strands are scanned for five motifs. A site's occupancy is a logistic function of its score in bits; GATA and an
E-box with 6 or 7 bp between them, the E-box 5' of the GATA site, form a composite that drives the erythroid-like
cells far more strongly than either site alone or both at another spacing. ETS and NRF1 sites drive the
lymphoid-like cells, and CTCF sites are bound in both. None of this describes a real cell.

The truth of a reverse complement is the truth reversed: a site's signal is centred on its middle, which for an even
width lies between two bases and is shared by them, and the composite's spacing counts the bases between its sites.

Axis letters: T tracks, L positions. Site signals are summed in cells of `CELL` bp.
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
    """Metadata of one track of the synthetic genome."""

    name: str
    assay: str
    biosample: str
    target: str = ""


# In the order of their file names, because a site's tracks are trained in that order.
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
_CONSENSUS_SHARE = {True: 0.94, False: 0.70}  # of sites with the consensus base: upper-case letter, lower-case letter
_N_BITS = -4.0  # low, so that unknown bases make no site
_SLOPE = 1.2 * math.log(2)  # per bit


@dataclass(frozen=True)
class Motif:
    """A binding motif.

    consensus : IUPAC letters, upper case where conserved, lower case where loosely conserved
    tolerance : bits below the best score at which a site is half occupied
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
    members, share = _IUPAC[letter.upper()], _CONSENSUS_SHARE[letter.isupper()]
    other = (1 - share) / (len(BASES) - len(members))
    return [share / len(members) if base in members else other for base in BASES]


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

# Standard deviations of the Gaussian kernels in bp. Every kernel ends at _CUTOFF of them, which bounds the reach.
_NEIGHBOURS, _OPEN, _BOUND, _FLANK, _DIP = 80, 40, 60, 256, 96
_CUTOFF = 4

REACH = 1664  # bp over which a base can change the truth: neighbours, flank, a motif and the edges of two bins


def truth(codes: Codes) -> Floats:
    """Expected signal of every track, without noise.

    Parameters
    ----------
    codes
        Base codes (L,), L a multiple of `BIN_WIDTH`. No site and no activity is assumed beyond the ends.

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
        raise InvalidRequest(f"The length should be a multiple of {BIN_WIDTH} bp, which {len(codes):,} bp is not.")
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
    """`truth(codes)[:, first_bin:last_bin]`, computed from only the sequence that can reach those bins.

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
    """Occupancy of each possible site, 0 to 1, on the forward and on the reverse strand.

    Returns
    -------
    two float32 (L,)
        Indexed by the site's first base on the forward strand, also for the reverse strand.
    """
    words = _words(codes)
    return _occupied(words, motif, forward=True), _occupied(words, motif, forward=False)


# A word is _WORD codes as a base-5 number, so that one look-up scores up to seven bases of a motif.
_WORD = 7


def _words(codes: Codes) -> NDArray[np.int32]:
    padded = np.concatenate([codes, np.full(2 * _WORD, N, dtype=np.uint8)])
    words = np.zeros(len(codes) + _WORD, dtype=np.int32)
    for offset in range(_WORD):
        words = words * 5 + padded[offset : offset + len(words)]
    return words


def _occupied(words: NDArray[np.int32], motif: Motif, *, forward: bool) -> Floats:
    length = len(words) - _WORD
    score = np.zeros(length, dtype=np.float32)
    for number, scores in enumerate(_tables(motif, forward)):
        score += scores[words[number * _WORD : number * _WORD + length]]
    half = np.float32(motif.bits[:, :4].max(axis=1).sum() - motif.tolerance)
    occupied: Floats = 1 / (1 + np.exp(np.float32(_SLOPE) * (half - score)))
    occupied[length - motif.width + 1 :] = 0  # a site that hangs over the end counts nowhere
    return occupied


@cache
def _tables(motif: Motif, forward: bool) -> tuple[Floats, ...]:
    """Score of each word under each run of _WORD rows of a motif, float32 (5 ** _WORD,)."""
    bits = motif.bits if forward else motif.bits[::-1, [3, 2, 1, 0, 4]]
    return tuple(_word_scores(bits[start : start + _WORD]) for start in range(0, len(bits), _WORD))


def _word_scores(bits: NDArray[np.float64]) -> Floats:
    scores = np.zeros(1)
    for position in range(_WORD):
        row = bits[position] if position < len(bits) else np.zeros(5)
        scores = (scores[:, None] + row).ravel()
    return scores.astype(np.float32)


def _sites(codes: Codes) -> dict[str, Floats]:
    """Summed occupancy in each cell (L // CELL,) of the motifs and of the composite."""
    words = _words(codes)
    forward = {name: _occupied(words, motif, forward=True) for name, motif in MOTIFS.items()}
    reverse = {name: _occupied(words, motif, forward=False) for name, motif in MOTIFS.items()}
    # A palindrome matches both strands at once and must not count twice, so the better strand counts.
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
    """Sum occupancies into cells at each site's middle, shared by the two middle bases of an even width."""
    middle = (_shifted(occupied, -((width - 1) // 2)) + _shifted(occupied, -(width // 2))) / 2
    sums: Floats = middle.reshape(-1, CELL).sum(axis=1)
    return sums


def _activity(drive: Floats) -> Floats:
    """Activity of each cell, 0 to 1: neighbouring sites reinforce one another (Hill function, exponent 2)."""
    together = _spread(drive, _peak(_NEIGHBOURS, CELL)) ** 2
    return together / (together + np.float32(1.5**2))


def _open(activity: Floats) -> Floats:
    return _binned(_spread(activity, _area(_OPEN, CELL)))


def _acetylated(activity: Floats) -> Floats:
    """H3K27ac: strong on the nucleosomes to both sides of an active element, weaker in its open middle."""
    bins = _binned(activity)
    mark = 2.4 * _spread(bins, _area(_FLANK, BIN_WIDTH)) - 0.6 * _spread(bins, _area(_DIP, BIN_WIDTH))
    squared = np.maximum(mark, 0) ** 2
    return (0.08 + 4 * squared / (squared + 0.4**2)).astype(np.float32)


def _binned(cells: Floats) -> Floats:
    means: Floats = cells.reshape(-1, BIN_WIDTH // CELL).mean(axis=1)
    return means


def _peak(sigma: int, step: int) -> Floats:
    """A Gaussian of height 1 that ends at _CUTOFF standard deviations."""
    reach = _CUTOFF * sigma // step
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
