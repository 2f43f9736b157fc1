"""Export to image folders: round trips, missing pictures, safe names, folders in use."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.gallery import ColourEmbedder, make_people, model_named, save_picture
from support.transfer import MISSING_PICTURES, list_files, make_gallery, make_pictured_gallery

from gallery_db import Entry, Gallery, GalleryError, export_folders, ingest_folder, read_image


def test_a_round_trip(tmp_path: Path) -> None:
    people = make_people(tmp_path / "people")
    with Gallery.create(tmp_path / "a", model_named()) as gallery:
        ingest_folder(gallery, people, ColourEmbedder())
        report = export_folders(gallery, tmp_path / "out")
        assert (report.written, report.identities, report.missing) == (12, 3, ())
    assert list_files(tmp_path / "out") == list_files(people)
    for name in list_files(people):
        assert (tmp_path / "out" / name).read_bytes() == (people / name).read_bytes()
    with Gallery.create(tmp_path / "b", model_named()) as gallery, Gallery.open(tmp_path / "a") as old:
        ingest_folder(gallery, tmp_path / "out", ColourEmbedder())
        assert {entry.id for entry in gallery.entries()} == {entry.id for entry in old.entries()}


def test_missing_pictures_are_reported(tmp_path: Path) -> None:
    path = make_pictured_gallery(tmp_path)
    with Gallery.open(path) as gallery:
        report = export_folders(gallery, tmp_path / "out")
    assert {id_ for id_, _ in report.missing} == set(MISSING_PICTURES)
    assert list_files(tmp_path / "out") == ["a/one-2.png", "a/one.png", "b/one.png", "c/c.jpg"]
    np.testing.assert_array_equal(
        read_image(tmp_path / "out" / "a" / "one-2.png"),
        read_image(tmp_path / "pictures" / "one.png")[8:40, 4:20],
    )
    assert report.identities == 3


@pytest.mark.parametrize(
    ("identity", "folder"),
    [
        pytest.param("..", "_", id="parent"),
        pytest.param(".", "_", id="here"),
        pytest.param("../../out", "_._.._out", id="path above"),
        pytest.param("/etc/x", "_etc_x", id="absolute"),
        pytest.param("C:\\x", "C__x", id="windows path"),
        pytest.param(".hidden", "_hidden", id="hidden"),
        pytest.param("a\nb\0c", "a_b_c", id="control characters"),
        pytest.param("con", "_con", id="device"),
        pytest.param("Aux.txt", "_Aux.txt", id="device with suffix"),
        pytest.param("dots... ", "dots", id="dots at the end"),
        pytest.param("Zoë 李", "Zoë 李", id="unicode"),
        pytest.param("ü" * 300, "ü" * 60, id="too long"),
    ],
)
def test_no_name_leads_out_of_the_folder(tmp_path: Path, identity: str, folder: str) -> None:
    picture = save_picture(tmp_path / "p.png", 1)
    make_gallery(tmp_path / "g", [Entry(id="x", identity=identity, source=str(picture))], old=True)
    with Gallery.open(tmp_path / "g") as gallery:
        assert export_folders(gallery, tmp_path / "deep" / "out").written == 1
    assert list_files(tmp_path / "deep") == [f"out/{folder}/p.png"]


def test_names_that_differ_only_in_case_are_kept_apart(tmp_path: Path) -> None:
    pictures = [save_picture(tmp_path / f"{n}" / "p.png", n) for n in range(4)]
    names = ["Ann", "ann", "a/n", "a:n"]
    make_gallery(
        tmp_path / "g",
        [Entry(id=f"{n}", identity=name, source=str(pictures[n])) for n, name in enumerate(names)],
    )
    with Gallery.open(tmp_path / "g") as gallery:
        export_folders(gallery, tmp_path / "out")
    assert list_files(tmp_path / "out") == ["Ann/p.png", "a_n-2/p.png", "a_n/p.png", "ann-2/p.png"]


def test_folders_in_use(tmp_path: Path) -> None:
    path = make_pictured_gallery(tmp_path)
    out = tmp_path / "out"
    (out / "a").mkdir(parents=True)
    (out / "a" / "mine.txt").write_text("mine")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (out / "c").symlink_to(elsewhere)
    with Gallery.open(path) as gallery:
        with pytest.raises(GalleryError, match="not empty"):
            export_folders(gallery, out)
        report = export_folders(gallery, out, overwrite=True)
        assert (out / "a" / "mine.txt").read_text() == "mine"
        assert any("link" in reason for _, reason in report.missing)
        assert list(elsewhere.iterdir()) == []
        assert export_folders(gallery, out, overwrite=True).written == report.written
        with pytest.raises(GalleryError, match="is a gallery"):
            export_folders(gallery, path, overwrite=True)
        with pytest.raises(GalleryError, match="is a file"):
            export_folders(gallery, tmp_path / "pictures" / "one.png")
