"""The catalogue of published models, read from ``catalogue.json``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import orjson

__all__ = ["DEFAULT_DETECTOR", "Model", "ModelFile", "Task", "find_model", "models", "published_level"]

Task = Literal["detector", "reid"]

DEFAULT_DETECTOR = "yolox_nano"
"""The detector that gtrack proposes: small and quick on a CPU. yolox_s finds more people, at ten times the work."""

_CATALOGUE = Path(__file__).with_name("catalogue.json")
_ALGORITHMS = ("sha256", "sha384")


@dataclass(frozen=True, slots=True)
class ModelFile:
    """One file of a model.

    Attributes:
        name: Its name on this machine.
        addresses: Where it is published, the first to be tried first.
        size: Bytes; None if the catalogue does not know it.
        algorithm: Of `digest`: ``sha256`` or ``sha384``.
        digest: Hex digits; None if the catalogue does not know them.
    """

    name: str
    addresses: tuple[str, ...]
    size: int | None
    algorithm: str = "sha256"
    digest: str | None = None


@dataclass(frozen=True, slots=True)
class Model:
    """A published model.

    Attributes:
        name: The name by which it is asked for.
        task: ``detector`` or ``reid``.
        files: Its files; the first is the one that is loaded.
        code_licence: Licence of the code that made it.
        weights_licence: Licence under which the weights are published.
        trained_on: The data set, which may have terms of its own.
        input: Size, order of the colours, and range of the input, in words.
        accuracy: Published accuracy, in words; None if there is none.
        published: Address of the page that states it.
        needs: The extra of gtrack that it needs; None for none.
        tested: What of it gtrack's tests have run, in words.
        score_level: Of a detector: the score that it gives to what it is sure of, where it was measured.
        reading: Fields of `tracking.reid.Preprocessing` that differ from the defaults; empty for none.
    """

    name: str
    task: Task
    files: tuple[ModelFile, ...]
    code_licence: str
    weights_licence: str
    trained_on: str
    input: str
    accuracy: str | None
    published: str
    needs: str | None
    tested: str
    score_level: float | None
    reading: Mapping[str, Any]

    @property
    def size(self) -> int | None:
        """Bytes of all files; None if the size of one is not known."""
        sizes = [file.size for file in self.files]
        return None if None in sizes else sum(size for size in sizes if size is not None)

    @property
    def licence(self) -> str:
        """Both licences, in words."""
        if self.code_licence == self.weights_licence:
            return self.weights_licence
        return f"{self.weights_licence} (code: {self.code_licence})"


def _read_file(entry: Mapping[str, Any]) -> ModelFile:
    algorithm = next((one for one in _ALGORITHMS if one in entry), "sha256")
    return ModelFile(entry["name"], tuple(entry["addresses"]), entry["size"], algorithm, entry.get(algorithm))


@lru_cache(maxsize=4)
def _read(path: Path) -> tuple[Model, ...]:
    return tuple(
        Model(
            name=entry["name"],
            task=entry["task"],
            files=tuple(_read_file(file) for file in entry["files"]),
            code_licence=entry["licence"]["code"],
            weights_licence=entry["licence"]["weights"],
            trained_on=entry["trained_on"],
            input=entry["input"],
            accuracy=entry["accuracy"],
            published=entry["published"],
            needs=entry["needs"],
            tested=entry["tested"],
            score_level=entry.get("score_level"),
            reading={
                key: tuple(value) if isinstance(value, list) else value
                for key, value in entry.get("reading", {}).items()
            },
        )
        for entry in orjson.loads(path.read_bytes())
    )


def models(task: Task | None = None) -> tuple[Model, ...]:
    """Return the models of the catalogue, or those for a task."""
    return tuple(model for model in _read(_CATALOGUE) if task in (None, model.task))


def find_model(name: str, task: Task | None = None) -> Model | None:
    """Return the model of that name, or with a file of that name; None if the catalogue has none for the task."""
    return next(
        (model for model in models(task) if name == model.name or name == model.files[0].name),
        None,
    )


def published_level(file: str) -> float | None:
    """Return the `score_level` of the detector whose file has this name; None if it is not known."""
    return next((model.score_level for model in models("detector") if model.files[0].name == file), None)
