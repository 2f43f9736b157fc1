"""Times: as entries store them, and as users write them."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone

from gallery_db.errors import GalleryError

__all__ = ["parse_age", "parse_time", "utc_now"]

_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def utc_now() -> str:
    """Return the present time, ISO 8601 in UTC, to the second."""
    return datetime.now(timezone.utc).replace(microsecond=0).isoformat()


def parse_time(text: str) -> datetime:
    """Return the time that an ISO 8601 date or time names; in UTC if it has no zone.

    Raises:
        ValueError: The text is neither.
    """
    # Python 3.10 does not know Z.
    time = datetime.fromisoformat(re.sub(r"[zZ]$", "+00:00", text.strip()))
    return time if time.tzinfo is not None else time.replace(tzinfo=timezone.utc)


def parse_age(text: str, *, now: datetime | None = None) -> datetime:
    """Return the time that lies an age before now, or that an ISO 8601 date or time names.

    Args:
        text: An age such as ``"30d"`` (w, d, h, or m for minutes), or a date or time; without a zone it is in UTC.
        now: The time from which an age counts; the present time by default.

    Raises:
        GalleryError: The text is neither, or names a time in the future.
    """
    now = now or datetime.now(timezone.utc)
    age = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([mhdw])\s*", text)
    try:
        time = now - timedelta(**{_UNITS[age[2]]: float(age[1])}) if age else parse_time(text)
    except (ValueError, OverflowError):
        raise GalleryError(
            f"Expected an age such as 30d, 12h or 2w, or a date such as 2026-05-31, found {text!r}.",
            hint="Give a number with m, h, d or w, or an ISO 8601 date.",
        ) from None
    if time > now:
        raise GalleryError(f"{text!r} is in the future; all entries are older than that.", hint="Give a past date.")
    return time
