"""A camera for tests: an HTTP server that sends JPEGs in a loop, and can be stopped and started again."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np
from numpy.typing import NDArray

from support.camera import Camera


class MjpegServer(Camera):
    """Sends the frames in a loop at a fixed rate; every client starts with the first one.

    Attributes:
        sent: Number of frames sent so far, over all clients.
    """

    def __init__(self, frames: Sequence[NDArray[np.uint8]], fps: float) -> None:
        super().__init__()
        self._jpegs = [cv2.imencode(".jpg", frame)[1].tobytes() for frame in frames]
        self._period = 1.0 / fps
        self.sent = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/stream.mjpg"

    def start(self) -> None:
        camera = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                camera._connections.append(self.connection)
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
                self.end_headers()
                due = time.monotonic()
                try:
                    for jpeg in itertools.cycle(camera._jpegs):
                        if not camera._alive.is_set():
                            return
                        head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
                        self.wfile.write(head.encode() + jpeg + b"\r\n")
                        camera.sent += 1
                        due += camera._period
                        time.sleep(max(0.0, due - time.monotonic()))
                except OSError:
                    return

            def log_message(self, *words: object) -> None:
                pass

        self.serve(ThreadingHTTPServer, Handler)
