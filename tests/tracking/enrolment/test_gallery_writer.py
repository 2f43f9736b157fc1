"""The writer of enrolled entries, beside others who change the same gallery."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from gallery_db import (
    Curator,
    EmbeddingModel,
    Entry,
    Gallery,
)
from tracking.enrolment.gallery_writer import CROPS, GalleryWriter, _Put, _Rename

SIZE = 8


def _write(writer: GalleryWriter, *jobs: Any) -> None:
    """As its thread does, but now."""
    writer._write(jobs)


def test_the_writer_keeps_corrections_of_others(tmp_path: Path) -> None:
    """Whatever the run has heard of it: it asks the gallery itself, in the same transaction."""
    shared = Gallery.create(tmp_path / "shared", EmbeddingModel("m", "0" * 64, SIZE, "none"))
    entries = [
        Entry(f"t{n}", f"unknown-{n:04d}", origin="track", extra={"enrolled_as": f"unknown-{n:04d}"}) for n in range(7)
    ]
    vectors = np.eye(SIZE, dtype=np.float32)
    shared.add(entries[:5], vectors[:5])
    writer = GalleryWriter(shared, entries[:5])
    picture = np.zeros((9, 9, 3), np.uint8)
    _write(writer, _Put(entries[5], vectors[5], picture), _Put(entries[6], vectors[6], None))
    people = Curator(shared)
    people.rename("unknown-0000", "ann")
    people.remove(["t1", "t5"])
    people.rename("unknown-0002", "bob")
    people.rename("unknown-0006", "zoe")
    _write(
        writer,
        *(
            _Put(replace(entries[n], extra={**entries[n].extra, "quality": 0.5}), vectors[n], picture)
            for n in (0, 1, 3)
        ),
        _Rename("t6", "unknown-0003", "unknown-0003"),
        _Rename("t5", "unknown-0003", "unknown-0003"),
        _Rename("t3", "unknown-0008", "unknown-0008"),
    )
    _write(writer, _Rename("t0", "unknown-0009", "unknown-0009"))  # a second rename to the same name
    assert writer.finish(deliver=False) is None
    with Gallery.open(shared.path) as gallery:
        after = {entry.id: entry for entry in gallery.entries()}
        pictures = {path.stem for path in (gallery.path / CROPS).iterdir()}
    assert {id_: entry.identity for id_, entry in after.items()} == {
        "t0": "ann", "t2": "bob", "t3": "unknown-0008", "t6": "zoe",
    }, "only t4 was outdated, and nobody had corrected it"  # fmt: skip
    assert (after["t0"].extra["reviewed"], after["t0"].extra["quality"]) == (True, 0.5)
    assert after["t3"].extra["enrolled_as"] == "unknown-0008"
    assert {"t0", "t3"} <= pictures
    assert "t1" not in pictures
