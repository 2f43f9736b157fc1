"""gtrack's loggers: quiet unless the program, or `configure`, asks for more.

Every module logs to ``gtrack.<area>``: the main steps at level INFO, details at level DEBUG. A program that uses gtrack
as a library configures the logger ``gtrack`` with `logging`, as any other.
"""

from __future__ import annotations

import contextlib
import logging
import sys

from gallery_db.masking import mask_addresses
from gallery_db.visible_text import visible

__all__ = ["configure", "get_logger"]

_LEVELS = (logging.WARNING, logging.INFO, logging.DEBUG)

_root = logging.getLogger("gtrack")
# Without a handler, Python would print warnings to stderr by itself.
_root.addHandler(logging.NullHandler())


class _StderrHandler(logging.Handler):
    """Prints to what `sys.stderr` is at that moment; a test or a notebook may have replaced it since."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record; a closed stderr loses it, and stops nobody's work."""
        with contextlib.suppress(OSError, ValueError):
            # A traceback has lines of its own.
            keep = "\n" if record.exc_info or record.stack_info else ""
            print(visible(mask_addresses(self.format(record)), keep=keep), file=sys.stderr)


def get_logger(area: str) -> logging.Logger:
    """Return the logger of an area, such as ``gallery`` for ``gtrack.gallery``."""
    return logging.getLogger(f"gtrack.{area}")


def configure(verbosity: int) -> None:
    """Print the messages of gtrack's loggers to stderr; for command lines.

    Args:
        verbosity: How many ``-v`` were given: 0 for warnings alone, 1 for the main steps, 2 or more for details.
    """
    for earlier in [handler for handler in _root.handlers if isinstance(handler, _StderrHandler)]:
        _root.removeHandler(earlier)
    handler = _StderrHandler()
    handler.setFormatter(logging.Formatter("%(name)s: %(message)s"))
    _root.addHandler(handler)
    _root.setLevel(_LEVELS[min(max(verbosity, 0), len(_LEVELS) - 1)])
