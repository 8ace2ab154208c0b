"""Weights from elsewhere into a site: read, fitted, checked, and kept as one directory a model.

A published file is translated into the network's own names and stored as safetensors, so that what the server loads
later is one format, whose heads can be read row by row. A program of the user's is kept as it came.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np

from trackserver import __version__
from trackserver.errors import DataError, InvalidRequest, needing_torch
from trackserver.models import registry
from trackserver.models.card import ModelCard, Track, geometry_problem, write_card
from trackserver.models.labels import read_labels
from trackserver.models.zoo import Published, published, read_published
from trackserver.progress import Progress
from trackserver.sources.download import fetch
from trackserver.storage import sha256

if TYPE_CHECKING:
    from torch import nn

    from trackserver.models.weights import Translated


@dataclass(frozen=True)
class Source:
    """Where a model's weights come from, and what they do not say themselves.

    path : the published file, or a program
    labels : its table of tracks
    alphabet, activation : where the file differs from the published one; see `weights.Choice`
    projection : Sei's projvec_targets.npy, for its sequence classes
    """

    path: Path
    labels: Path | None = None
    alphabet: str = ""
    activation: str = ""
    projection: Path | None = None


def load(
    model_id: str,
    path: str | os.PathLike[str],
    *,
    window: int | None = None,
    crop: int | None = None,
    tracks: Sequence[int] | None = None,
    alphabet: str = "",
    activation: str = "",
    projection: str | os.PathLike[str] | None = None,
) -> nn.Module:
    """A published model straight from its published file, in eval mode, on the CPU.

    Parameters
    ----------
    model_id
        Which of the published models, as `trackserver models` lists them.
    path
        The published file (for a TensorFlow checkpoint its .index).
    window, crop
        The bp it will be given, and the bp left out at each side, where they are not the published ones.
    tracks
        Only these rows of the head, in this order: memory and work shrink with it, outputs stay equal.

    Returns
    -------
    torch.nn.Module
        `forward`: one-hot (B, 4, L), A C G T -> (B, T, (L - 2 crop) / bin_width), float32.

    Raises
    ------
    NotFound
        No such model or track.
    InvalidRequest
        The window and crop are not whole bins, or the model cannot read so short a window.
    DataError
        The file does not fit: the sentence names the first layer that differs, what is expected and what is found.
    """
    about = read_published(model_id)
    source = Source(Path(path), None, alphabet, activation, Path(projection) if projection else None)
    translated = translate(about, source)
    about = _as_the_file_has_it(about, translated)
    crop = about.crop if crop is None else crop
    if problem := geometry_problem(window or about.window, crop, about.bin_width):
        raise InvalidRequest(f"{about.title}: {problem}.")
    if window and window != about.window and about.one_value:
        raise InvalidRequest(f"{about.title} reads windows of {about.window:,} bp, no others.")
    n_tracks = _n_tracks(about, translated)
    registry.check_tracks(tracks, model_id, n_tracks)
    return registry.assemble(
        about.architecture, translated.config, translated.state, source.path,
        n_tracks=n_tracks, crop=crop, tracks=tracks,
    )  # fmt: skip


def install(
    models_dir: Path, about: Published, source: Source, name: str | None = None, *, overwrite: bool = False
) -> ModelCard:
    """Put a model into a site, whole or not at all.

    Parameters
    ----------
    about
        What is known of it: a published model's card, or the user's own.
    name
        Its id on the site; by default the published one.

    Raises
    ------
    DataError
        The file does not fit, or the table of tracks is another model's.
    InvalidRequest
        The name is taken or no id.
    """
    directory = models_dir / registry.check_free(models_dir, name or about.id, overwrite)
    with registry.staged(directory) as stage:
        if about.architecture in registry.PROGRAMS:
            card = _keep_program(stage, about, source)
        else:
            card = _keep_weights(stage, about, source)
        card = replace(card, id=directory.name)
        write_card(card, stage / registry.CARD)
    return card


def copy_model(models_dir: Path, model: Path, name: str, *, overwrite: bool = False) -> ModelCard:
    """A model's directory, as `train` writes one or another site has one, into a site; raises as `install`."""
    place, card = model.resolve().parent, registry.card(model.resolve().parent, model.resolve().name)
    path = registry.weights_path(place, card)
    registry.check_weights(card, path)
    registry.read_module(card, path)
    with registry.staged(models_dir / registry.check_free(models_dir, name, overwrite)) as stage:
        shutil.copyfile(path, stage / path.name)
        write_card(replace(card, id=name), stage / registry.CARD)
    return replace(card, id=name)


def download(about: Published, folder: Path, urls: Sequence[str], table: str | None, report: Progress) -> Source:
    """A published model's files in a folder, each whole and with its published checksum where one is known.

    Parameters
    ----------
    urls
        Where to take the files from instead, one for each; whoever gives them answers for them, so the published
        checksums still hold.
    table
        Where to take the table of tracks from; None for none.

    Raises
    ------
    InvalidRequest
        Its licence does not let others pass it on, or there is no single place to get it; the sentence says where to.
    Unavailable, DataError
        See `download.fetch`.
    """
    if not about.files and not urls:
        raise InvalidRequest(
            f"{about.title} cannot be downloaded from here ({about.licence}). Get it at {about.page}, then: "
            f"trackserver models install {about.id} FILE"
        )
    if urls and len(urls) != max(len(about.files), 1):
        raise InvalidRequest(f"{about.title} is {len(about.files)} files; give --url once for each.")
    paths = [fetch(url, folder / name, checksum, report) for name, url, checksum in _to_fetch(about, urls)]
    labels = fetch(table, folder / Path(urlsplit(table).path).name, None, report) if table else None
    index = next((path for path in paths if path.suffix == ".index"), paths[0])
    return Source(index, labels)


