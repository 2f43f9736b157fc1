"""The annotated video of a run in a browser: it plays, and a time in it shows the frame of that time."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import cv2
import numpy as np
from support.browser import browse, needs_chromium

from tracking import track_video
from tracking.synthetic.rendering import Scene

PAGE = """<!doctype html><video muted preload="auto" src="r/v.mp4"></video><script>
const video = document.querySelector("video"), data = document.body.dataset;
video.onerror = () => { data.error = video.error.message; };
video.onloadedmetadata = () => { data.size = `${video.videoWidth}x${video.videoHeight}`; video.currentTime = AT; };
video.onseeked = () => {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
  canvas.getContext("2d").drawImage(video, 0, 0);
  data.picture = canvas.toDataURL("image/png");
  video.onseeked = null;
  video.ontimeupdate = () => { if (video.currentTime > AT + 0.3) data.played = "yes"; };
  video.play();
};
</script>"""


@needs_chromium
def test_a_browser_plays_the_annotated_video(scene: Scene, tmp_path: Path) -> None:
    frame = 25
    result = track_video(
        dets_json=scene.detections,
        video=scene.video,
        frame_range=(0, 60),
        save_video="v.mp4",
        save_frames=True,
        out_dir=tmp_path,
        run_name="r",
        trails=1.0,
        no_progress=True,
    )
    assert result.video_fps
    page = tmp_path / "page.html"
    page.write_text(PAGE.replace("AT", str((frame + 0.5) / result.video_fps)))
    # Chromium's own clock runs until nothing is left to do; a page may read the pixels of a file only when allowed to.
    done = browse(page, "--allow-file-access-from-files", "--virtual-time-budget=10000", "--dump-dom")
    assert "data-error" not in done.stdout
    assert f'data-size="{scene.config.width}x{scene.config.height}"' in done.stdout
    assert 'data-played="yes"' in done.stdout
    found = re.search(r'data-picture="data:image/png;base64,([^"]+)"', done.stdout)
    assert found is not None
    shown = cv2.imdecode(np.frombuffer(base64.b64decode(found[1]), np.uint8), cv2.IMREAD_COLOR)
    assert shown is not None
    differences = []
    for number in range(frame - 2, frame + 3):
        saved = cv2.imread(str(tmp_path / "r" / "frames" / f"{number:06d}.jpg"))
        assert saved is not None
        differences.append(np.abs(saved.astype(int) - shown).mean())
    assert int(np.argmin(differences)) == 2, "the frame of that time, and no other"
    assert differences[2] < 6
