"""Stored effects and maps as tilesets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from trackserver.catalogue.open_tilesets import ComputedTilesets
from trackserver.catalogue.site import Site
from trackserver.catalogue.uids import EFFECT_UID, MUTAGENESIS_UID, is_effect_uid, is_mutagenesis_uid
from trackserver.effects import effects, mutagenesis
from trackserver.errors import InvalidRequest, UnknownTileset
from trackserver.genome.locus import Locus
from trackserver.genome.sequence import BASES
from trackserver.sources.source import identity_at
from trackserver.tiles.bins import ArrayTileset
from trackserver.tiles.grid import Grid
from trackserver.tiles.multivec import MultivecArrayTileset


def effect_version(site: Site, uid: str) -> str:
    """What tells one computation of an effect from another, were it deleted and asked for again."""
    match = EFFECT_UID.match(uid)
    return identity_at(site.effects / match["id"] / "effect.json") if match else ""


def open_effect_tileset(site: Site, uid: str) -> ArrayTileset:
    """One allele of one track of a stored effect."""
    match = EFFECT_UID.match(uid)
    described = effects.description(site, match["id"]) if match else None
    if not match or not described:
        raise UnknownTileset(uid)
    rows = described["question"]["tracks"]
    track = next((entry for entry in described["tracks"] if entry["index"] == int(match["track"])), None)
    if track is None:
        raise UnknownTileset(uid)
    values = _values(site.effects / match["id"], rows.index(track["index"]), match["allele"])
    grid = Grid(site.assembly(described["question"]["assembly"]))
    name = f"{track['name']} {'Δ' if match['allele'] == 'delta' else match['allele'].upper()}"
    return ArrayTileset(values, Locus(**described["locus"]), described["origin"], described["bin_width"], grid, name)


def _values(place: Path, row: int, allele: str) -> np.ndarray[Any, np.dtype[np.float32]]:
    try:
        ref, alt = (np.load(place / f"{name}.npy", mmap_mode="r") for name in ("ref", "alt"))
    except (OSError, ValueError) as error:
        raise InvalidRequest(f"The effect {place.name} is damaged; delete {place} and ask again.") from error
    return np.array({"ref": ref, "alt": alt}[allele][row] if allele != "delta" else alt[row] - ref[row])


def mutagenesis_version(site: Site, uid: str) -> str:
    """What tells one computation of a map from another, were it deleted and asked for again."""
    match = MUTAGENESIS_UID.match(uid)
    return identity_at(mutagenesis.directory(site) / match["id"] / "mutagenesis.json") if match else ""


def open_mutagenesis_tileset(site: Site, uid: str) -> MultivecArrayTileset | ArrayTileset:
    """One track's map, logo (four rows, A, C, G, T, each) or importance (a line)."""
    match = MUTAGENESIS_UID.match(uid)
    described = mutagenesis.stored(site, match["id"]) if match else None
    if not match or not described:
        raise UnknownTileset(uid)
    track = next((entry for entry in described["tracks"] if entry["index"] == int(match["track"])), None)
    if track is None:
        raise UnknownTileset(uid)
    held = mutagenesis.of_track(site, described, track["index"])
    place = held.locus, held.locus.start, 1, Grid(site.assembly(described["question"]["assembly"]))
    values, name = getattr(held, match["part"])[0], f"{track['name']} {match['part']}"
    if match["part"] == "importance":
        return ArrayTileset(values, *place, name)
    return MultivecArrayTileset(values, tuple(BASES), *place, name)


COMPUTED = (
    ComputedTilesets(is_effect_uid, effect_version, open_effect_tileset),
    ComputedTilesets(is_mutagenesis_uid, mutagenesis_version, open_mutagenesis_tileset),
)
