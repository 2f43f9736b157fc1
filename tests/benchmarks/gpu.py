"""Run every path of gtrack that a GPU takes, compare each with the CPU, and print how fast it is.

``python tests/benchmarks/gpu.py --data ../shared/data [--device 0] [--seconds 3] [--batch 64]``

Embedders: ONNX Runtime on CUDA, the same with input and output buffers that stay on the GPU (IO binding), TensorRT in
FP32 and FP16, torch on CUDA in both, and a TensorRT engine of ``gtrack export reid``. Detectors: ONNX Runtime on CUDA
and TensorRT. Decoders: NVDEC by PyAV. Where something is absent, the row says what, and how to install it.

The exit code is 1 if a path that ran differs from the CPU: a least cosine under 0.9999 (FP16: 0.99), fewer than 99 %
(FP16: 95 %) of the boxes with a score from 0.3 on, or pixels that differ by more than 2 levels on average.

Without ``--data`` give ``--weights`` (a ReID model), ``--detector`` and ``--video``; what is not given is left out.
TensorRT builds each engine once, which takes minutes, and keeps it in gtrack's cache folder.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gallery_db.errors import GtrackError

Image = NDArray[np.uint8]
MIN_COSINE = {False: 0.9999, True: 0.99}
MIN_BOXES = {False: 0.99, True: 0.95}
MAX_LEVELS = 2.0
SCORE, SAME_BOX = 0.3, 0.9


@dataclass(frozen=True)
class Row:
    """One path: its speed, and how far it agrees with the CPU."""

    path: str
    per_second: float
    cpu_ms: float
    parity: str = ""
    agrees: bool = True


class Table:
    """Prints rows as they come, and remembers whether one disagreed."""

    def __init__(self) -> None:
        self.differs = False

    def head(self, title: str, unit: str) -> None:
        print(f"\n{title:38s} {unit:>11s} {'CPU ms each':>12s}  agreement with the CPU", flush=True)

    def add(self, path: str, measure: Callable[[], Row]) -> None:
        """Measure a path and print its row, or why there is none."""
        try:
            row = measure()
        except (GtrackError, ImportError) as error:
            # What the machine lacks, or what failed there; the message says which.
            hint = getattr(error, "hint", None)
            print(f"{path:38s} absent: {error}" + (f" {hint}" if hint and hint not in str(error) else ""), flush=True)
            return
        self.differs |= not row.agrees
        agreement = row.parity if row.agrees else f"DIFFERS: {row.parity}"
        print(f"{path:38s} {row.per_second:11.1f} {row.cpu_ms:12.3f}  {agreement}", flush=True)


def timed(run: Callable[[], Any], count: int, seconds: float) -> tuple[float, float]:
    """Return how many items a function does in a second of wall time, and CPU milliseconds for each."""
    for _ in range(3):  # Runtimes choose their kernels in the first calls.
        run()
    done, wall, spent = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - wall < seconds:
        run()
        done += count
    return done / (time.perf_counter() - wall), 1000 * (time.process_time() - spent) / done


def least_cosine(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    """Return the least cosine similarity of the rows of two arrays."""
    a, b = (item / np.linalg.norm(item, axis=1, keepdims=True) for item in (first, second))
    return float((a * b).sum(axis=1).min())


# --- embedders ---------------------------------------------------------------------------------


def embedders(table: Table, weights: Path, crops: Sequence[Image], arguments: argparse.Namespace) -> None:
    """Compare the embedders on crops, in batches of ``--batch``."""
    from tracking.reid.loader import load_embedder

    images = [crops[at % len(crops)] for at in range(arguments.batch)]
    with load_embedder(weights, device="cpu") as embedder:
        expected = embedder.embed(images)

    def measure(path: str, file: Path, device: str, half: bool, runtime: str) -> Row:
        with load_embedder(
            file, device=device, half=half, runtime=runtime, batch_size=arguments.batch, trust_weights=True
        ) as embedder:
            cosine = least_cosine(embedder.embed(images), expected)
            speed = timed(lambda: embedder.embed(images), len(images), arguments.seconds)
        return Row(path, *speed, f"least cosine {cosine:.6f}", cosine >= MIN_COSINE[half])

    index = arguments.device
    checkpoint = weights.with_suffix(".pt")
    rows: list[tuple[str, Path, str, bool, str]] = [
        ("ONNX Runtime, CPU", weights, "cpu", False, "auto"),
        ("ONNX Runtime, CUDA", weights, f"cuda:{index}", False, "onnx" if weights.suffix == ".pt" else "auto"),
        ("TensorRT", weights, f"tensorrt:{index}", False, "auto"),
        ("TensorRT, FP16", weights, f"tensorrt:{index}", True, "auto"),
    ]
    if checkpoint.is_file():
        rows += [
            (f"torch, CUDA{', FP16' * half}", checkpoint, f"cuda:{index}", half, "torch") for half in (False, True)
        ]
    table.head(f"ReID: {weights.name}, batch {arguments.batch}", "crops/s")
    for path, file, device, half, runtime in rows:
        table.add(path, lambda row=(path, file, device, half, runtime): measure(*row))  # type: ignore[misc]
    if not checkpoint.is_file():
        print(f"{'torch, CUDA':38s} absent: there is no {checkpoint.name} beside the weights")
    if weights.suffix == ".onnx":
        table.add("ONNX Runtime, CUDA, network alone", lambda: network_alone(weights, arguments, bound=False))
        table.add("the same, IO binding", lambda: network_alone(weights, arguments, bound=True))
    for half in (False, True):
        with tempfile.TemporaryDirectory() as folder:
            path = f"engine of gtrack export reid{', FP16' * half}"
            table.add(
                path,
                lambda path=path, half=half, folder=folder: measure(  # type: ignore[misc]
                    path, export_engine(weights, Path(folder), half, arguments.device), f"cuda:{index}", half, "auto"
                ),
            )


def export_engine(weights: Path, folder: Path, half: bool, device: int) -> Path:
    """Export a TensorRT engine and return its file."""
    from tracking.errors import ExportError
    from tracking.reid.export.exporter import export_reid
    from tracking.reid.export.options import ExportOptions

    options = ExportOptions(formats=("engine",), out_dir=folder, device=str(device), half=half, timing=False)
    exported = export_reid(weights, options).exports[0]
    if exported.path is None:
        raise ExportError(exported.error or "the export failed.", hint=exported.hint)
    return exported.path


def network_alone(weights: Path, arguments: argparse.Namespace, *, bound: bool, device: str = "cuda") -> Row:
    """Measure a network without the preparation of crops, with and without buffers that stay on the GPU."""
    import onnxruntime

    from tracking.reid.devices import Device
    from tracking.reid.model_description import resolve_preprocessing
    from tracking.reid.onnx_session import choose_providers, open_on_device, open_session

    resolved, providers = choose_providers(Device(device, arguments.device), onnxruntime.get_available_providers())
    session = open_on_device(weights, 1, resolved, providers)
    entry, output = session.get_inputs()[0], session.get_outputs()[0].name
    sizes = [size if isinstance(size, int) else 0 for size in entry.shape]
    preprocessing = resolve_preprocessing(weights, (sizes[2], sizes[3]) if all(sizes[2:]) else None)
    shape = (sizes[0] or arguments.batch, 3, preprocessing.height, preprocessing.width)
    dtype = np.float16 if entry.type == "tensor(float16)" else np.float32
    batch = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    expected = open_session(weights, 1).run([output], {entry.name: batch})[0]
    run: Callable[[], Any]
    if bound:
        value = onnxruntime.OrtValue.ortvalue_from_numpy(batch, device, arguments.device)
        binding = session.io_binding()
        binding.bind_ortvalue_input(entry.name, value)
        binding.bind_output(output, device, arguments.device)

        def run() -> Any:
            value.update_inplace(batch)
            session.run_with_iobinding(binding)
            return binding.copy_outputs_to_cpu()[0]
    else:

        def run() -> Any:
            return session.run([output], {entry.name: batch})[0]

    cosine = least_cosine(run().astype(np.float32), expected.astype(np.float32))
    return Row("", *timed(run, shape[0], arguments.seconds), f"least cosine {cosine:.6f}", cosine >= MIN_COSINE[False])


# --- detectors ---------------------------------------------------------------------------------


def same_boxes(expected: Sequence[NDArray[np.float32]], found: Sequence[NDArray[np.float32]]) -> float:
    """Return the share of the expected boxes that have a box of their class at their place."""
    alike = total = 0
    for rows, others in zip(expected, found, strict=True):
        for row in rows[rows[:, 4] >= SCORE]:
            total += 1
            near = others[others[:, 5] == row[5]]
            sides = np.minimum(near[:, 2:4], row[2:4]) - np.maximum(near[:, :2], row[:2])
            common = np.clip(sides, 0, None).prod(axis=1)
            areas = (near[:, 2:4] - near[:, :2]).prod(axis=1) + (row[2:4] - row[:2]).prod()
            alike += bool((common >= SAME_BOX * (areas - common)).any())
    return alike / total if total else 1.0


def detectors(table: Table, weights: Path, frames: Sequence[Image], arguments: argparse.Namespace) -> None:
    """Compare the detectors on frames."""
    from tracking.detectors.base import DetectorOptions
    from tracking.detectors.loader import load_detector

    def load(device: str, half: bool) -> Any:
        return load_detector(DetectorOptions(weights, device=device, half=half, batch_size=8))

    expected = load("cpu", False).detect(frames)

    def measure(path: str, device: str, half: bool) -> Row:
        detector = load(device, half)
        share = same_boxes(expected, detector.detect(frames))
        few = list(frames[: max(8, detector.batch_size)])
        speed = timed(lambda: detector.detect(few), len(few), arguments.seconds)
        return Row(path, *speed, f"{100 * share:.1f} % of the boxes", share >= MIN_BOXES[half])

    table.head(f"Detector: {weights.name}", "frames/s")
    index = arguments.device
    for row in (
        ("ONNX Runtime, CPU", "cpu", False),
        ("ONNX Runtime, CUDA", f"cuda:{index}", False),
        ("TensorRT", f"tensorrt:{index}", False),
        ("TensorRT, FP16", f"tensorrt:{index}", True),
    ):
        table.add(row[0], lambda row=row: measure(*row))  # type: ignore[misc]


# --- decoders ----------------------------------------------------------------------------------


def pyav_frames(path: Path) -> Iterator[Image]:
    """Decode a video on the CPU, by PyAV."""
    import av

    with av.open(str(path)) as container:
        container.streams.video[0].thread_type = "AUTO"
        for frame in container.decode(video=0):
            yield frame.to_ndarray(format="bgr24")


def opencv_frames(path: Path) -> Iterator[Image]:
    """Decode a video as gtrack does."""
    from tracking.video.reader import VideoReader

    with VideoReader(path) as reader:
        while reader.advance():
            yield reader.image()


def write_h264(frames: Sequence[Image], path: Path) -> None:
    """Write a clip whose codec every GPU decodes."""
    import av

    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=25)
        stream.height, stream.width = (side - side % 2 for side in frames[0].shape[:2])
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            picture = np.ascontiguousarray(frame[: stream.height, : stream.width])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="bgr24")))
        container.mux(stream.encode())


def decoders(table: Table, frames: Sequence[Image], arguments: argparse.Namespace) -> None:
    """Compare the decoders on an H.264 clip of frames."""
    from tracking.video.nvdec import nvdec_frames

    table.head(f"Decoder: H.264, {frames[0].shape[1]} x {frames[0].shape[0]}", "frames/s")
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder) / "clip.mp4"

        def measure(path: str, decode: Callable[[Path], Iterator[Image]]) -> Row:
            if not clip.exists():
                write_h264(frames, clip)
            pairs = list(zip(pyav_frames(clip), decode(clip), strict=True))
            levels = max(float(np.abs(a.astype(np.int16) - b).mean()) for a, b in pairs)
            speed = timed(lambda: sum(1 for _ in decode(clip)), len(pairs), arguments.seconds)
            return Row(path, *speed, f"{levels:.2f} levels", levels <= MAX_LEVELS)

        table.add("PyAV, CPU", lambda: measure("", pyav_frames))
        table.add("OpenCV, CPU", lambda: measure("", opencv_frames))
        table.add("PyAV, NVDEC", lambda: measure("", lambda path: nvdec_frames(path, arguments.device)))


# --- the machine -------------------------------------------------------------------------------


def describe(arguments: argparse.Namespace) -> None:
    """Print what the figures were taken on."""
    gpu = "no nvidia-smi: no NVIDIA driver"
    if shutil.which("nvidia-smi"):
        asked = ["nvidia-smi", f"--id={arguments.device}", "--query-gpu=name,driver_version", "--format=csv,noheader"]
        done = subprocess.run(asked, capture_output=True, text=True, timeout=60, check=False)
        gpu = (done.stdout or done.stderr).strip()
    packages = []
    for name in ("onnxruntime", "onnxruntime-gpu", "tensorrt", "torch", "av", "opencv-python"):
        try:
            packages.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            packages.append(f"no {name}")
    print(f"GPU {arguments.device}: {gpu}\nCPU: {platform.processor() or platform.machine()}\n{', '.join(packages)}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--weights", type=Path, help="ReID model, .onnx or .pt; default: OSNet x0.25 of the data")
    parser.add_argument("--detector", type=Path, help=".onnx detector; default: YOLOX-nano of the data")
    parser.add_argument("--video", type=Path, help="video for the detectors and decoders; default: PETS of the data")
    parser.add_argument("--crops", type=Path, help="folder of crops; default: crops that gtrack draws")
    parser.add_argument("--device", type=int, default=0, help="number of the GPU")
    parser.add_argument("--batch", type=int, default=64, help="crops in a batch")
    parser.add_argument("--frames", type=int, default=100, help="frames of the video")
    parser.add_argument("--seconds", type=float, default=3.0, help="length of each measurement")
    arguments = parser.parse_args()
    from tracking.reid.export.comparison import drawn_crops, read_crops

    describe(arguments)
    table = Table()
    weights = arguments.weights or arguments.data / "weights" / "osnet_x0_25_msmt17.onnx"
    crops = drawn_crops() if arguments.crops is None else read_crops(arguments.crops)
    if weights.is_file():
        embedders(table, weights, crops, arguments)
    else:
        print(f"\nReID left out: there is no {weights}; give --weights")
    video = arguments.video or arguments.data / "video" / "pets09-s2l1.avi"
    if not video.is_file():
        print(f"\nDetectors and decoders left out: there is no {video}; give --video")
        return int(table.differs)
    frames = [
        frame for frame, _ in zip((f.copy() for f in opencv_frames(video)), range(arguments.frames), strict=False)
    ]
    detector = arguments.detector or arguments.data / "weights" / "yolox_nano.onnx"
    if detector.is_file():
        detectors(table, detector, frames, arguments)
    else:
        print(f"\nDetectors left out: there is no {detector}; give --detector")
    decoders(table, frames, arguments)
    return int(table.differs)


if __name__ == "__main__":
    sys.exit(main())
