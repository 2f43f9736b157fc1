"""Read the person and the camera from image names of Market-1501.

Zheng et al., "Scalable Person Re-identification: A Benchmark", ICCV 2015. The names of DukeMTMC-reID are alike.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

__all__ = ["DISTRACTOR", "JUNK", "MarketName", "parse_market_name"]

JUNK = "-1"
"""Person of junk images: bad detections, which an evaluation ignores."""

DISTRACTOR = "0000"
"""Person of distractor images: they are in the gallery, match no probe, and are never probes."""

_NAME = re.compile(r"(?P<person>-1|\d+)_c(?P<camera>\d+)(?:s\d+)?_.+")


@dataclass(frozen=True, slots=True)
class MarketName:
    """The parts of a name such as ``0001_c1s1_001051_03.jpg``.

    Attributes:
        person: ``"0001"``, as written.
        camera: ``"1"``.
    """

    person: str
    camera: str


def parse_market_name(path: str | os.PathLike[str]) -> MarketName | None:
    """Return the person and the camera in an image's name; None where the name has another form."""
    found = _NAME.fullmatch(Path(path).name)
    return None if found is None else MarketName(found["person"], found["camera"])
