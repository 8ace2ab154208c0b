"""Refuse HDF5 files that refer to other files.

HDF5 opens other files by name for external links, external raw storage and virtual datasets. So an uploaded file could
make the server read, and publish, files that belong to others.
"""

from __future__ import annotations

from collections.abc import Iterator

import h5py

from trackserver.errors import UnreadableFile

MAX_OBJECTS = 200_000


def check_self_contained(name: str, file: h5py.File) -> None:
    """Raise UnreadableFile if anything in a file refers to another file; this reads none of its data.

    Soft links are safe: they can only lead through the file's own groups, and all links of these are checked here.
    """
    for number, (path, item) in enumerate(_objects(name, file)):
        if number >= MAX_OBJECTS:
            raise UnreadableFile(f"{name} is refused: it has more than {MAX_OBJECTS:,} groups and datasets.")
        if isinstance(item, h5py.Dataset) and (item.external or item.is_virtual):
            raise UnreadableFile(f"{name} is refused: the data of its {path} are in another file.")


def _objects(name: str, file: h5py.File) -> Iterator[tuple[str, object]]:
    """Yield each object of a file once, with a path to it."""
    visited: set[int] = set()
    groups = [("", file["/"])]
    while groups:
        group_path, group = groups.pop()
        for key in group:
            path = f"{group_path}/{key}"
            if _is_hard_link(name, group, key, path):
                item = group[key]
                address = h5py.h5o.get_info(item.id).addr
                if address not in visited:
                    visited.add(address)
                    yield path, item
                    if isinstance(item, h5py.Group):
                        groups.append((path, item))


def _is_hard_link(name: str, group: h5py.Group, key: str, path: str) -> bool:
    """Return False for a soft link, whose target is visited elsewhere; raise for a link that may leave the file."""
    try:
        link = group.get(key, getlink=True)
    except TypeError:  # a type of link that h5py does not know
        link = None
    if not isinstance(link, h5py.HardLink | h5py.SoftLink):
        raise UnreadableFile(f"{name} is refused: its {path} is a link that may lead to another file.")
    return isinstance(link, h5py.HardLink)
