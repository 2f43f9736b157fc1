"""JSON in a file, read as a stream: one value at a time, and where in the file it stands.

This module knows JSON, what some writers add to it (NaN, bad UTF-8) and byte offsets, and nothing of
det-v1: which keys and values there are, and what a user can do about a file, is known to its caller.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO, Literal, NoReturn

import numpy as np
import orjson

__all__ = ["JsonStream", "JsonStreamError", "Problem", "is_plain", "parse", "plain", "show"]

Problem = tuple[str, str, str]
"""A part of a value that JSON has no word for: the reason, its path in the value, and what was found there."""

_NOT_FINITE = "NaN or infinity replaced by null"
_NOT_TEXT = "unpaired surrogate in a string replaced"


class JsonStreamError(Exception):
    """A file is not the JSON that was asked for.

    Attributes:
        kind: ``"empty"`` or ``"cut"`` for a file that ends too early, ``"gzip"`` or ``"binary"`` for
            one that is no text, ``"syntax"`` for text that is not JSON, ``"value"`` for JSON that
            cannot be read.
    """

    def __init__(self, kind: Literal["empty", "cut", "gzip", "binary", "syntax", "value"], message: str) -> None:
        super().__init__(message)
        self.kind = kind


def show(value: object) -> str:
    """A value as a message shows it, in 60 characters at most."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def is_plain(value: Any) -> bool:
    """Whether a value is of JSON types throughout. False may also mean that only `plain` can tell."""
    kind = type(value)
    if kind is float:
        return math.isfinite(value)
    if kind is int:
        return bool(-(2**63) <= value < 2**63)
    if kind is str:
        return bool(value.isascii())
    if kind is dict:
        return all(type(key) is str for key in value) and all(map(is_plain, value.values()))
    if kind is list:
        return all(map(is_plain, value))
    return value is None or kind is bool


