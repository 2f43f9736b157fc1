"""Find ReID weights: by path, by name, and by hash."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from gallery_db.suggestions import close_names, did_you_mean
from tracking.boxmot_adapter import known_reid_weights
from tracking.errors import WeightsError
from tracking.models.catalogue import find_model, models
from tracking.models.fetching import Progress
from tracking.models.hugging_face import is_hub_reference
from tracking.models.resolve import resolve_published
from tracking.reid.architectures import REID_ARCHITECTURES
from tracking.reid.cache import remembered_weights
from tracking.reid.download import download_dir, download_weights
from tracking.reid.model_description import weights_identity
from tracking.reid.trust import executable_format, is_trusted

__all__ = [
    "WEIGHTS_SUFFIXES",
    "find_trained_weights",
    "find_weights_by_hash",
    "is_weights",
    "local_weights",
    "resolve_weights",
]

WEIGHTS_SUFFIXES = (".onnx", ".pt", ".pth", ".torchscript", ".ts", ".xml", ".engine", ".tflite")
"""Suffixes of the formats that gtrack runs; an OpenVINO model may also be given as its ``*_openvino_model`` folder."""
_OPENVINO_FOLDER = "_openvino_model"
# Weights not trained for people, or not for re-identification.
_OTHER_DATASETS = ("imagenet", "veri", "vehicleid")


def is_weights(path: Path) -> bool:
    """Whether a path looks like ReID weights that gtrack can run: a file with a known suffix, or an OpenVINO folder."""
    if path.is_dir():
        return path.name.endswith(_OPENVINO_FOLDER)
    return path.suffix.lower() in WEIGHTS_SUFFIXES and path.is_file()


def local_weights(models_dir: Path) -> Iterator[Path]:
    """Yield all weights in the models folder, then in the cache, sorted by name."""
    for folder in (models_dir, download_dir()):
        with contextlib.suppress(OSError):
            yield from sorted(path for path in folder.iterdir() if is_weights(path))


def resolve_weights(
    ref: str | Path, models_dir: str | Path, *, download: bool = False, progress: Progress | None = None
) -> Path:
    """Find the weights for a path or a name.

    The order is: a path that exists; a name in the models folder; a name in the cache; the name of a published model
    of the catalogue (`gtrack models list`) or of BoxMOT, which is downloaded to the cache if `download` is True.

    Args:
        ref: A path, a file name with or without its suffix, the name of a published model, or a file on the Hugging
            Face Hub as ``hf://OWNER/REPOSITORY/FILE``.
        models_dir: The models folder; it need not exist.
        download: Whether published weights may be downloaded.
        progress: See `tracking.models.fetching.Progress`.

    Returns:
        An existing file or OpenVINO folder.

    Raises:
        OptionError: The reference begins with ``hf://``, and is no file on the Hub.
        WeightsError: The weights are not found (the hint has the closest names), or not local without `download`.
    """
    models_dir = Path(models_dir)
    if is_hub_reference(ref):
        found = resolve_published(ref, "reid", models_dir, download=download, progress=progress)
        assert found is not None
        return found
    path = Path(ref).expanduser()
    if path.exists():
        return path
    if not str(ref).strip():
        raise WeightsError("expected the path or name of ReID weights, found an empty string.")
    if path.is_absolute() or path.parent != Path():
        close = close_names(path.name, _names_in(path.parent))
        raise WeightsError(
            f"{path}: no such weights file.",
            hint=f"In that folder: {', '.join(close)}." if close else "Check the path.",
        )
    for folder in (models_dir, download_dir()):
        # For a name without suffix, .onnx is tried before .pt.
        for name in (path.name, *(path.name + suffix for suffix in WEIGHTS_SUFFIXES)):
            if (folder / name).exists():
                return folder / name
    published = resolve_published(path, "reid", models_dir, download=download, progress=progress)
    if published is not None:
        return published
    known = known_reid_weights()
    name = path.name if path.name in known else f"{path.name}.pt"
    if name in known:
        if not download:
            raise WeightsError(
                f"{name}: neither in {models_dir} nor in {download_dir()}; gtrack does not download unless asked to.",
                hint=f"Pass `download=True` to fetch it, or place the file in {models_dir}.",
            )
        return download_weights(name, known[name], models_dir=models_dir, progress=progress)
    local = [found.name for found in local_weights(models_dir)]
    if find_model(path.name, "detector"):
        raise WeightsError(f"{ref} is a detector; expected ReID weights.", hint="See: gtrack models list --task reid")
    published_names = [model.name for model in models("reid")]
    meant = did_you_mean(path.name, dict.fromkeys(["builtin", *local, *published_names, *known]))
    raise WeightsError(
        f"{ref}: no such weights file, nothing of that name in {models_dir} or {download_dir()}, "
        "and no published weights have that name.",
        hint=(f"{meant} " if meant else "") + f"Give a path, or place the file in {models_dir}.",
    )


def _names_in(folder: Path) -> list[str]:
    """Return the names in a folder; none if it cannot be read."""
    try:
        return [path.name for path in folder.iterdir()]
    except OSError:
        return []


def find_weights_by_hash(sha256: str, hint_path: str | Path | None, models_dir: str | Path) -> Path | None:
    """Find weights by their hash.

    The places are: the path where they were last used, the models folder, the cache, and every path from which this
    machine used weights before.

    Args:
        sha256: As in `gallery_db.model.EmbeddingModel`.
        hint_path: Where they were last used.
        models_dir: The models folder.

    Returns:
        The file, or an export that counts as the file; None if there is neither. A file that can run code and is not
        trusted is returned only if there is no other; `load_embedder` refuses it.
    """
    hint = Path(hint_path) if hint_path else None
    candidates = [hint] if hint is not None and hint.exists() else []
    local = list(local_weights(Path(models_dir)))
    # It most likely still has its name: hash that file first.
    local.sort(key=lambda path: hint is None or path.name != hint.name)
    # A gallery from another machine does not know where the weights are on this one.
    untrusted = None
    for path in [*candidates, *local, *remembered_weights(sha256)]:
        with contextlib.suppress(WeightsError):
            if weights_identity(path) == sha256:
                if _may_load(path):
                    return path
                untrusted = untrusted or path
    return untrusted


def _may_load(path: Path) -> bool:
    """Whether weights that nobody named may be loaded: they cannot run code, or are trusted."""
    return executable_format(path) is None or is_trusted(path)


def find_trained_weights(models_dir: str | Path, *, notify: Callable[[str], None] | None = None) -> Path | None:
    """Find local ReID weights for people: files named ``<architecture>_<...>`` in the models folder or the cache.

    ``.onnx`` is preferred to ``.pt``, then the models folder to the cache, then the first name. Weights trained on
    ImageNet only, or on vehicles, are left out, and so are files that can run code, unless they are trusted (see
    `tracking.reid.trust`). Return None if there are none.

    Args:
        models_dir: The models folder; it need not exist.
        notify: Called with a line for each file that was left out because it can run code.
    """
    found = [
        path
        for path in local_weights(Path(models_dir))
        if path.suffix.lower() in (".onnx", ".pt") and not any(other in path.name.lower() for other in _OTHER_DATASETS)
    ]
    architectures = tuple(f"{name}_" for name in REID_ARCHITECTURES)
    found = [path for path in found if path.name.lower().startswith(architectures)]
    # Sorted, so that no file but the first that may be loaded is examined.
    for path in sorted(found, key=lambda path: path.suffix.lower() != ".onnx"):
        with contextlib.suppress(WeightsError):
            if _may_load(path):
                return path
            if notify is not None:
                notify(
                    f"{path} is not used: it is {executable_format(path)}, which can run code. If you trust its "
                    "author, give its path as the weights, with `trust_weights=True`."
                )
    return None
