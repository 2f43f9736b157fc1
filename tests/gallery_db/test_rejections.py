""" "This is not that person": stored, respected, undone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from support.cli import gtrack
from support.gallery import DIMENSION, model_named

from gallery_db import Curator, Entry, Gallery, GalleryError, IdentityNotFoundError, rejected_names
from gallery_db.rejections import Rejections
from tracking import track_video
from tracking.identification.identifier import TrackIdentifier
from tracking.synthetic.rendering import Scene

Vector = NDArray[np.float32]


def axis(number: int) -> Vector:
    return np.eye(DIMENSION, dtype=np.float32)[number]


def mix(first: Vector, second: Vector, distance: float) -> Vector:
    cosine = 1 - distance
    return (first * cosine + second * np.sqrt(1 - cosine**2)).astype(np.float32)


ANN, OTHER = axis(0), axis(1)
TWIN = mix(ANN, OTHER, 0.15)
"""A vector of another person who is near ann."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with Gallery.create(tmp_path / "g", model_named("m")) as gallery:
        gallery.add(
            [Entry("a1", "ann"), Entry("a2", "ann"), Entry("t1", "unknown-0003", origin="track")],
            np.stack([ANN, mix(ANN, axis(2), 0.02), TWIN]),
        )
    return tmp_path / "g"


def name_of(path: Path, probe: Vector) -> str | None:
    with Gallery.open(path) as gallery:
        identities = TrackIdentifier(gallery.view(), threshold=0.25, every=1)
        for frame in range(4):
            identities.observe(frame, [1], probe[None], [1.0], ["person"])
            (named,) = identities.names(frame, [1])
    return None if named is None else named.identity


def distance_to_ann(path: Path, probe: Vector) -> float:
    with Gallery.open(path) as gallery:
        view = gallery.view()
        return float(view.identity_distances(probe[None], ["person"])[0, view.identities.index("ann")])


def test_a_probe_nearer_to_the_rejected_entry_does_not_get_the_name(path: Path) -> None:
    like_twin = mix(TWIN, axis(3), 0.05)
    assert distance_to_ann(path, like_twin) < 0.25
    with Gallery.open(path, write=True) as gallery:
        assert Curator(gallery).reject(["t1"], "ann") == (1, None)
        assert Curator(gallery).reject(["t1"], "ann") == (0, None), "no news"
        assert rejected_names(gallery.get("t1")[0]) == ("ann",)
    assert distance_to_ann(path, like_twin) == np.inf
    assert name_of(path, like_twin) == "unknown-0003"
    assert name_of(path, mix(ANN, axis(4), 0.05)) == "ann", "she herself still is"
    with Gallery.open(path, write=True) as gallery:
        gallery.undo()
    assert distance_to_ann(path, like_twin) < 0.25


def test_rejecting_an_entry_of_the_identity_moves_it_to_an_unknown_one(path: Path) -> None:
    with Gallery.open(path, write=True) as gallery:
        people = Curator(gallery)
        assert people.reject(["a2"], "ann") == (1, "unknown-0004")
        entry = gallery.get("a2")[0]
        assert (entry.identity, rejected_names(entry)) == ("unknown-0004", ("ann",))
        with pytest.raises(GalleryError, match="none would be left"):
            people.reject(["a1"], "ann")
        with pytest.raises(IdentityNotFoundError):
            people.reject(["a1"], "bob")
        people.move(["a2"], "ann")
        assert rejected_names(gallery.get("a2")[0]) == (), "moving it back to ann ends the rejection"


def test_a_rejection_follows_a_rename(path: Path) -> None:
    with Gallery.open(path, write=True) as gallery:
        people = Curator(gallery)
        people.reject(["t1"], "ann")
        people.rename("ann", "anna")
        assert rejected_names(gallery.get("t1")[0]) == ("anna",)
        gallery.undo()
        assert rejected_names(gallery.get("t1")[0]) == ("ann",)


def test_a_rejection_reaches_other_processes(path: Path) -> None:
    with Gallery.open(path) as running:
        view = running.view()
        column = view.identities.index("ann")
        assert view.identity_distances(TWIN[None])[0, column] < 0.25
        command = [sys.executable, "-m", "cli.main", "gallery", "reject", "t1", "--not", "ann", "-g", str(path)]
        subprocess.run(command, check=True, capture_output=True)
        assert view.refresh()
        assert view.identity_distances(TWIN[None])[0, column] == np.inf


def test_a_rejection_counts_if_its_entry_is_not_in_the_view(path: Path) -> None:
    """As a run does with the entries that it stored before."""
    with Gallery.open(path, write=True) as gallery:
        Curator(gallery).reject(["t1"], "ann")
        view = gallery.view(without=["t1"])
        assert view.identities == ("ann",)
        assert view.identity_distances(TWIN[None])[0, 0] == np.inf


