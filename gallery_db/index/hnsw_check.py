"""Check the files of Chroma's HNSW indexes before Chroma loads them.

Chroma rewrites these files in place. If the process is killed meanwhile, they are partly new and partly old. hnswlib,
which loads them, trusts every number in them: it follows links out of its memory and ends the process with a
segmentation fault, at once or at a later search. Therefore the files are read here first, in the format of Chroma 1.5
(little-endian):

- ``header.bin``: sizes and offsets, the number of elements, the entry point;
- ``data_level0.bin``: for each element its links in the lowest layer (a count, flags, element numbers), its vector
  and its label;
- ``length.bin``: for each element the length of its vector;
- ``link_lists.bin``: for each element the size of its links in the higher layers, and these links;
- ``index_metadata.pickle``: the ids of the labels.

Files that pass are safe to load. Whether they hold the right vectors is checked by `ChromaIndex.compare`.
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

__all__ = ["element_files", "find_damage", "find_size_damage"]

_HEADER_FORMAT = struct.Struct("<i6QiI3QdQ")
_VERSION = 1
_HEADER_FILE = "header.bin"
_DATA_FILE = "data_level0.bin"
_LENGTHS_FILE = "length.bin"
_LINKS_FILE = "link_lists.bin"
_IDS_FILE = "index_metadata.pickle"
_MAX_LEVELS = 64
"""More layers than any index has; their number grows with the logarithm of the number of elements."""

_ELEMENTS_AT_ONCE = 1 << 15
_DELETED_FLAG = 1


class _DamageError(Exception):
    """A fault of a file, in words."""


@dataclass(frozen=True, slots=True)
class _Header:
    """The values of ``header.bin`` that the checks need.

    Attributes:
        elements: Number of elements.
        element_size: Bytes of an element in ``data_level0.bin``.
        label_offset: Offset of the label in an element.
        vector_offset: Offset of the vector in an element.
        highest_layer: Number of the highest layer; 0 is the lowest.
        entry_point: The element where a search begins.
        max_links: Links of an element in each higher layer, at most.
        max_links0: Links of an element in the lowest layer, at most.
    """

    elements: int
    element_size: int
    label_offset: int
    vector_offset: int
    highest_layer: int
    entry_point: int
    max_links: int
    max_links0: int


def find_damage(folder: Path) -> list[str]:
    """Return a sentence about each damaged segment in a Chroma folder; all HNSW files are read.

    A segment is the index of one collection. Takes about as long as the disk needs to read the files.
    """
    return list(_damage(folder, deep=True))


def find_size_damage(folder: Path) -> list[str]:
    """Return a sentence about each segment whose header or file sizes are wrong; takes no time."""
    return list(_damage(folder, deep=False))


def element_files(folder: Path) -> list[Path]:
    """Return the files of a Chroma folder from which Chroma loads HNSW elements, sorted."""
    found = []
    for segment in _segments(folder):
        header = segment / _HEADER_FILE
        data = header.read_bytes() if header.is_file() else b""
        # Of a new index, Chroma loads nothing but the header, and writes rubbish into the others when it is searched.
        empty = len(data) == _HEADER_FORMAT.size and not _HEADER_FORMAT.unpack(data)[3]
        names = (_HEADER_FILE,) if empty else (_HEADER_FILE, _DATA_FILE, _LENGTHS_FILE, _LINKS_FILE, _IDS_FILE)
        found += [segment / name for name in names if (segment / name).is_file()]
    return sorted(found)


def _segments(folder: Path) -> list[Path]:
    return sorted({path.parent for path in folder.glob("*/*") if path.name in (_HEADER_FILE, _DATA_FILE)})


def _damage(folder: Path, *, deep: bool) -> Iterator[str]:
    for segment in _segments(folder):
        try:
            header = _read_header(segment)
            if deep and header.elements:
                _check_elements(segment, header)
                _check_layers(segment, header)
        except _DamageError as damage:
            yield f"{segment}: {damage}."
        except OSError as error:
            yield f"{segment}: cannot be read: {error.strerror or error}."


def _read_header(segment: Path) -> _Header:
    """Return the header, after a check that the other files have the sizes that follow from it."""
    data = (segment / _HEADER_FILE).read_bytes()
    if len(data) != _HEADER_FORMAT.size:
        raise _DamageError(f"{_HEADER_FILE} has {len(data)} bytes, expected {_HEADER_FORMAT.size}")
    values = _HEADER_FORMAT.unpack(data)
    version, level0, room, elements, size, label, vector, highest, entry, links, links0, *_ = values
    header = _Header(elements, size, label, vector, highest, entry, links, links0)
    if (version, level0, vector, label) != (_VERSION, 0, 4 + 4 * links0, size - 8) or elements > room or size % 4:
        raise _DamageError(f"{_HEADER_FILE} has values that do not fit together")
    if not elements:
        return header  # a new index, with room for elements; Chroma loads nothing from the other files
    if entry >= elements:
        raise _DamageError(f"the entry point is element {entry} of {elements}")
    for name, expected in ((_DATA_FILE, elements * size), (_LENGTHS_FILE, elements * 4)):
        found = (segment / name).stat().st_size
        if found != expected:
            raise _DamageError(f"{name} has {found} bytes, expected {expected} for {elements} elements")
    found = (segment / _LINKS_FILE).stat().st_size
    if not 4 * elements <= found <= 4 * elements * (1 + _MAX_LEVELS * (1 + links)) or found % 4:
        raise _DamageError(f"{_LINKS_FILE} has {found} bytes, which is impossible for {elements} elements")
    if not (segment / _IDS_FILE).is_file():
        raise _DamageError(f"the file is missing: {_IDS_FILE}")
    return header


def _check_elements(segment: Path, header: _Header) -> None:
    """Check the links in the lowest layer, and the labels."""
    data = np.memmap(segment / _DATA_FILE, np.uint8, "r").reshape(header.elements, header.element_size)
    labels, deleted = np.empty(header.elements, np.uint64), np.empty(header.elements, bool)
    for start in range(0, header.elements, _ELEMENTS_AT_ONCE):
        part = data[start : start + _ELEMENTS_AT_ONCE]
        lists = np.ascontiguousarray(part[:, : header.vector_offset]).view("<u4")
        if not _are_links(lists, header.max_links0, header.elements):
            raise _DamageError(f"{_DATA_FILE} has links to elements that do not exist")
        rows = slice(start, start + _ELEMENTS_AT_ONCE)
        labels[rows] = np.ascontiguousarray(part[:, header.label_offset :]).view("<u8")[:, 0]
        deleted[rows] = lists[:, 0] >> 16 & _DELETED_FLAG
    if len(np.unique(labels)) != header.elements:
        raise _DamageError(f"{_DATA_FILE} has several elements with the same label")
    present = np.sort(labels[~deleted])
    named = _read_labels(segment)
    if len(named) != len(present) or (named != present).any():
        raise _DamageError(
            f"{_IDS_FILE} has the ids of other elements than {_DATA_FILE}: {len(named)} of {len(present)} elements"
        )


def _check_layers(segment: Path, header: _Header) -> None:
    """Check the links in the higher layers."""
    words = np.fromfile(segment / _LINKS_FILE, "<u4")
    width = 1 + header.max_links
    levels = np.zeros(header.elements, np.int64)
    list_starts: list[int] = []
    position, view = 0, words.data
    for element in range(header.elements):
        if position >= len(words):
            raise _DamageError(f"{_LINKS_FILE} ends before element {element}")
        level, rest = divmod(view[position], 4 * width)
        if rest or level > _MAX_LEVELS:
            raise _DamageError(f"{_LINKS_FILE} has {view[position]} bytes for element {element}")
        position += 1
        if level:
            levels[element] = level
            list_starts += range(position, position + level * width, width)
            position += level * width
    if position != len(words):
        raise _DamageError(f"{_LINKS_FILE} has {4 * (len(words) - position)} bytes too many")
    if levels[header.entry_point] != header.highest_layer or levels.max(initial=0) != header.highest_layer:
        raise _DamageError("the entry point is not in the highest layer")
    lists = words[np.asarray(list_starts, np.int64)[:, None] + np.arange(width)]
    if not _are_links(lists, header.max_links, header.elements):
        raise _DamageError(f"{_LINKS_FILE} has links to elements that do not exist")
    # A link in a layer must lead to an element that is in that layer, too.
    layers = np.concatenate([np.arange(1, level + 1) for level in levels[levels > 0]] or [np.empty(0, np.int64)])
    linked = np.arange(header.max_links) < (lists[:, :1] & 0xFFFF)
    if (levels[np.where(linked, lists[:, 1:], header.entry_point)] < layers[:, None])[linked].any():
        raise _DamageError(f"{_LINKS_FILE} has links to elements that are not in that layer")


def _are_links(lists: NDArray[np.uint32], most: int, elements: int) -> bool:
    """Return whether lists (R, 1 + most), each a count and that many element numbers, are valid."""
    counts = lists[:, 0] & 0xFFFF
    linked = np.arange(most) < counts[:, None]
    return bool((counts <= most).all() and not (lists[:, 1:] >= elements)[linked].any())


class _PlainUnpickler(pickle.Unpickler):
    """Reads numbers, strings and containers only, so that a file of a gallery cannot run code."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"it refers to {module}.{name}")


def _read_labels(segment: Path) -> NDArray[np.uint64]:
    """Return the labels that have an id, sorted."""
    try:
        found = _PlainUnpickler(io.BytesIO((segment / _IDS_FILE).read_bytes())).load()
        labels = np.fromiter(found["label_to_id"], np.uint64)
        if len(found["id_to_label"]) != len(labels):
            raise _DamageError(f"{_IDS_FILE} has ids without a label")
    except _DamageError:
        raise
    except Exception as error:  # pickle raises many kinds of errors for damaged bytes
        raise _DamageError(f"{_IDS_FILE} cannot be read: {error or type(error).__name__}") from error
    return np.sort(labels)
