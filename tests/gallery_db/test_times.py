"""Times: ages and dates as users write them."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from gallery_db import GalleryError
from gallery_db.times import local_time, parse_age

NOW = datetime(2026, 5, 31, 12, tzinfo=timezone.utc)
AGES = {
    "30d": NOW - timedelta(days=30),
    "12h": NOW - timedelta(hours=12),
    " 2w ": NOW - timedelta(days=14),
    "90min": NOW - timedelta(minutes=90),
    "90 minutes": NOW - timedelta(minutes=90),
    "6months": datetime(2025, 11, 30, 12, tzinfo=timezone.utc),
    "1 year": datetime(2025, 5, 31, 12, tzinfo=timezone.utc),
    "6m": None,  # minutes or months
    "6M": None,
    "1.5months": None,
    "99999years": None,
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


def test_a_bare_m_is_refused_with_both_ways_to_write_it() -> None:
    with pytest.raises(GalleryError, match="minutes or months") as raised:
        parse_age("6m", now=NOW)
    assert raised.value.hint == "Write 6min or 6months."


def test_local_time() -> None:
    zone = timezone(timedelta(hours=2))
    assert local_time("2026-05-31T23:30:05+00:00", zone=zone) == "2026-06-01 01:30"
    assert local_time("not known") == "not known"
