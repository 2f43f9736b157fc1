"""Whether the files of Chroma's HNSW indexes are whole, told before Chroma opens them.

Chroma rewrites these files in place. A process that is killed meanwhile leaves them half new and half old, and
hnswlib, which loads them, trusts every number in them: it follows links out of its memory and ends the process with
a segmentation fault, perhaps only at a later search. So they are read here first, as Chroma 1.5 writes them (in
little-endian order):

- ``header.bin``: sizes and offsets, the number of elements, the entry point;
- ``data_level0.bin``: of each element its links in the lowest layer (a count, flags, element numbers), its vector and
  its label;
- ``length.bin``: of each element the length of its vector;
- ``link_lists.bin``: of each element the size of its links in the higher layers, and these;
- ``index_metadata.pickle``: the ids of the labels.

What passes is safe to load. Whether it holds the right vectors is another question, which `ChromaIndex.compare` asks.
"""

from __future__ import annotations

import io
import pickle
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["hnsw_damage", "hnsw_damage_at_a_glance"]

_HEADER = struct.Struct("<i6QiI3QdQ")
_VERSION = 1
_HEADER_FILE = "header.bin"
_DATA, _LENGTHS, _LINKS, _NAMES = "data_level0.bin", "length.bin", "link_lists.bin", "index_metadata.pickle"
_LEVELS = 64
"""More layers than any index has: their number grows with the logarithm of its elements."""
_ROWS = 1 << 15
_DELETED = 1


class _TornError(Exception):
    """What is wrong with a file."""


@dataclass(frozen=True, slots=True)
class _Header:
    elements: int
    size: int
    label: int
    vector: int
    highest: int
    entry: int
    links: int
    links0: int


def hnsw_damage(folder: Path) -> list[str]:
    """What is wrong with the HNSW files in a Chroma folder, a sentence a segment; empty where all are whole.

    Reads all of them, at about the speed of the disk.
    """
    return list(_damage(folder, deep=True))


def hnsw_damage_at_a_glance(folder: Path) -> list[str]:
    """The same as far as the sizes of the files tell; takes no time."""
    return list(_damage(folder, deep=False))


def _damage(folder: Path, *, deep: bool) -> Iterator[str]:
    for segment in sorted({path.parent for path in folder.glob("*/*") if path.name in (_HEADER_FILE, _DATA)}):
        try:
            header = _read_header(segment)
            if deep and header.elements:
                _check_layers(segment, header, _check_elements(segment, header))
        except _TornError as damage:
            yield f"{segment}: {damage}."
        except OSError as error:
            yield f"{segment}: cannot be read: {error.strerror or error}."


def _read_header(segment: Path) -> _Header:
    """The header, if the other files have the sizes that it tells."""
    data = (segment / _HEADER_FILE).read_bytes()
    if len(data) != _HEADER.size:
        raise _TornError(f"{_HEADER_FILE} has {len(data)} bytes, expected {_HEADER.size}")
    version, level0, room, elements, size, label, vector, highest, entry, links, links0, *_ = _HEADER.unpack(data)
    header = _Header(elements, size, label, vector, highest, entry, links, links0)
    if (version, level0, vector, label) != (_VERSION, 0, 4 + 4 * links0, size - 8) or elements > room or size % 4:
        raise _TornError(f"{_HEADER_FILE} makes no sense")
    if not elements:
        return header  # as Chroma makes it at first, with room for some; nothing of the other files is loaded
    if entry >= elements:
        raise _TornError(f"the entry point is element {entry} of {elements}")
    for name, expected in ((_DATA, elements * size), (_LENGTHS, elements * 4)):
        found = (segment / name).stat().st_size
        if found != expected:
            raise _TornError(f"{name} has {found} bytes, expected {expected} for {elements} elements")
    found = (segment / _LINKS).stat().st_size
    if not 4 * elements <= found <= 4 * elements * (1 + _LEVELS * (1 + links)) or found % 4:
        raise _TornError(f"{_LINKS} has {found} bytes, which cannot be for {elements} elements")
    if not (segment / _NAMES).is_file():
        raise _TornError(f"there is no {_NAMES}")
    return header