def plain(value: Any, path: str, problems: list[Problem]) -> Any:
    """Copy a value into JSON types, and note each part that JSON cannot say as (reason, path, found)."""
    if value is None or value is True or value is False:
        return value
    if isinstance(value, (np.generic, np.ndarray)):
        value = value.tolist()
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            problems.append((_NOT_TEXT, path, show(value)))
            return value.encode("utf-8", "replace").decode()
        return value
    if isinstance(value, int):
        if -(2**63) <= value < 2**64:
            return value
        # JSON writers stop at 64 bits; orjson reads such a number as a float, so it is one here too.
        try:
            value = float(value)
        except OverflowError:
            value = math.inf
    if isinstance(value, float):
        if not math.isfinite(value):
            problems.append((_NOT_FINITE, path, {math.inf: "Infinity", -math.inf: "-Infinity"}.get(value, "NaN")))
            return None
        return value
    if isinstance(value, Mapping):
        return {
            str(plain(str(key), path, problems)): plain(item, f"{path}.{key}" if path else str(key), problems)
            for key, item in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [plain(item, f"{path}[{index}]", problems) for index, item in enumerate(value)]
    if value is None or isinstance(value, bool):
        return value
    problems.append(("value of no JSON type replaced by null", path, show(value)))
    return None


def parse(blob: bytes) -> tuple[Any, list[Problem]]:
    """Parse JSON with what some writers add to it, as (value, problems).

    Raises:
        ValueError: Not JSON at all.
        RecursionError: Nested too deeply.
    """
    try:
        return orjson.loads(blob), []
    except orjson.JSONDecodeError as error:
        # What orjson refuses but json reads: NaN, infinity, 1e999, unpaired surrogates, bad UTF-8.
        problems: list[Problem] = []
        try:
            text = blob.decode()
        except UnicodeDecodeError as decode_error:
            found = f"byte 0x{blob[decode_error.start]:02x} in {show(blob[max(0, decode_error.start - 20) :][:40])}"
            problems.append(("invalid UTF-8 replaced", "", found))
            text = blob.decode(errors="replace")
        value = plain(json.loads(text), "", problems)
        if not problems:
            raise ValueError(str(error)) from error
        return value, problems


class JsonStream:
    """Walks over one JSON object in a file, and over the items of one list in it, value by value.

    The text is decoded as latin-1: every byte is one character, so that places in the text are
    places in the file, and JSON's structure is ASCII in either encoding.

    Every method, and making one, raises `JsonStreamError` where the file is not JSON.

    Args:
        file: The file, at its beginning.
        document: What to call the whole document in an error.
        chunk_bytes: How much to read at once.
    """

    def __init__(self, file: BinaryIO, *, document: str, chunk_bytes: int) -> None:
        self._file = file
        self._document = document
        self._chunk_bytes = chunk_bytes
        self._buffer = ""
        self._at = 0
        self._start = 0
        self._line = 1
        self._ended = False
        self._decode = json.JSONDecoder(parse_constant=float).raw_decode
        self._fill()
        if self._buffer.startswith("\xef\xbb\xbf"):
            self._at = 3
        elif self._buffer.startswith("\x1f\x8b"):
            raise JsonStreamError("gzip", "expected JSON, found a gzip file")
        elif self._buffer.startswith(("\xff\xfe", "\xfe\xff")) or "\0" in self._buffer[:4]:
            raise JsonStreamError("binary", "expected JSON in UTF-8, found UTF-16, UTF-32 or binary data")

    def _fill(self) -> None:
        """Drop what was walked over and read on, as much again as is left over (a value too long for one chunk)."""
        self._line += self._buffer.count("\n", 0, self._at)
        self._start += self._at
        rest = self._buffer[self._at :]
        more = self._file.read(max(self._chunk_bytes, len(rest)))
        self._ended = not more
        self._buffer = rest + more.decode("latin-1")
        self._at = 0

    def _peek(self) -> str:
        """The next character that is not white space; empty at the end of the file."""
        while True:
            buffer, at = self._buffer, self._at
            end = len(buffer)
            while at < end and buffer[at] in " \t\r\n":
                at += 1
            self._at = at
            if at < end:
                return buffer[at]
            if self._ended:
                return ""
            self._fill()

    def _fail(self, expected: str, at: int | None = None, problem: str | None = None) -> NoReturn:
        at = self._at if at is None else at
        if self._ended and at >= len(self._buffer):
            if self._start + at == 0:
                raise JsonStreamError("empty", f"expected {self._document}, found an empty file")
            raise JsonStreamError(
                "cut", f"the file is cut short: it ends at byte {self._start + at}, where {expected} was expected"
            )
        line = self._line + self._buffer.count("\n", 0, at)
        raise JsonStreamError(
            "syntax",
            f"not JSON at line {line}, byte {self._start + at}: {problem or 'expected ' + expected}, "
            f"found {show(self._buffer[at : at + 20])}",
        )

    def _take(self, characters: str, expected: str) -> str:
        character = self._peek()
        if not character or character not in characters:
            self._fail(expected)
        self._at += 1
        return character

    def value(self, what: str) -> tuple[bytes, int]:
        """Walk over one value of any type; its bytes, and where in the file it starts."""
        if not self._peek():
            self._fail(what)
        while True:
            try:
                _, end = self._decode(self._buffer, self._at)
            except json.JSONDecodeError as error:
                # A value that is only cut off by the end of the buffer fails near that end, or in a
                # string that does not end; any other failure is one of the file.
                cut = error.pos >= len(self._buffer) - 16 or error.msg.startswith("Unterminated string")
                if cut and not self._ended:
                    self._fill()
                    continue
                if cut and not {"]", "}"} & set(self._buffer[error.pos :]):
                    self._fail("the rest of a value", len(self._buffer))
                expecting = error.msg.startswith("Expecting ")
                problem = None if expecting else error.msg.lower().removesuffix(" at")
                self._fail(error.msg.removeprefix("Expecting "), error.pos, problem)
            except (RecursionError, ValueError) as error:
                self._refuse_value(what, self._start + self._at, error)
            # A number that touches the end of the buffer may go on ("1", "1.", "1e+").
            if end >= len(self._buffer) - 8 and not self._ended:
                self._fill()
                continue
            blob = self._buffer[self._at : end].encode("latin-1")
            offset = self._start + self._at
            self._at = end
            return blob, offset

    def parse(self, blob: bytes, offset: int) -> tuple[Any, list[Problem]]:
        """The module's `parse`, of a value that this walked over."""
        try:
            return parse(blob)
        except (RecursionError, ValueError) as error:
            self._refuse_value("a value", offset, error)

    def _refuse_value(self, what: str, offset: int, error: RecursionError | ValueError) -> NoReturn:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise JsonStreamError("value", f"{what}, at byte {offset}, cannot be read: {reason}") from error

    def members(self) -> Iterator[str]:
        """The keys of the document's object; the caller walks over each value."""
        self._take("{", "an object ({)")
        if self._peek() == "}":
            self._at += 1
        else:
            while True:
                if self._peek() != '"':
                    self._fail("a key in double quotes")
                key, _ = self.parse(*self.value("a key"))
                self._take(":", "a colon after the key")
                yield str(key)
                if self._take(",}", "a comma or the end of the object (})") == "}":
                    break
        if self._peek():
            self._fail("nothing after the document")

    def at_list(self) -> bool:
        """Whether the next value is a list."""
        return self._peek() == "["

    def items(self, item: str, items: str) -> Iterator[tuple[bytes, int]]:
        """The items of the list that comes next, each as `value`; an error calls them `item` and `items`."""
        self._take("[", "a list ([)")
        if self._peek() == "]":
            self._at += 1
            return
        while True:
            yield self.value(item)
            if self._take(",]", f"a comma or the end of {items} (])") == "]":
                return
