"""Times: ages and dates as users write them."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from gallery_db import GalleryError
from gallery_db.times import parse_age

NOW = datetime(2026, 5, 31, 12, tzinfo=timezone.utc)
AGES = {
    "30d": NOW - timedelta(days=30),
    "12h": NOW - timedelta(hours=12),
    " 2w ": NOW - timedelta(days=14),
    "90m": NOW - timedelta(minutes=90),
    "1.5d": NOW - timedelta(hours=36),
    "2026-05-01": datetime(2026, 5, 1, tzinfo=timezone.utc),
    "2026-05-01T10:00:00Z": datetime(2026, 5, 1, 10, tzinfo=timezone.utc),
    "2026-05-01T10:00:00+02:00": datetime(2026, 5, 1, 8, tzinfo=timezone.utc),
    "30": None,
    "d": None,
    "-3d": None,
    "yesterday": None,
    "2026-13-01": None,
    "2026-06-01": None,  # the future
    "999999999999d": None,
    "": None,
}


@pytest.mark.parametrize("text", AGES)
def test_ages(text: str) -> None:
    expected = AGES[text]
    if expected is None:
        with pytest.raises(GalleryError):
            parse_age(text, now=NOW)
    else:
        assert parse_age(text, now=NOW) == expected
