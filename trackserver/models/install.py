"""Install a model's weights into a site: read the file, match it to the network, check it, store one directory a model.

A published file is translated to the network's own names and stored as safetensors, so that the server loads a single
format, and single rows of a head. A user's program is stored unchanged.
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
from trackserver.models.zoo import PublishedModel, published_models, read_published_model
from trackserver.progress import Progress
from trackserver.sources.download import download_file
from trackserver.storage import sha256

if TYPE_CHECKING:
    from torch import nn

    from trackserver.models.weights import TranslatedWeights


@dataclass(frozen=True)
class InstallFiles:
    """The files to install a model from, and facts that they do not state themselves.

    path : the published file, or a program
    labels : its table of tracks
    alphabet, activation : if the file differs from the published one in these; see `weights.Choice`
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
    """Load a published model directly from its published file, in eval mode, on the CPU.

    Parameters
    ----------
    model_id
        One of the published models, as `trackserver models` lists them.
    path
        The published file (for a TensorFlow checkpoint its .index).
    window, crop
        The window in bp, and the bp to leave out at each side, if not the published ones.
    tracks
        Load only these rows of the head, in this order: this saves memory and time and changes no value.

    Returns
    -------
    torch.nn.Module
        `forward`: one-hot (B, 4, L), A C G T -> (B, T, (L - 2 crop) / bin_width), float32.

    Raises
    ------
    NotFound
        There is no such model or track.
    InvalidRequest
        The window and crop are not whole bins, or the model cannot read so short a window.
    DataError
        The file does not fit: the sentence names the first layer that differs and both shapes.
    """
    published = read_published_model(model_id)
    files = InstallFiles(Path(path), None, alphabet, activation, Path(projection) if projection else None)
    translated = translate(published, files)
    published = _with_file_geometry(published, translated)
    crop = published.crop if crop is None else crop
    if problem := geometry_problem(window or published.window, crop, published.bin_width):
        raise InvalidRequest(f"{published.title}: {problem}.")
    if window and window != published.window and published.one_value:
        raise InvalidRequest(f"{published.title} reads windows of {published.window:,} bp only.")
    n_tracks = _n_tracks(published, translated)
    registry.check_tracks(tracks, model_id, n_tracks)
    return registry.assemble(
        published.architecture, translated.config, translated.state, files.path,
        n_tracks=n_tracks, crop=crop, tracks=tracks,
    )  # fmt: skip


def install(
    models_dir: str | os.PathLike[str],
    published: PublishedModel,
    files: InstallFiles,
    name: str | None = None,
    *,
    overwrite: bool = False,
) -> ModelCard:
    """Install a model into a site, completely or not at all.

    Parameters
    ----------
    published
        The model: a published one, or one read from the user's own card.
    name
        Its id on the site; by default the published one.

    Raises
    ------
    DataError
        The file does not fit, or the table of tracks is another model's.
    InvalidRequest
        The name is taken, or is not a valid id.
    """
    models_dir = Path(models_dir)
    directory = models_dir / registry.check_free(models_dir, name or published.id, overwrite)
    with registry.staging_folder(directory) as stage:
        if published.architecture in registry.PROGRAMS:
            card = _store_program(stage, published, files)
        else:
            card = _store_weights(stage, published, files)
        card = replace(card, id=directory.name)
        write_card(card, stage / registry.CARD)
    return card


def copy_model(
    models_dir: str | os.PathLike[str], model: str | os.PathLike[str], name: str, *, overwrite: bool = False
) -> ModelCard:
    """Copy a model's directory, from `train` or another site, into a site; raises as `install` does."""
    models_dir, model = Path(models_dir), Path(model).resolve()
    card = registry.card(model.parent, model.name)
    path = registry.weights_path(model.parent, card)
    registry.check_weights(card, path)
    registry.read_module(card, path)
    with registry.staging_folder(models_dir / registry.check_free(models_dir, name, overwrite)) as stage:
        shutil.copyfile(path, stage / path.name)
        write_card(replace(card, id=name), stage / registry.CARD)
    return replace(card, id=name)


def download_model(
    published: PublishedModel, folder: Path, urls: Sequence[str], table: str | None, report: Progress
) -> InstallFiles:
    """Download a published model's files into a folder, checking published checksums.

    Parameters
    ----------
    urls
        Other URLs to take the files from, one for each; the published checksums still apply.
    table
        URL of the table of tracks; None for none.

    Raises
    ------
    InvalidRequest
        Its licence does not allow redistribution, or there is no single URL; the sentence says where to get it.
    Unavailable, DataError
        See `download_file`.
    """
    if not published.files and not urls:
        raise InvalidRequest(
            f"{published.title} cannot be downloaded automatically ({published.licence}). Get it at {published.page}, "
            f"then run: trackserver models install {published.id} FILE"
        )
    if urls and len(urls) != max(len(published.files), 1):
        raise InvalidRequest(f"{published.title} has {len(published.files)} files; give --url once for each.")
    paths = [download_file(url, folder / name, checksum, report) for name, url, checksum in _downloads(published, urls)]
    labels = download_file(table, folder / Path(urlsplit(table).path).name, None, report) if table else None
    index = next((path for path in paths if path.suffix == ".index"), paths[0])
    return InstallFiles(index, labels)