def test_the_nearest_of_several_rejections_decides() -> None:
    rejections = Rejections([["ann"], ["ann", "bob"]], np.stack([axis(0), axis(1)]))
    distances = np.full((2, 3), 0.1, np.float32)
    rejections.apply(np.stack([axis(1), axis(2)]), distances, ["ann", "bob", "zoe"])
    assert np.isinf(distances).tolist() == [[True, True, False], [False, False, False]]


def test_show_prints_rejections(path: Path) -> None:
    assert "not 'ann': 1 entry" in gtrack("gallery", "reject", "unknown-0003", "--not", "ann", "-g", path).stdout
    assert '"not"' in gtrack("gallery", "show", "unknown-0003", "-g", path, "--json").stdout
    assert gtrack("gallery", "reject", "--not", "ann", "-g", path, code=2).stdout == ""
    assert "bob" in gtrack("gallery", "reject", "t1", "--not", "bob", "-g", path, code=1).stderr


def test_a_query_by_entry_marks_rejected_names(path: Path) -> None:

    def neighbours(entry: str) -> list[dict[str, Any]]:
        (answer,) = gtrack(*asked, "--entry", entry, "--json").stdout.splitlines()
        found: list[dict[str, Any]] = json.loads(answer)["matches"]
        return found

    asked = ["gallery", "query", "--search", "exact", "-g", path]
    before = neighbours("t1")
    assert not any("rejected" in match for match in before)
    assert "rejected" not in gtrack(*asked, "--entry", "t1").stdout
    gtrack("gallery", "reject", "t1", "--not", "ann", "-g", path)
    after = neighbours("t1")
    assert [match["id"] for match in after] == [match["id"] for match in before], "neighbours are shown as they are"
    assert {match["id"]: match.get("rejected") for match in after} == {"t1": None, "a1": True, "a2": True}
    assert "not the same" in gtrack(*asked, "--entry", "t1").stdout
    assert {match["id"]: match.get("rejected") for match in neighbours("a1")} == {"t1": True, "a1": None, "a2": None}


@pytest.mark.parametrize("enrolled", [True, False], ids=["its own entry", "one made for it"])
def test_a_track_of_a_run(scene: Scene, tmp_path: Path, enrolled: bool) -> None:
    from gallery_db import ingest_folder
    from tracking import load_embedder

    path = tmp_path / "g"
    common = {
        "dets_json": scene.detections,
        "video": scene.video,
        "gallery": path,
        "classes": [0],
        "no_progress": True,
        "reid_weights": "builtin",
        "frame_range": (0, 80),
        "out_dir": tmp_path,
    }
    embedder = load_embedder("builtin")
    with Gallery.open_or_create(path, embedder.model) as gallery:
        ingest_folder(gallery, scene.gallery, embedder)
    mode = {"enroll": "all", "gallery_match_threshold": 0.4} if enrolled else {}
    result = track_video(**{**common, **mode}, run_name="first", save_json_flag=True)  # type: ignore[arg-type]
    if enrolled:
        with Gallery.open(path) as gallery:
            own = [e for e in gallery.entries() if e.origin == "track" and not e.identity.startswith("unknown-")]
        track, name = str(own[0].extra["track_id"]), own[0].identity
    else:
        seen = [
            (d["track_id"], d["gallery_id"])
            for f in result.payload["frames"]
            for d in f["detections"]
            if "gallery_id" in d
        ]
        track, name = max(set(seen), key=seen.count)
    arguments = ["--tracks", str(tmp_path / "first" / "tracked.json"), "--track", track, "--not", name]
    # The run says which video it read; the detections' own word, a bare file name, would not be found from here.
    said = gtrack("gallery", "reject", *arguments, "-g", path).stdout
    assert ("of the track" if enrolled else "stored for the track") in said
    with Gallery.open(path) as gallery:
        (entry,) = [e for e in gallery.entries() if rejected_names(e)]
        assert rejected_names(entry) == (name,)
        assert entry.identity.startswith("unknown-")
        assert (path / entry.extra["crop"]).is_file()
    after = track_video(**common, run_name="second").payload  # type: ignore[arg-type]
    names = [d.get("gallery_id") for f in after["frames"] for d in f["detections"] if d.get("track_id") == track]
    before = [
        d.get("gallery_id") for f in result.payload["frames"] for d in f["detections"] if d.get("track_id") == track
    ]
    assert names.count(name) < 0.2 * before.count(name), "that track has another identity now"
    assert json.loads((tmp_path / "first" / "tracked.json").read_text()) == result.payload
