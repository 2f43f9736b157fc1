"""What a run saves, and where."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from tracking.errors import OptionError
from tracking.outputs.blur import Blur
from tracking.outputs.crop_folder import check_crop_folder
from tracking.outputs.display import Display

__all__ = ["OutputOptions", "TrackPaths"]


_MAX_TRAILS = 600
_MAX_LINE_WIDTH = 100


@dataclass(frozen=True, slots=True)
class TrackPaths:
    """Where the outputs of a run are; None for those that were not asked for."""

    run_dir: Path | None = None
    json_path: Path | None = None
    video_path: Path | None = None
    frames_dir: Path | None = None
    crops_dir: Path | None = None
    explain_path: Path | None = None


def _is_plain_name(value: str) -> bool:
    """Return whether a value is one file name, which cannot lead out of its folder."""
    return bool(value) and value not in {".", ".."} and not set(value) & set("/\\\0") and Path(value).name == value


def _check_plain_name(value: str, field: str) -> None:
    if not _is_plain_name(value):
        raise OptionError(
            f"`{field}` must be a plain name without folders, found {value!r}.",
            field=field,
            hint="Choose the folder with `out_dir`, and the run folder in it with `run_name`.",
        )


@dataclass(frozen=True, slots=True)
class OutputOptions:
    """What to save, and where.

    Attributes:
        save_json: Save ``tracked.json``.
        save_frames: Save annotated frames as JPEG files.
        save_video: File name of the annotated video inside the run folder; None to save no video.
        out_dir: Root of run folders.
        run_name: Name of the run folder; the video's stem if None. Where it is taken, a number is added.
        save_fps: Frames per second of the saved video; those of the input if None.
        fourcc: Codec of the saved video: a four-character code of OpenCV's; None for H.264, or ``mp4v`` in a container
            that does not hold it.
        display: Show a live window.
        save_crops: Folder for crops of the tracks, absent or empty; None for none.
        trails: Seconds for which annotated frames show where a track was; 0 for none.
        blur: Whose boxes are blurred in all pictures of the run; None for nobody. See `tracking.outputs.blur.Blur`.
        line_width: Width of the lines in annotated frames in pixels; None for one that fits the frame.
    """

    save_json: bool = False
    save_frames: bool = False
    save_video: str | None = None
    out_dir: Path = Path("out")
    run_name: str | None = None
    save_fps: float | None = None
    fourcc: str | None = None
    display: bool = False
    save_crops: Path | None = None
    trails: float = 0.0
    blur: Blur | None = None
    line_width: int | None = None

    @property
    def saves(self) -> bool:
        """Whether anything is saved in the run folder."""
        return self.save_json or self.save_frames or self.save_video is not None

    @property
    def saves_pictures(self) -> bool:
        """Whether annotated frames, an annotated video or crops are saved."""
        return self.save_frames or self.save_video is not None or self.save_crops is not None

    def validate(self) -> None:
        """Check names and values before a model is loaded.

        Raises:
            OptionError: A name that leads out of its folder, or a value out of range.
            OutputError: The folder for crops is not empty.
            DisplayError: A live window is asked for where there is no screen.
        """
        if self.run_name is not None:
            _check_plain_name(self.run_name, "run_name")
        if self.save_video is not None:
            _check_plain_name(self.save_video, "save_video")
            if not Path(self.save_video).suffix:
                raise OptionError(
                    f"`save_video` needs a suffix that names its format, such as .mp4, found {self.save_video!r}.",
                    field="save_video",
                )
        if self.fourcc is not None and len(self.fourcc) != 4:
            raise OptionError(f"`fourcc` must be four characters, found {self.fourcc!r}.", field="fourcc")
        if self.save_fps is not None and not 0 < self.save_fps < 1000:
            raise OptionError(f"`save_fps` must be above 0 and below 1000, found {self.save_fps}.", field="save_fps")
        if not (math.isfinite(self.trails) and 0 <= self.trails <= _MAX_TRAILS):
            raise OptionError(f"`trails` must be from 0 to {_MAX_TRAILS} seconds, found {self.trails}.", field="trails")
        if self.line_width is not None and not 1 <= self.line_width <= _MAX_LINE_WIDTH:
            raise OptionError(
                f"`line_width` must be from 1 to {_MAX_LINE_WIDTH} pixels, found {self.line_width}.", field="line_width"
            )
        if self.blur is not None and self.blur not in get_args(Blur):
            raise OptionError(f"`blur` must be one of {', '.join(get_args(Blur))}, found {self.blur!r}.", field="blur")
        if self.save_crops is not None:
            if self.blur == "all":
                raise OptionError(
                    '`save_crops` saves nobody with `blur="all"`.', field="save_crops", hint="Leave one of them out."
                )
            check_crop_folder(self.save_crops)
        if self.display:
            Display.check()

    def run_dir(self, video: Path) -> Path:
        """Return the run folder for a video, if that is free; see `new_run_folder`.

        Raises:
            OptionError: `run_name` is None, and the video's stem cannot be a folder's name.
        """
        if self.run_name:
            return self.out_dir / self.run_name
        if not _is_plain_name(video.stem):
            raise OptionError(
                f"the video's stem {video.stem!r} cannot name the run folder.",
                field="run_name",
                hint="Name the run folder with `run_name`.",
            )
        return self.out_dir / video.stem

    def paths(self, run_dir: Path | None) -> TrackPaths:
        """Return the paths of the outputs in a run folder; without one, nothing is saved."""
        if run_dir is None:
            return TrackPaths(crops_dir=self.save_crops)
        return TrackPaths(
            run_dir=run_dir,
            json_path=run_dir / "tracked.json" if self.save_json else None,
            video_path=run_dir / self.save_video if self.save_video else None,
            frames_dir=run_dir / "frames" if self.save_frames else None,
            crops_dir=self.save_crops,
        )
