"""What a third party's exception says, short enough for one line."""

from __future__ import annotations

__all__ = ["reason"]


def reason(error: BaseException, *, last: bool = False) -> str:
    """The first (or last) line of an exception's text, or its type's name where it has none."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if last else lines[0]) if lines else type(error).__name__
