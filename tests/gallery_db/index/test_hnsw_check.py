"""Torn HNSW files are found before Chroma loads them, which would end the process."""

from __future__ import annotations

import os
import pickle
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import TESTS
from support.gallery import entries_named, model_named, unit_vectors

from gallery_db import Gallery, GalleryIndexError
from gallery_db.index.chroma_index import ChromaIndex
from gallery_db.index.hnsw_check import find_damage, find_size_damage

DIMENSION = 16
MODEL = model_named("torn", DIMENSION)
COUNT = 4300
"""Entries; Chroma writes its files after every 2,000."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A gallery whose index has files, with deleted elements among them."""
    path = tmp_path_factory.mktemp("made") / "g"
    with Gallery.create(path, MODEL) as gallery:
        gallery.add(entries_named(COUNT), unit_vectors(COUNT, DIMENSION))
        gallery.sync_index()
        gallery.remove([f"e{number:05d}" for number in range(0, 600, 3)])
        gallery.add(entries_named(2500, "n"), unit_vectors(2500, DIMENSION, seed=1))
        gallery.sync_index()
    return path


@pytest.fixture
def path(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "g")
    return tmp_path / "g"


class Files:
    """The files of the only segment, to damage them."""

    def __init__(self, gallery: Path) -> None:
        (self.folder,) = [path for path in (gallery / "chroma").iterdir() if path.is_dir()]
        header = (self.folder / "header.bin").read_bytes()
        _, _, _, self.elements, self.size, self.label, self.vector = struct.unpack("<i6Q", header[:52])
        self.highest, self.entry, self.links, self.links0 = struct.unpack("<iI2Q", header[52:76])

    def truncate(self, name: str, size: int) -> None:
        os.truncate(self.folder / name, size)

    def write(self, name: str, position: int, data: bytes) -> None:
        with (self.folder / name).open("r+b") as file:
            file.seek(position)
            file.write(data)

    def live(self) -> list[tuple[int, int]]:
        """Return element and label of all elements that are not deleted.

        Which element an entry is depends on Chroma's threads; a deleted one needs no name.
        """
        data = np.fromfile(self.folder / "data_level0.bin", np.uint8)[: self.elements * self.size]
        labels = data.reshape(self.elements, self.size)[:, self.label : self.label + 8].copy().view("<u8")[:, 0]
        names = pickle.loads((self.folder / "index_metadata.pickle").read_bytes())["label_to_id"]
        return [(element, int(label)) for element, label in enumerate(labels) if int(label) in names]

    def words(self) -> Any:
        return np.memmap(self.folder / "link_lists.bin", "<u4", "r+")

    def first_list(self, *, level: int = 1) -> int:
        """Return the position of the first list of links, of an element that is in `level` higher layers."""
        words, position = self.words(), 0
        while words[position] != level * 4 * (1 + self.links):
            position += 1 + int(words[position]) // 4
        return position + 1


def _hole(files: Files) -> None:
    files.write("data_level0.bin", (files.elements - 50) * files.size, bytes(40 * files.size))


def _far_link(files: Files) -> None:
    files.write("data_level0.bin", 7 * files.size, struct.pack("<2I", 1, files.elements))


def _too_many_links(files: Files) -> None:
    files.write("data_level0.bin", 9 * files.size, struct.pack("<H", files.links0 + 1))


def _label_twice(files: Files) -> None:
    (_, first), (element, _) = files.live()[:2]
    files.write("data_level0.bin", element * files.size + files.label, struct.pack("<Q", first))


def _another_label(files: Files) -> None:
    element, _ = files.live()[0]
    files.write("data_level0.bin", element * files.size + files.label, struct.pack("<Q", 1 << 40))


def _more_elements(files: Files) -> None:
    files.write("header.bin", 20, struct.pack("<Q", files.elements + 1))


def _entry_point(files: Files) -> None:
    files.write("header.bin", 56, struct.pack("<I", 0 if files.entry else 1))


def _list_sizes(files: Files) -> None:
    files.write("link_lists.bin", 0, struct.pack("<I", 0x3F800000))


def _far_upper_link(files: Files) -> None:
    files.words()[files.first_list() + 1] = files.elements + 5


def _link_out_of_the_layer(files: Files) -> None:
    words, position, low = files.words(), 0, 0
    while words[position]:  # to the first element that is only in the lowest layer
        position += 1 + int(words[position]) // 4
        low += 1
    words[files.first_list() + 1] = low


