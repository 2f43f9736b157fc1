"""Export to and import from Parquet: exact round trips, invalid files, conflicts, pictures, interruptions."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support import ROOT
from support.cli import gtrack
from support.gallery import (
    DIMENSION,
    ColourEmbedder,
    entries_named,
    make_people,
    model_named,
    save_picture,
    unit_vectors,
)
from support.processes import started
from support.transfer import MISSING_PICTURES, list_files, make_gallery, make_pictured_gallery

from gallery_db import (
    EmbeddingError,
    Entry,
    EntryExistsError,
    Gallery,
    GalleryError,
    GalleryFormatError,
    GalleryLockedError,
    GtrackError,
    ModelMismatchError,
    export_parquet,
    import_parquet,
    ingest_folder,
)
from gallery_db.embeddings import unit_rows
from gallery_db.media.entry_pictures import find_picture, read_entry_picture
from gallery_db.transfer.parquet_reader import read_parquet_header

ODD = [
    Entry(id="plain", identity="alice"),
    Entry(id="unicode ü 名前 \N{PARROT}", identity="Zoë O'Neill 李", class_name="人", source="/bilder/ü ñ.jpg"),
    Entry(
        id="track",
        identity="bob",
        class_name="Person",
        origin="track",
        source="C:\\videos\\a.mp4",
        frame=2**40,
        box=(0.1, -2.5, 1e300, 1 / 3),
        created_at="2020-02-30 any text",
        extra={"track_id": 7, "scores": [0.1, 1e-320, None], "deep": {"ü": [True, {"a": "\u2028"}]}, "empty": {}},
    ),
    Entry(id="hash", identity=" ", origin="image", content_hash="", frame=0, box=(0, 0, 0, 0)),
    Entry(id="quote\"'\0;", identity='o\'break; "two"', source="", extra={"": ""}),
]
ODD[3] = Entry(id="hash", identity="h", content_hash="", frame=0, box=(0.0, -0.0, 0.0, 0.0))


def export(path: Path, file: Path, **options: Any) -> Any:
    with Gallery.open(path) as gallery:
        return export_parquet(gallery, file, **options)


def content(path: Path | str) -> tuple[list[str], bytes]:
    with Gallery.open(path) as gallery:
        entries = list(gallery.entries())
        vectors = gallery.record.entries.with_vectors(
            gallery.collection_key, [entry.id for entry in entries], gallery.model.dimension
        )[1]
    return [repr(entry) for entry in entries], vectors.tobytes()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    make_gallery(tmp_path / "a", [*ODD, *entries_named(20)])
    export(tmp_path / "a", tmp_path / "a.parquet")
    return tmp_path / "a.parquet"


# -- round trips ---------------------------------------------------------------------------------------------


def test_a_round_trip_is_exact(file: Path, tmp_path: Path) -> None:
    report = import_parquet(tmp_path / "b", file, index=True)
    assert (report.found, report.added, report.unchanged, report.replaced) == (25, 25, 0, 0)
    assert report.created
    assert content(tmp_path / "b") == content(tmp_path / "a")
    with Gallery.open(tmp_path / "b", write=True) as gallery:
        assert gallery.stats().index_current
        assert gallery.verify().ok
        assert gallery.model == model_named()
    export(tmp_path / "b", tmp_path / "b.parquet")
    assert file.read_bytes() == (tmp_path / "b.parquet").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "a.parquet", "b", "b.parquet"]


@pytest.mark.parametrize("dimension", [1, 16, 512, 4096])
def test_unit_rows_does_not_change_unit_rows(dimension: int) -> None:
    generator = np.random.default_rng(dimension)
    once = unit_rows(_unit(generator.standard_normal((300, dimension)) ** 3), dimension, what="embeddings")
    assert unit_rows(once, dimension, what="embeddings").tobytes() == once.tobytes()


def _unit(array: Any) -> Any:
    return array / np.linalg.norm(array, axis=1, keepdims=True)


def test_more_than_one_row_group(tmp_path: Path) -> None:
    make_gallery(tmp_path / "a", entries_named(9000))
    seen: list[tuple[int, int]] = []
    assert export(tmp_path / "a", tmp_path / "f.parquet", progress=lambda *n: seen.append(n)).entries == 9000
    assert seen[-1] == (9000, 9000)
    assert pq.ParquetFile(tmp_path / "f.parquet").metadata.num_row_groups == 3
    stages: dict[str, list[tuple[int, int]]] = {"check": [], "write": []}
    import_parquet(
        tmp_path / "b",
        tmp_path / "f.parquet",
        index=False,
        check_progress=lambda *n: stages["check"].append(n),
        progress=lambda *n: stages["write"].append(n),
    )
    assert stages["check"][-1] == stages["write"][-1] == (9000, 9000)
    assert content(tmp_path / "b") == content(tmp_path / "a")
    with Gallery.open(tmp_path / "b", write=True) as gallery:
        assert not gallery.stats().index_current
        gallery.sync_index()
        assert gallery.verify().ok


def test_an_empty_gallery(tmp_path: Path) -> None:
    make_gallery(tmp_path / "a", [])
    export(tmp_path / "a", tmp_path / "f.parquet")
    assert import_parquet(tmp_path / "b", tmp_path / "f.parquet").found == 0
    with Gallery.open(tmp_path / "b") as gallery:
        assert gallery.model == model_named()


def test_pandas_reads_the_file(file: Path, tmp_path: Path) -> None:
    frame = pd.read_parquet(file)
    assert list(frame["identity"][:2]) == ["alice", "Zoë O'Neill 李"]
    matrix = np.stack(list(frame["embedding"]))
    assert (matrix.dtype, matrix.shape) == (np.float32, (25, DIMENSION))
    assert matrix.tobytes() == content(tmp_path / "a")[1]
    assert json.loads(frame["extra"][2])["track_id"] == 7
    assert np.isnan(frame["x1"][0])
    assert frame["x1"][2] == 0.1
    facts = json.loads(pq.read_schema(file).metadata[b"gtrack"])
    assert facts["version"] == 1
    assert facts["model"]["name"] == "tiny.pt"
    header = read_parquet_header(file)
    assert header.model == model_named()
    assert (header.entries, header.has_pictures, header.collection) == (25, False, "person_embeddings")


def test_a_file_saved_by_pandas_with_its_metadata_is_imported(file: Path, tmp_path: Path) -> None:
    """As docs/reference/gallery-parquet.md shows: doubles for frames with gaps, plain lists for embeddings."""
    frame = pd.read_parquet(file)
    frame.loc[frame["identity"] == "alice", "identity"] = "Alice B."
    table = pa.Table.from_pandas(frame, preserve_index=False)
    assert pa.types.is_list(table.schema.field("embedding").type)
    table = table.replace_schema_metadata({**table.schema.metadata, **pq.read_schema(file).metadata})
    pq.write_table(table, tmp_path / "edited.parquet")
    import_parquet(tmp_path / "b", tmp_path / "edited.parquet", index=False)
    before, after = content(tmp_path / "a"), content(tmp_path / "b")
    assert after[1] == before[1]
    assert after[0][0] == before[0][0].replace("'alice'", "'Alice B.'")
    assert after[0][1:2] + after[0][3:] == before[0][1:2] + before[0][3:]
    report = import_parquet(tmp_path / "a", tmp_path / "edited.parquet", replace=True, index=False)
    assert report.replaced == 1


# -- what is refused -----------------------------------------------------------------------------------------


def change(name: str, row: int, value: Any) -> Callable[[pa.Table], pa.Table]:
    def do(table: pa.Table) -> pa.Table:
        column = table.column(name)
        values = column.to_pylist()
        values[row] = value
        kind = column.type
        field = pa.field(name, pa.list_(pa.float32()) if name == "embedding" else kind)
        return table.set_column(table.column_names.index(name), field, pa.array(values, field.type))

    return do


def retype(name: str, kind: Any) -> Callable[[pa.Table], pa.Table]:
    def do(table: pa.Table) -> pa.Table:
        values = pa.array([0] * len(table), kind)
        return table.set_column(table.column_names.index(name), name, values)

    return do


def metadata(**facts: Any) -> Callable[[pa.Table], pa.Table]:
    def do(table: pa.Table) -> pa.Table:
        known = json.loads(table.schema.metadata[b"gtrack"])
        known["model"] |= facts.pop("model", {})
        return table.replace_schema_metadata({b"gtrack": json.dumps({**known, **facts})})

    return do


def raw_metadata(value: bytes | None) -> Callable[[pa.Table], pa.Table]:
    return lambda table: table.replace_schema_metadata(None if value is None else {b"gtrack": value})


def same_long_ids(table: pa.Table) -> pa.Table:
    return change("id", 4, "x" * 200_000)(change("id", 3, "x" * 200_000)(table))


LONG = [2.0, *[0.0] * (DIMENSION - 1)]
NAN = [float("nan"), *[0.0] * (DIMENSION - 1)]

BAD_TABLES = [
    pytest.param(change("embedding", 21, LONG), EmbeddingError, "row 21 (id 'e00016').*length 2", id="not unit"),
    pytest.param(change("embedding", 0, [0.0] * DIMENSION), EmbeddingError, "row 0.*length 0", id="zero"),
    pytest.param(change("embedding", 9, NAN), EmbeddingError, "row 9.*not finite", id="NaN"),
    pytest.param(change("embedding", 9, [None] * DIMENSION), EmbeddingError, "row 9.*not finite", id="null inside"),
    pytest.param(change("embedding", 9, [float("inf")] * DIMENSION), EmbeddingError, "row 9.*not finite", id="inf"),
    pytest.param(change("embedding", 24, [1.0]), EmbeddingError, "row 24.*dimension 16.*found 1", id="short row"),
    pytest.param(change("embedding", 24, None), GalleryFormatError, "row 24.*'embedding', found null", id="no vector"),
    pytest.param(metadata(model={"dimension": 32}), EmbeddingError, "dimension 32.*found 16", id="dimension"),
    pytest.param(metadata(model={"dimension": 0}), EmbeddingError, "dimension >= 1", id="dimension 0"),
    pytest.param(metadata(model={"dimension": 10**9}), EmbeddingError, "at most 65536, found 1000000000", id="huge"),
    pytest.param(raw_metadata(b"[" * 100_000), GalleryFormatError, "not that of a gallery", id="nested deeply"),
    pytest.param(metadata(model={"metric": "l2"}), EmbeddingError, "cosine", id="metric"),
    pytest.param(metadata(model={"dimension": "16"}), GalleryFormatError, "describes no model", id="dimension text"),
    pytest.param(metadata(model={"other": 1}), GalleryFormatError, "describes no model", id="unknown field"),
    pytest.param(metadata(version=2), GalleryFormatError, "version 2, written by a newer gtrack", id="newer"),
    pytest.param(metadata(version="1"), GalleryFormatError, "not that of a gallery", id="version text"),
    pytest.param(metadata(format="other"), GalleryFormatError, "not that of a gallery", id="another format"),
    pytest.param(raw_metadata(None), GalleryFormatError, "no metadata 'gtrack'", id="foreign"),
    pytest.param(raw_metadata(b"{"), GalleryFormatError, "not that of a gallery", id="metadata no JSON"),
    pytest.param(raw_metadata(b"[1]"), GalleryFormatError, "not that of a gallery", id="metadata a list"),
    pytest.param(raw_metadata(b"\xff"), GalleryFormatError, "not that of a gallery", id="metadata no text"),
    pytest.param(lambda t: t.drop_columns(["frame"]), GalleryFormatError, "one column 'frame', found 0", id="column"),
    pytest.param(retype("id", pa.int64()), GalleryFormatError, "expected text in the column 'id'", id="id numbers"),
    pytest.param(retype("embedding", pa.float32()), GalleryFormatError, "lists of floats", id="embedding no list"),
    pytest.param(
        lambda t: t.append_column("crop", pa.array(["x"] * len(t))), GalleryFormatError, "binary", id="crop text"
    ),
    pytest.param(
        lambda t: t.append_column("crop", pa.array([b"x"] * len(t))),
        GalleryFormatError,
        "row 0.*not an image",
        id="crop",
    ),
    pytest.param(change("id", 8, "e00000"), GalleryFormatError, "row 8 (id 'e00000').*twice", id="id twice"),
    pytest.param(change("id", 8, " "), GalleryFormatError, "row 8.*some text", id="id blank"),
    pytest.param(change("identity", 8, None), GalleryFormatError, "row 8.*'identity', found null", id="null"),
    pytest.param(change("identity", 8, ""), GalleryFormatError, "row 8.*some text", id="identity empty"),
    pytest.param(change("x1", 2, None), GalleryFormatError, "row 2.*four", id="half a box"),
    pytest.param(change("y2", 2, float("inf")), GalleryFormatError, "row 2.*four", id="box inf"),
    pytest.param(change("extra", 3, "[]"), GalleryFormatError, "row 3.*JSON object", id="extra a list"),
    pytest.param(metadata(model={"k" * 9000: 1}), GalleryFormatError, "describes no model", id="long field"),
    pytest.param(same_long_ids, GalleryFormatError, "row 4.*the id occurs twice", id="long id"),
    pytest.param(change("extra", 3, "{"), GalleryFormatError, "row 3.*JSON object", id="extra damaged"),
    pytest.param(change("extra", 3, '{"a": NaN}'), GalleryFormatError, "row 3.*JSON object", id="extra NaN"),
    pytest.param(change("extra", 3, '{"a": "\\ud800"}'), GalleryFormatError, "row 3.*JSON", id="extra surrogate"),
    pytest.param(change("extra", 3, "[" * 90000), GalleryFormatError, "row 3.*JSON object", id="extra deep"),
]


@pytest.mark.parametrize(("spoil", "kind", "words"), BAD_TABLES)
def test_an_invalid_table_is_refused_as_a_whole(
    file: Path, tmp_path: Path, spoil: Callable[[pa.Table], pa.Table], kind: type[GtrackError], words: str
) -> None:
    bad = tmp_path / "bad.parquet"
    pq.write_table(spoil(pq.read_table(file)), bad)
    make_gallery(tmp_path / "c", entries_named(3, "other"))
    before = content(tmp_path / "c")
    for place in ("b", "c"):
        with pytest.raises(kind, match=words.replace("(", r"\(").replace(")", r"\)")) as caught:
            import_parquet(tmp_path / place, bad)
        assert str(bad) in caught.value.message
        assert len(caught.value.message) < len(str(bad)) + 800
    assert not (tmp_path / "b").exists()
    assert content(tmp_path / "c") == before


def flipped(data: bytes) -> bytes:
    place = len(data) // 3
    return data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        pytest.param(lambda data: b"", "damaged, or is not a Parquet", id="empty"),
        pytest.param(lambda data: b"no parquet at all" * 99, "damaged, or is not a Parquet", id="text"),
        pytest.param(lambda data: data[: len(data) // 2], "damaged", id="cut off"),
        pytest.param(lambda data: data[len(data) // 2 :], "damaged", id="start lost"),
        pytest.param(flipped, "damaged", id="a flipped byte"),
    ],
)
def test_a_damaged_file(tmp_path: Path, spoil: Callable[[bytes], bytes], words: str) -> None:
    make_gallery(tmp_path / "a", entries_named(5000))
    export(tmp_path / "a", tmp_path / "f.parquet")
    bad = tmp_path / "bad.parquet"
    bad.write_bytes(spoil((tmp_path / "f.parquet").read_bytes()))
    with pytest.raises(GalleryFormatError, match=words) as caught:
        import_parquet(tmp_path / "b", bad)
    assert str(bad) in caught.value.message
    assert not (tmp_path / "b").exists()


def test_missing_files(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.parquet"):
        with pytest.raises(GalleryError, match="expected a Parquet file"):
            import_parquet(tmp_path / "b", path)
    assert not (tmp_path / "b").exists()


def test_another_model_is_refused_with_both_names(file: Path, tmp_path: Path) -> None:
    make_gallery(tmp_path / "b", entries_named(3), "other.onnx")
    with pytest.raises(ModelMismatchError, match=r"other\.onnx.*tiny\.pt") as caught:
        import_parquet(tmp_path / "b", file)
    assert str(file) in caught.value.message
    report = import_parquet(tmp_path / "b", file, new_collection=True, index=False)
    assert report.added == 25
    with Gallery.open(tmp_path / "b", model=model_named()) as gallery:
        assert gallery.collection == report.collection
        assert [info.entries for info in gallery.collections()] == [3, 25]


def test_entries_that_the_gallery_has_already(file: Path, tmp_path: Path, place: Path | str) -> None:
    import_parquet(place, file)
    report = import_parquet(place, file)
    assert (report.added, report.unchanged, report.created) == (0, 25, False)
    with Gallery.open(place, write=True) as gallery:
        entry = gallery.get("e00003")[0]
        gallery.update([Entry(id=entry.id, identity="renamed", created_at=entry.created_at)])
        gallery.replace([gallery.get("e00004")[0]], unit_vectors(1, seed=9))
        gallery.remove(["e00005"])
        # unlike the others, these are only here
        gallery.add(entries_named(2, "here"), unit_vectors(2, seed=3))
    before = content(place)
    with pytest.raises(EntryExistsError, match=r"2 of the entries.*e00003, e00004") as caught:
        import_parquet(place, file)
    assert "`replace=True`" in str(caught.value)
    assert content(place) == before
    report = import_parquet(place, file, replace=True)
    assert (report.added, report.unchanged, report.replaced) == (1, 22, 2)
    with Gallery.open(place, write=True) as gallery, Gallery.open(tmp_path / "a") as old:
        assert len(gallery) == 27
        for id_ in ("e00003", "e00004", "e00005"):
            assert gallery.get(id_)[0] == old.get(id_)[0]
            assert gallery.get(id_)[1].tobytes() == old.get(id_)[1].tobytes()
        assert gallery.verify().ok
        assert {change.action for change in gallery.history(5)} >= {"replace", "add"}


def test_many_conflicts_are_counted_and_the_first_named(file: Path, tmp_path: Path) -> None:
    make_gallery(tmp_path / "b", entries_named(20), seed=5)
    with pytest.raises(EntryExistsError, match=r"20 of the entries.*e00009 and 10 more"):
        import_parquet(tmp_path / "b", file)


# -- writing the file ----------------------------------------------------------------------------------------


def test_an_export_that_fails_leaves_the_old_file(file: Path, tmp_path: Path) -> None:
    before = file.read_bytes()

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export(tmp_path / "a", file, progress=stop)
    assert file.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "a.parquet"]
    for bad in (tmp_path, tmp_path / "none" / "f.parquet"):
        with pytest.raises(GalleryError, match="expected the path of a file"):
            export(tmp_path / "a", bad)


@pytest.mark.parametrize(("times", "raises"), [(1, False), (9, True)])
def test_a_gallery_that_changes_during_the_export(tmp_path: Path, times: int, raises: bool) -> None:
    make_gallery(tmp_path / "a", entries_named(10))
    changes = iter(range(times))

    def interfere(done: int, total: int) -> None:
        number = next(changes, None)
        if number is not None:
            with Gallery.open(tmp_path / "a", write=True) as other:
                other.update([Entry(id="e00000", identity=f"name {number}")])
                other.close(sync=False)

    if raises:
        with pytest.raises(GalleryLockedError, match="kept changing"):
            export(tmp_path / "a", tmp_path / "f.parquet", progress=interfere)
        assert not (tmp_path / "f.parquet").exists()
    else:
        assert export(tmp_path / "a", tmp_path / "f.parquet", progress=interfere).entries == 10
        assert pq.read_table(tmp_path / "f.parquet").column("identity")[0].as_py() == "name 0"


# -- pictures ------------------------------------------------------------------------------------------------


def test_pictures_are_exported_and_imported(tmp_path: Path) -> None:
    path = make_pictured_gallery(tmp_path)
    report = export(path, tmp_path / "f.parquet", pictures=True)
    assert (report.entries, report.pictures) == (9, 4)
    assert {id_ for id_, _ in report.missing} == set(MISSING_PICTURES)
    for id_, reason in report.missing:
        assert MISSING_PICTURES[id_] in reason
    column = pq.read_table(tmp_path / "f.parquet").column("crop").to_pylist()
    source = tmp_path / "pictures" / "one.png"
    assert column[:3] == [source.read_bytes()] * 3
    assert column[5] == (path / "crops" / "c.jpg").read_bytes()
    with Gallery.open(path) as gallery:
        shown = {id_: read_entry_picture(path, gallery.get(id_)[0]) for id_ in ("whole", "box", "no hash", "crop")}
        before = content(path)
    assert shown["box"].shape == (32, 16, 3)
    source.unlink()
    (path / "crops" / "c.jpg").unlink()
    report = import_parquet(tmp_path / "b", tmp_path / "f.parquet", index=False)
    assert report.pictures == 3, "two entries share an image"
    assert content(tmp_path / "b") == before
    with Gallery.open(tmp_path / "b") as gallery:
        for id_, image in shown.items():
            np.testing.assert_array_equal(read_entry_picture(tmp_path / "b", gallery.get(id_)[0]), image)
    # and on from there, all of the same
    again = export(tmp_path / "b", tmp_path / "g.parquet", pictures=True)
    assert again.pictures == 4
    assert (tmp_path / "f.parquet").read_bytes() == (tmp_path / "g.parquet").read_bytes()
    (tmp_path / "b" / "crops" / "c.jpg").unlink()
    report = import_parquet(tmp_path / "b", tmp_path / "f.parquet", index=False)
    assert (report.unchanged, report.pictures) == (9, 1)


def test_large_pictures_are_not_held_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = [save_picture(tmp_path / f"{number}.png", number) for number in range(7)]
    most = sum(path.stat().st_size for path in pictures[:2])
    monkeypatch.setattr("gallery_db.transfer.parquet_export._MAX_GROUP_BYTES", most)
    make_gallery(tmp_path / "a", [Entry(id=path.name, identity="x", source=str(path)) for path in pictures])
    assert export(tmp_path / "a", tmp_path / "f.parquet", pictures=True).pictures == 7
    facts = pq.ParquetFile(tmp_path / "f.parquet").metadata
    assert all(facts.row_group(group).num_rows <= 3 for group in range(facts.num_row_groups))
    assert import_parquet(tmp_path / "b", tmp_path / "f.parquet", index=False).pictures == 7
    assert content(tmp_path / "b") == content(tmp_path / "a")


@pytest.mark.parametrize(
    "crop",
    [
        pytest.param("../out.jpg", id="above"),
        pytest.param("crops/../../out.jpg", id="above in the middle"),
        pytest.param("/tmp/gtrack-out.jpg", id="absolute"),
        pytest.param("gallery.sqlite3", id="the record"),
        pytest.param("gallery.sqlite3-wal/x.jpg", id="beside the record"),
        pytest.param("chroma/x.jpg", id="the index"),
        pytest.param("link/x.jpg", id="through a link"),
        pytest.param("crops/x.py", id="no image name"),
        pytest.param("x\0.jpg", id="zero byte"),
    ],
)
def test_a_crop_is_written_only_inside_the_gallery(tmp_path: Path, crop: str) -> None:
    picture = save_picture(tmp_path / "p.png", 1).read_bytes()
    make_gallery(tmp_path / "a", [Entry(id="x", identity="x", origin="track", extra={"crop": crop})])
    export(tmp_path / "a", tmp_path / "a.parquet", pictures=True)
    table = pq.read_table(tmp_path / "a.parquet")
    table = table.set_column(table.column_names.index("crop"), "crop", pa.array([picture]))
    pq.write_table(table, tmp_path / "b.parquet")
    make_gallery(tmp_path / "b", [])
    (tmp_path / "out").mkdir()
    (tmp_path / "b" / "link").symlink_to(tmp_path / "out")
    assert import_parquet(tmp_path / "b", tmp_path / "b.parquet").pictures == 1
    assert list((tmp_path / "out").iterdir()) == []
    assert not (tmp_path / "out.jpg").exists()
    assert not Path("/tmp/gtrack-out.jpg").exists()
    assert [path.suffix for path in (tmp_path / "b" / "pictures").iterdir()] == [".png"]
    with Gallery.open(tmp_path / "b", write=True) as gallery:
        assert find_picture(gallery.path, gallery.get("x")[0]).data == picture
        assert gallery.verify().ok


def test_another_picture_at_the_same_path(tmp_path: Path) -> None:
    entry = {"identity": "x", "origin": "track", "extra": {"crop": "crops/1.jpg"}}
    for number, name in enumerate("ab"):
        make_gallery(tmp_path / name, [Entry(id=name, **entry)])
        save_picture(tmp_path / name / "crops" / "1.jpg", number)
    export(tmp_path / "a", tmp_path / "a.parquet", pictures=True)
    before = (tmp_path / "b" / "crops" / "1.jpg").read_bytes()
    with pytest.raises(EntryExistsError, match="another picture"):
        import_parquet(tmp_path / "b", tmp_path / "a.parquet")
    assert (tmp_path / "b" / "crops" / "1.jpg").read_bytes() == before
    assert len(list((tmp_path / "b" / "crops").iterdir())) == 1
    import_parquet(tmp_path / "b", tmp_path / "a.parquet", replace=True)
    assert (tmp_path / "b" / "crops" / "1.jpg").read_bytes() != before


def test_a_crop_that_is_not_the_picture_of_its_hash(tmp_path: Path) -> None:
    path = make_pictured_gallery(tmp_path)
    export(path, tmp_path / "f.parquet", pictures=True)
    table = pq.read_table(tmp_path / "f.parquet")
    other = save_picture(tmp_path / "other.png", 77).read_bytes()
    pq.write_table(change("crop", 1, other)(table), tmp_path / "f.parquet")
    with pytest.raises(GalleryFormatError, match=r"row 1 \(id 'box'\): its crop is not"):
        import_parquet(tmp_path / "b", tmp_path / "f.parquet")


# -- kills ---------------------------------------------------------------------------------------------------

KILLED = """
import sys, time
from gallery_db import import_parquet
def slow(done, total):
    print(done, flush=True)
    time.sleep(0.05)
