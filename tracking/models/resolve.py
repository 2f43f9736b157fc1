"""Where a model lies on this machine, and how it gets there: on the user's word only."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import orjson

from gallery_db.address import state_dir
from gallery_db.atomic_files import atomic_path
from tracking.cache_folder import cache_dir
from tracking.errors import WeightsError
from tracking.models.catalogue import Model, ModelFile, Task, find_model
from tracking.models.fetching import Progress, fetch_file
from tracking.models.hugging_face import HubFile, is_hub_reference, parse_hub_reference

__all__ = [
    "describe_size",
    "download_hub_file",
    "download_model",
    "local_model",
    "missing_model",
    "model_folder",
    "resolve_published",
]


def model_folder(task: Task) -> Path:
    """Return the folder of downloaded models for a task, in the cache folder."""
    return cache_dir() / ("weights" if task == "reid" else "detectors")


def describe_size(size: int | None) -> str:
    """Return a number of bytes for people, such as ``3.7 MB``."""
    return "size not known" if size is None else f"{size / 1e6:.1f} MB"


def local_model(model: Model, models_dir: str | Path) -> Path | None:
    """Return the path of a model, in the models folder or in the cache; None if one of its files is missing."""
    for folder in (Path(models_dir), model_folder(model.task)):
        if all((folder / file.name).is_file() for file in model.files):
            return folder / model.files[0].name
    return None


def missing_model(model: Model, models_dir: str | Path) -> WeightsError:
    """Return the error for a model that is not on this machine and that nobody asked to download."""
    return WeightsError(
        f"{model.name}: neither in {models_dir} nor in {model_folder(model.task)}; "
        "gtrack does not download unless asked to.",
        hint=f"Pass `download=True` to fetch it ({describe_size(model.size)}, {model.licence}), or "
        + _by_hand(model, models_dir),
    )


def _by_hand(model: Model, models_dir: str | Path) -> str:
    files = ", ".join(f"{file.addresses[0]} as {file.name}" for file in model.files)
    return f"fetch {files} on another machine and place the file in {models_dir}."


def resolve_published(
    reference: str | Path,
    task: Task,
    models_dir: str | Path,
    *,
    download: bool = False,
    progress: Progress | None = None,
) -> Path | None:
    """Return the path of a model that was asked for by its name in the catalogue, or as ``hf://...``.

    Args:
        reference: What the user gave.
        task: What the model is for.
        models_dir: The models folder; it need not exist.
        download: Whether it may be downloaded.
        progress: See `tracking.models.fetching.Progress`.

    Returns:
        The path; None if the reference is neither.

    Raises:
        OptionError: It begins with ``hf://``, and is no file on the Hub.
        WeightsError: It is not on this machine and may not be downloaded, or the download failed.
    """
    if is_hub_reference(reference):
        return _resolve_hub(parse_hub_reference(str(reference)), download, progress)
    model = find_model(str(reference), task)
    if model is None:
        return None
    path = local_model(model, models_dir)
    if path is not None:
        return path
    if not download:
        raise missing_model(model, models_dir)
    return download_model(model, model_folder(task), models_dir=models_dir, progress=progress)


def download_model(
    model: Model, folder: Path, *, models_dir: str | Path = "models", progress: Progress | None = None
) -> Path:
    """Download the files of a model into a folder, and return the path of the one that is loaded.

    ``GTRACK_MODELS_MIRROR``, if set, is the address of a folder with these files that is asked first. A hash that the
    catalogue does not know is remembered at the first download, and has to be the same later.

    Raises:
        WeightsError: A file could not be downloaded, or is another one than expected.
    """
    hint = _by_hand(model, models_dir)
    before = 0
    # The file that is loaded comes last: a model of which one file is missing is not found.
    for file in reversed(model.files):
        known = _remembered().get(file.name)
        if file.digest is None and known is not None:
            file = replace(file, digest=known)

        def step(done: int, total: int | None, before: int = before) -> None:
            if progress is not None:
                progress(before + done, model.size if len(model.files) > 1 else total)

        digest = fetch_file(
            replace(file, addresses=_mirrored(file)), folder / file.name, progress=step, hint=hint[0].upper() + hint[1:]
        )
        if file.digest is None:
            _remember(file.name, digest)
        before += (folder / file.name).stat().st_size
    return folder / model.files[0].name


def _mirrored(file: ModelFile) -> tuple[str, ...]:
    mirror = os.environ.get("GTRACK_MODELS_MIRROR", "").rstrip("/")
    return (f"{mirror}/{file.name}", *file.addresses) if mirror else file.addresses


def _resolve_hub(hub: HubFile, download: bool, progress: Progress | None) -> Path:
    if hub.local.is_file():
        return hub.local
    if not download:
        raise WeightsError(
            f"hf://{hub.repository}/{hub.path} is not on this machine; gtrack does not download unless asked to.",
            hint=f"Pass `download=True` to fetch it, or fetch {hub.address} on another machine, and place it as "
            f"{hub.local}.",
        )
    return download_hub_file(hub, hub.local, progress=progress)


def download_hub_file(hub: HubFile, target: Path, *, progress: Progress | None = None) -> Path:
    """Download a file of the Hugging Face Hub, checked by the hash that the Hub states for large files.

    Raises:
        WeightsError: It could not be downloaded, or is another one than expected.
    """
    hint = f"Fetch {hub.address} on another machine, and place it as {target}; or give the path of the file."
    fetch_file(hub.describe(), target, progress=progress, hint=hint)
    return target


def _hashes() -> Path:
    return state_dir() / "model-hashes.json"


def _remembered() -> dict[str, str]:
    try:
        content = orjson.loads(_hashes().read_bytes())
    except (OSError, ValueError):
        return {}
    return {k: v for k, v in content.items() if isinstance(v, str)} if isinstance(content, dict) else {}


def _remember(name: str, digest: str) -> None:
    path = _hashes()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as part:
            part.write_text(json.dumps(_remembered() | {name: digest}, indent=1), encoding="utf-8")
    except OSError as error:
        raise WeightsError(f"{path}: cannot be written: {error.strerror or error}.") from error
