"""What a run leaves on disk: nothing unless asked, and never anything half-written.

Every file is written beside its final name and renamed when it is complete. An error or Ctrl-C
completes what there is: a JSON file, a video and a folder of frames up to the last frame done.
"""

from __future__ import annotations

import errno
import os
import shutil
import sys
import tempfile
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import numpy as np
import orjson
from numpy.typing import NDArray

from gallery_db.atomic_files import atomic_path
from tracking.errors import DisplayError, OptionError, OutputError
from tracking.video.writer import VideoWriter

__all__ = ["Display", "FrameFolder", "OutputOptions", "RunOutputs", "TrackFile", "TrackPaths"]

_IN_MEMORY = 4 * 1024 * 1024
_AT_ONCE = 64 * 1024


@dataclass(frozen=True, slots=True)
class TrackPaths:
    """Where a run's outputs are; None for what was not asked for."""

    run_dir: Path | None = None
    json_path: Path | None = None
    video_path: Path | None = None
    frames_dir: Path | None = None
    explain_path: Path | None = None


def _single_name(value: str, option: str) -> str:
    """The value, if it is one plain name that cannot leave its folder.

    Raises:
        OptionError: It holds a separator or a drive, or is empty, ``.`` or ``..``.
    """
    if not value or value in {".", ".."} or any(c in value for c in "/\\\0") or Path(value).name != value:
        raise OptionError(
            f"{option} {value!r} must be a plain name without folders.",
            hint="Choose the folder with --out-dir, and the run folder in it with --run-name.",
        )
    return value


@dataclass(frozen=True, slots=True)
class OutputOptions:
    """What to save, and where.

    Attributes:
        json: Save ``tracked.json``.
        frames: Save annotated frames as JPEG files.
        video: Name of the annotated video inside the run folder, or None.
        out_dir: Root of run folders.
        run_name: Name of the run folder; the video's stem if None.
        fps: Frames per second of the saved video; the source's if None.
        fourcc: Codec of the saved video.
        display: Show a live window.
    """

    json: bool = False
    frames: bool = False
    video: str | None = None
    out_dir: Path = Path("out")
    run_name: str | None = None
    fps: float | None = None
    fourcc: str = "mp4v"
    display: bool = False

    @property
    def saves(self) -> bool:
        """Whether anything is written at all."""
        return self.json or self.frames or self.video is not None

    def validate(self) -> None:
        """Check names and values before anything is loaded.

        Raises:
            OptionError: A name that leaves the run folder, or an impossible value.
            DisplayError: A window was asked for where there is no screen.
        """
        if self.run_name is not None:
            _single_name(self.run_name, "--run-name")
        if self.video is not None:
            _single_name(self.video, "--save-video")
            if not Path(self.video).suffix:
                raise OptionError(f"--save-video {self.video!r} needs a suffix that names its format, such as .mp4.")
        if len(self.fourcc) != 4:
            raise OptionError(f"--fourcc must be four characters, got {self.fourcc!r}.")
        if self.fps is not None and not 0 < self.fps < 1000:
            raise OptionError(f"--save-fps must be above 0 and below 1000, got {self.fps}.")
        if self.display:
            Display.check()

    def run_dir(self, video: Path) -> Path:
        """The run folder of a run over that video."""
        return self.out_dir / (self.run_name or _single_name(video.stem, "the video's stem"))

    def paths(self, video: Path) -> TrackPaths:
        """Where the outputs of a run over that video go; the run folder is made if one is needed.

        Raises:
            OutputError: The run folder cannot be made or written.
        """
        if not self.saves:
            return TrackPaths()
        run_dir = self.run_dir(video)
        try:
            run_dir.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(
                f"cannot make the run folder {run_dir}: {error.strerror}.", hint="Choose another one with --out-dir."
            ) from error
        if not os.access(run_dir, os.W_OK):
            raise OutputError(f"the run folder {run_dir} cannot be written.", hint="Choose another with --out-dir.")
        paths = TrackPaths(
            run_dir=run_dir,
            json_path=run_dir / "tracked.json" if self.json else None,
            video_path=run_dir / self.video if self.video else None,
            frames_dir=run_dir / "frames" if self.frames else None,
        )
        if paths.video_path is not None and paths.video_path.resolve() == video.resolve():
            raise OutputError(f"--save-video would overwrite the input video {video}.")
        return paths