def _check_elements(segment: Path, header: _Header) -> NDArray[np.uint64]:
    """Check the lowest layer and the labels, which are returned: (N,), of the elements that are not deleted."""
    data = np.memmap(segment / _DATA, np.uint8, "r").reshape(header.elements, header.size)
    labels, deleted = np.empty(header.elements, np.uint64), np.empty(header.elements, bool)
    for start in range(0, header.elements, _ROWS):
        part = data[start : start + _ROWS]
        lists = np.ascontiguousarray(part[:, : header.vector]).view("<u4")
        if not _are_links(lists, header.links0, header.elements):
            raise _TornError(f"{_DATA} has links to elements that there are not")
        labels[start : start + _ROWS] = np.ascontiguousarray(part[:, header.label :]).view("<u8")[:, 0]
        deleted[start : start + _ROWS] = lists[:, 0] >> 16 & _DELETED
    if len(np.unique(labels)) != len(labels):
        raise _TornError(f"{_DATA} has elements of the same label")
    shown = np.sort(labels[~deleted])
    names = _read_names(segment)
    if len(names) != len(shown) or (names != shown).any():
        raise _TornError(f"{_NAMES} names {len(names)} elements, and {_DATA} has {len(shown)}, or others")
    return labels


def _check_layers(segment: Path, header: _Header, labels: NDArray[np.uint64]) -> None:
    words = np.fromfile(segment / _LINKS, "<u4")
    width = 1 + header.links
    levels = np.zeros(len(labels), np.int64)
    places: list[int] = []
    place, view = 0, words.data
    for element in range(len(labels)):
        if place >= len(words):
            raise _TornError(f"{_LINKS} ends before element {element}")
        level, rest = divmod(view[place], 4 * width)
        if rest or level > _LEVELS:
            raise _TornError(f"{_LINKS} has {view[place]} bytes for element {element}")
        place += 1
        if level:
            levels[element] = level
            places += range(place, place + level * width, width)
            place += level * width
    if place != len(words):
        raise _TornError(f"{_LINKS} has {len(words) - place} words too many")
    if levels[header.entry] != header.highest or levels.max(initial=0) != header.highest:
        raise _TornError("the entry point is not in the highest layer")
    lists = words[np.asarray(places, np.int64)[:, None] + np.arange(width)]
    if not _are_links(lists, header.links, header.elements):
        raise _TornError(f"{_LINKS} has links to elements that there are not")
    # A list of layer L leads to elements that have one in that layer, too.
    own = np.concatenate([np.arange(1, level + 1) for level in levels[levels > 0]] or [np.empty(0, np.int64)])
    linked = np.arange(header.links) < (lists[:, :1] & 0xFFFF)
    if (levels[np.where(linked, lists[:, 1:], header.entry)] < own[:, None])[linked].any():
        raise _TornError(f"{_LINKS} has links to elements that are not in that layer")


def _are_links(lists: NDArray[np.uint32], most: int, elements: int) -> bool:
    """Whether lists (R, 1 + most) of a count and that many element numbers are such."""
    counts = lists[:, 0] & 0xFFFF
    linked = np.arange(most) < counts[:, None]
    return bool((counts <= most).all() and not (lists[:, 1:] >= elements)[linked].any())


class _Plain(pickle.Unpickler):
    """Reads numbers, texts and containers of such; a file of a gallery must not be able to run code."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")


def _read_names(segment: Path) -> NDArray[np.uint64]:
    """The labels that have an id, sorted."""
    try:
        found = _Plain(io.BytesIO((segment / _NAMES).read_bytes())).load()
        labels = np.fromiter(found["label_to_id"], np.uint64)
        if len(found["id_to_label"]) != len(labels):
            raise _TornError(f"{_NAMES} has ids without a label")
    except _TornError:
        raise
    except Exception as error:  # pickle raises what it likes where bytes are wrong
        raise _TornError(f"{_NAMES} cannot be read: {error or type(error).__name__}") from error
    return np.sort(labels)
