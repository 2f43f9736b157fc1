"""gtrack's loggers: quiet unless the program, or `configure`, asks for more.

Every module logs to ``gtrack.<area>``: the main steps at level INFO, details at level DEBUG. A program that uses gtrack
as a library configures the logger ``gtrack`` with `logging`, as any other.
"""

from __future__ import annotations

import logging

__all__ = ["configure", "get_logger"]

_LEVELS = (logging.WARNING, logging.INFO, logging.DEBUG)

_root = logging.getLogger("gtrack")
# Without a handler, Python would print warnings to stderr by itself.
_root.addHandler(logging.NullHandler())
_handler: logging.Handler | None = None


def get_logger(area: str) -> logging.Logger:
    """Return the logger of an area, such as ``gallery`` for ``gtrack.gallery``."""
    return logging.getLogger(f"gtrack.{area}")


def configure(verbosity: int) -> None:
    """Print the messages of gtrack's loggers to stderr; for command lines.

    Args:
        verbosity: How many ``-v`` were given: 0 for warnings alone, 1 for the main steps, 2 or more for details.
    """
    global _handler
    if _handler is not None:
        _root.removeHandler(_handler)
    _handler = logging.StreamHandler()
    _handler.setFormatter(logging.Formatter("%(name)s: %(message)s"))
    _root.addHandler(_handler)
    _root.setLevel(_LEVELS[min(max(verbosity, 0), len(_LEVELS) - 1)])
