"""The only module that imports BoxMOT, and through as few of its names as possible.

BoxMOT's API changes about monthly. All calls to it go through the functions here, and no other module knows its
types. BoxMOT (and the torch that it imports) is loaded inside the functions, so that importing `tracking` stays cheap.
"""

from __future__ import annotations

import inspect
import logging
import os
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gallery_db.distribution import DISTRIBUTION
from gallery_db.errors import MissingPackageError
from gallery_db.logs import get_logger
from tracking.errors import EmbedderError, TrackerError, WeightsError

__all__ = [
    "BoxmotBackend",
    "BoxmotTracker",
    "build_backbone",
    "known_reid_weights",
    "missing_backend_requirement",
    "temporal_trackers",
    "tracker_parameters",
]

_CLASS_NAMES = {
    "bytetrack": "ByteTrack",
    "botsort": "BotSort",
    "strongsort": "StrongSort",
    "ocsort": "OcSort",
    "deepocsort": "DeepOcSort",
    "hybridsort": "HybridSort",
    "boosttrack": "BoostTrack",
    "occluboost": "OccluBoost",
    "sfsort": "SFSORT",
}

_log = get_logger("boxmot")

# ByteTrack never forgets a removed track and walks all of them at every frame: after some thousand
# busy frames that dominates the run. Only the last few can still matter to it.
_REMOVED_KEPT = 256


def _import_boxmot(name: str) -> Any:
    """Import BoxMOT or a module of it.

    Its first import prints its own log to stderr from level INFO on, where some trackers warn at every frame. Where
    gtrack is the one that imports it, only its errors are shown, unless gtrack's details are. A program that has
    imported BoxMOT itself keeps its settings.

    Raises:
        MissingPackageError: BoxMOT is not installed.
    """
    if find_spec("boxmot") is None:
        raise MissingPackageError(
            "This needs BoxMOT, which is not installed: `.pt` weights, TensorRT and TFLite models, exports, published "
            "weights by name, and the temporal trackers other than botsort_motion and bytetrack.",
            hint=f"Run: pip install '{DISTRIBUTION}[boxmot]'; or use .onnx weights by their path.",
        )
    is_first = "boxmot.utils" not in sys.modules
    if is_first:
        import_module("boxmot.utils")
        if not _log.isEnabledFor(logging.DEBUG):
            logging.getLogger("boxmot").setLevel(logging.ERROR)
    return import_module(name)


def temporal_trackers() -> tuple[str, ...]:
    """Return the names of the BoxMOT trackers that `gallery_hybrid` can use, ByteTrack first; does not load BoxMOT."""
    return tuple(_CLASS_NAMES)


def _tracker_class(name: str) -> Any:
    try:
        attribute = _CLASS_NAMES[name]
    except KeyError:
        raise TrackerError(f"unknown temporal tracker {name!r}; expected one of {', '.join(_CLASS_NAMES)}.") from None
    return getattr(_import_boxmot("boxmot"), attribute)


def tracker_parameters(name: str) -> dict[str, Any]:
    """Return the keyword parameters of a tracker's constructor, with their defaults."""
    parameters: dict[str, Any] = {}
    cls = _tracker_class(name)
    for base in reversed(cls.__mro__):
        if "__init__" not in vars(base) or base is object:
            continue
        for parameter in inspect.signature(base).parameters.values():
            if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
                parameters[parameter.name] = parameter.default
    return parameters


