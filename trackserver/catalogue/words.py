"""Normal forms of the names of assays, biosamples, targets and strands.

The catalogue stores a tileset under the normal forms, and the original spelling in its provenance as `original`.
Nothing is guessed: only spellings that mean the same to everybody in the field are merged, and an unknown name stays as
it was written.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

# The catalogue's name of each assay, with ENCODE's titles. The target distinguishes TF from histone ChIP-seq.
ENCODE_TITLES = {
    "DNASE": ("DNase-seq",),
    "ATAC": ("ATAC-seq",),
    "CHIP": ("TF ChIP-seq", "Histone ChIP-seq", "Mint-ChIP-seq"),
    "RNA": ("total RNA-seq", "polyA plus RNA-seq", "polyA minus RNA-seq"),
    "CAGE": ("CAGE",),
}
# Other titles, from the label tables of published models and FANTOM5's catalogue.
_OTHER_TITLES = {
    "DNASE": ("DNase", "DNaseI", "DNase.hot", "DNase hypersensitivity", "DNase I hypersensitivity"),
    "CHIP": ("ChIP-seq", "CHIP_TF", "CHIP_HISTONE", "Histone"),
    "RNA": ("RNA-seq", "polyA RNA-seq", "polyA depleted RNA-seq", "mRNA-seq"),
    "CAGE": ("hCAGE", "LQhCAGE"),
    "RNA3": ("RNA3", "3' RNA-seq"),
}

# The preferred signal of an assay. For other assays, or if it is missing, the first of SIGNALS that exists.
SIGNAL = {
    "CHIP": "fold change over control",
    "DNASE": "read-depth normalized signal",
    "ATAC": "read-depth normalized signal",
    "RNA": "signal of unique reads",
    "CAGE": "signal of unique reads",
}
SIGNALS = (
    "fold change over control",
    "read-depth normalized signal",
    "signal of unique reads",
    "control normalized signal",
    "normalized signal of all reads",
    "signal of all reads",
)

# Cell lines as ENCODE writes them, with their other names. HeLa is not HeLa-S3, and HEK293 is not HEK293T.
_LINES = {
    "K562": (), "HepG2": (), "GM12878": (), "H1": ("H1-hESC", "H1 ESC"), "H9": ("H9-hESC", "H9 ESC"), "A549": (),
    "HeLa-S3": (), "MCF-7": (), "MCF 10A": (), "HCT116": (), "IMR-90": (), "SK-N-SH": (), "SK-N-MC": (), "SH-SY5Y": (),
    "HEK293": (), "HEK293T": (), "Caco-2": (), "PC-3": (), "PC-9": (), "LNCaP": (), "T47D": (), "HL-60": (), "NB4": (),
    "A172": (), "A673": (), "BE2C": (), "HAP-1": (), "HUES64": (), "HUES48": (), "HUES6": (), "NT2/D1": ("NT2-D1",),
    "Ishikawa": (), "Jurkat": (), "Raji": (), "RWPE1": (), "RWPE2": (), "SK-MEL-5": (), "U2OS": ("U-2 OS",), "WI38": (),
    "BJ": (), "Huh-7": (), "Huh-7.5": (), "PANC-1": (), "PFSK-1": (), "WERI-Rb-1": (), "NCI-H460": (), "Karpas-422": (),
    "MM.1S": (), "DOHH2": (), "DND-41": (), "KMS-11": (), "OCI-LY1": (), "OCI-LY3": (), "OCI-LY7": (), "SU-DHL-6": (),
}  # fmt: skip
_CORIELL = re.compile(r"(GM|AG|HG)[ -]?(\d{5})", re.IGNORECASE)  # lymphoblastoid and fibroblast lines
_FANTOM_LINE = re.compile(r".* cell line:\s*(\S.*)")  # neuroblastoma cell line:CHP-134

# Common names of antibodies, and the symbols of the proteins they recognise.
_TARGETS = {"p300": "EP300", "c-Myc": "MYC", "c-Fos": "FOS", "c-Jun": "JUN", "Pol2": "POLR2A", "RNA Pol II": "POLR2A"}
_HISTONE = re.compile(r"H(2A|2B|2AZ|3|4)([KRST]\d+)(ac|me|me1|me2|me3|ub|ph|cr)", re.IGNORECASE)

_SEPARATORS = re.compile(r"(cd\d+-|\d[ _-](?=\d)|-(?!\w))|[ _-]")  # within a name; a match of the group stays

_STRANDS = {
    "+": ("+", "plus", "forward", "fwd", "positive"),
    "-": ("-", "−", "minus", "reverse", "rev", "negative"),
    ".": (".", "", "*", "both", "none", "unstranded"),
}


@lru_cache(10_000)
def key(text: str) -> str:
    """The part of a name that is the same in all its spellings: without case and separators.

    A separator between two digits is kept (`7-5` is not `75`), and so are the signs of a marker (`CD14-CD16+`, `Lin-`).
    """
    plain = " ".join(text.casefold().split())
    return _SEPARATORS.sub(lambda match: match[1] or "", plain)


@lru_cache(1000)
def assay(text: str) -> str:
    """`DNase`, `DNASE-seq` -> `DNASE`; `TF ChIP-seq`, `HISTONE` -> `CHIP`; others in upper case: `eCLIP` -> `ECLIP`."""
    tidy = _tidy(text)
    return _ASSAYS.get(_letters(tidy)) or re.sub(r"(?:[ _-]*SEQ)+$", "", tidy.upper()) or tidy.upper()


@lru_cache(10_000)
def biosample(text: str) -> str:
    """`k562`, `K-562` -> `K562`; `neuroblastoma cell line:CHP-134` -> `CHP-134`; others only lose stray commas."""
    tidy = _tidy(text)
    if match := _FANTOM_LINE.fullmatch(tidy):
        return biosample(match[1])
    if match := _CORIELL.fullmatch(tidy):
        return f"{match[1].upper()}{match[2]}"
    return _BIOSAMPLES.get(key(tidy), tidy)


@lru_cache(10_000)
def target(text: str) -> str:
    """`H3K27AC` -> `H3K27ac`, `p300` -> `EP300`.

    A tag stays: `eGFP-GATA2` is a protein that cells do not make by themselves, so it is not `GATA2`.
    """
    tidy = _tidy(text)
    if match := _HISTONE.fullmatch(tidy):
        return f"H{match[1].upper()}{match[2].upper()}{match[3].lower()}"
    return _FACTORS.get(key(tidy), tidy)


def strand(text: str) -> str:
    """`plus`, `forward` -> `+`; `minus`, `reverse` -> `-`; `both`, empty -> `.`; other texts are returned unchanged."""
    return _SIGNS.get(text.strip().casefold(), text)


def signal_rank(assay_title: str, output_type: str) -> int:
    """Rank of an ENCODE output type, of either strand, among the signals of an assay; 0 is the preferred one."""
    ranked = (SIGNAL.get(assay(assay_title), SIGNALS[0]), *SIGNALS)
    return next((rank for rank, signal in enumerate(ranked) if output_type.endswith(signal)), len(ranked))


NORMAL: dict[str, Callable[[str], str]] = {"assay": assay, "biosample": biosample, "target": target, "strand": strand}


def _tidy(text: str) -> str:
    return " ".join(text.split()).strip(" ,;")


def _letters(text: str) -> str:
    """An assay's letters and digits without SEQ, so that `ChIP-seq` and `CHIP` are the same."""
    return re.sub(r"[^A-Z0-9]", "", text.upper()).removesuffix("SEQ")


_ASSAYS = {
    _letters(title): name
    for titles_by_name in (ENCODE_TITLES, _OTHER_TITLES)
    for name, titles in titles_by_name.items()
    for title in (name, *titles)
}
_BIOSAMPLES = {key(name): line for line, others in _LINES.items() for name in (line, *others)}
_FACTORS = {key(antibody): factor for antibody, factor in _TARGETS.items()}
_SIGNS = {word: sign for sign, known in _STRANDS.items() for word in known}
