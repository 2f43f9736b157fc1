"""Match thresholds of a gallery: storing, copying, resetting, and the one that a run uses."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.gallery import ColourEmbedder, make_people

import cli.main
from gallery_db import (
    Curator,
    Entry,
    Gallery,
    GalleryError,
    GalleryReadOnlyError,
    calibrate_gallery,
    export_parquet,
    import_parquet,
    ingest_folder,
    match_threshold,
    reembed_gallery,
    reset_thresholds,
    restore_snapshot,
    set_threshold,
    store_calibrations,
    stored_thresholds,
    take_snapshot,
)
from gallery_db.analysis.thresholds import describe_outdated
from tracking import track_video
from tracking.errors import OptionError
from tracking.synthetic.rendering import Scene


@pytest.fixture
def filled(place: Path | str, tmp_path: Path) -> Path | str:
    folder = make_people(tmp_path / "people", people=6, each=6)
    with Gallery.create(place, ColourEmbedder().model) as gallery:
        ingest_folder(gallery, folder, ColourEmbedder())
    return place


def test_a_calibration_is_stored(filled: Path | str) -> None:
    with Gallery.open(filled, write=True) as gallery:
        (found,) = calibrate_gallery(gallery, far=0.2)
        assert found.chosen is not None
        (kept,) = store_calibrations(gallery, [found])
    with Gallery.open(filled) as gallery:
        assert stored_thresholds(gallery) == {"person": kept}
        assert (kept.threshold, kept.by, kept.entries, kept.identities) == (
            found.chosen.threshold.estimate, "calibration", 36, 6,
        )  # fmt: skip
        assert (kept.settings["far"], kept.settings["looks"]) == (0.2, 5)
        assert kept.generation == gallery.generation
        assert "@" in kept.who
        assert describe_outdated(gallery, kept) is None
        used = match_threshold(gallery)
        assert (used.value, used.origin) == (kept.threshold, "calibration")
        (message,) = used.messages
        assert f"{kept.threshold:.3f}" in message
        assert "0.2" in message
        assert match_threshold(gallery, 0.4) == match_threshold(None, 0.4)
        assert match_threshold(gallery, 0.4).origin == "given"
        with pytest.raises(GalleryReadOnlyError):
            set_threshold(gallery, 0.3)
        with pytest.raises(GalleryReadOnlyError):
            reset_thresholds(gallery)


def test_a_threshold_is_set_and_reset(filled: Path | str) -> None:
    with Gallery.open(filled, write=True) as gallery:
        measured = match_threshold(gallery)
        assert measured.origin == "automatic"
        set_threshold(gallery, 0.31)
        assert (match_threshold(gallery).value, match_threshold(gallery).origin) == (0.31, "hand")
        for value in (-0.1, 2.1, float("nan")):
            with pytest.raises(GalleryError, match="0 to 2"):
                set_threshold(gallery, value)
        with pytest.raises(GalleryError, match="car"):
            set_threshold(gallery, 0.3, "car")
        assert reset_thresholds(gallery) == 1
        assert reset_thresholds(gallery) == 0
        assert match_threshold(gallery) == measured


def test_the_strictest_threshold_serves_several_classes(filled: Path | str) -> None:
    with Gallery.open(filled, write=True) as gallery:
        vector = np.eye(1, gallery.model.dimension, dtype=np.float32)
        gallery.add([Entry("c", "taxi", "Car")], vector)
        set_threshold(gallery, 0.4, "person")
        assert match_threshold(gallery, None, {"PERSON"}).value == 0.4
        assert match_threshold(gallery).value == 0.25, "the car has none yet, and one number must serve both"
        assert match_threshold(gallery).origin == "default"
        set_threshold(gallery, 0.1, "car")
        assert match_threshold(gallery).value == 0.1
        assert match_threshold(gallery, None, {"person"}).value == 0.4
        assert match_threshold(gallery, None, {"dog"}).value == 0.25
        assert reset_thresholds(gallery, "CAR") == 1
        assert set(stored_thresholds(gallery)) == {"person"}


def test_an_outdated_calibration_is_reported(filled: Path | str) -> None:
    with Gallery.open(filled, write=True) as gallery:
        (kept,) = store_calibrations(gallery, calibrate_gallery(gallery, far=0.2))
        entries = list(gallery.entries())
        gallery.update([Entry(**{**_fields(entries[0]), "identity": "p1"})])
        assert describe_outdated(gallery, kept) is None, "a correction is no other gallery"
        Curator(gallery).rename("p5", "somebody")
        gallery.remove([entry.id for entry in entries[:8]])
        words = describe_outdated(gallery, kept)
        assert words is not None
        assert "36 entries of 6 identities" in words
        assert "28 of" in words
        assert any("calibrate again" in line for line in match_threshold(gallery).messages)
        set_threshold(gallery, 0.3)
        assert len(match_threshold(gallery).messages) == 1, "what a person chose, a person may keep"


def _fields(entry: Entry) -> dict[str, Any]:
    return {name: getattr(entry, name) for name in ("id", "identity", "class_name", "origin", "source", "content_hash")}


@pytest.mark.parametrize("place", ["embedded"], indirect=True)
def test_which_copies_of_a_gallery_have_the_threshold(filled: Path, tmp_path: Path) -> None:
    with Gallery.open(filled, write=True) as gallery:
        (kept,) = store_calibrations(gallery, calibrate_gallery(gallery, far=0.2))
        take_snapshot(gallery, "then")
        export_parquet(gallery, tmp_path / "g.parquet")
        reset_thresholds(gallery)
        gallery.remove([entry.id for entry in list(gallery.entries())[:12]])
        gallery.undo()
        assert stored_thresholds(gallery) == {}, "an undo of entries leaves it alone"
    restore_snapshot(filled, "then")
    with Gallery.open(filled) as gallery:
        back = stored_thresholds(gallery)["person"]
        assert (back.threshold, back.at, back.settings) == (kept.threshold, kept.at, kept.settings)
        assert describe_outdated(gallery, back) is None, "restored, it is the gallery that was calibrated"
    with Gallery.open(filled, write=True) as gallery:
        gallery.undo()
        assert stored_thresholds(gallery) == {}, "an undo of the restore brings back what was before"
        gallery.redo()
        again = stored_thresholds(gallery)["person"]
        assert (again.threshold, again.at) == (kept.threshold, kept.at)
        assert describe_outdated(gallery, again) is None
    import_parquet(tmp_path / "other", tmp_path / "g.parquet")
    with Gallery.open(tmp_path / "other") as gallery:
        assert stored_thresholds(gallery) == {}
    other = ColourEmbedder("other.pt")
    reembed_gallery(filled, other)
    with Gallery.open(filled, model=other.model) as gallery:
        assert len(gallery) == 36
        assert stored_thresholds(gallery) == {}, "distances of another model"


_STORED = (
    '{"version": 2, "classes": {"person": {"class_name": "person", "threshold": THRESHOLD, "by": "calibration", '
    '"at": "2026-01-02", "who": "me", "entries": 1, "identities": 1, "generation": 1, "change": 1, "settings": FACTS}}}'
)


@pytest.mark.parametrize(
    "text",
    [
        "nonsense",
        '{"classes": {}}',
        '{"version": 1, "classes": {"person": {"x": 1}}}',
        _STORED.replace("THRESHOLD", "1e999").replace("FACTS", '{"far": 0.1}'),
        _STORED.replace("THRESHOLD", '"0.3"').replace("FACTS", '{"far": 0.1}'),
        _STORED.replace("THRESHOLD", "0.3").replace("FACTS", "1.5"),
        _STORED.replace("THRESHOLD", "0.3").replace("FACTS", "[" * 100_000),
    ],
)
def test_damaged_thresholds_are_reported_and_can_be_reset(filled: Path | str, text: str) -> None:
    with Gallery.open(filled, write=True) as gallery:
        gallery.record.set_meta(f"thresholds:{gallery.collection_key}", text)
        with pytest.raises(GalleryError, match=r"cannot be read.*--reset"):
            match_threshold(gallery)
        reset_thresholds(gallery)
        assert match_threshold(gallery).origin == "automatic"
        gallery.record.set_meta(f"thresholds:{gallery.collection_key}", '{"version": 99, "classes": {}}')
        with pytest.raises(GalleryError, match="newer gtrack"):
            stored_thresholds(gallery)
        reset_thresholds(gallery)  # other collections of the server's gallery are listed beside it


# -- runs and commands ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Done:
    stdout: str
    stderr: str


def _lines(done: Done) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture
def gtrack(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """Return a function that runs the command line in this process."""

    def call(*words: Any, code: int = 0) -> Done:
        monkeypatch.setattr(sys, "argv", ["gtrack", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            cli.main.main()
        out, err = capsys.readouterr()
        assert (end.value.code or 0) == code, (words, out, err)
        return Done(out, err)

    return call


def test_a_run_uses_and_reports_the_threshold_of_its_gallery(
    scene: Scene, place: Path | str, gtrack: Callable[..., Done]
) -> None:
    gallery = place
    gtrack("gallery", "ingest", scene.gallery, "-g", gallery, "--reid-weights", "builtin", "--no-progress")

    def run(**options: Any) -> tuple[dict[str, Any], list[str], set[str]]:
        messages: list[str] = []
        result = track_video(
            dets_json=scene.detections, video=scene.video, gallery=gallery, no_progress=True, notify=messages.append,
            frame_range=(0, 40), **options,
        )  # fmt: skip
        return result.payload["tracker"]["config"], messages, {one.identity for one in result.sightings}

    config, messages, named = run()
    assert (config["gallery_match_threshold"], config["gallery_match_threshold_from"]) == (0.25, "default")
    assert not any("match threshold" in message for message in messages)
    assert named
    gtrack("gallery", "calibrate", "-g", gallery, "--threshold", 0.001)
    for options in ({}, {"tracker": "gallery_only"}, {"enroll": "unknown"}):
        config, messages, named = run(**options)
        assert (config["gallery_match_threshold"], config["gallery_match_threshold_from"]) == (0.001, "hand")
        assert len([message for message in messages if "match threshold 0.001" in message]) == 1
        assert all(name.startswith("unknown-") for name in named)
    config, messages, named = run(gallery_match_threshold=0.3)
    assert (config["gallery_match_threshold"], config["gallery_match_threshold_from"]) == (0.3, "given")
    assert not any("match threshold" in message for message in messages)
    assert named
    with pytest.raises(OptionError, match="0 to 2"):
        run(gallery_match_threshold=2.5)


def test_the_command(scene: Scene, place: Path | str, tmp_path: Path, gtrack: Callable[..., Done]) -> None:
    gallery = place
    gtrack("gallery", "ingest", scene.gallery, "-g", gallery, "--reid-weights", "builtin", "--no-progress")
    assert "0.25" in gtrack("gallery", "calibrate", "-g", gallery, "--show").stdout
    assert gtrack("gallery", "calibrate", "-g", gallery, "--show", "--json").stdout == ""
    done = gtrack("gallery", "calibrate", "-g", gallery, "--no-store", "--json", "--plot", tmp_path / "p.png")
    found = json.loads(done.stdout)
    assert (found["class"], found["entries"], found["identities"], found["stored"]) == ("person", 36, 6, False)
    assert len(found["single"]["thresholds"]) == len(found["single"]["fpir"]) > 20
    assert 0 < found["threshold"] < 1
    assert (tmp_path / "p.png").stat().st_size > 5000
    assert "0.25" in gtrack("gallery", "calibrate", "-g", gallery, "--show").stdout
    # Six people rule nothing out: the default stands, unless a rate is asked for.
    done = gtrack("gallery", "calibrate", "-g", gallery)
    assert found["default_stands"]
    assert "Nothing was stored; runs still use the default, 0.25. 6 identities do not show" in done.stdout
    assert gtrack("gallery", "calibrate", "-g", gallery, "--show", "--json").stdout == ""
    done = gtrack("gallery", "calibrate", "-g", gallery, "--far", 0.05)
    assert "means of up to 5" in done.stdout
    assert "single observations" in done.stdout
    assert f"Stored {found['threshold']:.4f} as the match threshold" in done.stdout
    (shown,) = gtrack("gallery", "calibrate", "-g", gallery, "--show", "--json").stdout.splitlines()
    kept = json.loads(shown)
    assert (kept["threshold"], kept["calibrate_again"], kept["by"]) == (found["threshold"], False, "calibration")
    assert "far 0.05" in gtrack("gallery", "calibrate", "-g", gallery, "--show").stdout
    with Gallery.open(gallery) as opened:
        name = opened.collection
    stats = {one["collection"]: one for one in _lines(gtrack("gallery", "stats", "-g", gallery, "--json"))}
    assert stats[name]["match_thresholds"] == {"person": round(found["threshold"], 6)}
    assert f"runs still use {found['threshold']:.3f}" in gtrack("gallery", "calibrate", "-g", gallery).stdout
    assert json.loads(gtrack("gallery", "calibrate", "-g", gallery, "--show", "--json").stdout) == kept
    # Too few entries are reported; --force calibrates anyway.
    done = gtrack("gallery", "calibrate", "-g", gallery, "--far", 0.001, code=1)
    assert "0.001 was requested" in done.stderr
    assert "--force" in done.stderr
    assert json.loads(gtrack("gallery", "calibrate", "-g", gallery, "--show", "--json").stdout) == kept
    gtrack("gallery", "calibrate", "-g", gallery, "--far", 0.001, "--force")
    (shown,) = gtrack("gallery", "calibrate", "-g", gallery, "--show", "--json").stdout.splitlines()
    assert json.loads(shown)["settings"]["far"] == 0.001
    # What cannot be read of the thresholds hides nothing else.
    if isinstance(gallery, Path):
        with Gallery.open(gallery, write=True) as opened:
            before = opened.record.setting(opened.collection_key, "thresholds")
            opened.record.set_meta(f"thresholds:{opened.collection_key}", "nonsense")
        done = gtrack("gallery", "stats", "-g", gallery, "--json", code=1)
        assert next(iter(_lines(done)))["entries"] == 36
        assert "--reset" in done.stderr
        with Gallery.open(gallery, write=True) as opened:
            opened.record.set_meta(f"thresholds:{opened.collection_key}", before or "")
    # The gallery becomes another one.
    for who in ("amber", "blake"):
        gtrack("gallery", "remove", "--identity", who, "-g", gallery)
    for words in (["calibrate", "--show"], ["stats"]):
        assert "calibrate again" in gtrack("gallery", *words, "-g", gallery).stderr
    assert "at least 5" in gtrack("gallery", "calibrate", "-g", gallery, code=1).stderr
    assert "removed 1 threshold" in gtrack("gallery", "calibrate", "-g", gallery, "--reset").stderr
    assert "0.25" in gtrack("gallery", "calibrate", "-g", gallery, "--show").stdout


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        pytest.param(["--far", "0.7"], 2, "between 0 and 0.5", id="far"),
        pytest.param(["--looks", "1"], 2, "looks", id="looks"),
        pytest.param(["--show", "--reset"], 2, "found several", id="two at once"),
        pytest.param(["--show", "--plot", "x.png"], 2, "--plot", id="plot of nothing"),
        pytest.param([], 1, "none", id="no gallery"),
    ],
)
def test_wrong_usage(
    words: Sequence[str], code: int, message: str, tmp_path: Path, gtrack: Callable[..., Done]
) -> None:
    done = gtrack("gallery", "calibrate", "-g", tmp_path / "none", *words, code=code)
    assert message in done.stderr
    assert list(tmp_path.iterdir()) == []
