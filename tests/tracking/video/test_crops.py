"""Clipping boxes and cutting them out of frames and videos."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tracking.video.crops import clip_boxes, crop, video_crops
from tracking.video.writer import VideoWriter

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        pytest.param((10.4, 20.6, 30.5, 40.2), (10, 21, 30, 40), id="rounded-half-to-even"),
        pytest.param((-5, -7, 30, 40), (0, 0, 30, 40), id="clipped-at-zero"),
        pytest.param((90, 40, 150, 80), (90, 40, 100, 60), id="clipped-at-the-far-side"),
        pytest.param((-1e30, -1e30, 1e30, 1e30), (0, 0, 100, 60), id="enormous"),
        pytest.param((10, 10, 12, 12), (10, 10, 12, 12), id="two-pixels"),
        pytest.param((10, 10, 11, 20), None, id="one-pixel-wide"),
        pytest.param((99, 10, 140, 20), None, id="one-pixel-after-clipping"),
        pytest.param((10, 10, 10, 20), None, id="empty"),
        pytest.param((30, 40, 10, 20), None, id="reversed"),
        pytest.param((200, 10, 240, 50), None, id="off-the-frame-right"),
        pytest.param((-50, 10, -10, 50), None, id="off-the-frame-left"),
        pytest.param((NAN, 10, 20, 30), None, id="nan"),
        pytest.param((10, 10, INF, 30), None, id="infinite"),
        pytest.param((-INF, -INF, INF, INF), None, id="infinite-all"),
    ],
)
def test_clips_boxes_to_the_frame(box: tuple[float, ...], expected: tuple[int, ...] | None) -> None:
    clipped, keep = clip_boxes([box], 100, 60)
    assert clipped.dtype == np.int64
    assert keep.tolist() == [expected is not None]
    assert tuple(clipped[0]) == (expected or (0, 0, 0, 0))


def test_no_boxes() -> None:
    clipped, keep = clip_boxes([], 100, 60)
    assert clipped.shape == (0, 4)
    assert keep.shape == (0,)


def test_rejects_boxes_of_another_shape() -> None:
    with pytest.raises(ValueError, match=r"\(N, 4\), found \(2, 3\)"):
        clip_boxes(np.zeros((2, 3)), 10, 10)


def test_crop_gives_views_and_their_indices() -> None:
    frame = np.arange(60 * 100 * 3, dtype=np.uint32).reshape(60, 100, 3).astype(np.uint8)
    images, kept = crop(frame, [[1, 2, 11, 22], [NAN, 0, 1, 1], [5, 5, 9, 8]])
    assert kept.tolist() == [0, 2]
    assert [image.shape for image in images] == [(20, 10, 3), (3, 4, 3)]
    assert all(np.shares_memory(image, frame) for image in images)
    assert np.array_equal(images[0], frame[2:22, 1:11])


def test_crops_of_a_video(tmp_path: Path) -> None:
    path = tmp_path / "clip.avi"
    writer = VideoWriter(path, width=64, height=48, fps=10, fourcc="MJPG")
    for value in (0, 60, 120, 180):
        writer.write(np.full((48, 64, 3), value, np.uint8))
    writer.close()
    boxes = [
        ("late", 3, (0, 0, 20, 30)),
        ("early", 1, (4, 4, 14, 10)),
        ("empty", 1, (5, 5, 5, 5)),
        ("after", 9, (0, 0, 9, 9)),
    ]
    found = [(key, part.shape, round(float(part.mean()))) for key, part in video_crops(path, boxes)]
    assert found == [("early", (6, 10, 3), pytest.approx(60, abs=2)), ("late", (30, 20, 3), pytest.approx(180, abs=2))]
