"""ReID networks run by torch: checkpoints (``.pt``) and TorchScript."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracking.errors import EmbedderError, WeightsError, error_line
from tracking.reid.base import NetworkEmbedder
from tracking.reid.checkpoint import architecture_of, load_network
from tracking.reid.devices import default_threads, parse_device, torch_device
from tracking.reid.model_description import resolve_preprocessing
from tracking.reid.stamp import read_stamp

__all__ = ["TorchEmbedder", "TorchScriptEmbedder"]


class TorchEmbedder(NetworkEmbedder):
    """A ``.pt`` checkpoint of one of BoxMOT's architectures, run by torch.

    Sets torch's thread count, which holds for the whole process.

    Args:
        weights: The checkpoint.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:N"``, an index, or ``"mps"``.
        half: Compute in FP16, on CUDA; elsewhere noticed and ignored.
        threads: Threads on the CPU; None: the cores, at most 4.
        batch_size: Most crops per inference; None: 8 on the CPU, 64 elsewhere.
        notices: What was noticed before.

    Raises:
        WeightsError: The checkpoint is unreadable or does not fit its architecture.
        EmbedderError: A device that is not there.
    """

    _runtime_name = "torch"

    def __init__(
        self,
        weights: Path,
        *,
        device: str = "auto",
        half: bool = False,
        threads: int | None = None,
        batch_size: int | None = None,
        notices: tuple[str, ...] = (),
    ) -> None:
        preprocessing = resolve_preprocessing(weights)
        resolved = torch_device(parse_device(device))
        import torch

        if resolved.kind == "cpu":
            torch.set_num_threads(threads or default_threads())
        if half and resolved.kind != "cuda":
            notices = (*notices, f"half precision is ignored on {resolved}: it is for CUDA.")
            half = False
        self._torch_device = torch.device(str(resolved))
        self._dtype = torch.float16 if half else torch.float32
        self._network = self._load(weights).to(device=self._torch_device, dtype=self._dtype)
        super().__init__(
            weights,
            preprocessing,
            device=str(resolved),
            runtime=self._runtime_name,
            half=half,
            batch_size=batch_size,
            fixed_batch=self._fixed(weights),
            notices=notices,
        )

    def _load(self, weights: Path) -> Any:
        return load_network(weights, architecture_of(weights))

    def _fixed(self, weights: Path) -> int | None:
        return None

    def _infer(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        import torch

        try:
            # What an architecture's own code warns about is not for the user of its weights.
            with warnings.catch_warnings(), torch.inference_mode():
                warnings.simplefilter("ignore")
                output = self._network(torch.from_numpy(batch).to(device=self._torch_device, dtype=self._dtype))
                if isinstance(output, (tuple, list)) and output:
                    output = output[0]
                if not isinstance(output, torch.Tensor):
                    raise EmbedderError(f"expected the model to return a tensor, found {type(output).__name__}")
                result: NDArray[np.float32] = output.float().cpu().numpy()
        except RuntimeError as error:
            raise EmbedderError(
                f"torch failed on {len(batch)} crops: {error_line(error, last=True)}",
                hint="Out of memory: a smaller batch size. A wrong shape: the sidecar's height and width.",
            ) from error
        return result

    def _release(self) -> None:
        self._network = None


class TorchScriptEmbedder(TorchEmbedder):
    """A TorchScript ReID model: input [N, 3, H, W] float32, output [N, D]. Arguments as `TorchEmbedder`."""

    _runtime_name = "torchscript"

    def _fixed(self, weights: Path) -> int | None:
        # A trace does not say for which batch it was made.
        stamp = read_stamp(weights)
        return stamp.batch if stamp else None

    def _load(self, weights: Path) -> Any:
        import torch

        try:
            # TorchScript is deprecated since torch 2.10, yet such files are around.
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return torch.jit.load(str(weights), map_location="cpu").eval()
        except (RuntimeError, ValueError, OSError) as error:
            raise WeightsError(f"{weights}: torch cannot load it as TorchScript: {error_line(error)}") from error
