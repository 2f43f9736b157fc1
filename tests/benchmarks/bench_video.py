"""Compare the reading of video files with OpenCV: time, identical frames, and single frames of a long file.

``python tests/benchmarks/bench_video.py --video ../shared/data/video/pets09-s2l1.avi [--hours 1] [--rounds 3]``

Encodes the frames of the video as files of other kinds. Reads each with OpenCV and with gtrack, with and without the
conversion to pixels. The long file is the H.264 file, repeated without encoding it again.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from tracking.video.reader import VideoReader

KINDS: dict[str, tuple[str, str, tuple[int, int] | None]] = {
    "h264.mp4": ("libx264", "yuv420p", None),
    "h264-1080.mp4": ("libx264", "yuv420p", (1920, 1080)),
    "h265-10bit.mp4": ("libx265", "yuv420p10le", None),
}


def encode(video: Path, path: Path, codec: str, pixels: str, size: tuple[int, int] | None) -> None:
    """Encode a video in another way."""
    options = {"x265-params": "log-level=error"} if codec == "libx265" else {}
    with av.open(str(video)) as old, av.open(str(path), "w") as new:
        source = old.streams.video[0]
        stream: Any = new.add_stream(codec, rate=25, options=options)
        stream.width, stream.height = size or (source.width, source.height)
        stream.pix_fmt = pixels
        for number, frame in enumerate(old.decode(source)):
            picture = frame.reformat(stream.width, stream.height, format=pixels)
            picture.pts, picture.time_base = number, Fraction(1, 25)
            new.mux(stream.encode(picture))
        new.mux(stream.encode())


def repeat(path: Path, long: Path, seconds: float) -> None:
    """Write a file again and again into a longer one, without encoding it."""
    with av.open(str(long), "w") as new:
        stream: Any = None
        begin = 0
        while begin < seconds * 25:
            with av.open(str(path)) as old:
                source = old.streams.video[0]
                if stream is None:
                    stream = new.add_stream_from_template(source)
                shift = begin * Fraction(1, 25) / source.time_base
                for packet in old.demux(source):
                    if packet.pts is None or packet.dts is None:
                        continue
                    packet.pts += int(shift)
                    packet.dts += int(shift)
                    packet.stream = stream
                    new.mux(packet)
                begin += source.frames


def by_opencv(path: Path, with_pixels: bool) -> int:
    """Read a file with OpenCV. Return its number of frames."""
    capture, count = cv2.VideoCapture(str(path)), 0
    while capture.grab():
        count += 1
        if with_pixels:
            capture.retrieve()
    return count


def by_gtrack(path: Path, with_pixels: bool) -> int:
    """Read a file with gtrack. Return its number of frames."""
    with VideoReader(path) as reader:
        while reader.advance():
            if with_pixels:
                reader.image()
        return reader.frame + 1


def same_frames(path: Path) -> int:
    """Return the number of frames that are equal bit by bit."""
    capture, same = cv2.VideoCapture(str(path)), 0
    with VideoReader(path) as reader:
        while reader.advance():
            same += np.array_equal(reader.image(), capture.read()[1])
    return same


def measure(work: Callable[[], int], rounds: int) -> str:
    """Return CPU and wall-clock ms a frame, the best of several rounds."""
    cpu, wall = [], []
    for _ in range(rounds):
        started, started_cpu = time.perf_counter(), time.process_time()
        frames = work()
        cpu.append((time.process_time() - started_cpu) / frames * 1e3)
        wall.append((time.perf_counter() - started) / frames * 1e3)
    return f"{min(cpu):5.2f} / {min(wall):5.2f}"


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--video", type=Path, required=True)
    parser.add_argument("--hours", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        files = [args.video]
        for name, kind in KINDS.items():
            files.append(Path(folder) / name)
            encode(args.video, files[-1], *kind)
        print("ms a frame, CPU / wall clock; frames equal bit by bit")
        for file in files:
            for with_pixels in (False, True):
                row = [measure(lambda: read(file, with_pixels), args.rounds) for read in (by_opencv, by_gtrack)]  # noqa: B023
                print(f"{file.name:20} {'pixels' if with_pixels else 'decode':7} OpenCV {row[0]}  gtrack {row[1]}")
            print(f"{file.name:20} {same_frames(file)} of {by_gtrack(file, False)} frames equal")
        long = Path(folder) / "long.mp4"
        repeat(files[1], long, args.hours * 3600)
        with VideoReader(long) as reader:
            count = reader.frame_count or 0
            started = time.perf_counter()
            for frame in np.linspace(0, count - 1, 20).astype(int).tolist():
                assert reader.seek(frame)
                reader.image()
        print(f"{count} frames: 20 of them in {time.perf_counter() - started:.2f} s")
        started = time.perf_counter()
        by_gtrack(long, False)
        print(f"{count} frames: all decoded in {time.perf_counter() - started:.2f} s")


if __name__ == "__main__":
    main()
