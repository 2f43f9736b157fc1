"""Completion of names in the shell: identities, collections, snapshots, trackers.

A completion answers quickly or not at all: it reads folders only, asks no server, and neither prints nor fails.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from gallery_db import Gallery

__all__ = [
    "complete_collection",
    "complete_detector",
    "complete_identity",
    "complete_model",
    "complete_snapshot",
    "complete_temporal",
    "complete_tracker",
    "complete_weights",
]


def complete_identity(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the identities of the command's gallery that begin with a text."""
    return _quietly(lambda: _of_gallery(ctx, lambda one: [who.identity for who in one.identities()]), incomplete)


def complete_collection(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the collections of the command's gallery that begin with a text."""
    return _quietly(lambda: _of_gallery(ctx, lambda one: [info.name for info in one.collections()]), incomplete)


def complete_snapshot(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the snapshots of the command's gallery that begin with a text."""

    def names() -> list[str]:
        from gallery_db import list_snapshots

        folder = _gallery_folder(ctx)
        return [] if folder is None else [snapshot.name for snapshot in list_snapshots(folder)]

    return _quietly(names, incomplete)


def complete_tracker(incomplete: str) -> list[str]:
    """Return the trackers that begin with a text."""

    def names() -> list[str]:
        from tracking.trackers.registry import available_trackers

        return available_trackers()

    return _quietly(names, incomplete)


def complete_temporal(incomplete: str) -> list[str]:
    """Return the temporal trackers that begin with a text."""

    def names() -> Iterable[str]:
        from tracking.trackers.temporal import available_temporal

        return available_temporal()

    return _quietly(names, incomplete)


def complete_model(incomplete: str) -> list[str]:
    """Return the published models that begin with a text."""

    def names() -> list[str]:
        from tracking.models.catalogue import models

        return [model.name for model in models()]

    return _quietly(names, incomplete)


def complete_weights(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the names of ReID weights, published or on this machine, that begin with a text, else the files."""

    def names() -> list[str]:
        from tracking.models.catalogue import models
        from tracking.reid.weights import local_weights

        published = [model.name for model in models("reid")]
        return ["builtin", *published, *(path.name for path in local_weights(_models_dir(ctx))), *_files(incomplete)]

    return _quietly(names, incomplete)


def complete_detector(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the names of detectors, published or on this machine, that begin with a text, else the files."""

    def names() -> list[str]:
        from tracking.models.catalogue import models

        folder = _models_dir(ctx)
        found = [model.name for model in models("detector")]
        found += [path.name for path in folder.iterdir() if path.suffix == ".onnx"] if folder.is_dir() else []
        return ["builtin", *found, *_files(incomplete)]

    return _quietly(names, incomplete)


def _quietly(names: Callable[[], Iterable[str]], incomplete: str) -> list[str]:
    try:
        with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            return sorted({name for name in names() if name.startswith(incomplete)})
    except Exception:  # noqa: BLE001 a half-typed command line is no error
        return []


def _gallery_folder(ctx: typer.Context) -> Path | None:
    """Return the folder of the gallery that the command line or the environment names; None for a served one."""
    from gallery_db import is_gallery
    from gallery_db.address import is_address

    given = ctx.params.get("gallery") or os.environ.get("GTRACK_GALLERY")
    if not given or is_address(given):
        return None
    folder = Path(given)
    return folder if is_gallery(folder) else None


def _of_gallery(ctx: typer.Context, names: Callable[[Gallery], list[str]]) -> list[str]:
    from gallery_db import Gallery

    folder = _gallery_folder(ctx)
    if folder is None:
        return []
    collection = ctx.params.get("collection")
    with Gallery.open(folder, collection=collection) as gallery:
        return names(gallery)


def _models_dir(ctx: typer.Context) -> Path:
    return Path(ctx.params.get("models_dir") or os.environ.get("GTRACK_MODELS_DIR") or "models")


def _files(incomplete: str) -> list[str]:
    """Return the files and folders that begin with a path, as the shell would complete them."""
    folder = Path(incomplete).parent if incomplete else Path()
    prefix = incomplete[: len(incomplete) - len(Path(incomplete).name)] if not incomplete.endswith("/") else incomplete
    if incomplete.endswith("/"):
        folder = Path(incomplete)
    return [prefix + item.name + ("/" if item.is_dir() else "") for item in folder.iterdir()]
