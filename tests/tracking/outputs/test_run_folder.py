"""The lock of a run folder: one run at a time, which the others name, and nothing of it after its end."""

from __future__ import annotations

import os
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


def test_a_second_run_is_refused_and_names_the_first(scene: Scene, tmp_path: Path) -> None:
    words = ["run", str(scene.video), "--dets-json", str(scene.detections), "--json", "--range", ":5"]
    words += ["--out-dir", str(tmp_path), "--run-name", "one"]
    with other_run(tmp_path / "one") as process:
        before = sorted((tmp_path / "one").iterdir())
        message = gtrack(*words, code=1).stderr
        assert f"in use by another run: process {process.pid} of " in message
        assert "10.0.0.5" in message
        assert "secret" not in message
        assert "since 20" in message
        assert "--run-name" in message
        assert sorted((tmp_path / "one").iterdir()) == before
        process.kill()
        process.wait()
        assert len(list((tmp_path / "one").iterdir())) == 3, "the lock, its note and the part"
    gtrack(*words)
    assert [path.name for path in (tmp_path / "one").iterdir()] == ["tracked.json"]


def test_a_run_in_a_run_folder_that_a_thread_writes(scene: Scene, tmp_path: Path) -> None:
    """Two runs of one process are two runs as well."""

    def run() -> None:
        track_video(
            video=scene.video,
            dets_json=scene.detections,
            frame_range=(0, 20),
            save_json_flag=True,
            save_video="v.avi",
            fourcc="MJPG",
            save_frames=True,
            out_dir=tmp_path,
            run_name="one",
            no_progress=True,
        )

    with locked_folder(tmp_path / "one"), pytest.raises(OutputError, match=f"process {os.getpid()} "):
        run()
    run()
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == ["frames", "tracked.json", "v.avi"]
    assert len(list((tmp_path / "one" / "frames").iterdir())) == 20


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
