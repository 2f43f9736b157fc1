"""The result of a run as a line and as a table."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from gallery_db import Gallery, MissingPackageError, find_anomalies
from tracking import TrackResult, build_timeline, export_tracks, track_video
from tracking.synthetic.rendering import Scene


@pytest.fixture(scope="module")
def result(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> TrackResult:
    out = tmp_path_factory.mktemp("result")
    return track_video(
        dets_json=scene.detections,
        video=scene.video,
        gallery=scene.gallery,
        reid_weights="builtin",
        frame_range=(0, 40),
        save_json_flag=True,
        out_dir=out,
        no_progress=True,
    )


def test_results_show_themselves_in_a_line(result: TrackResult, scene: Scene, tmp_path: Path) -> None:
    json = result.paths.json_path
    stats = result.stats
    assert repr(result) == (
        f"TrackResult(40 frames, {stats['tracks']} tracks, {stats['identities']} identities, json={str(json)!r})"
    )
    timeline = repr(build_timeline(result))
    assert f"40 frames, {stats['tracks']} tracks, {stats['identities']} known and 0 unknown identities" in timeline
    assert len(timeline) < 300


def test_the_boxes_as_a_table(result: TrackResult, tmp_path: Path) -> None:
    pd = pytest.importorskip("pandas", reason="to_pandas needs pandas")
    for untracked in (False, True):
        export_tracks(result, tmp_path / "a.csv", untracked=untracked)
        table = result.to_pandas(untracked=untracked)
        expected = pd.read_csv(tmp_path / "a.csv", dtype={"track_id": str})
        assert len(table) == len(expected) > 40
        pd.testing.assert_frame_equal(table.fillna(-1), expected.fillna(-1), check_dtype=False)
        assert table["frame"].dtype == table["det_ind"].dtype == "int64"
    rows = build_timeline(result).to_pandas()
    assert len(rows) == len(build_timeline(result).rows)
    named = rows[rows["kind"] == "known"].set_index("identity")
    counts = result.to_pandas().groupby("gallery_id")["frame"].nunique()
    assert named["frames"].to_dict() == counts.to_dict()


def test_a_table_without_pandas(result: TrackResult, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    for table in (result.to_pandas, build_timeline(result).to_pandas):
        with pytest.raises(MissingPackageError, match="needs the package pandas") as caught:
            table()
        assert "gtrack-reid[pandas]" in str(caught.value)


def test_views_and_anomalies_show_themselves_in_a_line(scene: Scene, tmp_path: Path) -> None:
    from support.gallery import entries_named, model_named, unit_vectors

    with Gallery.create(tmp_path / "g", model_named()) as gallery:
        gallery.add(entries_named(10), unit_vectors(10))
        view = gallery.view()
        assert repr(view) == "GalleryView(10 entries of 2 identities, 16 dimensions)"
        assert repr(find_anomalies(view)).startswith("Anomalies(0 similar, ")
        gallery.close(sync=False)