def _old_names(files: Files) -> None:
    names = pickle.loads((files.folder / "index_metadata.pickle").read_bytes())
    gone = sorted(names["label_to_id"])[-100:]
    for label in gone:
        del names["id_to_label"][names["label_to_id"].pop(label)]
    (files.folder / "index_metadata.pickle").write_bytes(pickle.dumps(names))


class _Runs:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, ("exit 1",)


def _code(files: Files) -> None:
    (files.folder / "index_metadata.pickle").write_bytes(pickle.dumps({"label_to_id": _Runs()}))


FOUND_BY_SIZE: dict[str, Callable[[Files], None]] = {
    "header cut": lambda files: files.truncate("header.bin", 60),
    "header is nonsense": lambda files: files.write("header.bin", 28, struct.pack("<Q", 99)),
    "header of more elements": _more_elements,
    "data cut": lambda files: files.truncate("data_level0.bin", (files.elements - 1) * files.size),
    "data longer": lambda files: files.truncate("data_level0.bin", (files.elements + 1) * files.size),
    "lengths cut": lambda files: files.truncate("length.bin", 100),
    "links cut": lambda files: files.truncate("link_lists.bin", 100),
    "links file far too long": lambda files: files.truncate("link_lists.bin", 1 << 40),
    "no names": lambda files: (files.folder / "index_metadata.pickle").unlink(),
    "no data": lambda files: (files.folder / "data_level0.bin").unlink(),
}
FOUND_BY_READING: dict[str, Callable[[Files], None]] = {
    "a hole in the data": _hole,
    "a link to no element": _far_link,
    "more links than fit": _too_many_links,
    "two elements of one label": _label_twice,
    "an element without a name": _another_label,
    "another entry point": _entry_point,
    "links of garbage size": _list_sizes,
    "links end early": lambda files: files.truncate("link_lists.bin", 4 * files.elements),
    "an upper link to no element": _far_upper_link,
    "an upper link to an element below": _link_out_of_the_layer,
    "names from before the last write": _old_names,
    "names cut": lambda files: files.truncate("index_metadata.pickle", 500),
    "names that would run code": _code,
}


def test_intact_files_pass(made: Path) -> None:
    assert Files(made).elements > COUNT, "Chroma has written files"
    assert find_damage(made / "chroma") == []
    assert find_size_damage(made / "chroma") == []


def test_missing_files_are_no_damage(tmp_path: Path) -> None:
    with Gallery.create(tmp_path / "g", MODEL) as gallery:
        gallery.add(entries_named(5), unit_vectors(5, DIMENSION))
    assert find_damage(tmp_path / "g" / "chroma") == []
    assert find_damage(tmp_path / "nothing") == []


@pytest.mark.parametrize("name", FOUND_BY_SIZE)
def test_wrong_sizes_keep_chroma_from_opening_the_index(path: Path, name: str) -> None:
    FOUND_BY_SIZE[name](Files(path))
    (sentence,) = find_size_damage(path / "chroma")
    assert str(path / "chroma") in sentence
    assert find_damage(path / "chroma") == [sentence]
    with pytest.raises(GalleryIndexError, match=r"is damaged: .*rebuild"):
        ChromaIndex(path / "chroma", "person_embeddings", MODEL)


@pytest.mark.parametrize("name", FOUND_BY_READING)
def test_damage_that_only_reading_finds(path: Path, name: str) -> None:
    FOUND_BY_READING[name](Files(path))
    assert len(find_damage(path / "chroma")) == 1


@pytest.mark.parametrize(
    "name",
    ["header of more elements", "links file far too long", "a hole in the data", "links of garbage size", "names cut"],
)
def test_a_torn_index_is_verified_and_rebuilt_before_chroma_loads_it(path: Path, name: str) -> None:
    """Runs in its own process, because a failure can be a segmentation fault."""
    {**FOUND_BY_SIZE, **FOUND_BY_READING}[name](Files(path))
    program = """
import sys; sys.path.insert(0, sys.argv[2])
from support.gallery import *; from gallery_db import Gallery
with Gallery.open(sys.argv[1]) as gallery:
    report = gallery.verify()
    assert report.record_ok and not report.ok and report.problems, report
with Gallery.open(sys.argv[1], write=True) as gallery:
    gallery.sync_index()
    assert any("rebuilt" in notice for notice in gallery.notices), gallery.notices
    assert gallery.verify().ok
    found = gallery.query(unit_vectors(2500, 16, seed=1)[::50], top_k=1, search="hnsw")
    assert [row[0].entry.id for row in found] == [f"n{n:05d}" for n in range(0, 2500, 50)]
"""
    done = subprocess.run([sys.executable, "-c", program, str(path), str(TESTS)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
