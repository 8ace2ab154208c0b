"""Uids of tilesets: which kind of tileset each one names, and which ones are valid."""

from __future__ import annotations

import re

from trackserver.errors import InvalidRequest
from trackserver.tiles.kinds import KINDS
from trackserver.tiles.tileset import UID

GENES, CHROMSIZES, SEQUENCE = "genes-", "chromsizes-", "sequence-"
EFFECT_UID = re.compile(r"^fx-(?P<id>[0-9a-f]{20})-(?P<track>\d{1,5})-(?P<allele>ref|alt|delta)$")
MUTAGENESIS_UID = re.compile(r"^ism-(?P<id>[0-9a-f]{20})-(?P<track>\d{1,5})-(?P<part>map|logo|importance)$")


def is_assembly_uid(uid: str) -> bool:
    return uid.startswith((GENES, CHROMSIZES, SEQUENCE))


def check_uid(uid: str) -> None:
    if not UID.fullmatch(uid):
        raise InvalidRequest(f"'{uid}' cannot be a uid: use only letters, digits, _ and -.")
    if uid.startswith(("fx-", "ism-", GENES, CHROMSIZES, SEQUENCE)):
        raise InvalidRequest(
            f"'{uid}' cannot be a uid: fx-, ism-, genes-, chromsizes- and sequence- are reserved for the server."
        )


def uid_for(path: str) -> str:
    """Make a uid from a file's name: `ENCFF136DBS.bigWig` -> `ENCFF136DBS`, `x.plus.bw` -> `x-plus`."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", stem_of(path)).strip("-") or "tileset"


def stem_of(path: str) -> str:
    """The name of a file or address without its suffix."""
    name = path.split("?")[0].rstrip("/").rpartition("/")[2]
    suffix = next((s for kind in KINDS.values() for s in kind.suffixes if name.lower().endswith(s)), "")
    return name[: len(name) - len(suffix)] or "tileset"


def is_effect_uid(uid: str) -> bool:
    return uid.startswith("fx-")


def is_mutagenesis_uid(uid: str) -> bool:
    return MUTAGENESIS_UID.match(uid) is not None
