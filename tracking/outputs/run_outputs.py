"""Everything that a run writes: nothing unless asked for, and no file half-written.

Every file is written beside its final name and renamed when it is complete. After an error or Ctrl-C, the JSON file,
the video and the folder of frames are completed up to the last frame done.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracking.outputs.crop_folder import CropFolder
from tracking.outputs.display import Display
from tracking.outputs.drawing import FramePainter
from tracking.outputs.frame_folder import FrameFolder
from tracking.outputs.options import OutputOptions
from tracking.outputs.picture_saver import PictureSaver
from tracking.outputs.track_file import TrackFile
from tracking.video.h264 import H264Writer
from tracking.video.writer import VideoWriter, open_video_writer

__all__ = ["RunOutputs"]


class RunOutputs:
    """All outputs of a run, opened together and completed together.

    Args:
        options: What to save.
        run_dir: The run folder, which `new_run_folder` has made; None where nothing is saved.
        header: Every top-level key of track-v1 but ``frames``.
        video: The input, for its name.
        width, height: Size of its frames in pixels.
        fps: Frames per second of the input.
        class_names: Class names by class id, for the labels of boxes.
        deferred: Draw the saved pictures in a second pass, by `save_picture`, because names may still change; `write`
            then draws for the live window alone.

    Raises:
        OutputError: An output cannot be written; none is left behind then.

    Attributes:
        paths: Where everything goes.
        tracks: The track-v1 file.
    """

    def __init__(
        self,
        options: OutputOptions,
        run_dir: Path | None,
        header: Mapping[str, Any],
        video: Path,
        *,
        width: int,
        height: int,
        fps: float,
        class_names: Mapping[int, str],
        deferred: bool = False,
    ) -> None:
        self._deferred = deferred
        self._frames: FrameFolder | None = None
        self._crops: CropFolder | None = None
        self._video: VideoWriter | H264Writer | None = None
        self._display: Display | None = None
        self.paths = options.paths(run_dir)
        with ExitStack() as undo:
            if self.paths.video_path is not None:
                self._video = open_video_writer(
                    self.paths.video_path,
                    width=width,
                    height=height,
                    fps=options.save_fps or fps,
                    fourcc=options.fourcc,
                )
                undo.callback(self._video.close)
            if self.paths.frames_dir is not None:
                self._frames = FrameFolder(self.paths.frames_dir)
                undo.callback(self._frames.discard)
            if self.paths.crops_dir is not None:
                self._crops = CropFolder(self.paths.crops_dir, fps=fps, blur=options.blur)
                undo.callback(self._crops.discard)
            if options.display:
                self._display = Display(video.name)
                undo.callback(self._display.close)
            self.tracks = TrackFile(header, self.paths.json_path)
            undo.pop_all()
        saved, shown = (
            FramePainter(
                class_names,
                fps=fps,
                trails=options.trails,
                blur=options.blur,
                line_width=options.line_width,
                has_tracks=header["tracker"]["name"] != "gallery_only",
            )
            for _ in range(2)  # each sees every frame once, in order
        )
        self._pictures = PictureSaver(self._video, self._frames, self._crops, saved)
        self._shown = shown

    @property
    def saves_pictures(self) -> bool:
        """Whether an annotated video, annotated frames or crops are saved."""
        return self._video is not None or self._frames is not None or self._crops is not None

    @property
    def needs_image(self) -> bool:
        """Whether `write` needs the frame's pixels."""
        return self._display is not None or (self.saves_pictures and not self._deferred)

    def write(self, document: Mapping[str, Any], image: NDArray[np.uint8] | None) -> bool:
        """Write one frame.

        Args:
            document: Its track-v1.
            image: (H, W, 3) uint8 BGR; None where `needs_image` is false.

        Returns:
            False when the user closed the live window.

        Raises:
            OutputError: The disk is full or gone.
        """
        self.tracks.write(document)
        if image is None:
            return True
        if self._display is None:
            self._pictures.save(document, image)
            return True
        image = self._shown.blur(document, image)
        drawn = self._shown.draw(document, image)
        if self.saves_pictures and not self._deferred:
            self._pictures.save(document, image, drawn)
        return self._display.show(drawn)

    def save_picture(self, document: Mapping[str, Any], image: NDArray[np.uint8]) -> None:
        """Draw and save the pictures of one frame in the second pass of a deferred run.

        Args:
            document: Its corrected track-v1.
            image: (H, W, 3) uint8 BGR.

        Raises:
            OutputError: The disk is full or gone.
        """
        self._pictures.save(document, image)

    def close(self) -> None:
        """Complete all outputs up to the last frame written, each also when another one fails.

        Afterwards `paths` names the completed ones alone.

        Raises:
            OutputError: An output could not be completed, and is not left behind.
        """
        with ExitStack() as stack:
            if self._display is not None:
                stack.callback(self._display.close)
            for output, name in (
                (self._crops, "crops_dir"),
                (self._frames, "frames_dir"),
                (self._video, "video_path"),
                (self.tracks, "json_path"),
            ):
                if output is not None:
                    stack.callback(self._complete, output, name)
            stack.callback(self._pictures.finish)  # first

    def _complete(self, output: CropFolder | FrameFolder | VideoWriter | H264Writer | TrackFile, name: str) -> None:
        try:
            output.close()
        finally:
            if not output.completed:
                self.paths = replace(self.paths, **{name: None})
