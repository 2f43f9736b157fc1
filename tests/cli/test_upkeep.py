"""`gtrack gallery verify` looks at every collection."""

from __future__ import annotations

import json
from pathlib import Path

from support.cli import gtrack
from support.gallery import entries_named, model_named, unit_vectors
from support.served import finished, python

from gallery_db import Gallery

DAMAGE = """
import sys
from pathlib import Path
from gallery_db.index.chroma_index import ChromaIndex
from support.gallery import model_named
index = ChromaIndex(Path(sys.argv[1]) / "chroma", sys.argv[2], model_named("other.pt"))
index.delete([f"e{n:05}" for n in range(15)])
index.close()
"""


def test_verify_compares_all_collections(tmp_path: Path) -> None:
    path = tmp_path / "g"
    with Gallery.create(path, model_named()) as gallery:
        gallery.add(entries_named(10), unit_vectors(10))
        gallery.sync_index()
    with Gallery.open_or_create(path, model_named("other.pt"), new_collection=True) as gallery:
        second = gallery.collection
        gallery.add(entries_named(20), unit_vectors(20))
        gallery.sync_index()
    lines = [json.loads(line) for line in gtrack("gallery", "verify", "-g", path, "--json").stdout.splitlines()]
    assert [(line["collection"], line["entries"], line["ok"]) for line in lines] == [
        ("person_embeddings", 10, True),
        (second, 20, True),
    ]
    finished(python(DAMAGE, path, second))
    done = gtrack("gallery", "verify", "-g", path, code=1)
    assert "person_embeddings: 10 entries; in the index 0 are missing" in done.stdout
    assert f"{second}: 20 entries; in the index 15 are missing" in done.stdout
    assert "gtrack gallery rebuild" in done.stderr
    assert "intact" in gtrack("gallery", "verify", "-g", path, "--collection", "person_embeddings").stdout
    gtrack("gallery", "rebuild", "-g", path)
    gtrack("gallery", "verify", "-g", path)
