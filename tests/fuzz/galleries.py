"""Fuzzed galleries: Parquet files, values in the record, names, and the small files beside them."""

from __future__ import annotations

import io
import json
import shutil
import sqlite3
from contextlib import closing, redirect_stdout
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st
from support.gallery import entries_named, model_named, unit_vectors

from cli.gallery.app import app as gallery_app
from fuzz.mutation import HOSTILE_TEXTS, changed_bytes, changed_json, hostile_values
from fuzz.watch import Target
from gallery_db import Curator, Entry, Gallery, import_parquet, match_threshold, set_threshold
from gallery_db.analysis.anomalies import find_anomalies
from gallery_db.transfer.parquet_export import export_parquet
from tracking.reid.cache import cache_dir, remembered_weights, weights_sha256
from tracking.reid.trust import is_trusted, trust_list_path

_ENTRIES = 6


@cache
def _gallery_files() -> dict[str, bytes]:
    """Return the files of a small gallery without an index, and its export as Parquet."""
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        place = Path(folder) / "g"
        with Gallery.create(place, model_named()) as gallery:
            entries = entries_named(_ENTRIES, per_identity=3)
            entries[0] = Entry("track", "who0000", origin="track", frame=4, box=(1, 2, 3, 4), extra={"track_id": "7"})
            gallery.add(entries, unit_vectors(_ENTRIES))
            set_threshold(gallery, 0.3)
            export_parquet(gallery, Path(folder) / "g.parquet")
            gallery.close(sync=False)
        return {
            "record": (place / "gallery.sqlite3").read_bytes(),
            "parquet": (Path(folder) / "g.parquet").read_bytes(),
        }


@cache
def _parquet_header() -> dict[str, Any]:
    metadata = pq.read_schema(io.BytesIO(_gallery_files()["parquet"])).metadata
    header: dict[str, Any] = json.loads(metadata[b"gtrack"])
    return header


_COLUMNS = (
    *("id", "identity", "class_name", "origin", "source", "content_hash", "created_at", "extra"),
    *("frame", "x1", "y1", "x2", "y2", "embedding"),
)
_EXTRAS = changed_json([{"crop": "crops/a.jpg", "track_id": "7", "not": ["bob"], "num_frames": 3}], broken=False).map(
    lambda content: content.decode("utf-8", "replace")
)


@st.composite
def _parquet_files(draw: Any) -> bytes:
    """Return the Parquet file of a gallery with another header, or with other values or types in its columns."""
    table = pq.read_table(io.BytesIO(_gallery_files()["parquet"]))
    for _ in range(draw(st.integers(1, 3))):
        name = draw(st.sampled_from((*_COLUMNS, "header")))
        if name == "header":
            header = draw(changed_json([_parquet_header()]))
            table = table.replace_schema_metadata({b"gtrack": header})
            continue
        at = table.schema.get_field_index(name)
        if at < 0:
            continue
        rows = table.column(at).to_pylist()
        value = draw(_EXTRAS if name == "extra" else hostile_values() | st.sampled_from(HOSTILE_TEXTS))
        if draw(st.booleans()):
            rows[draw(st.integers(0, len(rows) - 1))] = value
        else:
            rows = [value] * len(rows)
        if draw(st.integers(1, 10)) == 1:
            table = table.remove_column(at)
            continue
        for kind in (table.schema.field(at).type, None):
            try:
                changed = table.set_column(at, pa.field(name, kind) if kind else name, pa.array(rows, kind))
            except (pa.ArrowException, ValueError, OverflowError, TypeError):
                continue
            table = changed
            break
    sink = io.BytesIO()
    try:
        pq.write_table(table, sink)
    except (pa.ArrowException, ValueError, OverflowError, TypeError):
        return b"PAR1"
    return sink.getvalue()


def _use(gallery: Gallery) -> None:
    """Ask a gallery what commands ask it."""
    gallery.stats()
    gallery.identities()
    for entry in gallery.entries():
        json.dumps(dict(entry.extra))
    match_threshold(gallery)
    view = gallery.view()
    view.nearest_identities(unit_vectors(2, gallery.model.dimension), 3)
    find_anomalies(view)


def _check_parquet(content: bytes, folder: Path) -> None:
    file = folder / "file.parquet"
    file.write_bytes(content)
    import_parquet(folder / "g", file, index=False)
    with Gallery.open(folder / "g") as gallery:
        _use(gallery)


def _record(folder: Path) -> Path:
    place = folder / "g"
    place.mkdir()
    (place / "gallery.sqlite3").write_bytes(_gallery_files()["record"])
    return place


