"""How a published model wants its input, found from the file itself."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tracking.models.catalogue import models
from tracking.models.fetching import digest_of

__all__ = ["reading_of"]


def reading_of(path: Path) -> Mapping[str, Any]:
    """Return the preprocessing fields that the catalogue states for a file, whatever its name; empty for none.

    The file is recognised by its size and its hash, so that a published model is read rightly also where a person
    placed it by hand.
    """
    try:
        size = path.stat().st_size if path.is_file() else -1
        for model in models():
            file = model.files[0]
            if model.reading and file.size == size and file.digest == digest_of(path, file.algorithm):
                return model.reading
    except OSError:  # the loader of the file says so in better words
        pass
    return {}
