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
    """A version that changes if an effect is deleted and computed again."""
    match = EFFECT_UID.match(uid)
    return identity_at(site.effects / match["id"] / "effect.json") if match else ""


def open_effect_tileset(site: Site, uid: str) -> ArrayTileset:
    """One allele of one track of a stored effect."""
    match = EFFECT_UID.match(uid)
    description = effects.read_description(site, match["id"]) if match else None
    if not match or not description:
        raise UnknownTileset(uid)
    rows = description["question"]["tracks"]
    track = next((entry for entry in description["tracks"] if entry["index"] == int(match["track"])), None)
    if track is None:
        raise UnknownTileset(uid)
    values = _values(site.effects / match["id"], rows.index(track["index"]), match["allele"])
    grid = Grid(site.assembly(description["question"]["assembly"]))
    name = f"{track['name']} {'Δ' if match['allele'] == 'delta' else match['allele'].upper()}"
    return ArrayTileset(
        values, Locus(**description["locus"]), description["origin"], description["bin_width"], grid, name
    )


def _values(folder: Path, row: int, allele: str) -> np.ndarray[Any, np.dtype[np.float32]]:
    try:
        ref, alt = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("ref", "alt"))
    except (OSError, ValueError) as error:
        raise InvalidRequest(f"The effect {folder.name} is damaged; delete {folder} and ask again.") from error
    return np.array({"ref": ref, "alt": alt}[allele][row] if allele != "delta" else alt[row] - ref[row])


def mutagenesis_version(site: Site, uid: str) -> str:
    """A version that changes if a map is deleted and computed again."""
    match = MUTAGENESIS_UID.match(uid)
    return identity_at(mutagenesis.folder(site) / match["id"] / "mutagenesis.json") if match else ""


def open_mutagenesis_tileset(site: Site, uid: str) -> MultivecArrayTileset | ArrayTileset:
    """One track's map or logo, with rows A, C, G and T, or its importance, a single line."""
    match = MUTAGENESIS_UID.match(uid)
    description = mutagenesis.stored_map(site, match["id"]) if match else None
    if not match or not description:
        raise UnknownTileset(uid)
    track = next((entry for entry in description["tracks"] if entry["index"] == int(match["track"])), None)
    if track is None:
        raise UnknownTileset(uid)
    result = mutagenesis.load_track(site, description, track["index"])
    layout = result.locus, result.locus.start, 1, Grid(site.assembly(description["question"]["assembly"]))
    values, name = getattr(result, match["part"])[0], f"{track['name']} {match['part']}"
    if match["part"] == "importance":
        return ArrayTileset(values, *layout, name)
    return MultivecArrayTileset(values, tuple(BASES), *layout, name)


COMPUTED = (
    ComputedTilesets(is_effect_uid, effect_version, open_effect_tileset),
    ComputedTilesets(is_mutagenesis_uid, mutagenesis_version, open_mutagenesis_tileset),
)
