"""ReID networks run by torch: checkpoints (``.pt``) and TorchScript."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gallery_db.distribution import require_package
from tracking.errors import EmbedderError, WeightsError, error_line
from tracking.reid.base import NetworkEmbedder
from tracking.reid.checkpoint import architecture_of, load_network
from tracking.reid.devices import default_threads, parse_device, torch_device
from tracking.reid.model_description import resolve_preprocessing
from tracking.reid.stamp import read_stamp

__all__ = ["TorchEmbedder", "TorchScriptEmbedder"]


class TorchEmbedder(NetworkEmbedder):
    """A ``.pt`` checkpoint of one of BoxMOT's architectures, run by torch.

    On the CPU, it sets the number of threads of torch, for the whole process.

    Args:
        weights: The checkpoint.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:N"``, an index, or ``"mps"``.
        half: Compute in FP16 on CUDA; ignored with a notice elsewhere.
        threads: CPU threads; None for the number of cores, at most 4.
        batch_size: Maximum number of crops per inference; None for 8 on the CPU, 64 elsewhere.
        notices: Sentences for the user, from the caller.

    Raises:
        WeightsError: The checkpoint is unreadable, or does not match its architecture.
        EmbedderError: There is no such device.
        MissingPackageError: Torch is not installed.
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
        require_package("torch", "boxmot", f"The model {weights}")
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
            fixed_batch=self._fixed_batch_size(weights),
            notices=notices,
        )

    def _load(self, weights: Path) -> Any:
        """Return the network as a torch module on the CPU."""
        return load_network(weights, architecture_of(weights))

    def _fixed_batch_size(self, weights: Path) -> int | None:
        """Return the network's fixed batch size; None if it accepts any."""
        return None

    def _infer(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        import torch

        try:
            # Warnings of an architecture's own code do not concern the user of its weights.
            with warnings.catch_warnings(), torch.inference_mode():
                warnings.simplefilter("ignore")
                output = self._network(torch.from_numpy(batch).to(device=self._torch_device, dtype=self._dtype))
                if isinstance(output, (tuple, list)) and output:
                    output = output[0]
                if not isinstance(output, torch.Tensor):
                    raise EmbedderError(f"expected the model to return a tensor, found {type(output).__name__}.")
                result: NDArray[np.float32] = output.float().cpu().numpy()
        except RuntimeError as error:
            raise EmbedderError(
                f"{self._name}: torch failed on {len(batch)} crops: {error_line(error, last=True)}.",
                hint="Out of memory: use a smaller batch size. Wrong shape: correct height and width in the sidecar.",
            ) from error
        return result

    def _release(self) -> None:
        self._network = None


class TorchScriptEmbedder(TorchEmbedder):
    """A TorchScript ReID model: input [N, 3, H, W] float32, output [N, D]. Arguments as `TorchEmbedder`."""

    _runtime_name = "torchscript"

    def _fixed_batch_size(self, weights: Path) -> int | None:
        # A traced network does not state the batch size of its trace.
        stamp = read_stamp(weights)
        return stamp.batch if stamp else None

    def _load(self, weights: Path) -> Any:
        import torch

        try:
            # TorchScript is deprecated since torch 2.10, but such files are still in use.
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return torch.jit.load(str(weights), map_location="cpu").eval()
        except (RuntimeError, ValueError, OSError) as error:
            raise WeightsError(f"{weights}: torch cannot load it as TorchScript: {error_line(error)}.") from error
