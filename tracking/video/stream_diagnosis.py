"""Find out why a stream cannot be opened. OpenCV gives no reason, so the stream's server is asked for one."""

from __future__ import annotations

import base64
import hashlib
import re
import socket
from dataclasses import dataclass
from urllib.parse import SplitResult, unquote, urlsplit

__all__ = ["StreamProblem", "diagnose_stream"]

_DEFAULT_PORTS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443, "rtmp": 1935, "rtmps": 443}
_TIMEOUT_SECONDS = 3.0
_MAX_ANSWER_BYTES = 1 << 14
"""Bytes of an answer that are read; its head is far shorter."""

_ESCAPES = "in a password, @ is written %40, / %2F, and ? %3F"


@dataclass(frozen=True, slots=True)
class StreamProblem:
    """Why a stream cannot be opened.

    Attributes:
        description: A clause for the end of a sentence, without secrets.
        hint: What to do about it.
    """

    description: str
    hint: str


def diagnose_stream(address: str) -> StreamProblem | None:
    """Find out within a few seconds why a stream cannot be opened. Return None if its server gives no reason.

    Args:
        address: The full address, with user, password and query if any; they are sent to that server only.
    """
    try:
        parts = urlsplit(address)
        host, default_port = parts.hostname, _DEFAULT_PORTS.get(parts.scheme.lower())
        port = parts.port or default_port
    except ValueError:
        return StreamProblem(
            "the port of its address is not a number from 0 to 65535", f"Check the address; {_ESCAPES}."
        )
    if not host or default_port is None or port is None or (parts.username is None and "@" in address):
        return None  # What looks like a host may be a part of a password.
    server = f"{host}:{port}"
    try:
        with socket.create_connection((host, port), _TIMEOUT_SECONDS) as connection:
            status = _status(connection, parts)
    except (socket.gaierror, UnicodeError):
        return StreamProblem(f"there is no host {host}", "Check the address, and the network.")
    except ConnectionRefusedError:
        return StreamProblem(
            f"nothing listens on {server}", "Check the address and the port, and that the camera or server is on."
        )
    except OSError:
        return StreamProblem(f"{server} does not answer", "Check the address, the network, and that the camera is on.")
    code, text = status
    if code in (401, 403) and parts.username is None:
        scheme = parts.scheme.lower()
        return StreamProblem(
            f"{server} requires a user and a password",
            f"Put them into the address: {scheme}://USER:PASSWORD@{host}/...; {_ESCAPES}.",
        )
    if code in (401, 403):
        return StreamProblem(
            f"{server} refuses this user and password", f"Check the user and the password; {_ESCAPES}."
        )
    if code in (404, 410):
        return StreamProblem(f"{server} has no stream {parts.path or '/'}", "Check the path of the address.")
    return (
        StreamProblem(f"{server} answers {code} {text}".rstrip(), "Read the server's log for the reason.")
        if code >= 400
        else None
    )


def _status(connection: socket.socket, parts: SplitResult) -> tuple[int, str]:
    """Return the status code and text of the answer to a request for the stream; code 0 if the protocol has none."""
    scheme = parts.scheme.lower()
    if scheme not in ("rtsp", "http"):
        return 0, ""
    code, text, head = _request_status(connection, parts, None)
    if code != 401 or parts.username is None:
        return code, text
    authorization = _authorization(head, parts)
    if authorization is None:
        return 0, ""  # An authentication scheme that is not supported here: nothing is known.
    if scheme == "rtsp":
        return _request_status(connection, parts, authorization)[:2]
    with socket.create_connection(connection.getpeername()[:2], _TIMEOUT_SECONDS) as second:
        return _request_status(second, parts, authorization)[:2]


def _request_status(connection: socket.socket, parts: SplitResult, authorization: str | None) -> tuple[int, str, str]:
    """Send one request. Return the status code, its text and the head of the answer."""
    method, target = _method_and_target(parts)
    if parts.scheme.lower() == "rtsp":
        lines = [f"{method} {target} RTSP/1.0", f"CSeq: {1 if authorization is None else 2}", "Accept: application/sdp"]
    else:
        lines = [f"{method} {target} HTTP/1.0", f"Host: {_host(parts)}"]
    if authorization is not None:
        lines.append(f"Authorization: {authorization}")
    connection.sendall("".join(f"{line}\r\n" for line in [*lines, ""]).encode())
    answer = b""
    while b"\r\n\r\n" not in answer and len(answer) < _MAX_ANSWER_BYTES and (more := connection.recv(4096)):
        answer += more
    head = answer.split(b"\r\n\r\n")[0].decode(errors="replace")
    match = re.match(r"(?:RTSP|HTTP)/\d\S* (\d{3}) ?([ -~]{0,60})", head)
    return (int(match[1]), match[2].strip(), head) if match else (0, "", head)


def _host(parts: SplitResult) -> str:
    """Return host and port as in the address, without user and password."""
    return parts.netloc.rpartition("@")[2]


def _method_and_target(parts: SplitResult) -> tuple[str, str]:
    """Return the request's method and target."""
    query = f"?{parts.query}" if parts.query else ""
    if parts.scheme.lower() == "rtsp":
        return "DESCRIBE", f"rtsp://{_host(parts)}{parts.path}{query}"
    return "GET", f"{parts.path or '/'}{query}"


def _authorization(head: str, parts: SplitResult) -> str | None:
    """Return the ``Authorization`` header: Basic (RFC 7617) or Digest (RFC 2069); None for other schemes."""
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    if digest := re.search(r"(?im)^www-authenticate: *digest (.*)$", head):
        challenge = dict(re.findall(r'(\w+)="([^"]*)"', digest[1]))
        method, target = _method_and_target(parts)
        if not {"realm", "nonce"} <= challenge.keys() or "sha" in digest[1].lower():
            return None
        credentials = _md5(f"{user}:{challenge['realm']}:{password}")
        response = _md5(f"{credentials}:{challenge['nonce']}:{_md5(f'{method}:{target}')}")
        fields = {
            "username": user,
            "realm": challenge["realm"],
            "nonce": challenge["nonce"],
            "uri": target,
            "response": response,
        }
        return "Digest " + ", ".join(f'{key}="{value}"' for key, value in fields.items())
    if re.search(r"(?im)^www-authenticate: *basic\b", head):
        return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
    return None


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
