"""The errors of tracking, leaves of the tree in `gallery_db.errors`.

::

    GtrackError                      (gallery_db.errors)
    ├── OptionError                  options that make no sense; nothing was read or written (exit 2)
    ├── VideoError                   a video or a stream
    ├── DetectionsError              a det-v1 file
    ├── MotTextError                 a MOTChallenge text file
    ├── TracksError                  a track-v1 file
    ├── ObservationError             an observation of a pipeline of one's own
    ├── CamerasError                 a file of cameras
    ├── DetectorError                a detector
    ├── WeightsError                 ReID weights
    ├── EmbedderError                a ReID model at work
    ├── ExportError                  the export of a ReID model
    ├── TrackerError                 a tracker
    ├── EvaluationError              a comparison with a ground truth
    ├── OutputError                  an output that cannot be written
    └── DisplayError                 a live window without a screen
"""

from __future__ import annotations

from gallery_db.errors import GtrackError

__all__ = [
    "CamerasError",
    "DetectionsError",
    "DetectorError",
    "DisplayError",
    "EmbedderError",
    "EvaluationError",
    "ExportError",
    "GtrackError",
    "MotTextError",
    "ObservationError",
    "OptionError",
    "OutputError",
    "TrackerError",
    "TracksError",
    "VideoError",
    "WeightsError",
    "error_line",
]


class DetectionsError(GtrackError):
    """A detections file (det-v1) is invalid; the message names the frame and the detection."""


class DetectorError(GtrackError):
    """A detector cannot be found, loaded or run, or its output has an unknown form."""


class MotTextError(GtrackError):
    """A MOTChallenge text file is invalid; the message names the file and the line."""


class EvaluationError(GtrackError):
    """A result cannot be compared with a ground truth: one of them is unusable, or they do not belong together."""


class VideoError(GtrackError):
    """A video or a stream cannot be opened, ends too early, or does not belong to the detections."""


class WeightsError(GtrackError):
    """ReID weights cannot be found, read or downloaded, or do not fit their architecture."""


class EmbedderError(GtrackError):
    """A ReID model cannot run: a runtime or a device is missing, or its output has the wrong form."""


class ExportError(GtrackError):
    """A ReID model cannot be exported, or the export does not compute what its source does."""


class TrackerError(GtrackError):
    """A tracker is unknown, refuses its options, or fails."""

    @classmethod
    def of_options(cls, name: str, error: Exception) -> TrackerError:
        """Return the error of a tracker of another package that refuses its options."""
        return cls(f"temporal tracker {name!r} refuses its options: {error}")

    @classmethod
    def of_update(cls, name: str, error: Exception) -> TrackerError:
        """Return the error of a tracker of another package that cannot go on."""
        return cls(
            f"temporal tracker {name!r} failed: {error}.",
            hint="Another tracker may accept these detections: see `gtrack list trackers`, and `temporal`.",
        )


class ObservationError(GtrackError):
    """An observation from a pipeline is unusable; the message names the source, the frame and the track."""


class CamerasError(GtrackError):
    """A file of cameras is invalid; the message names the file and the line."""


class TracksError(GtrackError):
    """A tracks file (track-v1) is invalid; the message names the frame and the detection."""


class OptionError(GtrackError):
    """A value of an option is out of range, or options do not go together (wrong usage: exit 2).

    Messages name options as Python does, in backquotes: `backfill`, `backfill=True`. The command line shows them as
    its own options, such as ``--backfill``.

    Args:
        message: See `GtrackError`.
        field: Name of the field (or argument) with the wrong value; None where no single one is to blame.
        hint: See `GtrackError`.
    """

    def __init__(self, message: str, *, field: str | None = None, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.field = field


class OutputError(GtrackError):
    """An output cannot be written: no folder, no permission, no space, or no codec."""


class DisplayError(GtrackError):
    """A live window cannot be shown: there is no screen, or OpenCV has no windows."""


def error_line(error: BaseException, *, last: bool = False) -> str:
    """Return the first (or last) line of a third-party exception's text, or its type's name if it has no text."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if last else lines[0]) if lines else type(error).__name__
