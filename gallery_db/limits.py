"""Limits on what gtrack reads, all in one place: beyond them an input is refused before any work is done on it.

Files come from strangers, and a small file can ask for much: a PNG of 343 KB decodes to 90 million pixels, a sparse
file says that it is 30 GB long. Each limit is far above what honest inputs need. Where a person may really have a
larger one, an environment variable raises it, and the error message names it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from gallery_db.errors import GalleryError

__all__ = [
    "IMAGE_BYTES",
    "IMAGE_PIXELS",
    "MAX_DECODE_SECONDS",
    "MAX_DRAWN_CHARACTERS",
    "MAX_FPS",
    "MAX_SIDECAR_BYTES",
    "MAX_STAMP_BYTES",
    "MAX_TEXT_BYTES",
    "MIN_FPS",
    "MOT_TEXT_BYTES",
    "Limit",
    "shorten_drawn",
]


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit that an environment variable can change.

    Attributes:
        variable: The variable.
        default: The limit where the variable is not set.
        unit: What is counted, such as ``"pixels"``.
    """

    variable: str
    default: int
    unit: str

    @property
    def value(self) -> int:
        """The limit.

        Raises:
            GalleryError: The variable holds no whole number above 0.
        """
        text = os.environ.get(self.variable, "").strip()
        if not text:
            return self.default
        if not (text.isascii() and text.isdecimal() and len(text) < 19 and int(text)):
            raise GalleryError(
                f"{self.variable}: expected a whole number of {self.unit} above 0, found {text[:40]!r}.",
                hint=f"Unset {self.variable} for the default, {self.default:,}.",
            )
        return int(text)

    def describe(self) -> str:
        """Return the limit and how it is changed, for a message."""
        return f"the limit is {self.value:,} {self.unit} ({self.variable})"


IMAGE_PIXELS = Limit("GTRACK_MAX_IMAGE_PIXELS", 50_000_000, "pixels")
"""Pixels of an image. The sensors of phones and of most cameras have fewer. Decoding takes 7 bytes for each, 350 MB."""

IMAGE_BYTES = Limit("GTRACK_MAX_IMAGE_BYTES", 128 * 1024 * 1024, "bytes")
"""Bytes of an image file, which is read as a whole. Nearly uncompressed images of that many pixels are smaller."""

MOT_TEXT_BYTES = Limit("GTRACK_MAX_TEXT_BYTES", 256 * 1024 * 1024, "bytes")
"""Bytes of MOTChallenge text, which is read as a whole. An hour of a crowd of 100 has 200 MB."""

MAX_TEXT_BYTES = 64 * 1024 * 1024
"""Bytes of other files of text or JSON that are read as a whole: the truth of a scene, an OpenVINO model's XML."""

MAX_SIDECAR_BYTES = 1024 * 1024
"""Bytes of the sidecar of a model; one with a stamp has 1 KB."""

MAX_STAMP_BYTES = 64 * 1024
"""Bytes of the stamp in an exported model; it has 600."""

MAX_DECODE_SECONDS = 60
"""Seconds that the decoding of one image may take in an ingest; the largest allowed one takes 5."""

MAX_DRAWN_CHARACTERS = 200
"""Characters of a name that is drawn into a picture; more are left out in its middle before the text is measured."""

MIN_FPS, MAX_FPS = 0.001, 10_000.0
"""Frames per second that are believed: from a time-lapse with a frame in a quarter of an hour to a high-speed camera. A
document that states others has an unknown rate, and its times are counted in frames."""


def shorten_drawn(text: str) -> str:
    """Return a text with at most `MAX_DRAWN_CHARACTERS` characters, shortened in its middle."""
    half = MAX_DRAWN_CHARACTERS // 2
    return text if len(text) <= MAX_DRAWN_CHARACTERS else f"{text[: half - 1]}…{text[-half:]}"
