"""Load the embedder for the weights that the user named, or for a gallery."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from gallery_db.logs import get_logger
from gallery_db.model import EmbeddingModel
from tracking.errors import EmbedderError, OptionError, WeightsError
from tracking.models.fetching import Progress
from tracking.reid.builtin import BUILTIN_NAME, BUILTIN_SHA256, BuiltinEmbedder
from tracking.reid.claims import decide_claim
from tracking.reid.devices import Device, parse_device, torch_device
from tracking.reid.trust import (
    CHECKPOINT_SUFFIXES,
    TORCHSCRIPT_SUFFIXES,
    check_trust,
    executable_format,
    names_file,
)
from tracking.reid.weights import (
    WEIGHTS_SUFFIXES,
    find_trained_weights,
    find_weights_by_hash,
    is_weights,
    resolve_weights,
)

if TYPE_CHECKING:
    from tracking.reid.base import NetworkEmbedder

__all__ = ["RUNTIMES", "load_embedder", "load_own_export"]

_log = get_logger("reid")

RUNTIMES = ("auto", "onnx", "torch")
"""Runtimes for a checkpoint. ``"auto"`` is ONNX on the CPU and in TensorRT, and torch on a GPU."""


@dataclass(frozen=True, slots=True)
class _Settings:
    """How a network is to run; see `load_embedder`."""

    device: str
    half: bool
    runtime: str
    threads: int | None
    batch_size: int | None


def _notify(notify: Callable[[str], None] | None, notice: str) -> None:
    if notify is not None:
        notify(notice)


def _choose_weights(
    models_dir: Path, gallery_model: EmbeddingModel | None, notify: Callable[[str], None] | None
) -> Path | None:
    """Return the weights if the user named none; None for the built-in embedder.

    Raises:
        WeightsError: The weights of the gallery's model cannot be found.
    """
    if gallery_model is not None:
        if gallery_model.name == BUILTIN_NAME and gallery_model.sha256 == BUILTIN_SHA256:
            return None
        path = find_weights_by_hash(gallery_model.sha256, gallery_model.path, models_dir)
        if path is not None:
            return path
        if gallery_model.name == BUILTIN_NAME:
            raise WeightsError(
                f"the gallery was made with another version of the built-in embedder, {gallery_model}.",
                hint="Build the gallery again with this gtrack, or install the gtrack that made it.",
            )
        raise WeightsError(
            f"the gallery's embeddings come from {gallery_model.name} (sha256 {gallery_model.sha256}); no such file "
            + (f"at {gallery_model.path}, " if gallery_model.path else "")
            + f"in {models_dir} or in the cache, nor among the weights used on this machine before.",
            hint=f"Place that file in {models_dir} or give its path as the weights; "
            "or build the gallery again with other weights.",
        )
    path = find_trained_weights(models_dir, notify=notify)
    if path is None:
        _notify(
            notify,
            f"no ReID weights in {models_dir}: using the built-in colour and texture embedder, which confuses people "
            "in similar clothes. Trained weights do far better: "
            '`reid_weights="osnet_x0_25_msmt17"` with `download=True`.',
        )
    else:
        _notify(notify, f"using the ReID weights {path}")
    return path


def _load_checkpoint(path: Path, settings: _Settings) -> NetworkEmbedder:
    """Load a checkpoint: converted to ONNX on the CPU, in torch on a GPU, unless the runtime is given."""
    notices: tuple[str, ...] = ()
    device = parse_device(settings.device)
    # On a CPU, torch is not imported here, because that takes seconds.
    if settings.runtime == "torch" or (settings.runtime == "auto" and device.kind != "tensorrt"):
        device = torch_device(device)
    if settings.runtime == "onnx" or (settings.runtime == "auto" and device.kind in ("cpu", "tensorrt")):
        try:
            return _load_converted(path, device, settings)
        except EmbedderError as error:
            if settings.runtime == "onnx" or device.kind == "tensorrt":
                raise
            notices = (f"{path.name} runs in torch, several times slower on a CPU: {error.message}",)
    from tracking.reid.torch_embedder import TorchEmbedder

    return TorchEmbedder(
        path,
        device=str(device),
        half=settings.half,
        threads=settings.threads,
        batch_size=settings.batch_size,
        notices=notices,
    )


def _load_converted(path: Path, device: Device, settings: _Settings) -> NetworkEmbedder:
    """Load a checkpoint's conversion to ONNX, which is made if the cache does not have it."""
    from tracking.reid.conversion import convert_checkpoint
    from tracking.reid.onnx_embedder import OnnxEmbedder

    def load(graph: Path) -> OnnxEmbedder:
        return OnnxEmbedder(
            path,
            device=str(device),
            half=settings.half and tensorrt,
            threads=settings.threads,
            batch_size=settings.batch_size,
            graph=graph,
        )

    tensorrt = device.kind == "tensorrt"
    graph = convert_checkpoint(path)
    try:
        embedder = load(graph)
    except WeightsError:
        # The file in the cache is damaged: convert again.
        graph.unlink(missing_ok=True)
        embedder = load(convert_checkpoint(path))
    if settings.half and not tensorrt:
        embedder.notices.append(f"half precision is ignored on {embedder.device}: it is for CUDA.")
    return embedder


