"""Servers and processes for tests of served galleries."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from gallery_db import GalleryServer
from gallery_db.address import parse_address
from gallery_db.index.chroma_client import is_alive, server_command
from support import ROOT, TESTS


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def python(code: str, *words: Any, **environment: str) -> subprocess.Popen[str]:
    """Start a process that runs some code, which can import the tests' helpers."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(TESTS), str(ROOT), *sys.path]),
            **environment,
        },
    )


def finished(process: subprocess.Popen[str], code: int = 0, timeout: float = 120) -> str:
    """Wait for a process, check its exit code, and return its output."""
    out, err = process.communicate(timeout=timeout)
    assert process.returncode == code, (process.returncode, out, err)
    return out


class PlainServer:
    """Chroma's own server, started like `chroma run`."""

    def __init__(self, folder: Path, port: int | None = None) -> None:
        self.folder = folder
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> PlainServer:
        self.start()
        return self

    def start(self) -> None:
        config = self.folder / "chroma.yaml"
        facts = {"port": self.port, "listen_address": "127.0.0.1", "persist_path": str(self.folder / "data")}
        config.write_text("\n".join(f"{key}: {json.dumps(value)}" for key, value in facts.items()))
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(server_command(config), stdout=log, stderr=subprocess.STDOUT)
        address = parse_address(self.url)
        assert address is not None
        until = time.monotonic() + 60
        while not is_alive(address):
            assert self.process.poll() is None
            assert time.monotonic() < until
            time.sleep(0.05)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.terminate()
        self.process.wait(30)


class ServedHere:
    """A `GalleryServer` in a thread of this process, which starts faster than a process."""

    def __init__(self, folder: Path, port: int = 0) -> None:
        self.said: list[str] = []
        self.server = GalleryServer(folder, port=port, notify=self.said.append)
        self.url = str(self.server.address)
        self.port = self.server.address.port
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self.server.run, args=(self._stop,))
        self._thread.start()

    def server_pid(self) -> int:
        assert self.server.server_pid is not None
        return self.server.server_pid

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()
        self.server.close()

    def __enter__(self) -> ServedHere:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class Serving:
    """`gtrack gallery serve` in its own process."""

    def __init__(self, folder: Path, port: int = 0) -> None:
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, "-m", "cli.main", "gallery", "serve", "-g", str(folder), "--port", str(port)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if "serving" not in line:
            raise AssertionError((line, *self.process.communicate(timeout=30)))
        self.url = line.split()[-1]
        self.port = int(self.url.rpartition(":")[2])

    def server_pid(self) -> int:
        """Return the process id of Chroma's server, its child process."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        assert len(children) == 1
        return int(children[0])

    def stop(self, code: int = 0) -> tuple[str, str]:
        """Stop it as Ctrl-C does; return its stdout and stderr."""
        self.process.send_signal(signal.SIGINT)
        out, err = self.process.communicate(timeout=60)
        assert self.process.returncode == code, (out, err)
        assert "Traceback" not in err, err
        return out, err

    def kill(self) -> None:
        """Kill it, as the out-of-memory killer does."""
        self.process.kill()
        self.process.communicate(timeout=30)

    def __enter__(self) -> Serving:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            if kind is None:
                self.stop()
            else:
                self.kill()
