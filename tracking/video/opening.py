"""Open a source for reading, whether it is a file, a camera or a stream."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tracking.video.addresses import scheme_of
from tracking.video.capture import CaptureReader
from tracking.video.live import LiveOptions, LiveReader, open_stream
from tracking.video.reader import FrameReader, VideoReader

__all__ = ["open_video", "skip_to"]


def open_video(
    source: str | Path, options: LiveOptions | None = None, *, notify: Callable[[str], None] | None = None
) -> VideoReader | CaptureReader | LiveReader:
    """Open a video file, a camera or a stream.

    An ``http`` address that states its number of frames is a remote file. It is read like a file: frame by frame, and
    no frame is dropped.

    Args:
        source: Path of a video file, index of a camera, or address of a stream.
        options: How to read a live source; see `LiveOptions`.
        notify: Called with one-line messages about lost streams.

    Raises:
        OptionError: See `LiveOptions.validate`.
        VideoError: The source cannot be opened, or has no frame.
    """
    options = options or LiveOptions()
    options.validate(source)
    if not options.live(source):
        return VideoReader(source)
    if scheme_of(str(source)) in ("http", "https") and options == LiveOptions(options.reconnect_seconds):
        reader = open_stream(source)
        if reader.frame_count is not None:
            return reader
        return LiveReader(source, options, notify=notify, opened=reader)
    return LiveReader(source, options, notify=notify)


def skip_to(reader: FrameReader, frame: int) -> None:
    """Go before a frame of a file, so that the next `advance` takes it; other sources cannot skip frames.

    Raises:
        VideoError: The file cannot be read on.
    """
    if frame > 0 and isinstance(reader, VideoReader):
        reader.seek(frame - 1)
