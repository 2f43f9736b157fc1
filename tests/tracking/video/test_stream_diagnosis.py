"""Reasons why a stream cannot be opened, as its server states them; unknown reasons are not guessed."""

from __future__ import annotations

import hashlib
import re
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

import tracking.video.stream_diagnosis
from tracking.video.stream_diagnosis import diagnose_stream

Answer = Callable[[str], str | None]


class Server:
    """Answers each request by a function of its text; silent where that returns None."""

    def __init__(self) -> None:
        self.answer: Answer = lambda request: None
        self.requests: list[str] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.place = f"127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        with connection:
            while request := connection.recv(4096).decode():
                self.requests.append(request)
                answer = self.answer(request)
                if answer is not None:
                    connection.sendall(answer.encode())
                if request.split("\r\n")[0].endswith("HTTP/1.0"):
                    return

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


def answer(status: str, *lines: str, protocol: str = "RTSP/1.0") -> Answer:
    return lambda request: "\r\n".join([f"{protocol} {status}", *lines, "", ""])


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ("200 OK", None),
        ("404 Not Found", "has no stream /attic/1"),
        ("401 Unauthorized", "requires a user and a password"),
        ("403 Forbidden", "requires a user and a password"),
        ("503 Service Unavailable", "answers 503 Service Unavailable"),
        ("461", "answers 461"),
    ],
)
@pytest.mark.parametrize("scheme", ["rtsp", "http"])
def test_reports_the_answer_of_the_server(server: Server, scheme: str, status: str, words: str | None) -> None:
    server.answer = answer(status, protocol={"rtsp": "RTSP/1.0", "http": "HTTP/1.1"}[scheme])
    problem = diagnose_stream(f"{scheme}://{server.place}/attic/1?key=s3cret")
    assert (None if problem is None else problem.description) == (words and f"{server.place} {words}")
    assert problem is None or "s3cret" not in f"{problem.description} {problem.hint}"
    (request,) = server.requests
    target = f"rtsp://{server.place}/attic/1?key=s3cret" if scheme == "rtsp" else "/attic/1?key=s3cret"
    assert request.split()[:2] == [{"rtsp": "DESCRIBE", "http": "GET"}[scheme], target]


def checked(right: bool, challenge: str) -> str:
    status = "404 Not Found" if right else "401 Unauthorized"
    return f"RTSP/1.0 {status}\r\nWWW-Authenticate: {challenge}\r\n\r\n"


def basic(request: str) -> str:
    right = "Authorization: Basic bWU6cEBzcw==" in request  # me:p@ss
    return (
        answer("404 Not Found" if right else "401 Unauthorized", 'WWW-Authenticate: Basic realm="cam"')(request) or ""
    )


def digest(request: str) -> str:
    """As RFC 2069 has it, worked out here once more."""
    fields = dict(re.findall(r'(\w+)="([^"]*)"', request))
    parts = [hashlib.md5(text.encode()).hexdigest() for text in ("me:cam:p@ss", f"DESCRIBE:{fields.get('uri')}")]
    right = fields.get("response") == hashlib.md5(f"{parts[0]}:n0nce:{parts[1]}".encode()).hexdigest()
    return checked(right, 'Digest realm="cam", nonce="n0nce"')


@pytest.mark.parametrize("way", [basic, digest])
@pytest.mark.parametrize(
    ("login", "words"),
    [
        ("me:p%40ss", "has no stream /x"),
        ("me:p@ss", "has no stream /x"),
        ("me:wr0ng", "refuses this user and password"),
    ],
)
def test_a_wrong_password_differs_from_a_wrong_path(server: Server, way: Answer, login: str, words: str) -> None:
    server.answer = way
    problem = diagnose_stream(f"rtsp://{login}@{server.place}/x")
    assert problem is not None
    assert problem.description == f"{server.place} {words}"
    assert "wr0ng" not in problem.hint
    assert len(server.requests) == 2
    assert not any("p@ss" in request or "wr0ng" in request for request in server.requests), (
        "nor is it sent in clear text"
    )


def test_over_http_each_request_has_its_own_connection(server: Server) -> None:
    server.answer = basic
    problem = diagnose_stream(f"http://me:p%40ss@{server.place}/x")
    assert problem is not None
    assert problem.description == f"{server.place} has no stream /x"


def test_reports_an_unknown_authentication_scheme(server: Server) -> None:
    server.answer = answer("401 Unauthorized", 'WWW-Authenticate: Digest realm="c", nonce="n", algorithm="SHA-256"')
    assert diagnose_stream(f"rtsp://me:s3cret@{server.place}/x") is None


def test_reports_a_server_that_does_not_answer(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking.video.stream_diagnosis, "_TIMEOUT_SECONDS", 0.2)
    problem = diagnose_stream(f"rtsp://{server.place}/x")
    assert problem is not None
    assert problem.description == f"{server.place} does not answer"


def test_an_answer_of_another_protocol_has_no_diagnosis(server: Server) -> None:
    server.answer = lambda request: "SSH-2.0-OpenSSH_9.2\r\n\r\n"
    assert diagnose_stream(f"rtsp://{server.place}/x") is None


@pytest.mark.parametrize("scheme", ["rtsp", "rtsps", "http", "https", "rtmp"])
def test_reports_that_nothing_listens(scheme: str) -> None:
    with socket.socket() as taken:  # and not listening
        taken.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{taken.getsockname()[1]}"
        problem = diagnose_stream(f"{scheme}://me:s3cret@{place}/x")
    assert problem is not None
    assert problem.description == f"nothing listens on {place}"


@pytest.mark.parametrize(
    ("address", "words"),
    [
        pytest.param("udp://239.0.0.1:1234", None, id="no connection to be had"),
        pytest.param("rtsp://no..host/x", "there is no host no..host", id="no host"),
        pytest.param("rtsp://127.0.0.1:99999/x", "its address is not a number from 0 to 65535", id="port"),
        pytest.param(
            "rtsp://me:pa/ss@127.0.0.1/x", "its address is not a number from 0 to 65535", id="a / in a password"
        ),
        pytest.param("rtsp://me:12/34@127.0.0.1/x", None, id="a / in a password of digits"),
        pytest.param("rtsp://me:12#34@127.0.0.1/x", None, id="a # in a password of digits"),
    ],
)
def test_diagnoses_addresses_without_a_request(address: str, words: str | None) -> None:
    problem = diagnose_stream(address)
    if words is None:
        assert problem is None
    else:
        assert problem is not None
        assert words in problem.description
        assert "pa" not in problem.description
