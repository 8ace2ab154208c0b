"""How variants are written: the forms people and files have for one, and what of them cannot be scored. Text only."""

from __future__ import annotations

import re
from collections.abc import Sequence

from trackserver.errors import shortened
from trackserver.genome.sequence import BASES

_LETTERS = "[ACGTUNRYSWKMBDHV]+"  # IUPAC's: what cannot be scored is recognised too, and told
_ALLELE = rf"(?:[A-Z.]*[\[\]][^\[\]\s]{{1,100}}[\[\]][A-Z.]*|{_LETTERS}|<[^<>\s]{{1,60}}>|[-.*])"
_ALTS = rf"{_ALLELE}(?:\s?[,/]\s?{_ALLELE})*"
# chr1:47690516:C:T   1-47690516-C-T   chr1_47690516_C_T   chr1:47,690,516 C>T   chr1:47690516C/T   chr1:100:A:-
_PLAIN = re.compile(
    rf"^(?P<chrom>[^\s:]{{1,100}}?)[:_\s-]{{1,3}}(?P<position>[0-9][0-9,]{{0,14}})[:_\s-]{{0,3}}"
    rf"(?P<ref>{_LETTERS}|-)\s?[:_>/\s-]{{1,3}}(?P<alts>{_ALTS})$",
    re.IGNORECASE,
)
_BASES = re.compile("^[ACGT]+(?:,[ACGT]+)*$", re.IGNORECASE)
_COLUMN = re.compile(rf"^{_ALTS}$", re.IGNORECASE)
HGVS = re.compile(r"^(?P<chrom>[^\s:]{1,100}):\s?(?P<level>[gmcnpr])\.\s?(?P<change>\S+)$")
HGVS_CHANGE = re.compile(
    rf"^(?P<first>[0-9]{{1,12}})(?:_(?P<last>[0-9]{{1,12}}))?"
    rf"(?:(?P<ref>{_LETTERS})>(?P<alt>{_LETTERS})|del(?P<gone>{_LETTERS}|)(?:ins(?P<new>{_LETTERS}))?"
    rf"|ins(?P<added>{_LETTERS})|(?P<event>dup|inv)(?P<told>{_LETTERS}|))$",
    re.IGNORECASE,
)
_RSID = re.compile(r"^rs[0-9]{1,12}$", re.IGNORECASE)
_SPELLED = frozenset(BASES)
_MEANING = {"R": "A or G", "Y": "C or T", "S": "C or G", "W": "A or T", "K": "G or T", "M": "A or C",
            "B": "C, G or T", "D": "A, G or T", "H": "A, C or T", "V": "A, C or G"}  # fmt: skip


def is_rsid(text: str) -> bool:
    """Whether a text is a name of dbSNP's, such as rs9939609."""
    return bool(_RSID.match(text.strip()))


def columns(text: str) -> tuple[str, int, str, list[str]] | None:
    """Chromosome, position, REF and the ALTs, unless the text is no such thing."""
    spelled = re.sub(r":$", ":-", text.replace("::", ":-:"))
    if match := _PLAIN.match(spelled):
        return match["chrom"], int(match["position"].replace(",", "")), match["ref"], _alts(match["alts"])
    fields = text.split("\t", 8) if "\t" in text else text.split(None, 8)
    if len(fields) < 5 or not (fields[1].isdecimal() and len(fields[1]) < 12):
        return None
    ref, alts = fields[2:4] if has_alleles_first(fields) else fields[3:5]
    return (fields[0], int(fields[1]), ref, _alts(alts)) if _COLUMN.match(ref) and _COLUMN.match(alts) else None


def has_alleles_first(fields: Sequence[str]) -> bool:
    """Whether REF and ALT follow the position, as in tables of associations; in a VCF the ID comes between."""
    return bool(_BASES.match(fields[2]) and _BASES.match(fields[3]))


def _alts(text: str) -> list[str]:
    return re.split(r"\s?[,/]\s?", text)


def is_spelled(allele: str) -> bool:
    """Whether an allele is one or more of A, C, G and T."""
    return bool(allele) and _SPELLED.issuperset(allele)


def problem(name: str, allele: str) -> str:
    """Why an allele cannot be scored and what to do, empty where it can."""
    if is_spelled(allele):
        return ""
    if not allele:
        return f"{name} is empty; write its bases."
    if allele == ".":
        return f"a {name} of '.' says that no other allele was seen; leave the line out, or write the allele."
    if allele == "*":
        return f"a {name} of '*' is a base lost to a deletion that begins before it; ask for that deletion."
    if allele.startswith("<"):
        return f"{name} {shortened(allele)} names a kind of change without its sequence; write REF and ALT in bases."
    if set(allele) & set("[]"):
        return f"{name} {shortened(allele)} is a breakend: it joins two places; only a change in one place is scored."
    odd = next(letter for letter in allele if letter not in BASES)
    if odd in _MEANING:
        return f"{odd} in {name} stands for {_MEANING[odd]}; ask for each of these bases."
    if odd == "U":
        return f"U in {name} is a base of RNA; write T."
    return f"{odd} in {name} is none of A, C, G and T; write the bases out."
