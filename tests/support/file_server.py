"""A server of files on this machine, which can break off, resume, and answer as the Hugging Face Hub does."""

from __future__ import annotations

import hashlib
import http.server
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class FileServer:
    """What is served, and what was asked.

    Attributes:
        address: ``http://127.0.0.1:PORT``.
        files: Content by path.
        cuts: By path, after how many bytes the next answers break off.
        asked: Method, path, and the range of each request.
    """

    address: str
    files: dict[str, bytes]
    cuts: dict[str, list[int]] = field(default_factory=dict)
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)


@contextmanager
def serve_files(files: Mapping[str, bytes]) -> Iterator[FileServer]:
    """Serve files until the block ends."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.answer()

        def do_GET(self) -> None:
            self.answer()

        def answer(self) -> None:
            state.asked.append((self.command, self.path, self.headers.get("Range")))
            content = state.files.get(self.path)
            if content is None:
                self.send_error(404)
                return
            tag = hashlib.sha256(content).hexdigest()
            if "/resolve/" in self.path and self.command == "HEAD":  # the Hub leads to another server
                self.send_response(302)
                self.send_header("Location", "http://127.0.0.1:9/elsewhere")
                self.send_header("X-Linked-Etag", f'"{tag}"')
                self.send_header("X-Linked-Size", str(len(content)))
                self.end_headers()
                return
            asked = self.headers.get("Range")
            start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
            if asked and start >= len(content):
                self.send_error(416)
                return
            self.send_response(206 if asked else 200)
            if asked:
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            self.send_header("Content-Length", str(len(content) - start))
            self.send_header("ETag", f'"{tag}"')
            self.end_headers()
            cuts = state.cuts.get(self.path)
            end = start + cuts.pop(0) if cuts else len(content)
            self.wfile.write(content[start:end])

        def log_message(self, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state = FileServer(f"http://127.0.0.1:{server.server_address[1]}", dict(files))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
