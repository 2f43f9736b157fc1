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
    assert "person_embeddings: 10 entries, NOT INTACT\n" in done.stdout
    assert f"{second}: 20 entries, NOT INTACT; in the index 15 are missing\n" in done.stdout
    assert "gtrack gallery rebuild" in done.stderr
    assert "intact" in gtrack("gallery", "verify", "-g", path, "--collection", "person_embeddings").stdout
    gtrack("gallery", "rebuild", "-g", path)
    gtrack("gallery", "verify", "-g", path)


def test_verify_says_that_an_index_only_lags(tmp_path: Path) -> None:
    with Gallery.create(tmp_path / "g", model_named()) as gallery:
        gallery.add(entries_named(10), unit_vectors(10))
    said = gtrack("gallery", "verify", "-g", tmp_path / "g").stdout
    assert said.splitlines()[0] == (
        "person_embeddings: 10 entries, intact; the index does not yet have the newest changes (10 entries), and takes "
        "them in when it is next needed"
    )
    with Gallery.open(tmp_path / "g", write=True) as gallery:
        gallery.sync_index()
    said = gtrack("gallery", "verify", "-g", tmp_path / "g").stdout
    assert said.splitlines()[0] == "person_embeddings: 10 entries, intact; the index agrees with the record"
