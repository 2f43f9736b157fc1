"""The question before a published model is downloaded."""

from __future__ import annotations

from pathlib import Path

from cli.output import ask, on_terminal, progress_bar, say

__all__ = ["offer_downloads"]


def offer_downloads(models_dir: Path, download: bool, *, detector: str | None = None, reid: str | None = None) -> None:
    """Ask, on a terminal, whether published models that were named and are not on this machine may be downloaded.

    After a yes, they are. After a no, or without a terminal, nothing happens: who loads them says what is missing.

    Args:
        models_dir: The models folder.
        download: Whether the user has said so already.
        detector: What was given as the detector.
        reid: What was given as the ReID weights.
    """
    if download or not on_terminal():
        return
    from tracking.models.catalogue import Task, find_model
    from tracking.models.resolve import describe_size, download_model, local_model, model_folder

    named: tuple[tuple[str | None, Task], ...] = ((detector, "detector"), (reid, "reid"))
    for name, task in named:
        model = None if name is None or Path(name).exists() else find_model(name, task)
        if model is None or local_model(model, models_dir) is not None:
            continue
        question = f"{model.name} is not on this machine. Download it ({describe_size(model.size)}, {model.licence})?"
        if ask(f"{question} [y/N]").lower() not in ("y", "yes"):
            continue
        with progress_bar("downloading", "bytes", False) as progress:
            path = download_model(model, model_folder(task), models_dir=models_dir, progress=progress)
        say(f"{model.name}: {path}")
