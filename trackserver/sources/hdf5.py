"""Which HDF5 files are read: those that hold all their data themselves.

HDF5 opens other files by name, wherever they lie, for external links, external raw storage and virtual datasets. A file
that somebody brings could so have the server read, and publish, files of others.
"""

from __future__ import annotations

from collections.abc import Iterator

import h5py

from trackserver.errors import UnreadableFile

MAX_OBJECTS = 200_000


def check_self_contained(name: str, file: h5py.File) -> None:
    """Raise UnreadableFile if anything in a file leads to another file; nothing of its data is read.

    Soft links are followed by name through the file's own groups alone, all of whose links are looked at here.
    """
    seen: set[int] = set()
    for number, (path, item) in enumerate(_items(name, file, seen)):
        if number >= MAX_OBJECTS:
            raise UnreadableFile(f"{name} is refused: it has more than {MAX_OBJECTS:,} parts.")
        if isinstance(item, h5py.Dataset) and (item.external or item.is_virtual):
            raise UnreadableFile(f"{name} is refused: the data of its {path} lie in another file.")


def _items(name: str, file: h5py.File, seen: set[int]) -> Iterator[tuple[str, object]]:
    """Each object of a file once, with a path that leads to it."""
    groups = [("", file["/"])]
    while groups:
        path, group = groups.pop()
        for key in group:
            place = f"{path}/{key}"
            if _leads_within(name, group, key, place):
                item = group[key]
                address = h5py.h5o.get_info(item.id).addr
                if address not in seen:
                    seen.add(address)
                    yield place, item
                    if isinstance(item, h5py.Group):
                        groups.append((place, item))


def _leads_within(name: str, group: h5py.Group, key: str, place: str) -> bool:
    """Whether a link is to an object of its own; a soft link only names one that is looked at elsewhere."""
    try:
        link = group.get(key, getlink=True)
    except TypeError:  # a kind of link that h5py does not know
        link = None
    if not isinstance(link, h5py.HardLink | h5py.SoftLink):
        raise UnreadableFile(f"{name} is refused: its {place} is a link that can lead to another file.")
    return isinstance(link, h5py.HardLink)
