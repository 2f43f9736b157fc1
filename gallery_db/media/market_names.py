"""Image names as in Market-1501, which say who is on an image and which camera took it."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

__all__ = ["DISTRACTOR", "JUNK", "MarketName", "market_name"]

JUNK = "-1"
"""Images of nobody in particular: they are ignored, as if they were not there."""

DISTRACTOR = "0000"
"""Images of people who are not asked for: never right, never asked."""

_NAME = re.compile(r"(?P<person>-1|\d+)_c(?P<camera>\d+)(?:s\d+)?_.+")


@dataclass(frozen=True, slots=True)
class MarketName:
    """What ``0001_c1s1_001051_03.jpg`` says.

    Attributes:
        person: ``"0001"``, as it is written.
        camera: ``"1"``.
    """

    person: str
    camera: str


def market_name(path: str | os.PathLike[str]) -> MarketName | None:
    """What an image's name says, or None where it is another kind of name. (DukeMTMC-reID's names are alike.)"""
    found = _NAME.fullmatch(Path(path).name)
    return None if found is None else MarketName(found["person"], found["camera"])
