"""Finding weights: by path, by name, by hash; and fetching them, only where the user asked for that."""

from __future__ import annotations

import contextlib
import difflib
import http.client
import os
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

from tracking.boxmot_adapter import known_reid_weights, reid_architectures
from tracking.errors import WeightsError
from tracking.reid.cache import cache_dir, remembered_weights
from tracking.reid.reasons import reason
from tracking.reid.stamp import weights_identity

__all__ = [
    "WEIGHTS_SUFFIXES",
    "Progress",
    "download_weights",
    "find_trained_weights",
    "find_weights_by_hash",
    "is_weights",
    "local_weights",
    "resolve_weights",
]

WEIGHTS_SUFFIXES = (".onnx", ".pt", ".pth", ".torchscript", ".ts", ".xml", ".engine", ".tflite")
"""Suffixes of the formats that gtrack runs; an OpenVINO model may also be its ``*_openvino_model`` folder."""

Progress = Callable[[int, "int | None"], None]
"""Called while downloading, with the bytes so far and all of them (None if unknown)."""

_OPENVINO_FOLDER = "_openvino_model"
_BLOCK = 1 << 16
_TIMEOUT = 30.0
_DRIVE = "drive.google.com"
# Not trained for people, or not for re-identification at all.
_OTHERS = ("imagenet", "veri", "vehicleid")


def is_weights(path: Path) -> bool:
    """Whether a path looks like ReID weights that gtrack can run: a file of a known suffix, or an OpenVINO folder."""
    if path.is_dir():
        return path.name.endswith(_OPENVINO_FOLDER)
    return path.suffix.lower() in WEIGHTS_SUFFIXES and path.is_file()


def _weights_dir() -> Path:
    return cache_dir() / "weights"


def local_weights(models_dir: Path) -> Iterator[Path]:
    """All weights in the models folder, then in the cache, each by name."""
    for folder in (models_dir, _weights_dir()):
        with contextlib.suppress(OSError):
            yield from sorted(path for path in folder.iterdir() if is_weights(path))


def _part_of_drive(url: str) -> bool:
    return urlsplit(url).hostname == _DRIVE


def _fetch(url: str, target: Path, progress: Progress | None) -> None:
    with urllib.request.urlopen(url, timeout=_TIMEOUT) as response, target.open("wb") as stream:
        length = response.headers.get("Content-Length")
        total = int(length) if length and length.isdigit() else None
        done = 0
        while block := response.read(_BLOCK):
            stream.write(block)
            done += len(block)
            if progress is not None:
                progress(done, total)
        if total is not None and done != total:
            raise OSError(f"the connection ended after {done} of {total} bytes")


def _fetch_drive(url: str, target: Path) -> None:
    if find_spec("gdown") is None:
        raise OSError("Google Drive links need gdown (pip install gdown)")
    import gdown

    try:
        found = gdown.download(url, str(target), quiet=True)
    except Exception as error:  # gdown and requests below it raise what they like.
        raise OSError(reason(error)) from error
    if not found or not target.is_file():
        raise OSError("Google Drive gave no file; its quota may be exhausted")