def _load_network(path: Path, settings: _Settings) -> NetworkEmbedder:
    """Load a weights file in the runtime for its format.

    Raises:
        OptionError: The runtime that was asked for cannot run the format.
    """
    device, half, threads, batch_size = settings.device, settings.half, settings.threads, settings.batch_size
    suffix = ".xml" if path.is_dir() else path.suffix.lower()
    if suffix in CHECKPOINT_SUFFIXES:
        from tracking.reid.checkpoint import is_torchscript

        if not is_torchscript(path):
            return _load_checkpoint(path, settings)
        suffix = TORCHSCRIPT_SUFFIXES[0]
    runtimes = {".onnx": ("auto", "onnx")} | dict.fromkeys(TORCHSCRIPT_SUFFIXES, ("auto", "torch"))
    if settings.runtime not in runtimes.get(suffix, ("auto",)):
        raise OptionError(f"runtime {settings.runtime}: cannot run {path.name}; expected auto.")
    if suffix == ".onnx":
        from tracking.reid.onnx_embedder import OnnxEmbedder

        return OnnxEmbedder(path, device=device, half=half, threads=threads, batch_size=batch_size)
    if suffix in TORCHSCRIPT_SUFFIXES:
        from tracking.reid.torch_embedder import TorchScriptEmbedder

        return TorchScriptEmbedder(path, device=device, half=half, threads=threads, batch_size=batch_size)
    if suffix == ".xml":
        from tracking.reid.openvino_embedder import OpenVinoEmbedder

        return OpenVinoEmbedder(path, device=device, half=half, threads=threads, batch_size=batch_size)
    from tracking.reid.boxmot_embedder import BoxmotEmbedder

    return BoxmotEmbedder(path, device=device, half=half, batch_size=batch_size)


def load_own_export(path: Path, *, device: str, half: bool, threads: int, batch_size: int) -> NetworkEmbedder:
    """Load weights that gtrack has just made itself: whether they can run code is not asked.

    Args:
        path: The file, or an OpenVINO folder.
        device: See `load_embedder`, as the other arguments.

    Raises:
        WeightsError, EmbedderError: See `load_embedder`.
    """
    return _load_network(path, _Settings(device, half, "auto", threads, batch_size))


def load_embedder(
    weights: str | Path | None = None,
    *,
    models_dir: str | Path = "models",
    device: str = "auto",
    half: bool = False,
    runtime: str = "auto",
    threads: int | None = None,
    batch_size: int | None = None,
    download: bool = False,
    gallery_model: EmbeddingModel | None = None,
    trust_weights: bool = False,
    notify: Callable[[str], None] | None = None,
    progress: Progress | None = None,
) -> NetworkEmbedder | BuiltinEmbedder:
    """Load a ReID embedder.

    Args:
        weights: A path, a name (see `resolve_weights`), or ``"builtin"``. None for the gallery's model if one is given,
            else trained weights that are found locally, else the built-in embedder.
        models_dir: Folder of weights; it need not exist.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:N"``, ``"tensorrt"``, ``"tensorrt:N"`` (ONNX models and
            checkpoints), ``"mps"``, or a CUDA index such as ``"0"``.
        half: Compute in FP16 in torch on CUDA and in TensorRT; ignored with a notice elsewhere.
        runtime: One of `RUNTIMES`, for ``.pt`` checkpoints.
        threads: CPU threads, at least 1; None for the number of cores, at most 4.
        batch_size: Maximum number of crops per inference, at least 1; None for 8 on the CPU, 64 elsewhere.
        download: Whether published weights may be downloaded.
        gallery_model: Model of the gallery for which the embeddings are.
        trust_weights: Whether the file that `weights` names may run code, as TorchScript and TensorRT engines can (see
            `tracking.reid.trust`), and whether it counts as the model of which it says that it is an export, although
            another machine made it (see `tracking.reid.claims`). It is remembered for that file.
        notify: Called with one-line messages for the user.
        progress: Called during a download with the bytes received and the total (None if unknown).

    Returns:
        An embedder; close it when done, or use it as a context manager.

    Raises:
        OptionError: A device, runtime, number of threads or batch size is not valid.
        WeightsError: The weights cannot be found, read or downloaded, do not match their architecture, or can run code
            and are not trusted.
        EmbedderError: A runtime or device is missing, or the model is not a ReID model.
    """
    if runtime not in RUNTIMES:
        raise OptionError(f"runtime: expected one of {', '.join(RUNTIMES)}, found {runtime!r}.")
    for name, value in (("threads", threads), ("batch_size", batch_size)):
        if value is not None and value < 1:
            raise OptionError(f"{name}: expected at least 1, found {value}.")
    parse_device(device)
    folder = Path(models_dir)
    path: Path | None
    if weights is None:
        path = _choose_weights(folder, gallery_model, notify)
    elif str(weights) == BUILTIN_NAME:
        path = None
    else:
        path = resolve_weights(weights, folder, download=download, progress=progress)
    if path is None:
        _log.info("ReID model: %s", BUILTIN_NAME)
        return BuiltinEmbedder()
    if not is_weights(path):
        raise WeightsError(
            f"{path}: not a supported weights format.",
            hint=f"Supported: {', '.join(WEIGHTS_SUFFIXES)}, or an OpenVINO folder named *_openvino_model.",
        )
    check_trust(path, executable_format(path), consent=trust_weights and names_file(weights, path))
    settings = _Settings(device, half, runtime, threads, batch_size)
    decide_claim(
        path,
        consent=trust_weights and names_file(weights, path),
        models_dir=folder,
        load=lambda file: _load_network(file, replace(settings, runtime="auto")),
        notify=lambda notice: _notify(notify, notice),
    )
    embedder = _load_network(path, settings)
    for notice in embedder.notices:
        _notify(notify, notice)
    _log.info("ReID model: %s on %s, %d values per embedding", path, embedder.device, embedder.model.dimension)
    return embedder
