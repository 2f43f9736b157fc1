"""Times: as entries store them, and as users write them."""

from __future__ import annotations

import re
from calendar import monthrange
from datetime import datetime, timedelta, timezone, tzinfo

from gallery_db.errors import GalleryError

__all__ = ["local_time", "parse_age", "parse_time", "utc_now"]

_UNITS = {
    "min": "minutes",
    "mins": "minutes",
    "minute": "minutes",
    "minutes": "minutes",
    "h": "hours",
    "hour": "hours",
    "hours": "hours",
    "d": "days",
    "day": "days",
    "days": "days",
    "w": "weeks",
    "week": "weeks",
    "weeks": "weeks",
    "month": "months",
    "months": "months",
    "year": "years",
    "years": "years",
}


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


def local_time(text: str, *, zone: tzinfo | None = None) -> str:
    """Return a stored time as people read it: ``"2026-05-31 14:00"`` in the zone of this machine.

    Args:
        text: An ISO 8601 time; any other text is returned as it is.
        zone: Another zone.
    """
    try:
        time = parse_time(text).astimezone(zone)
    except (ValueError, OverflowError):
        return text
    return time.strftime("%Y-%m-%d %H:%M")


def parse_age(text: str, *, now: datetime | None = None) -> datetime:
    """Return the time that lies an age before now, or that an ISO 8601 date or time names.

    Args:
        text: An age such as ``"30d"`` (min, h, d, w, months or years, the last two by the calendar and whole), or a
            date or time; without a zone it is in UTC.
        now: The time from which an age counts; the present time by default.

    Raises:
        GalleryError: The text is neither, or names a time in the future.
    """
    now = now or datetime.now(timezone.utc)
    age = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]+)\s*", text, re.IGNORECASE)
    if age and age[2].casefold() in {"m", "mo"}:
        raise GalleryError(f"{text.strip()!r} may be minutes or months.", hint=f"Write {age[1]}min or {age[1]}months.")
    try:
        time = _before(now, age[1], _UNITS[age[2].casefold()]) if age else parse_time(text)
    except (ValueError, OverflowError, KeyError):
        raise GalleryError(
            f"Expected an age such as 30d, 12h or 2w, or a date such as 2026-05-31, found {text!r}.",
            hint="Give a number with min, h, d, w, months or years, or an ISO 8601 date.",
        ) from None
    if time > now:
        raise GalleryError(f"{text!r} is in the future; all entries are older than that.", hint="Give a past date.")
    return time


def _before(now: datetime, number: str, unit: str) -> datetime:
    """Return the time that lies a number of units before another.

    Raises:
        ValueError, OverflowError: There is no such time.
    """
    if unit not in {"months", "years"}:
        return now - timedelta(**{unit: float(number)})
    month = 12 * now.year + now.month - 1 - int(number) * (12 if unit == "years" else 1)
    year, zero_based = divmod(month, 12)
    # 31 May minus three months is the last day of February.
    last_day = monthrange(year, zero_based + 1)[1]
    return now.replace(year=year, month=zero_based + 1, day=min(now.day, last_day))