class RunOutputs:
    """All that a run writes, opened together and completed together.

    Args:
        options: What was asked for.
        header: Every top-level key of track-v1 but ``frames``.
        video: The input, for its name.
        width, height: Pixels of its frames.
        fps: Frames per second of the saved video.
        labels: Class names by class id, for what is drawn.

    Raises:
        OutputError: Something cannot be written; nothing is left behind then.

    Attributes:
        paths: Where everything goes.
        tracks: The track-v1 file.
    """

    def __init__(
        self,
        options: OutputOptions,
        header: Mapping[str, Any],
        video: Path,
        *,
        width: int,
        height: int,
        fps: float,
        labels: Mapping[int, str],
    ) -> None:
        self._labels = labels
        self._frames: FrameFolder | None = None
        self._video: VideoWriter | None = None
        self._display: Display | None = None
        made = options.saves and not options.run_dir(video).exists()
        self.paths = options.paths(video)
        with ExitStack() as undo:
            if made and self.paths.run_dir is not None:
                undo.callback(_remove_if_empty, self.paths.run_dir)
            if self.paths.video_path is not None:
                self._video = VideoWriter(
                    self.paths.video_path, width=width, height=height, fps=fps, fourcc=options.fourcc
                )
                undo.callback(self._video.close)
            if self.paths.frames_dir is not None:
                self._frames = FrameFolder(self.paths.frames_dir)
                undo.callback(self._frames.discard)
            if options.display:
                self._display = Display(video.name)
                undo.callback(self._display.close)
            self.tracks = TrackFile(header, self.paths.json_path)
            undo.pop_all()

    @property
    def draws(self) -> bool:
        """Whether `write` wants the frame's pixels."""
        return self._video is not None or self._frames is not None or self._display is not None

    def write(self, document: Mapping[str, Any], image: NDArray[np.uint8] | None, *, later: bool = False) -> bool:
        """Take one frame.

        Args:
            document: Its track-v1.
            image: (H, W, 3) uint8 BGR where `draws`.
            later: The video and the saved frames come later, by `redraw`.

        Returns:
            False when the user closed the live window.

        Raises:
            OutputError: The disk is full or gone.
        """
        self.tracks.write(document)
        if image is None:
            return True
        from tracking.outputs.drawing import annotate

        drawn = annotate(image, document["detections"], self._labels)
        if not later:
            self._save(int(document["frame"]), drawn)
        return self._display is None or self._display.show(drawn)

    @property
    def displays(self) -> bool:
        """Whether there is a live window."""
        return self._display is not None

    @property
    def saves_images(self) -> bool:
        """Whether a video or frames are saved."""
        return self._video is not None or self._frames is not None

    def redraw(self, document: Mapping[str, Any], image: NDArray[np.uint8]) -> None:
        """Save a frame's picture, as `write` would have.

        Args:
            document: Its track-v1, corrected.
            image: (H, W, 3) uint8 BGR.
        """
        from tracking.outputs.drawing import annotate

        self._save(int(document["frame"]), annotate(image, document["detections"], self._labels))

    def _save(self, frame: int, drawn: NDArray[np.uint8]) -> None:
        if self._video is not None:
            self._video.write(drawn)
        if self._frames is not None:
            self._frames.write(frame, drawn)

    def close(self) -> None:
        """Complete everything, up to the last frame written; each also when another one cannot be.

        Afterwards `paths` names what was completed, and only that.

        Raises:
            OutputError: Something could not be completed, and is not left behind.
        """
        with ExitStack() as stack:
            if self._display is not None:
                stack.callback(self._display.close)
            for part, name in ((self._frames, "frames_dir"), (self._video, "video_path"), (self.tracks, "json_path")):
                if part is not None:
                    stack.callback(self._complete, part, name)

    def _complete(self, part: FrameFolder | VideoWriter | TrackFile, name: str) -> None:
        try:
            part.close()
        finally:
            if not part.completed:
                self.paths = replace(self.paths, **{name: None})


def _close_quietly(file: IO[bytes]) -> None:
    with suppress(OSError):
        file.close()


def _remove_if_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()