_THRESHOLDS = {
    "version": 2,
    "classes": {
        "person": {
            "class_name": "person",
            "threshold": 0.3,
            "by": "calibration",
            "at": "2026-01-02T03:04:05Z",
            "who": "me@here",
            "entries": 6,
            "identities": 2,
            "generation": 1,
            "change": 6,
            "settings": {"far": 0.01, "how": "looks", "looks": 1, "fpir": [0, 0, 0], "fnir": None},
            "changed": 0,
        }
    },
}
_CELLS = {
    "collections": ("name", "model_name", "sha256", "dimension", "preprocessing", "metric", "weights_path"),
    "entries": ("id", "identity", "class_name", "origin", "source", "content_hash", "frame", "box", "extra"),
    "vectors": ("vector",),
    "changes": ("at", "who", "action", "detail"),
    "operations": ("at", "who", "action", "words"),
    "meta": ("value",),
}
_SQL_VALUES = st.one_of(
    st.sampled_from([None, -1, 0, 1, 2**62, -(2**63), 10**9, 1.5, float("inf"), b"\xff\xfe", b"", "", " "]),
    st.sampled_from([text for text in HOSTILE_TEXTS if "\ud800" not in text]),
    changed_json([[1.0, 2.0, 3.0, 4.0], {"crop": "a.jpg", "not": ["bob"], "track_id": "7"}]).map(
        lambda content: content.decode("utf-8", "replace")
    ),
)


@st.composite
def _record_changes(draw: Any) -> tuple[str, str, Any]:
    """Return a table, a column, and its value."""
    table = draw(st.sampled_from([*_CELLS, "thresholds", "thresholds"]))
    if table == "thresholds":
        return "thresholds", "", draw(changed_json([_THRESHOLDS])).decode("utf-8", "replace")
    return table, draw(st.sampled_from(_CELLS[table])), draw(_SQL_VALUES)


def _check_record(case: tuple[str, str, Any], folder: Path) -> None:
    table, column, value = case
    place = _record(folder)
    with closing(sqlite3.connect(place / "gallery.sqlite3")) as database:
        try:
            if table == "thresholds":
                database.execute("UPDATE meta SET value = ? WHERE key LIKE 'thresholds:%'", (value,))
            elif table in ("meta", "collections"):
                database.execute(f"UPDATE {table} SET {column} = ?", (value,))
            else:
                database.execute(f"UPDATE {table} SET {column} = ? WHERE seq = 2", (value,))
        except sqlite3.IntegrityError:
            return
        database.commit()
    with Gallery.open(place) as gallery:
        _use(gallery)
        gallery.history()
        gallery.operations()


def _check_record_file(content: bytes, folder: Path) -> None:
    place = _record(folder)
    (place / "gallery.sqlite3").write_bytes(content)
    with Gallery.open(place) as gallery:
        _use(gallery)


_NAMES = st.one_of(
    st.text(st.characters(), max_size=12),
    st.sampled_from(HOSTILE_TEXTS),
    st.sampled_from(["\x1b[2J", "a\x9bb", "a\u200bb", "x" * 256, "é" * 200, ".", "..", "a/b", "\U000e0001", "a\rb"]),
)


def _check_name(case: tuple[str, str], folder: Path) -> None:
    name, door = case
    place = _record(folder)
    with Gallery.open(place, write=True) as gallery:
        try:
            if door == "rename":
                Curator(gallery).rename("who0001", name)
            elif door == "move":
                Curator(gallery).move(["track"], name, new=True)
            elif door == "reject":
                Curator(gallery).reject(["track"], name)
            else:
                gallery.add([replace(Entry("new", "a"), **{door: name})], unit_vectors(1))
        finally:
            gallery.close(sync=False)
    with Gallery.open(place) as gallery:
        _use(gallery)
    for words in (["list", "-g", str(place)], ["list", "-g", str(place), "--json"], ["log", "-g", str(place)]):
        shown = io.StringIO()
        with redirect_stdout(shown):
            gallery_app(words, standalone_mode=False)
        text = shown.getvalue()
        text.encode()
        assert not any((letter < " " and letter not in "\n\t") or "\x7f" <= letter <= "\x9f" for letter in text), words


_HASHES = {"/models/a.pt": [100, 123456789, "ab" * 32]}
_TRUSTED = {"ab" * 32: {"path": "/models/a.pt", "trusted_at": "2026-01-02T03:04:05Z"}}


def _check_state(case: tuple[bytes, bytes], folder: Path) -> None:
    hashes, trusted = case
    for path, content in ((cache_dir() / "hashes.json", hashes), (trust_list_path(), trusted)):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(0o600)
    weights = folder / "a.pt"
    weights.write_bytes(b"x")
    assert len(weights_sha256(weights)) == 64
    remembered_weights("ab" * 32)
    assert not is_trusted(weights)
    shutil.rmtree(cache_dir())


TARGETS = (
    Target("parquet", st.deferred(_parquet_files), _check_parquet, "", portion=30),
    Target(
        "parquet bytes",
        st.deferred(lambda: changed_bytes(st.just(_gallery_files()["parquet"]), often=1)),
        _check_parquet,
        "",
        portion=20,
    ),
    Target("record", _record_changes(), _check_record, "", portion=40),
    Target(
        "record bytes",
        st.deferred(lambda: changed_bytes(st.just(_gallery_files()["record"]), often=1)),
        _check_record_file,
        "",
        portion=20,
    ),
    Target(
        "names",
        st.tuples(_NAMES, st.sampled_from(["rename", "move", "reject", "identity", "class_name", "source", "id"])),
        _check_name,
        portion=40,
    ),
    Target("state files", st.tuples(changed_json([_HASHES]), changed_json([_TRUSTED])), _check_state, portion=30),
)
