"""Convert checkpoints to ONNX, once each, because ONNX Runtime runs them several times faster on a CPU."""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gallery_db.atomic_files import atomic_path
from gallery_db.distribution import require_package
from tracking.errors import EmbedderError, WeightsError, error_line
from tracking.reid.cache import cache_dir, weights_sha256
from tracking.reid.checkpoint import architecture_of, load_network
from tracking.reid.denormals import flush_file
from tracking.reid.devices import default_threads
from tracking.reid.input_spec import Preprocessing
from tracking.reid.model_description import resolve_preprocessing
from tracking.reid.onnx_session import open_session

__all__ = ["PARITY", "convert_checkpoint", "converted_path", "write_onnx"]

PARITY = 0.9999
"""Minimum cosine similarity between embeddings of a checkpoint and of its conversion for the same input."""

_VERSION = "v2"
_OPSET = 17
_INPUT, _OUTPUT = "images", "embeddings"


def converted_path(weights: Path) -> Path:
    """Return the path of a checkpoint's conversion in the cache folder, whether it exists or not.

    Raises:
        WeightsError: The checkpoint is unreadable, or its architecture is unknown.
    """
    architecture = architecture_of(weights)
    size = resolve_preprocessing(weights)
    name = f"{weights_sha256(weights)}-{architecture}-{size.height}x{size.width}-{_VERSION}.onnx"
    return cache_dir() / "converted" / name


def _test_inputs(preprocessing: Preprocessing) -> NDArray[np.float32]:
    """Return five network inputs of different kinds: flat, smooth, two halves, and noise."""
    generator = np.random.default_rng(0)
    height, width = preprocessing.height, preprocessing.width
    ramp = np.linspace(-2.0, 2.0, height, dtype=np.float32)[:, None] * np.ones(width, dtype=np.float32)
    images = generator.standard_normal((5, 3, height, width)).astype(np.float32)
    images[0] = 0.5
    images[1] = ramp
    images[2, :, : height // 2] = -1.0
    images[2, :, height // 2 :] = 1.0
    return images


@contextlib.contextmanager
def _muted_stdout() -> Iterator[None]:
    """Redirect the standard output of the process to the null device, at the level of the operating system.

    If the exporter fails, torch's C++ code prints the whole graph to standard output, which is for results. The option
    that should prevent this has no effect (torch 2.13).
    """
    try:
        sys.stdout.flush()
        saved = os.dup(1)
    except (OSError, ValueError, AttributeError):  # The process has no standard output.
        yield
        return
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.close(null)
        yield
    finally:
        os.dup2(saved, 1)
        os.close(saved)


def _check_parity(network: Any, path: Path, preprocessing: Preprocessing) -> None:
    """Check that a converted model has a free batch and the checkpoint's embeddings.

    Raises:
        EmbedderError: It differs from the checkpoint.
    """
    import torch

    inputs = _test_inputs(preprocessing)
    with torch.inference_mode():
        expected = network(torch.from_numpy(inputs)).numpy()
    session = open_session(path, default_threads())
    # One input alone, then the others together: the batch must be free.
    found = np.concatenate([session.run(None, {_INPUT: part})[0] for part in (inputs[:1], inputs[1:])])
    if found.shape != expected.shape or expected.ndim != 2:
        raise EmbedderError(f"the converted model returns {found.shape}, the checkpoint {expected.shape}.")
    # Untrained networks return very small values, whose squares need float64.
    found, expected = found.astype(np.float64), expected.astype(np.float64)
    norms = np.linalg.norm(found, axis=1) * np.linalg.norm(expected, axis=1)
    cosine = float(np.min((found * expected).sum(axis=1) / np.maximum(norms, 1e-60)))
    if not cosine >= PARITY:
        raise EmbedderError(f"the converted model differs from the checkpoint: cosine {cosine:.6f} < {PARITY}.")


def write_onnx(network: Any, path: Path, example: Any, *, opset: int = _OPSET, dynamic: bool = True) -> None:
    """Write a torch network as ONNX: input ``images`` [N, 3, H, W], output ``embeddings`` [N, D].

    Denormal weights become zero (see `tracking.reid.denormals`).

    Args:
        network: A torch module in evaluation mode.
        path: The output file.
        example: A tensor [N, 3, H, W] with the network's device and dtype.
        opset: Version of the ONNX operators.
        dynamic: Whether N is free; else it is fixed to the example's.
    """
    import torch

    # The newer exporter needs onnxscript. This one warns that it is deprecated.
    with warnings.catch_warnings(), _muted_stdout(), torch.inference_mode():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            (example,),
            str(path),
            input_names=[_INPUT],
            output_names=[_OUTPUT],
            dynamic_axes={_INPUT: {0: "batch"}, _OUTPUT: {0: "batch"}} if dynamic else None,
            opset_version=opset,
            dynamo=False,
        )
    flush_file(path)


def convert_checkpoint(weights: Path) -> Path:
    """Convert a ``.pt`` checkpoint to ONNX with a free batch, in the cache folder, once for each file.

    The new file is compared with the checkpoint on several inputs before it gets its name. Torch is imported only if
    the conversion is not in the cache.

    Returns:
        The ONNX file.

    Raises:
        WeightsError: The checkpoint is unreadable, or does not match its architecture.
        EmbedderError: The conversion failed, or differs from the checkpoint. Torch can still run the checkpoint.
        MissingPackageError: Torch or BoxMOT is not installed.
    """
    target = converted_path(weights)
    if target.is_file():
        return target
    require_package("torch", "boxmot", f"The checkpoint {weights}")
    import torch

    torch.set_num_threads(default_threads())
    network = load_network(weights, architecture_of(weights))
    preprocessing = resolve_preprocessing(weights)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        example = torch.zeros(2, 3, preprocessing.height, preprocessing.width)
        with atomic_path(target) as part:
            write_onnx(network, part, example)
            _check_parity(network, part, preprocessing)
    except (EmbedderError, WeightsError):
        raise
    except Exception as error:  # The exporter runs the model's own code, which can raise any error.
        raise EmbedderError(f"{weights}: cannot be converted to ONNX: {error_line(error)}.") from error
    return target