class BoxmotTracker:
    """One BoxMOT tracker over one stream of frames.

    Args:
        name: One of `temporal_trackers`.
        options: Keyword arguments of that tracker's constructor.

    Raises:
        TrackerError: An unknown tracker, or an option that it does not take.
    """

    def __init__(self, name: str, options: Mapping[str, Any]) -> None:
        self._name = name
        cls = _tracker_class(name)
        try:
            self._tracker = cls(**options)
        except (TypeError, ValueError) as error:
            raise TrackerError.of_options(name, error) from error
        requirements = self._tracker.requirements
        self.uses_embeddings: bool = bool(requirements.embeddings)
        self.uses_frame: bool = bool(requirements.frame or requirements.frame_dimensions_only)

    def update(
        self,
        boxes: NDArray[np.float32],
        scores: NDArray[np.float32],
        class_ids: NDArray[np.int64],
        image: NDArray[np.uint8] | None = None,
        embeddings: NDArray[np.float32] | None = None,
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
        """Advance by one frame.

        Args:
            boxes: (N, 4) xyxy pixels, finite, of positive area.
            scores: (N,) in [0, 1].
            class_ids: (N,), not negative.
            image: The frame, (H, W, 3) uint8 BGR; needed where `uses_frame`.
            embeddings: (N, D) unit vectors; needed where `uses_embeddings`.

        Returns:
            Track ids (M,), the detection index (M,) of each, and the smoothed boxes (M, 4); tracks
            that no detection of this frame supports are left out.

        Raises:
            TrackerError: The tracker cannot go on.
        """
        torch = import_module("torch")
        structures = _import_boxmot("boxmot.structures")
        detections = structures.Detections(
            geometry=structures.Boxes(torch.from_numpy(np.ascontiguousarray(boxes, np.float32).reshape(-1, 4))),
            scores=torch.from_numpy(np.ascontiguousarray(scores, np.float32)),
            class_ids=torch.from_numpy(np.ascontiguousarray(class_ids, np.int64)),
            sample_id="frame",
            embeddings=None if embeddings is None else torch.from_numpy(np.ascontiguousarray(embeddings, np.float32)),
        )
        try:
            tracks = self._tracker.update(detections, image)
        except (ValueError, TypeError, RuntimeError, np.linalg.LinAlgError) as error:
            raise TrackerError.of_update(self._name, error) from error
        removed = getattr(self._tracker, "removed_stracks", None)
        if isinstance(removed, list) and len(removed) > 2 * _REMOVED_KEPT:
            del removed[:-_REMOVED_KEPT]
        indices = tracks.detection_indices.numpy()
        supported = indices >= 0
        return (
            tracks.track_ids.numpy()[supported],
            indices[supported],
            tracks.geometry.values.numpy()[supported],
        )


def known_reid_weights() -> dict[str, str]:
    """Return the file names of published ReID checkpoints and their addresses. Does not import torch.

    Without BoxMOT, none is known.
    """
    if find_spec("boxmot") is None:
        return {}
    return dict(_import_boxmot("boxmot.reid.core.catalog").TRAINED_URLS)


def build_backbone(name: str) -> Any:
    """Build a ReID architecture with random weights; nothing is downloaded.

    Args:
        name: One of `tracking.reid.architectures`.

    Returns:
        A torch module in evaluation mode; its classifier has one class and is not used.

    Raises:
        WeightsError: A package that this architecture needs is missing.
    """
    backbones = _import_boxmot("boxmot.reid.backbones")
    try:
        network = backbones.build_backbone(name, num_classes=1, loss="softmax", pretrained=False, use_gpu=False)
    except ImportError as error:
        raise WeightsError(
            f"architecture {name}: {error}", hint=f"Run: pip install {error.name or 'timm torchvision'}"
        ) from error
    except Exception as error:  # timm and torchvision raise anything where they do not fit this torch.
        raise WeightsError(f"architecture {name}: cannot be built here: {error}") from error
    return network.eval()


def missing_backend_requirement(runtime: str) -> str | None:
    """Return the package that must be installed before BoxMOT loads a model of this runtime.

    BoxMOT itself would run pip to install it.

    Args:
        runtime: ``"tensorrt"`` or ``"tflite"``.

    Returns:
        A requirement for pip; None where nothing is missing.
    """
    if runtime == "tflite":
        return None if find_spec("ai_edge_litert") is not None else "ai-edge-litert>=2.1.0"
    dependencies = _import_boxmot("boxmot.reid.backends.dependencies")
    requirement: str = dependencies.reid_backend_requirements("tensorrt")[0]
    checks = _import_boxmot("boxmot.utils.checks")
    installed = find_spec("tensorrt") is not None and checks.requirement_satisfied(requirement)
    return None if installed else requirement


@contextmanager
def _no_unpickling() -> Iterator[None]:
    """Let `torch.load` read tensors only, whatever its caller asks for.

    BoxMOT first tries to unpickle any weights file, for metadata. A TFLite file can be a tar archive at the same time,
    which torch's oldest format is, so that no look at the file's head makes that safe.
    """
    name = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of an argument that BoxMOT gives.
            yield
    finally:
        if before is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = before


class BoxmotBackend:
    """One of BoxMOT's inference backends for compiled models, TensorRT or TFLite.

    Args:
        weights: An existing ``.engine`` or ``.tflite`` file whose `missing_backend_requirement` is None.
        device: A resolved device: ``"cpu"`` or ``"cuda:N"``.
        half: Whether inputs are FP16, where the model does not say; see the attribute of that name.

    Raises:
        WeightsError: BoxMOT cannot load it.
    """

    def __init__(self, weights: Path, device: str, half: bool) -> None:
        runtime = _import_boxmot("boxmot.reid.core")
        torch = import_module("torch")
        try:
            with _no_unpickling():
                # A torch.device, because given a string BoxMOT hides every GPU from the whole process.
                self._backend = runtime.ReID(weights=weights, device=torch.device(device), half=half).model
        except Exception as error:  # The runtimes below it may raise anything.
            raise WeightsError(f"{weights}: BoxMOT cannot load it: {error}") from error
        self._device = torch.device(device)
        # An engine's input has its precision fixed, whatever `half` says.
        self.half: bool = bool(getattr(self._backend, "fp16", half))

    @property
    def input_size(self) -> tuple[int, int] | None:
        """(height, width) of the model's input where it is fixed and the runtime states it, else None."""
        details = getattr(self._backend, "input_details", None)
        if details:
            shape = [int(size) for size in details[0]["shape"]]
        else:
            bindings = getattr(self._backend, "bindings", {})
            name = getattr(self._backend, "input_name", None)
            shape = [int(size) for size in bindings[name].shape] if name in bindings else []
        if len(shape) != 4:
            return None
        height, width = shape[1:3] if shape[3] == 3 and shape[1] != 3 else shape[2:4]
        return (height, width) if height > 0 and width > 0 else None

    def infer(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run the model on (N, 3, H, W) float32 inputs, and return its (N, ...) float32 output.

        Raises:
            EmbedderError: The runtime failed.
        """
        torch = import_module("torch")
        inputs = torch.from_numpy(batch).to(self._device)
        try:
            with torch.inference_mode():
                output = self._backend.forward(inputs.half() if self.half else inputs)
        except Exception as error:  # as above
            raise EmbedderError(f"the model failed on {len(batch)} crops: {error}") from error
        if isinstance(output, torch.Tensor):
            output = output.float().cpu().numpy()
        return np.asarray(output, dtype=np.float32)

    def close(self) -> None:
        """Release the model."""
        self._backend = None