def _to_fetch(about: Published, urls: Sequence[str]) -> list[tuple[str, str, str | None]]:
    if not about.files:
        return [(Path(urlsplit(url).path).name, url, None) for url in urls]
    chosen = urls or [file.url for file in about.files]
    return [(file.name, url, file.checksum) for file, url in zip(about.files, chosen, strict=True)]


def translate(about: Published, source: Source) -> Translated:
    """A published file in its network's terms; see `weights.Translated`."""
    with needing_torch():
        from trackserver.models.weights import Choice, read
    choice = Choice(
        head=about.head,
        alphabet=source.alphabet or about.alphabet,
        activation=source.activation,
        projection=_projection(source.projection) if source.projection else None,
    )
    built: Any = registry.architecture(about.architecture)
    translated: Translated = built.translate(read(source.path), choice)
    _refuse_a_sibling(about, source.path, _n_tracks(about, translated))
    return translated


def _n_tracks(about: Published, translated: Translated) -> int:
    rows = [name for name in registry.architecture(about.architecture).ROW_TENSORS if name in translated.state]
    return len(translated.state[rows[0]]) if rows else 1


def _refuse_a_sibling(about: Published, path: Path, n_tracks: int) -> None:
    """Mouse weights offered as human fit layer by layer; the number of tracks tells them apart."""
    for other in published().values():
        same = other.architecture == about.architecture and other.head == about.head
        if same and n_tracks == other.n_tracks != about.n_tracks:
            raise DataError(
                f"{path} has {n_tracks:,} tracks: it is {other.title}, not {about.title} ({about.n_tracks:,} tracks). "
                f"Install it as {other.id}."
            )


def _projection(path: Path) -> Any:
    """Sei's sequence classes over its profiles: the first 40 rows; the others are clusters without a name."""
    import torch

    try:
        rows = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as a NumPy array: {error}.") from None
    if rows.ndim != 2 or rows.dtype.kind != "f":
        raise DataError(f"{path} is not Sei's projection: expected numbers (classes, profiles), found {rows.shape}.")
    return torch.from_numpy(np.array(rows[:40], np.float32))


def _as_the_file_has_it(about: Published, translated: Translated) -> Published:
    """The published geometry, but for what the file settles: a window of its own, around the same bin of one value."""
    window = translated.config.get("window", about.window)
    crop = (window - about.bin_width) // 2 if about.one_value else translated.config.get("crop", about.crop)
    shortest = about.shortest and 2 * crop + about.bin_width
    return replace(about, window=window, crop=crop, shortest=shortest)


def _keep_weights(stage: Path, about: Published, source: Source) -> ModelCard:
    from trackserver.models.weights import save_weights

    translated = translate(about, source)
    about = _as_the_file_has_it(about, translated)
    tracks = read_tracks(about, source.labels, _n_tracks(about, translated))
    path = stage / registry.WEIGHTS
    registry.assemble(
        about.architecture, translated.config, translated.state, source.path, n_tracks=len(tracks), crop=about.crop
    )
    save_weights(translated.state, path)
    return _card(about, source, tracks, translated.config, sha256(path))


def _keep_program(stage: Path, about: Published, source: Source) -> ModelCard:
    with needing_torch():
        from trackserver.models.program import check_runs
        from trackserver.models.sandbox import Program
    path = stage / registry.PROGRAMS[about.architecture]
    shutil.copyfile(source.path, path)
    card = _card(about, source, read_tracks(about, source.labels, about.n_tracks), {}, sha256(path))
    check_runs(Program(source.path, card), card, source.path)
    return card


def read_tracks(about: Published, labels: Path | None, n_tracks: int) -> tuple[Track, ...]:
    """The tracks of a table, of the card itself, or numbered where nothing names them."""
    if labels:
        return read_labels(labels, about.labels or "tsv", n_tracks)
    if about.tracks:
        return tuple(replace(track, index=index) for index, track in enumerate(about.tracks))
    return tuple(Track(index, unnamed(index)) for index in range(n_tracks))


def unnamed(index: int) -> str:
    """What a track is called that no table names."""
    return f"track {index}"


def _card(
    about: Published, source: Source, tracks: tuple[Track, ...], config: dict[str, Any], weights_sha256: str
) -> ModelCard:
    shared = {
        name: getattr(about, name)
        for name in (
            "id", "architecture", "title", "assemblies", "window", "crop", "bin_width", "shortest", "n_value",
            "placement", "strands", "head", "summary", "licence", "citation", "page", "probability",
        )
    }  # fmt: skip
    if about.n_tracks and len(tracks) != about.n_tracks:
        shared["title"] = f"{about.title}, a smaller network of {len(tracks)} tracks"
    return ModelCard(
        **shared,
        tracks=tracks,
        config=config,
        weights_sha256=weights_sha256,
        provenance={
            "source": source.path.name,
            "source_sha256": sha256(source.path),
            "alphabet": source.alphabet or about.alphabet,
            "labels": source.labels.name if source.labels else None,
            "code": about.code,
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "trackserver": __version__,
        },
    )
