"""Why a stream cannot be opened: OpenCV says only that it cannot, so its server is asked once more, in plain words."""

from __future__ import annotations

import base64
import hashlib
import re
import socket
from dataclasses import dataclass
from urllib.parse import SplitResult, unquote, urlsplit

__all__ = ["Problem", "stream_problem"]

_PORTS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443, "rtmp": 1935, "rtmps": 443}
_PATIENCE = 3.0
_MOST = 1 << 14
"""Bytes of an answer that are read; its head is far shorter."""

_ESCAPES = "in a password, @ is written %40, / %2F, and ? %3F"


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with a stream.

    Attributes:
        what: In words that end a sentence, without anything secret.
        hint: What to do about it.
    """

    what: str
    hint: str


def stream_problem(address: str) -> Problem | None:
    """Find out why a stream cannot be opened, within some seconds; None where its server does not tell.

    Args:
        address: With user, password and query, where it has them; they are sent to that server alone.
    """
    try:
        parts = urlsplit(address)
        host, usual = parts.hostname, _PORTS.get(parts.scheme.lower())
        port = parts.port or usual
    except ValueError:
        return Problem("the port of its address is no number from 0 to 65535", f"Check the address; {_ESCAPES}.")
    if not host or usual is None or port is None or (parts.username is None and "@" in address):
        return None  # what looks like a host may be a piece of a password
    place = f"{host}:{port}"
    try:
        with socket.create_connection((host, port), _PATIENCE) as connection:
            status = _status(connection, parts)
    except (socket.gaierror, UnicodeError):
        return Problem(f"there is no host {host}", "Check the address, and the network.")
    except ConnectionRefusedError:
        return Problem(f"nothing listens on {place}", "Check address and port, and that the camera or server is on.")
    except OSError:
        return Problem(f"{place} does not answer", "Check the address, the network, and that the camera is on.")
    code, words = status
    if code in (401, 403) and parts.username is None:
        scheme = parts.scheme.lower()
        return Problem(
            f"{place} asks for a user and a password",
            f"Put them into the address: {scheme}://USER:PASSWORD@{host}/...; {_ESCAPES}.",
        )
    if code in (401, 403):
        return Problem(f"{place} refuses this user and password", f"Check them; {_ESCAPES}.")
    if code in (404, 410):
        return Problem(f"{place} has no stream {parts.path or '/'}", "Check the path of the address.")
    return Problem(f"{place} answers {code} {words}".rstrip(), "Ask its log why.") if code >= 400 else None


def _status(connection: socket.socket, parts: SplitResult) -> tuple[int, str]:
    """Code and words of the answer to a request for the stream; 0 of a protocol that has none."""
    scheme = parts.scheme.lower()
    if scheme not in ("rtsp", "http"):
        return 0, ""
    code, words, head = _ask(connection, parts, None)
    if code != 401 or parts.username is None:
        return code, words
    authorization = _authorization(head, parts)
    if authorization is None:
        return 0, ""  # a way to prove oneself that is not known here: nothing can be said
    if scheme == "rtsp":
        return _ask(connection, parts, authorization)[:2]
    with socket.create_connection(connection.getpeername()[:2], _PATIENCE) as again:
        return _ask(again, parts, authorization)[:2]


def _ask(connection: socket.socket, parts: SplitResult, authorization: str | None) -> tuple[int, str, str]:
    """Code, words and head of the answer."""
    method, target = _request(parts)
    if parts.scheme.lower() == "rtsp":
        lines = [f"{method} {target} RTSP/1.0", f"CSeq: {1 if authorization is None else 2}", "Accept: application/sdp"]
    else:
        lines = [f"{method} {target} HTTP/1.0", f"Host: {_host(parts)}"]
    if authorization is not None:
        lines.append(f"Authorization: {authorization}")
    connection.sendall("".join(f"{line}\r\n" for line in [*lines, ""]).encode())
    answer = b""
    while b"\r\n\r\n" not in answer and len(answer) < _MOST and (more := connection.recv(4096)):
        answer += more
    head = answer.split(b"\r\n\r\n")[0].decode(errors="replace")
    match = re.match(r"(?:RTSP|HTTP)/\d\S* (\d{3}) ?([ -~]{0,60})", head)
    return (int(match[1]), match[2].strip(), head) if match else (0, "", head)


def _host(parts: SplitResult) -> str:
    """Host and port as the address has them, without user and password."""
    return parts.netloc.rpartition("@")[2]


def _request(parts: SplitResult) -> tuple[str, str]:
    """Method, and what it is asked of."""
    query = f"?{parts.query}" if parts.query else ""
    if parts.scheme.lower() == "rtsp":
        return "DESCRIBE", f"rtsp://{_host(parts)}{parts.path}{query}"
    return "GET", f"{parts.path or '/'}{query}"


def _authorization(head: str, parts: SplitResult) -> str | None:
    """The header that proves user and password to who asked for them (RFC 7617, RFC 2069)."""
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    if digest := re.search(r"(?im)^www-authenticate: *digest (.*)$", head):
        told = dict(re.findall(r'(\w+)="([^"]*)"', digest[1]))
        method, target = _request(parts)
        if not {"realm", "nonce"} <= told.keys() or "sha" in digest[1].lower():
            return None
        own = _md5(f"{user}:{told['realm']}:{password}")
        response = _md5(f"{own}:{told['nonce']}:{_md5(f'{method}:{target}')}")
        said = {"username": user, "realm": told["realm"], "nonce": told["nonce"], "uri": target, "response": response}
        return "Digest " + ", ".join(f'{key}="{value}"' for key, value in said.items())
    if re.search(r"(?im)^www-authenticate: *basic\b", head):
        return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
    return None


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
