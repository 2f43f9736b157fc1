"""The base of the test cameras: a server with a fixed port that can be stopped and started again."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
from typing import Any


class Camera:
    """A server on the loopback address.

    Attributes:
        port: Its port, the same after each start.
    """

    def __init__(self) -> None:
        self._server: socketserver.ThreadingTCPServer | None = None
        self._connections: list[socket.socket] = []
        self._alive = threading.Event()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]

    def serve(self, kind: type[socketserver.ThreadingTCPServer], handler: Any) -> None:
        """Start to serve, in threads that end with the process."""

        class Server(kind):  # type: ignore[misc, valid-type]
            daemon_threads = True
            allow_reuse_address = True

            def handle_error(self, *words: object) -> None:
                pass

        self._alive.set()
        self._server = Server(("127.0.0.1", self.port), handler)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        """Stop: accept no new client, and close all connections."""
        self._alive.clear()
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
        for connection in self._connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
        self._connections.clear()
