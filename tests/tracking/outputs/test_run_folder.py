"""Run folders: each run has its own, locked while it writes, and nothing of the lock is left after its end."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.cli import gtrack
from support.processes import started

from tracking import OutputError, track_video
from tracking.outputs.run_folder import locked_folder
from tracking.synthetic.rendering import Scene

HOLDER = """
import sys
from pathlib import Path
from gallery_db.atomic_files import Part
from tracking.outputs.run_folder import locked_folder
with locked_folder(Path(sys.argv[1])) as folder:
    part = Part(folder / "tracked.json")
    print("held", flush=True)
    sys.stdin.readline()
"""


@contextmanager
def other_run(folder: Path) -> Iterator[subprocess.Popen[str]]:
    words = ["-c", HOLDER, folder, "rtsp://me:secret@10.0.0.5/x"]
    with started(*words, line="held", stdin=subprocess.PIPE) as process:
        yield process


def test_no_run_writes_where_another_does_or_did(scene: Scene, tmp_path: Path) -> None:
    words = ["run", str(scene.video), "--dets-json", str(scene.detections), "--save-json", "--range", ":5"]
    words += ["--out-dir", str(tmp_path), "--run-name", "one"]
    with other_run(tmp_path / "one") as process:
        before = sorted((tmp_path / "one").iterdir())
        done = gtrack(*words)
        assert f"{tmp_path / 'one'} is there already; this run is saved in {tmp_path / 'one-2'}." in done.stderr
        assert f"run folder: {tmp_path / 'one-2'}" in done.stdout
        assert sorted((tmp_path / "one").iterdir()) == before
        process.kill()
        process.wait()
        assert len(list((tmp_path / "one").iterdir())) == 3, "the lock, its note and the part"
    done = gtrack(*words)  # what the killed run left is nothing to keep
    assert "already" not in done.stderr
    assert [path.name for path in (tmp_path / "one").iterdir()] == ["tracked.json"]
    kept = (tmp_path / "one" / "tracked.json").read_bytes()
    gtrack(*words)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "one-2", "one-3"]
    assert (tmp_path / "one" / "tracked.json").read_bytes() == kept


def test_videos_of_one_name_have_folders_of_their_own(scene: Scene, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "clip-2").write_text("a file")
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "clip.avi").symlink_to(scene.video)
        result = track_video(
            video=tmp_path / name / "clip.avi",
            dets_json=scene.detections,
            frame_range=(0, 20),
            save_json_flag=True,
            save_video="v.avi",
            fourcc="MJPG",
            save_frames=True,
            out_dir=tmp_path / "out",
            no_progress=True,
        )
        folder = result.paths.run_dir
        assert folder == tmp_path / "out" / {"a": "clip", "b": "clip-3"}[name]
        assert sorted(path.name for path in folder.iterdir()) == ["frames", "tracked.json", "v.avi"]
        assert len(list((folder / "frames").iterdir())) == 20


def test_the_lock_names_its_holder(tmp_path: Path) -> None:
    with other_run(tmp_path / "one") as process, pytest.raises(OutputError) as caught, locked_folder(tmp_path / "one"):
        pass
    message = caught.value.message
    assert f"in use by another run: process {process.pid} of " in message
    assert "10.0.0.5" in message
    assert "secret" not in message
    assert "since 20" in message


def test_an_out_dir_that_is_a_file(scene: Scene, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("in the way")
    with pytest.raises(OutputError, match="out_dir"):
        track_video(video=scene.video, dets_json=scene.detections, save_json_flag=True, out_dir=tmp_path / "out")


def test_a_folder_made_for_nothing_is_removed(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), locked_folder(tmp_path / "a"):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "there").mkdir()
    with locked_folder(tmp_path / "there"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


def test_the_lock_of_a_removed_file_keeps_nobody_out(tmp_path: Path) -> None:
    """A person tidies the folder up during a run: the next run takes a lock of its own."""
    with locked_folder(tmp_path / "a"):
        for path in (tmp_path / "a").iterdir():
            path.unlink()
        with locked_folder(tmp_path / "a"), pytest.raises(OutputError), locked_folder(tmp_path / "a"):
            pass