def _downloads(published: PublishedModel, urls: Sequence[str]) -> list[tuple[str, str, str | None]]:
    if not published.files:
        return [(Path(urlsplit(url).path).name, url, None) for url in urls]
    urls = urls or [file.url for file in published.files]
    return [(file.name, url, file.checksum) for file, url in zip(published.files, urls, strict=True)]


def translate(published: PublishedModel, files: InstallFiles) -> TranslatedWeights:
    """Translate a published file to its network's names and sizes; see `weights.TranslatedWeights`."""
    with needing_torch():
        from trackserver.models.weights import Choice, read
    choice = Choice(
        head=published.head,
        alphabet=files.alphabet or published.alphabet,
        activation=files.activation,
        projection=_projection(files.projection) if files.projection else None,
    )
    architecture: Any = registry.architecture(published.architecture)
    translated: TranslatedWeights = architecture.translate(read(files.path), choice)
    _refuse_sibling(published, files.path, _n_tracks(published, translated))
    return translated


def _n_tracks(published: PublishedModel, translated: TranslatedWeights) -> int:
    rows = [name for name in registry.architecture(published.architecture).ROW_TENSORS if name in translated.state]
    return len(translated.state[rows[0]]) if rows else 1


def _refuse_sibling(published: PublishedModel, path: Path, n_tracks: int) -> None:
    """Raise DataError for mouse weights given as human, or the reverse: only the number of tracks tells them apart."""
    for other in published_models().values():
        same = other.architecture == published.architecture and other.head == published.head
        if same and n_tracks == other.n_tracks != published.n_tracks:
            raise DataError(
                f"{path} has {n_tracks:,} tracks: it is {other.title}, not {published.title} "
                f"({published.n_tracks:,} tracks). Install it as {other.id}."
            )


def _projection(path: Path) -> Any:
    """Read Sei's projection of profiles on sequence classes: the first 40 rows; the others are unnamed clusters."""
    import torch

    try:
        rows = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as a NumPy array: {error}.") from None
    if rows.ndim != 2 or rows.dtype.kind != "f":
        raise DataError(
            f"{path} is not Sei's projection: it should hold numbers (classes, profiles) but has {rows.shape}."
        )
    return torch.from_numpy(np.array(rows[:40], np.float32))


def _with_file_geometry(published: PublishedModel, translated: TranslatedWeights) -> PublishedModel:
    """Replace the published geometry by the file's, if the file has its own window; a single bin stays centred."""
    window = translated.config.get("window", published.window)
    crop = (window - published.bin_width) // 2 if published.one_value else translated.config.get("crop", published.crop)
    shortest = published.shortest and 2 * crop + published.bin_width
    return replace(published, window=window, crop=crop, shortest=shortest)


def _store_weights(stage: Path, published: PublishedModel, files: InstallFiles) -> ModelCard:
    from trackserver.models.weights import save_weights

    translated = translate(published, files)
    published = _with_file_geometry(published, translated)
    tracks = read_tracks(published, files.labels, _n_tracks(published, translated))
    path = stage / registry.WEIGHTS
    registry.assemble(
        published.architecture,
        translated.config,
        translated.state,
        files.path,
        n_tracks=len(tracks),
        crop=published.crop,
    )
    save_weights(translated.state, path)
    return _card(published, files, tracks, translated.config, sha256(path))


def _store_program(stage: Path, published: PublishedModel, files: InstallFiles) -> ModelCard:
    with needing_torch():
        from trackserver.models.program import check_runs
        from trackserver.models.sandbox import Program
    path = stage / registry.PROGRAMS[published.architecture]
    shutil.copyfile(files.path, path)
    card = _card(published, files, read_tracks(published, files.labels, published.n_tracks), {}, sha256(path))
    check_runs(Program(files.path, card), card, files.path)
    return card


def read_tracks(published: PublishedModel, labels: Path | None, n_tracks: int) -> tuple[Track, ...]:
    """Read the tracks from a table or take them from the card; without either, number them."""
    if labels:
        return read_labels(labels, published.labels or "tsv", n_tracks)
    if published.tracks:
        return tuple(replace(track, index=index) for index, track in enumerate(published.tracks))
    return tuple(Track(index, default_track_name(index)) for index in range(n_tracks))


def default_track_name(index: int) -> str:
    """Name a track that no table names."""
    return f"track {index}"


def _card(
    published: PublishedModel,
    files: InstallFiles,
    tracks: tuple[Track, ...],
    config: dict[str, Any],
    weights_sha256: str,
) -> ModelCard:
    shared = {
        name: getattr(published, name)
        for name in (
            "id", "architecture", "title", "assemblies", "window", "crop", "bin_width", "shortest", "n_value",
            "placement", "strands", "head", "summary", "licence", "citation", "page", "probability",
        )
    }  # fmt: skip
    if published.n_tracks and len(tracks) != published.n_tracks:
        shared["title"] = f"{published.title}, a smaller network of {len(tracks)} tracks"
    return ModelCard(
        **shared,
        tracks=tracks,
        config=config,
        weights_sha256=weights_sha256,
        provenance={
            "source": files.path.name,
            "source_sha256": sha256(files.path),
            "alphabet": files.alphabet or published.alphabet,
            "labels": files.labels.name if files.labels else None,
            "code": published.code,
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "trackserver": __version__,
        },
    )
