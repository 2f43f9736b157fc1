"""The errors of tracking, leaves of the tree in `gallery_db.errors`."""

from __future__ import annotations

from gallery_db.errors import GtrackError

__all__ = [
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
    """A detections file (det-v1) is not what it should be; names the frame and the detection."""


class DetectorError(GtrackError):
    """A detector cannot be found, loaded or run, or its output is not of a form that is known."""


class MotTextError(GtrackError):
    """A MOTChallenge text file is not what it should be; names the file and the line."""


class EvaluationError(GtrackError):
    """A result cannot be held against a truth: one of them is unusable, or they do not belong together."""


class VideoError(GtrackError):
    """A video or a stream cannot be opened, ends too early, or does not belong to the detections."""


class WeightsError(GtrackError):
    """ReID weights cannot be found, read, downloaded, or do not fit their architecture."""


class EmbedderError(GtrackError):
    """A ReID model cannot run as asked: a missing runtime, device, or an output of the wrong form."""


class ExportError(GtrackError):
    """A ReID model cannot be exported as asked, or its export is not what its source is."""


class TrackerError(GtrackError):
    """A tracker is unknown, or refuses its options."""


class ObservationError(GtrackError):
    """What a pipeline says of a track cannot be used; names the source, the frame and the track."""


class TracksError(GtrackError):
    """A file of tracks (track-v1) is not what it should be; names the frame and the detection."""


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
    """An output cannot be written where it was asked for."""


class DisplayError(GtrackError):
    """A live window was asked for where there is no screen."""


def error_line(error: BaseException, *, last: bool = False) -> str:
    """Return the first (or last) line of a third-party exception's text, or its type's name if it has no text."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if last else lines[0]) if lines else type(error).__name__
