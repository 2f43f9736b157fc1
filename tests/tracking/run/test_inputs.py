"""The inputs of a run: its frames and its classes."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tracking.detections.iterable_feed import IterableFeed
from tracking.errors import OptionError, VideoError
from tracking.options import RunOptions
from tracking.run.inputs import RunInputs, read_ahead, select_classes
from tracking.video.ahead import AheadReader

Range = tuple[int | None, int | None]


class Frames:
    """A reader of some frames."""

    width, height, fps, timestamp, time = 64, 48, 25.0, None, None

    def __init__(self, count: int, *, stated: int | None) -> None:
        self._count = count
        self.frame_count = stated
        self.frame = -1

    def advance(self) -> bool:
        if self.frame + 1 >= self._count:
            return False
        self.frame += 1
        return True

    def image(self) -> Any:
        return np.zeros((self.height, self.width, 3), np.uint8)

    def close(self) -> None:
        pass


class Feed(IterableFeed):
    """A feed whose classes are known beforehand."""

    def __init__(self, class_ids: Sequence[int]) -> None:
        super().__init__([])
        self._known = tuple(class_ids)

    @property
    def class_ids(self) -> tuple[int, ...]:
        return self._known


def inputs(
    count: int = 10,
    *,
    stated: int | None = 10,
    frame_range: Range = (None, None),
    class_ids: Sequence[int] = (0,),
    selected: frozenset[int] | None = None,
    class_names: dict[int, str] | None = None,
    is_live: bool = False,
) -> RunInputs:
    return RunInputs(
        source="clip.avi",
        video=Path("clip.avi"),
        is_live=is_live,
        feed=Feed(class_ids),
        reader=Frames(count, stated=stated),
        frame_range=frame_range,
        selected=selected,
        class_names=class_names or {},
    )


@pytest.mark.parametrize(
    ("frame_range", "stated", "frames", "total"),
    [
        pytest.param((None, None), 10, range(10), 10, id="all"),
        pytest.param((3, None), 10, range(3, 10), 7, id="from"),
        pytest.param((None, 4), 10, range(4), 4, id="up to"),
        pytest.param((3, 8), 10, range(3, 8), 5, id="both"),
        pytest.param((3, 80), 10, range(3, 10), 7, id="beyond the end"),
        pytest.param((None, None), None, range(10), None, id="no stated length"),
        pytest.param((2, 6), None, range(2, 6), 4, id="no stated length, but a stop"),
    ],
)
def test_frames_of_a_range(frame_range: Range, stated: int | None, frames: range, total: int | None) -> None:
    opened = inputs(stated=stated, frame_range=frame_range)
    assert opened.total == total
    assert list(opened.frames()) == list(frames)
    assert opened.check_end(lenient=False) == []


def test_a_video_that_ends_before_its_range() -> None:
    opened = inputs(stated=None, frame_range=(20, None))
    assert list(opened.frames()) == []
    with pytest.raises(VideoError, match=r"has 10 frames, and `frame_range` starts at 20"):
        opened.check_end(lenient=False)


def test_a_live_source_has_no_rate() -> None:
    assert (inputs().fps, inputs(is_live=True).fps) == (25.0, None)


@pytest.mark.parametrize(
    ("class_ids", "selected", "names", "expected"),
    [
        pytest.param((0,), None, {0: "person"}, {"person"}, id="one class"),
        pytest.param((0,), None, {}, set(), id="one class without a name"),
        pytest.param((0, 2), None, {0: "person", 2: "car"}, {"person", "car"}, id="two classes"),
        pytest.param((0, 2), frozenset({2}), {2: "car"}, {"car"}, id="one selected"),
        pytest.param((), None, {0: "person"}, set(), id="classes unknown beforehand"),
    ],
)
def test_names_of_the_tracked_classes(
    class_ids: Sequence[int], selected: frozenset[int] | None, names: dict[int, str], expected: set[str]
) -> None:
    opened = inputs(class_ids=class_ids, selected=selected, class_names=names)
    assert opened.tracked_class_names() == expected


def test_several_classes_need_names() -> None:
    with pytest.raises(OptionError, match="classes 2 have no name") as caught:
        inputs(class_ids=(0, 2), class_names={0: "person"}).tracked_class_names()
    assert caught.value.field == "class_names"


def test_selected_classes() -> None:
    said: list[str] = []
    assert select_classes(Feed((0, 2)), RunOptions(), said.append) is None
    assert select_classes(Feed((0, 2)), RunOptions(classes=[2]), said.append) == {2}
    assert said == []
    assert select_classes(Feed((0, 2)), RunOptions(classes=[2, 7]), said.append) == {2, 7}
    assert said == ["no detection has class 7; there are 0, 2."]


def test_classes_selected_by_name() -> None:
    said: list[str] = []
    options = RunOptions(classes=["car", "dog"], class_names={0: "person", 2: "Car"})
    assert select_classes(Feed((0, 2)), options, said.append) == {2}
    assert said == ["no detection has class dog; there are person (0), Car (2)."]
    with pytest.raises(OptionError, match="no class 'persn'"):
        select_classes(Feed((0, 2)), RunOptions(classes=["persn"], class_names={0: "person"}), said.append)


@pytest.mark.parametrize(("batch_size", "workers", "count"), [(1, 0, 1), (4, 0, 4), (1, 2, 6), (4, 2, 12)])
def test_frames_are_read_ahead_as_far_as_the_detector_takes_them(batch_size: int, workers: int, count: int) -> None:
    class Detector:
        pass

    detector: Any = Detector()
    detector.batch_size, detector.workers = batch_size, workers
    with ExitStack() as stack:
        reader = read_ahead(Frames(30, stated=30), (5, 25), detector, stack=stack)
        assert isinstance(reader, AheadReader)
        assert reader.advance()
        assert [number for number, _ in reader.upcoming(count)] == list(range(5, 5 + count))
