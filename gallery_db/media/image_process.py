"""Decode images in a process of its own, so that a crash of a decoder costs one image and not the ingest.

Decoders are C code that reads what strangers wrote. Here a decoder that crashes, asks for too much memory or does not
end takes down a child process, which has limits set by the operating system and may write no files; the image is
refused, and the next one gets a new child. The child is started for the first image, answers one image after the other
through its standard streams, and ends by itself when it has nothing to do. Where no child can be started, images are
decoded in this process.
"""

from __future__ import annotations

import atexit
import json
import os
import selectors
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from io import BufferedReader
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray

from gallery_db.child_python import child_python
from gallery_db.errors import ImageError
from gallery_db.limits import IMAGE_BYTES, IMAGE_PIXELS, MAX_DECODE_SECONDS
from gallery_db.logs import get_logger
from gallery_db.media.images import SMALLEST_SIDE, load_formats, read_image_bytes

__all__ = ["ImageProcess", "decode_apart", "serve_images"]

_log = get_logger("media")

_IDLE_SECONDS = 10.0
"""After so long without an image the child ends; an ingest embeds a batch in less time."""
_READY = b"ready\n"


class ImageProcess:
    """A child process that decodes images, started when it is needed; threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._works = True
        self._limits: tuple[int, int] | None = None  # which the child was started with

    def decode(
        self, data: bytes, *, name: str, smallest_side: int = SMALLEST_SIDE, least: tuple[int, int] | None = None
    ) -> NDArray[np.uint8]:
        """Decode the bytes of an image file; see `read_image_bytes`.

        Raises:
            ImageError: As `read_image_bytes`; also if the decoder crashed, or did not end in time.
        """
        with self._lock:
            child = self._started()
            if child is None:
                return read_image_bytes(data, name=name, smallest_side=smallest_side, least=least)
            request = {"name": name, "bytes": len(data), "smallest_side": smallest_side, "least": least}
            answer = self._ask(child, data, request)
            if answer is None and child.poll() == 0:  # it had just ended by itself, as it had nothing to do
                child = self._started()
                answer = None if child is None else self._ask(child, data, request)
        if isinstance(answer, str):
            raise ImageError(f"{name} {answer}.", hint="Copy or export it again, or leave it out.")
        if answer is None:
            return read_image_bytes(data, name=name, smallest_side=smallest_side, least=least)
        return answer

    def close(self) -> None:
        """End the child; a later image starts another one."""
        child, self._child = self._child, None
        if child is not None:
            child.kill()
            _close_pipes(child)
            child.wait()

    def _started(self) -> subprocess.Popen[bytes] | None:
        """Return the running child, which is started if there is none; None where that is not possible."""
        child = self._child
        limits = (IMAGE_PIXELS.value, IMAGE_BYTES.value)
        if child is not None and child.poll() is None and self._limits == limits:
            return child
        self.close()
        if not self._works:
            return None
        threads = {f"{library}_NUM_THREADS": "1" for library in ("OPENBLAS", "OMP", "MKL")}
        try:
            child = subprocess.Popen(
                child_python(__name__, "serve_images"),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**os.environ, **threads},
            )
        except OSError as error:
            _log.warning("images are decoded in this process: %s", error)
            self._works = False
            return None
        self._child, self._limits = child, limits
        assert child.stdout is not None
        if child.stdout.readline() != _READY:
            _log.warning("images are decoded in this process: no other one can be started with %s", sys.executable)
            self._works = False
            self.close()
            return None
        return child

    def _ask(
        self, child: subprocess.Popen[bytes], data: bytes, request: dict[str, Any]
    ) -> NDArray[np.uint8] | str | None:
        """Return what a child answers: the image, or why there is none; None if the child ended by itself."""
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            child.stdin.write(json.dumps(request).encode() + b"\n")
            child.stdin.write(data)
            child.stdin.flush()
            # It has read the image as a whole before it decodes, so that nothing but the decoding can take long.
            if not _is_ready(child.stdout, MAX_DECODE_SECONDS):
                child.kill()
                child.wait()
                return f"takes longer than {MAX_DECODE_SECONDS} s to decode"
            answer = json.loads(child.stdout.readline() or b"null")
            if answer is not None and "shape" in answer:
                image = np.empty(answer["shape"], np.uint8)
                if cast(BufferedReader, child.stdout).readinto(image.reshape(-1).data) == image.size:
                    return image
                answer = None
        except (OSError, ValueError):
            answer = None
        if answer is not None:
            raise ImageError(answer["message"], hint=answer["hint"])
        code = child.wait()
        return None if code == 0 else f"cannot be decoded: its decoder crashed ({_reason(code)})"


def _reason(code: int) -> str:
    with suppress(ValueError):
        return signal.Signals(-code).name
    return f"exit code {code}"


def _close_pipes(child: subprocess.Popen[bytes]) -> None:
    for stream in (child.stdin, child.stdout):
        if stream is not None:
            with suppress(OSError):
                stream.close()


_process = ImageProcess()
atexit.register(_process.close)


def decode_apart(data: bytes, *, name: str, least: tuple[int, int] | None = None) -> NDArray[np.uint8]:
    """Decode the bytes of an image file in the child that this process shares; see `ImageProcess.decode`."""
    return _process.decode(data, name=name, least=least)


def serve_images() -> None:
    """Decode images for the parent process until it ends, or sends none for a while."""
    with suppress(ValueError, OSError):
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C means
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    load_formats()
    _limit_this_process()
    answers.write(_READY)
    answers.flush()
    while _is_ready(requests, _IDLE_SECONDS) and (line := requests.readline()):
        request: dict[str, Any] = json.loads(line)
        data = requests.read(request["bytes"])
        try:
            image = read_image_bytes(
                data, name=request["name"], smallest_side=request["smallest_side"], least=request["least"]
            )
        except ImageError as error:
            answers.write(json.dumps({"message": error.message, "hint": error.hint}).encode() + b"\n")
        else:
            answers.write(json.dumps({"shape": image.shape}).encode() + b"\n")
            answers.write(image.data)
        answers.flush()


def _is_ready(stream: IO[bytes], seconds: float) -> bool:
    """Wait until a pipe can be read or has ended; return False if that takes too long."""
    if os.name != "posix":  # where only sockets can be waited for
        return True
    with selectors.DefaultSelector() as waiting:  # `select` alone knows no descriptor above 1023
        waiting.register(stream, selectors.EVENT_READ)
        return bool(waiting.select(seconds))


def _limit_this_process() -> None:
    """Limit memory, and forbid to write files and to dump memory, where the operating system can."""
    try:
        import resource
    except ImportError:
        return
    memory = 2 * 1024**3 + 16 * IMAGE_PIXELS.value  # what the libraries map, and twice what decoding takes
    for what, most in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        with suppress(ValueError, OSError):
            resource.setrlimit(what, (most, most))