def download_weights(name: str, url: str, *, models_dir: Path, progress: Progress | None = None) -> Path:
    """Download weights into the cache folder; they take their name only when complete.

    Args:
        name: The file's name there.
        url: ``http(s)``, or a Google Drive link (through gdown).
        models_dir: The user's models folder, for the hint.
        progress: See `Progress`; not called for Google Drive.

    Raises:
        WeightsError: No network, an error of the server, an incomplete file, or a cache that cannot be written.
    """
    target = _weights_dir() / name
    # Not `atomic_path`: with the suffix of weights, a half of them would be taken for weights.
    temporary = target.with_name(f"{target.name}.{os.getpid()}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if _part_of_drive(url):
            _fetch_drive(url, temporary)
        elif urlsplit(url).scheme in ("http", "https"):
            _fetch(url, temporary, progress)
        else:
            raise OSError("expected an http or https address")
        temporary.replace(target)
    except (OSError, ValueError, urllib.error.URLError, http.client.HTTPException) as error:
        raise WeightsError(
            f"{name}: cannot be downloaded from {url}: {error}",
            hint=f"Download it elsewhere and place it in {models_dir} (or give its path).",
        ) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
    return target


def resolve_weights(
    ref: str | Path, models_dir: str | Path, *, download: bool = False, progress: Progress | None = None
) -> Path:
    """Find the weights that a path or a name means.

    In this order: a path that exists; a name in the models folder; a name in the cache; a published
    checkpoint's name, downloaded to the cache where `download` says so.

    Args:
        ref: A path, or a file's name with or without its suffix.
        models_dir: The models folder; it need not exist.
        download: Whether published weights may be downloaded.
        progress: See `Progress`.

    Returns:
        An existing file, or OpenVINO folder.

    Raises:
        WeightsError: Not found (with the closest names), or not to be downloaded.
    """
    models_dir = Path(models_dir)
    path = Path(ref).expanduser()
    if path.exists():
        return path
    if not str(ref).strip():
        raise WeightsError("expected the path or name of ReID weights, found an empty text")
    if path.is_absolute() or path.parent != Path():
        close = difflib.get_close_matches(path.name, _names_in(path.parent), n=3)
        raise WeightsError(
            f"{path}: no such weights file",
            hint=f"In that folder: {', '.join(close)}." if close else "Check the path.",
        )
    for folder in (models_dir, _weights_dir()):
        # A name without its suffix: .onnx comes before .pt in the list of suffixes.
        for name in (path.name, *(path.name + suffix for suffix in WEIGHTS_SUFFIXES)):
            if (folder / name).exists():
                return folder / name
    known = known_reid_weights()
    name = path.name if path.name in known else f"{path.name}.pt"
    if name in known:
        if not download:
            raise WeightsError(
                f"{name}: neither in {models_dir} nor in {_weights_dir()}; gtrack downloads nothing unasked",
                hint=f"Add --download (download=True in Python) to fetch it, or place the file in {models_dir}.",
            )
        return download_weights(name, known[name], models_dir=models_dir, progress=progress)
    local = [found.name for found in local_weights(models_dir)]
    close = difflib.get_close_matches(path.name, dict.fromkeys([*local, *known]), n=3, cutoff=0.5)
    raise WeightsError(
        f"{ref}: no such weights file, nothing of that name in {models_dir} or {_weights_dir()}, "
        "and no published weights are called so",
        hint=(f"Did you mean {', '.join(close)}? " if close else "")
        + f"Give a path, or place the file in {models_dir}.",
    )


def _names_in(folder: Path) -> list[str]:
    try:
        return [path.name for path in folder.iterdir()]
    except OSError:
        return []


def find_weights_by_hash(sha256: str, hint_path: str | Path | None, models_dir: str | Path) -> Path | None:
    """Find the weights of a hash: where they were last seen, in the models folder, in the cache, or where they were
    when this machine used them for anything else.

    Args:
        sha256: As in `gallery_db.model.EmbeddingModel`.
        hint_path: Where they were last seen; also searched for beside, under other names.
        models_dir: The models folder.

    Returns:
        The file, or an export that stands for it; None where there is neither.
    """
    hint = Path(hint_path) if hint_path else None
    candidates = [hint] if hint is not None and hint.exists() else []
    local = list(local_weights(Path(models_dir)))
    # Most likely it still has its name: hash that one first.
    local.sort(key=lambda path: hint is None or path.name != hint.name)
    # A gallery that comes from elsewhere, or from a server, does not know where they are here.
    for path in [*candidates, *local, *remembered_weights(sha256)]:
        with contextlib.suppress(WeightsError):
            if weights_identity(path) == sha256:
                return path
    return None


def find_trained_weights(models_dir: str | Path) -> Path | None:
    """ReID weights for people that are at hand: named ``<architecture>_<...>``, in the models folder or the cache.

    ``.onnx`` comes before ``.pt``, the models folder before the cache, then the order of names.
    Weights trained on ImageNet alone, or on vehicles, are left out.
    """
    found = [
        path
        for path in local_weights(Path(models_dir))
        if path.suffix.lower() in (".onnx", ".pt") and not any(other in path.name.lower() for other in _OTHERS)
    ]
    if found:  # The names of the architectures cost an import of torch, which takes seconds.
        architectures = tuple(f"{name}_" for name in reid_architectures())
        found = [path for path in found if path.name.lower().startswith(architectures)]
    return min(found, key=lambda path: path.suffix.lower() != ".onnx", default=None)
