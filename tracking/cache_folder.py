"""gtrack's cache folder on this machine."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["cache_dir"]


def cache_dir() -> Path:
    """Return the cache folder: environment variable ``GTRACK_CACHE_DIR``, else gtrack's folder in the user's cache."""
    explicit = os.environ.get("GTRACK_CACHE_DIR")
    if explicit:
        return Path(explicit).expanduser()
    from platformdirs import user_cache_dir

    return Path(user_cache_dir("gtrack", appauthor=False))
