"""Recognise the ways in which people and files write variants, and explain alleles that cannot be scored.

This module works on text only; `variant` makes Variants.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from trackserver.errors import shorten
from trackserver.genome.sequence import BASES

_LETTERS = "[ACGTUNRYSWKMBDHV]+"  # all IUPAC codes: alleles that cannot be scored are recognised too, and explained
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
    rf"(?:(?P<ref>{_LETTERS})>(?P<alt>{_LETTERS})|del(?P<deleted>{_LETTERS}|)(?:ins(?P<replacement>{_LETTERS}))?"
    rf"|ins(?P<inserted>{_LETTERS})|(?P<event>dup|inv)(?P<bases>{_LETTERS}|))$",
    re.IGNORECASE,
)
_RSID = re.compile(r"^rs[0-9]{1,12}$", re.IGNORECASE)
_BASE_SET = frozenset(BASES)
_MEANING = {"R": "A or G", "Y": "C or T", "S": "C or G", "W": "A or T", "K": "G or T", "M": "A or C",
            "B": "C, G or T", "D": "A, G or T", "H": "A, C or T", "V": "A, C or G"}  # fmt: skip


def is_rsid(text: str) -> bool:
    """Return whether a text is a dbSNP name, such as rs9939609."""
    return bool(_RSID.match(text.strip()))


def split_columns(text: str) -> tuple[str, int, str, list[str]] | None:
    """Split a text into chromosome, position, REF and the ALTs; None if it is not written like that."""
    with_dashes = re.sub(r":$", ":-", text.replace("::", ":-:"))
    if match := _PLAIN.match(with_dashes):
        return match["chrom"], int(match["position"].replace(",", "")), match["ref"], _alts(match["alts"])
    fields = text.split("\t", 8) if "\t" in text else text.split(None, 8)
    if len(fields) < 5 or not (fields[1].isdecimal() and len(fields[1]) < 12):
        return None
    ref, alts = fields[2:4] if has_alleles_first(fields) else fields[3:5]
    return (fields[0], int(fields[1]), ref, _alts(alts)) if _COLUMN.match(ref) and _COLUMN.match(alts) else None


def has_alleles_first(fields: Sequence[str]) -> bool:
    """Return whether REF and ALT follow the position, as in association tables; in a VCF, the ID comes before them."""
    return bool(_BASES.match(fields[2]) and _BASES.match(fields[3]))


def _alts(text: str) -> list[str]:
    return re.split(r"\s?[,/]\s?", text)


def is_bases(allele: str) -> bool:
    """Return whether an allele consists of A, C, G and T, at least one of them."""
    return bool(allele) and _BASE_SET.issuperset(allele)


def allele_problem(name: str, allele: str) -> str:
    """Explain why an allele cannot be scored and how to fix it; empty if it can be scored."""
    if is_bases(allele):
        return ""
    if not allele:
        return f"{name} is empty; write its bases."
    if allele == ".":
        return f"{name} '.' means that no other allele was observed; remove the line, or write the allele."
    if allele == "*":
        return f"{name} '*' means that an earlier deletion removed this base; score that deletion instead."
    if allele.startswith("<"):
        return f"{name} {shorten(allele)} gives the type of a change without its sequence; write REF and ALT in bases."
    if set(allele) & set("[]"):
        return f"{name} {shorten(allele)} is a breakend, which joins two loci; only changes at one locus are scored."
    letter = next(letter for letter in allele if letter not in BASES)
    if letter in _MEANING:
        return f"{letter} in {name} stands for {_MEANING[letter]}; score each of these bases separately."
    if letter == "U":
        return f"U in {name} is an RNA base; write T."
    return f"{letter} in {name} is not A, C, G or T; write the bases out."