import_parquet(sys.argv[1], sys.argv[2], progress=slow, index=False)
"""


@pytest.mark.parametrize("there", [False, True], ids=["absent gallery", "gallery with entries"])
@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGINT])
def test_a_stopped_import_leaves_nothing(tmp_path: Path, there: bool, sign: signal.Signals) -> None:
    make_gallery(tmp_path / "a", entries_named(8000))
    export(tmp_path / "a", tmp_path / "f.parquet")
    if there:
        make_gallery(tmp_path / "b", entries_named(5, "other"))
    with started("-c", KILLED, tmp_path / "b", tmp_path / "f.parquet", stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if int(line) >= 3000:
                break
        process.send_signal(sign)
        process.communicate(timeout=60)
    if sign == signal.SIGINT and not there:
        assert not (tmp_path / "b").exists()
    else:
        with Gallery.open(tmp_path / "b") as gallery:
            assert len(gallery) == (5 if there else 0)
    report = import_parquet(tmp_path / "b", tmp_path / "f.parquet", index=False)
    assert report.added == 8000
    with Gallery.open(tmp_path / "b") as gallery:
        assert gallery.record.check_integrity() == ()


# -- the command line ----------------------------------------------------------------------------------------


def test_the_commands(tmp_path: Path) -> None:
    people = make_people(tmp_path / "people")
    with Gallery.create(tmp_path / "a", model_named()) as gallery:
        ingest_folder(gallery, people, ColourEmbedder())
    file = tmp_path / "a.parquet"
    (people / "p0" / "0.png").unlink()
    done = gtrack("gallery", "export", file, "-g", tmp_path / "a", "--crops")
    assert "12 entries, 11 of them with a picture" in done.stdout
    assert "is gone" in done.stdout
    done = gtrack("gallery", "import", file, "-g", tmp_path / "b", "--no-index")
    assert "12 added, 0 unchanged, 0 replaced, 11 pictures stored" in done.stdout
    assert "12 unchanged" in gtrack("gallery", "import", file, "-g", tmp_path / "b").stdout
    assert "intact" in gtrack("gallery", "verify", "-g", tmp_path / "b").stdout
    done = gtrack("gallery", "export", tmp_path / "out", "--folders", "-g", tmp_path / "b")
    assert "11 images of 3 identities" in done.stdout
    assert len(list_files(tmp_path / "out")) == 11
    assert (
        "not empty" in gtrack("gallery", "export", tmp_path / "out", "--folders", "-g", tmp_path / "b", code=1).stderr
    )
    for words, code, message in (
        (["export", tmp_path / "x.csv"], 2, ".parquet"),
        (["export", tmp_path / "x", "--folders", "--crops"], 2, "--crops"),
        (["export", file, "--collection", "none"], 1, "none"),
        (["import", people / "p1" / "0.png"], 1, "not a Parquet"),
    ):
        assert message in gtrack("gallery", *words, "-g", tmp_path / "b", code=code).stderr


def test_the_examples_of_the_documentation(tmp_path: Path) -> None:
    make_gallery(tmp_path / "a", [Entry(id="1", identity="alice", source=str(save_picture(tmp_path / "p.png", 1)))])
    export(tmp_path / "a", tmp_path / "people.parquet", pictures=True)
    text = (ROOT / "docs" / "reference" / "gallery-parquet.md").read_text(encoding="utf-8")
    blocks = [block.partition("```")[0] for block in text.split("```python\n")[1:]]
    ran = [block for block in blocks if "polars" not in block and "fiftyone" not in block]
    assert (len(blocks), len(ran)) == (5, 3)
    for block in ran:
        # Ends before the interpreter does: pyarrow's threads have been seen to abort there on a busy machine.
        code = block.replace(".show()", ".load()") + "\nimport os\nos._exit(0)\n"
        subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=tmp_path, check=True, timeout=60)
    import_parquet(tmp_path / "a", tmp_path / "edited.parquet", replace=True, index=False)
    with Gallery.open(tmp_path / "a") as gallery:
        assert gallery.get("1")[0].identity == "Alice B."
