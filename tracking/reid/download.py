"""Download the checkpoints that BoxMOT knows, only when the user asked for it; others: see `tracking.models`."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

from gallery_db.atomic_files import atomic_path
from tracking.errors import WeightsError, error_line
from tracking.models.fetching import Progress
from tracking.models.resolve import model_folder

__all__ = ["download_dir", "download_weights"]

_BLOCK_BYTES = 1 << 16
_TIMEOUT_SECONDS = 30.0
_GOOGLE_DRIVE = "drive.google.com"


def download_dir() -> Path:
    """Return the folder of downloaded weights, in the cache folder."""
    return model_folder("reid")


def _is_google_drive(url: str) -> bool:
    return urlsplit(url).hostname == _GOOGLE_DRIVE


def _fetch(url: str, target: Path, progress: Progress | None) -> None:
    with urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS) as response, target.open("wb") as stream:
        length = response.headers.get("Content-Length")
        total = int(length) if length and length.isdigit() else None
        done = 0
        while block := response.read(_BLOCK_BYTES):
            stream.write(block)
            done += len(block)
            if progress is not None:
                progress(done, total)
        if total is not None and done != total:
            raise OSError(f"the connection ended after {done} of {total} bytes")


def _fetch_google_drive(url: str, target: Path) -> None:
    if find_spec("gdown") is None:
        raise OSError("Google Drive links need gdown (pip install gdown)")
    import gdown

    try:
        found = gdown.download(url, str(target), quiet=True)
    except Exception as error:  # gdown and requests document no common base of their errors.
        raise OSError(error_line(error)) from error
    if not found or not target.is_file():
        raise OSError("Google Drive returned no file; its download quota may be used up")


def download_weights(name: str, url: str, *, models_dir: Path, progress: Progress | None = None) -> Path:
    """Download weights into the cache folder. The file gets its name only when it is complete.

    Args:
        name: Name of the file in the cache folder.
        url: ``http(s)``, or a Google Drive link (through gdown).
        models_dir: The user's models folder, for the error's hint.
        progress: See `tracking.models.fetching.Progress`; not called for Google Drive.

    Raises:
        WeightsError: There is no network, the server reports an error, the file is incomplete, or the cache cannot be
            written.
    """
    target = download_dir() / name
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # With the suffix, an incomplete file would be taken for weights.
        with atomic_path(target, keep_suffix=False) as temporary:
            if _is_google_drive(url):
                _fetch_google_drive(url, temporary)
            elif urlsplit(url).scheme in ("http", "https"):
                _fetch(url, temporary, progress)
            else:
                raise OSError("expected an http or https address")
    except (OSError, ValueError, urllib.error.URLError, http.client.HTTPException) as error:
        raise WeightsError(
            f"{name}: cannot be downloaded from {url}: {error}.",
            hint=f"Download it on another machine and place it in {models_dir}, or give its path.",
        ) from error
    return target
