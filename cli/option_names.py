"""From the library's names to those of the command line: `backfill=True` in a message becomes ``--backfill``."""

from __future__ import annotations

import re
from functools import lru_cache

__all__ = ["with_option_names"]

_OTHERWISE_NAMED = {
    "formats": "--include",
    "frame_range": "--range",
    "temporal_options": "--temporal-option",
}
"""The options whose names differ from the field's by more than dashes."""

_OTHER_ARGUMENTS = frozenset(
    {
        "collection",
        "format",
        "layout",
        "new_collection",
        "overwrite",
        "people",
        "replace",
        "rescale_scores",
        "video",
    }
)
"""The arguments of other functions that messages name: of imports, exports and evaluations."""

_PYTHON = re.compile(r"`([a-z_]+)(?:=([^`]+))?`")


@lru_cache(maxsize=1)
def _fields() -> frozenset[str]:
    """Return the names of the arguments that are options of a command: of runs, detectors, exports and imports."""
    from dataclasses import fields

    from tracking.options import flat_arguments
    from tracking.reid.export.options import ExportOptions

    return flat_arguments() | {f.name for f in fields(ExportOptions)} | _OTHER_ARGUMENTS


def with_option_names(text: str) -> str:
    """Return a message of the library with the names of the command line's options in it.

    A field in backquotes becomes the option of that name: `out_dir` becomes ``--out-dir``, `backfill=True`
    ``--backfill``, and `tracker="gallery_only"` ``--tracker gallery_only``. Other words in backquotes stay.
    """

    def option(match: re.Match[str]) -> str:
        name, value = match.groups()
        if name not in _fields():
            return match[0]
        words = _OTHERWISE_NAMED.get(name, "--" + name.replace("_", "-"))
        return words if value in {None, "True"} else f"{words} {value.strip(chr(34))}"

    return _PYTHON.sub(option, text)