class TrackFile:
    """Writes track-v1 frame by frame, in bounded memory, and reads it back as the payload.

    Args:
        header: Every top-level key but ``frames``, in order.
        path: Where the file goes, or None to keep it for `payload` alone.

    Attributes:
        completed: Whether the file stands under its name.
    """

    def __init__(self, header: Mapping[str, Any], path: Path | None) -> None:
        self.path = path
        self._part: Path | None = None
        self._file: IO[bytes]
        # Whole frames wait here, and the file itself has no buffer: after a write that failed, the file is cut
        # back to whole frames and completed.
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._whole = 0
        self._frames = 0
        self._closed = False
        self.completed = False
        self.more: dict[str, Any] = {}
        """Further top-level keys, which come behind the frames: what is known only in the end."""
        try:
            if path is None:
                self._file = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115
            else:
                self._part = path.with_name(f".{path.name}.part")
                self._file = self._part.open("w+b", buffering=0)
        except OSError as error:
            raise self._failed(error) from error
        # A payload that nobody reads must not leave its temporary file open.
        weakref.finalize(self, _close_quietly, self._file)
        try:
            self._put(orjson.dumps(dict(header))[:-1] + b', "frames": [')
        except OSError as error:
            self._drop()
            raise self._failed(error) from error

    def _failed(self, error: OSError) -> OutputError:
        return OutputError(f"cannot write {self.path or 'the temporary results'}: {error.strerror or error}.")

    def write(self, frame: Mapping[str, Any]) -> None:
        """Append a frame.

        Raises:
            OutputError: The disk is full or gone.
        """
        text = (b",\n" if self._frames else b"\n") + orjson.dumps(frame)
        self._frames += 1
        self._waiting.append(text)
        self._waiting_bytes += len(text)
        if self._waiting_bytes >= _AT_ONCE:
            try:
                self._flush()
            except OSError as error:
                raise self._failed(error) from error

    def _flush(self) -> None:
        """Write what waits, as many whole frames as there is room for."""
        waiting, self._waiting, self._waiting_bytes = self._waiting, [], 0
        try:
            self._put(b"".join(waiting))
        except OSError:
            self._cut()
            for text in waiting:
                try:
                    self._put(text)
                except OSError:
                    self._cut()
                    raise

    def _put(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            written = self._file.write(rest)
            if not written:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            rest = rest[written:]
        self._whole += len(data)

    def _cut(self) -> None:
        self._file.seek(self._whole)
        self._file.truncate()

    def _drop(self) -> None:
        _close_quietly(self._file)
        if self._part is not None:
            with suppress(OSError):
                self._part.unlink(missing_ok=True)

    def close(self) -> None:
        """Complete the file, up to the last frame written, and give it its name.

        Raises:
            OutputError: There is no room for the last frames; the file is complete up to those before them, or
                removed where not even its end finds room.
        """
        if self._closed:
            return
        self._closed = True
        failure: OSError | None = None
        try:
            try:
                self._flush()
            except OSError as error:
                failure = error
            self._put(_end(self.more))
            if self._part is not None and self.path is not None:
                os.fsync(self._file.fileno())
                self._file.close()
                self._part.replace(self.path)
                self.completed = True
        except OSError as error:
            self._drop()
            raise self._failed(error) from error
        if failure is not None:
            raise self._failed(failure) from failure

    def documents(self) -> Iterator[dict[str, Any]]:
        """The frames of the completed file, one after another."""
        self.close()
        try:
            if self.path is not None:
                with self.path.open("rb") as stream:
                    yield from _frames_of(stream)
            else:
                self._file.seek(0)
                yield from _frames_of(self._file)
        except OSError as error:
            raise OutputError(f"cannot read {self.path or 'the temporary results'} back: {error.strerror}.") from error

    def rewrite(self, mend: Callable[[dict[str, Any]], None]) -> None:
        """Correct every frame of the completed file, in bounded memory.

        The file is written anew beside its place; until that is whole, and if it never is, the old one stands.

        Args:
            mend: Changes a frame's document in place.

        Raises:
            OutputError: The disk is full or gone.
        """
        self.close()
        try:
            if self.path is not None:
                with atomic_path(self.path) as part, self.path.open("rb") as old, part.open("wb") as new:
                    _rewrite(old, new, mend, self.more)
            else:
                file: IO[bytes] = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115
                self._file.seek(0)
                try:
                    _rewrite(self._file, file, mend, self.more)
                except BaseException:
                    file.close()
                    raise
                weakref.finalize(self, file.close)
                self._file.close()
                self._file = file
        except OSError as error:
            raise self._failed(error) from error

    @cached_property
    def payload(self) -> dict[str, Any]:
        """The whole track-v1 document; read when first asked for, so that a run needs no room for it.

        Raises:
            OutputError: The saved file was moved away before.
        """
        self.close()
        try:
            if self.path is not None:
                data = self.path.read_bytes()
            else:
                self._file.seek(0)
                data = self._file.read()
                self._file.close()
        except OSError as error:
            raise OutputError(f"cannot read {self.path} back: {error.strerror}.") from error
        payload: dict[str, Any] = orjson.loads(data)
        return payload


def _frames_of(stream: IO[bytes]) -> Iterator[dict[str, Any]]:
    """The frames of a file that `TrackFile` wrote: its first line is the header, the last its end."""
    stream.readline()
    for line in stream:
        if not line.startswith(b"]"):
            frame: dict[str, Any] = orjson.loads(line.rstrip().rstrip(b","))
            yield frame


def _rewrite(old: IO[bytes], new: IO[bytes], mend: Callable[[dict[str, Any]], None], more: Mapping[str, Any]) -> None:
    new.write(old.readline().rstrip(b"\n"))
    between = b"\n"
    old.seek(0)
    for frame in _frames_of(old):
        mend(frame)
        new.write(between + orjson.dumps(frame))
        between = b",\n"
    new.write(_end(more))
    new.flush()


def _end(more: Mapping[str, Any]) -> bytes:
    return b"\n]" + (b", " + orjson.dumps(dict(more))[1:] if more else b"}") + b"\n"


class FrameFolder:
    """Saves annotated frames as ``000000.jpg``; an earlier run's frames go when this run's are complete.

    Args:
        path: The final folder.

    Attributes:
        completed: Whether the frames stand under that name.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.completed = False
        self._part = path.with_name(f".{path.name}.part")
        shutil.rmtree(self._part, ignore_errors=True)
        try:
            self._part.mkdir()
        except OSError as error:
            raise OutputError(f"cannot make {self._part}: {error.strerror}.") from error

    def write(self, frame: int, image: NDArray[np.uint8]) -> None:
        """Save one frame, (H, W, 3) uint8 BGR."""
        import cv2

        path = self._part / f"{frame:06d}.jpg"
        ok, data = cv2.imencode(".jpg", image)
        try:
            if not ok:
                raise OSError(None, "OpenCV cannot encode it")
            path.write_bytes(data.tobytes())
        except OSError as error:
            with suppress(OSError):
                path.unlink(missing_ok=True)
            raise OutputError(f"cannot write frame {path}: {error.strerror or error}.") from error

    def discard(self) -> None:
        """Leave an earlier run's frames as they are."""
        shutil.rmtree(self._part, ignore_errors=True)

    def close(self) -> None:
        """Put the frames in place of those of an earlier run."""
        if not self._part.exists():
            return
        shutil.rmtree(self.path, ignore_errors=True)
        self._part.replace(self.path)
        self.completed = True


class Display:
    """A live window. ``q`` or Escape closes it and ends the run."""

    def __init__(self, title: str) -> None:
        self.check()
        self._title = title

    @staticmethod
    def check() -> None:
        """Refuse clearly where OpenCV would abort the process.

        Raises:
            DisplayError: There is no screen, or OpenCV was built without windows.
        """
        if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            raise DisplayError(
                "--display needs a screen and there is none (neither DISPLAY nor WAYLAND_DISPLAY is set).",
                hint="Use --save-video annotated.mp4 instead.",
            )
        import cv2

        gui = next((line for line in cv2.getBuildInformation().splitlines() if line.strip().startswith("GUI:")), "")
        if gui.split(":")[-1].strip() in {"", "NONE"}:
            raise DisplayError(
                "--display needs an OpenCV with windows; this one is a headless build.",
                hint="Install opencv-python in place of opencv-python-headless, or use --save-video.",
            )

    def show(self, image: NDArray[np.uint8]) -> bool:
        """Show a frame; False when the user asked to stop."""
        import cv2

        cv2.imshow(self._title, image)
        return (cv2.waitKey(1) & 0xFF) not in (ord("q"), 27)

    def close(self) -> None:
        """Close the window."""
        import cv2

        cv2.destroyAllWindows()
