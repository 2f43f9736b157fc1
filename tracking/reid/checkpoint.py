"""Read PyTorch checkpoints without running code in them, and load them strictly into their architecture."""

from __future__ import annotations

import pickle
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tracking.boxmot_adapter import build_backbone
from tracking.errors import WeightsError, error_line
from tracking.reid.architectures import REID_ARCHITECTURES
from tracking.reid.sidecar import read_sidecar

__all__ = ["architecture_of", "is_torchscript", "load_network", "read_state_dict"]

_STATE_KEYS = ("state_dict", "model_state_dict", "model", "net")
_EXAMPLES = 3


def architecture_of(weights: Path) -> str:
    """Return the architecture of a checkpoint: ``arch`` in its sidecar, else the longest known prefix of its file name.

    Raises:
        WeightsError: No architecture is known.
    """
    names = REID_ARCHITECTURES
    sidecar = read_sidecar(weights)
    if sidecar is not None and sidecar.arch is not None:
        if sidecar.arch not in names:
            raise WeightsError(
                f"{sidecar.path}: arch: unknown architecture {sidecar.arch!r}.",
                hint=f"Known architectures: {', '.join(names)}.",
            )
        return sidecar.arch
    fitting = [name for name in names if weights.name.lower().startswith(name)]
    if not fitting:
        raise WeightsError(
            f"{weights}: the file name does not begin with a known architecture.",
            hint=f'Name it like osnet_x0_25_mine.pt, or write {{"arch": "..."}} into {weights.name}.gtrack.json. '
            f"Known architectures: {', '.join(names)}.",
        )
    return max(fitting, key=len)


def is_torchscript(path: Path) -> bool:
    """Whether a file is a TorchScript archive, whatever its suffix."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any("/code/" in name or name.endswith("/constants.pkl") for name in archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return False


def read_state_dict(path: Path) -> dict[str, Any]:
    """Read the tensors of a checkpoint, by name. Contents that would run code are an error.

    Raises:
        WeightsError: The file is unreadable, has pickled objects, or has no tensors.
    """
    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{path}: has pickled Python objects besides tensors, or is not a checkpoint; gtrack reads tensors only, "
            "because unpickling such a file can run any code.",
            hint="Where it was made, save only the weights: torch.save(model.state_dict(), path); or export ONNX.",
        ) from error
    except Exception as error:  # For other contents, the unpickler can raise any error.
        raise WeightsError(f"{path}: torch cannot read it as a checkpoint: {error_line(error)}.") from error
    for key in _STATE_KEYS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
            break
    if isinstance(content, Mapping):
        tensors = {
            str(name).removeprefix("module."): value
            for name, value in content.items()
            if isinstance(value, torch.Tensor)
        }
        if tensors:
            return tensors
    raise WeightsError(f"{path}: expected a state dict (names and tensors), found {type(content).__name__}.")


def _is_needed(name: str) -> bool:
    """Whether inference needs a tensor. Classifiers and counters are for training only."""
    *modules, leaf = name.split(".")
    return leaf != "num_batches_tracked" and not any(
        module.startswith("classifier") or module.endswith("_classifier") for module in modules
    )


def load_network(weights: Path, architecture: str) -> Any:
    """Build an architecture and load every tensor that inference needs from a checkpoint.

    Denormal weights become zero (see `tracking.reid.denormals`).

    Returns:
        A torch module in evaluation mode, float32, on the CPU.

    Raises:
        WeightsError: The file is unreadable, or names or shapes do not match the architecture.
    """
    import torch

    tensors = read_state_dict(weights)
    network = build_backbone(architecture)
    expected = {name: value for name, value in network.state_dict().items() if _is_needed(name)}
    found = {name: value for name, value in tensors.items() if _is_needed(name)}
    missing = sorted(expected.keys() - found.keys())
    unexpected = sorted(found.keys() - expected.keys())
    reshaped = [
        f"{name} {tuple(found[name].shape)} for {tuple(expected[name].shape)}"
        for name in sorted(expected.keys() & found.keys())
        if expected[name].shape != found[name].shape
    ]
    if missing or unexpected or reshaped:
        parts = [
            f"{len(names)} {what} ({', '.join(names[:_EXAMPLES])}{', ...' if len(names) > _EXAMPLES else ''})"
            for what, names in (("missing", missing), ("unexpected", unexpected), ("of another shape", reshaped))
            if names
        ]
        raise WeightsError(
            f"{weights}: the checkpoint does not match its architecture {architecture}: of {len(expected)} tensors "
            + "; ".join(parts)
            + ".",
            hint=f'If the architecture is a different one, write {{"arch": "..."}} into {weights.name}.gtrack.json.',
        )
    network.load_state_dict(found, strict=False)
    network = network.float().eval()
    for tensor in (*network.parameters(), *network.buffers()):
        if tensor.is_floating_point():
            tensor.data[tensor.data.abs() < torch.finfo(tensor.dtype).tiny] = 0
    return network
