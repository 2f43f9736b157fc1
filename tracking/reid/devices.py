"""Parse device strings, and resolve them on this machine."""

from __future__ import annotations

import os
import platform
import re
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from gallery_db.distribution import require_package
from tracking.errors import EmbedderError, OptionError

__all__ = ["Device", "accelerator_likely", "default_threads", "parse_device", "torch_device"]

_MAX_THREADS = 4


@dataclass(frozen=True, slots=True)
class Device:
    """A device that was asked for.

    Attributes:
        kind: ``"auto"``, ``"cpu"``, ``"cuda"``, ``"tensorrt"`` or ``"mps"``.
        index: Number of the CUDA device, from 0, also for TensorRT.
    """

    kind: str
    index: int = 0

    def __str__(self) -> str:
        return f"{self.kind}:{self.index}" if self.kind in ("cuda", "tensorrt") else self.kind


def parse_device(text: str) -> Device:
    """Parse a device string.

    Args:
        text: ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:N"``, ``"tensorrt"``, ``"tensorrt:N"``, ``"mps"``, or a CUDA
            index such as ``"0"``.

    Raises:
        OptionError: The string has another form.
    """
    if text in ("auto", "cpu", "mps", "cuda", "tensorrt"):
        return Device(text)
    match = re.fullmatch(r"(?:(cuda|tensorrt):)?(\d{1,3})", text)
    if match is None:
        raise OptionError(
            f"device: expected auto, cpu, cuda, cuda:N, tensorrt, tensorrt:N, mps or an index, found {text!r}."
        )
    return Device(match[1] or "cuda", int(match[2]))


def default_threads() -> int:
    """Return the number of CPU threads for one network: the cores that this process may use, at most 4.

    More threads hardly speed up small ReID networks, and the video decoder and the tracker need cores as well.
    """
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(_MAX_THREADS, available))


def accelerator_likely() -> bool:
    """Whether there may be a CUDA or Apple GPU, found out without importing torch, which takes seconds."""
    if sys.platform == "darwin":
        return platform.machine() == "arm64"
    if sys.platform == "win32":
        return (Path(os.environ.get("SYSTEMROOT", r"C:\Windows")) / "System32" / "nvcuda.dll").exists()
    return any(Path(path).exists() for path in ("/dev/nvidiactl", "/dev/dxg", "/dev/nvhost-gpu"))


def torch_device(device: Device) -> Device:
    """Resolve a device for torch.

    Raises:
        EmbedderError: This machine, or the installed torch, does not have the device.
        MissingPackageError: Torch is not installed.
    """
    if device.kind == "tensorrt":
        raise EmbedderError(
            f"device {device}: TensorRT runs ONNX models, and torch runs these weights.",
            hint="Give an .onnx file, or use device cuda.",
        )
    if device.kind == "cpu" or (device.kind == "auto" and not accelerator_likely()):
        return Device("cpu")
    if device.kind == "auto" and find_spec("torch") is None:
        return Device("cpu")
    require_package("torch", "boxmot", f"The device {device} for this model")
    import torch

    has_mps = bool(torch.backends.mps.is_available())
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device.kind == "auto":
        return Device("cuda") if count else Device("mps") if has_mps else Device("cpu")
    if device.kind == "mps" and not has_mps:
        raise EmbedderError("device mps: torch finds no Apple GPU.", hint="Use device cpu.")
    if device.kind == "cuda" and device.index >= count:
        raise EmbedderError(
            f"device {device}: torch {torch.__version__} finds {count} CUDA devices.",
            hint="Use device cpu, or install a CUDA build of torch (https://pytorch.org/get-started).",
        )
    return device
