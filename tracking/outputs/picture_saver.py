"""Draw and save the annotated pictures of a run in a thread of its own, beside the work on later frames."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from queue import Queue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracking.outputs.crop_folder import CropFolder
from tracking.outputs.drawing import FramePainter
from tracking.outputs.frame_folder import FrameFolder
from tracking.video.h264 import H264Writer
from tracking.video.writer import VideoWriter

__all__ = ["PictureSaver"]

_WAITING_PICTURES = 4
"""Frames that may wait for the thread; the run then waits too."""

_Job = tuple[Mapping[str, Any], NDArray[np.uint8], NDArray[np.uint8] | None]


class PictureSaver:
    """Draws the frames of a run and writes them to its outputs, in order, in a thread.

    An error of writing is raised in the run's thread, at one of the next frames or at the end; no later frame is
    written.

    Args:
        video: The annotated video; None for none.
        frames: The folder of annotated frames; None for none.
        crops: The folder of crops; None for none.
        painter: Blurs and draws the frames.
    """

    def __init__(
        self,
        video: VideoWriter | H264Writer | None,
        frames: FrameFolder | None,
        crops: CropFolder | None,
        painter: FramePainter,
    ) -> None:
        self._video = video
        self._frames = frames
        self._crops = crops
        self._painter = painter
        self._queue: Queue[_Job | None] = Queue(_WAITING_PICTURES)
        self._failure: BaseException | None = None
        self._has_failed = False
        self._thread: threading.Thread | None = None

    def save(
        self, document: Mapping[str, Any], image: NDArray[np.uint8], drawn: NDArray[np.uint8] | None = None
    ) -> None:
        """Hand over one frame.

        Args:
            document: Its track-v1.
            image: (H, W, 3) uint8 BGR; it must not be changed any more. Where `drawn` is given, blurred already.
            drawn: The annotated frame, of the same shape, where it exists already.

        Raises:
            OutputError: An earlier frame could not be written: the disk is full or gone.
        """
        self._raise_failure()
        if self._thread is None:
            self._thread = threading.Thread(target=self._save_all, name="gtrack-pictures", daemon=True)
            self._thread.start()
        self._queue.put((document, image, drawn))

    def finish(self) -> None:
        """Wait until all frames are written, and end the thread.

        Raises:
            OutputError: See `save`; an error is raised once.
        """
        thread, self._thread = self._thread, None
        if thread is None:
            return
        try:
            self._queue.put(None)
            thread.join()
        except BaseException:
            # A second Ctrl-C: the files are closed next, so the thread must not use them any more.
            self._has_failed = True
            self._queue.put(None)
            thread.join()
            raise
        self._raise_failure()

    def _raise_failure(self) -> None:
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def _save_all(self) -> None:
        while (job := self._queue.get()) is not None:
            if self._has_failed:
                continue
            try:
                self._save(*job)
            except BaseException as error:  # noqa: BLE001  raised in the run's thread
                self._failure, self._has_failed = error, True

    def _save(self, document: Mapping[str, Any], image: NDArray[np.uint8], drawn: NDArray[np.uint8] | None) -> None:
        if drawn is None:
            image = self._painter.blur(document, image)
        if self._crops is not None:
            self._crops.write(document, image)
        if self._video is None and self._frames is None:
            return
        if drawn is None:
            drawn = self._painter.draw(document, image)
        if self._video is not None:
            self._video.write(drawn)
        if self._frames is not None:
            self._frames.write(int(document["frame"]), drawn)
