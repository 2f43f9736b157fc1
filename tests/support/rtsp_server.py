"""A network camera for tests: RTSP (RFC 2326) with JPEGs over RTP (RFC 2435) in the TCP connection.

It can be stopped and started again, and may require a user and a password.
"""

from __future__ import annotations

import base64
import contextlib
import itertools
import socket
import socketserver
import struct
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

import cv2
import numpy as np
from numpy.typing import NDArray

from support.camera import Camera

_PATH = "/stream.mjpg"
_CLOCK = 90_000
_PAYLOAD_TYPE = 26
_FRAGMENT = 1400
_SUBSAMPLED = 1  # 4:2:0, as OpenCV writes
_TABLES_INSIDE = 255


@dataclass(frozen=True)
class _Scan:
    """The parts of a JPEG that RFC 2435 sends: its quantisation tables and its entropy-coded data."""

    width: int
    height: int
    tables: bytes
    data: bytes

    @classmethod
    def of(cls, frame: NDArray[np.uint8]) -> _Scan:
        height, width = frame.shape[:2]
        assert height % 8 == width % 8 == 0, "RFC 2435 needs sides that are multiples of 8"
        jpeg = cv2.imencode(".jpg", frame)[1].tobytes()
        tables, at = b"", 2
        while True:
            marker, length = struct.unpack_from(">HH", jpeg, at)
            body = jpeg[at + 4 : at + 2 + length]
            at += 2 + length
            if marker == 0xFFDB:  # one or more tables, each behind a byte that numbers it
                tables += b"".join(body[i + 1 : i + 65] for i in range(0, len(body), 65))
            if marker == 0xFFDA:
                return cls(width, height, tables, jpeg[at:-2])

    def packets(self) -> Iterator[tuple[bool, bytes]]:
        """Yield RTP payloads, each with whether it is the last of the frame."""
        for start in range(0, len(self.data), _FRAGMENT):
            part = self.data[start : start + _FRAGMENT]
            sizes = (_SUBSAMPLED, _TABLES_INSIDE, self.width // 8, self.height // 8)
            head = struct.pack(">IBBBB", start, *sizes)
            if start == 0:
                head += struct.pack(">BBH", 0, 0, len(self.tables)) + self.tables
            yield start + _FRAGMENT >= len(self.data), head + part


class RtspServer(Camera):
    """Sends the frames in a loop at a fixed rate; every client starts with the first one.

    Args:
        frames: (H, W, 3) uint8 BGR each, with sides that are multiples of 8.
        fps: Frames per second.
        login: ``user:password`` that clients must send, or None.
    """

    def __init__(self, frames: Sequence[NDArray[np.uint8]], fps: float, *, login: str | None = None) -> None:
        super().__init__()
        self._scans = [_Scan.of(frame) for frame in frames]
        self._fps = fps
        self._wanted = None if login is None else "Basic " + base64.b64encode(login.encode()).decode()

    @property
    def url(self) -> str:
        return self.address()

    def address(self, login: str = "", path: str = _PATH) -> str:
        """Return its address, with a user and password, or with another path."""
        return f"rtsp://{login}{'@' if login else ''}127.0.0.1:{self.port}{path}"

    def start(self) -> None:
        camera = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                camera._connections.append(self.connection)
                turn = threading.Lock()
                with contextlib.suppress(OSError, ValueError):
                    while request := camera._request(self.rfile):
                        status, lines, body = camera._answer(*request)
                        text = "\r\n".join([f"RTSP/1.0 {status}", f"CSeq: {request[2].get('cseq', 0)}", *lines])
                        with turn:
                            self.wfile.write(f"{text}\r\n\r\n{body}".encode())
                        if request[0] == "PLAY" and status.startswith("200"):
                            arguments = (self.connection, turn)
                            threading.Thread(target=camera._send, args=arguments, daemon=True).start()

        self.serve(socketserver.ThreadingTCPServer, Handler)

    def _request(self, stream: BinaryIO) -> tuple[str, str, dict[str, str]] | None:
        """Read a request: method, address and headers. The client's reception reports are skipped."""
        while first := stream.read(1):
            if first == b"$":
                _, length = struct.unpack(">BH", stream.read(3))
                stream.read(length)
                continue
            lines = [(first + stream.readline()).decode().strip()]
            while line := stream.readline().decode().strip():
                lines.append(line)
            method, address, _ = lines[0].split(" ", 2)
            headers = (line.split(":", 1) for line in lines[1:])
            return method, address, {name.strip().lower(): value.strip() for name, value in headers}
        return None

    def _answer(self, method: str, address: str, headers: dict[str, str]) -> tuple[str, list[str], str]:
        if method == "OPTIONS":
            return "200 OK", ["Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN"], ""
        if self._wanted not in (None, headers.get("authorization")):
            return "401 Unauthorized", ['WWW-Authenticate: Basic realm="camera"'], ""
        if _PATH not in address:
            return "404 Not Found", [], ""
        if method == "DESCRIBE":
            body = (
                "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=camera\r\nt=0 0\r\n"
                f"m=video 0 RTP/AVP {_PAYLOAD_TYPE}\r\na=framerate:{self._fps:g}\r\na=control:track\r\n"
            )
            return "200 OK", ["Content-Type: application/sdp", f"Content-Length: {len(body)}"], body
        if method == "SETUP" and "TCP" not in headers.get("transport", ""):
            return "461 Unsupported Transport", [], ""
        lines = ["Session: 1"]
        if method == "SETUP":
            lines.append("Transport: RTP/AVP/TCP;unicast;interleaved=0-1")
        return "200 OK", lines, ""

    def _send(self, connection: socket.socket, turn: threading.Lock) -> None:
        number = itertools.count()
        due = time.monotonic()
        with contextlib.suppress(OSError):
            for count, scan in enumerate(itertools.cycle(self._scans)):
                if not self._alive.is_set():
                    return
                stamp = int(count * _CLOCK / self._fps)
                for last, payload in scan.packets():
                    kind = _PAYLOAD_TYPE | (0x80 if last else 0)
                    packet = struct.pack(">BBHII", 0x80, kind, next(number) & 0xFFFF, stamp, 1) + payload
                    with turn:
                        connection.sendall(struct.pack(">cBH", b"$", 0, len(packet)) + packet)
                due += 1 / self._fps
                time.sleep(max(0.0, due - time.monotonic()))
