"""Read a JSON file as a stream: one value at a time, with its byte offset.

This module knows JSON, the deviations of some writers (NaN, invalid UTF-8) and byte offsets. The formats det-v1 and
track-v1, and hints for the user, are the business of its callers.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO, Literal, NoReturn

import numpy as np
import orjson

__all__ = ["JsonStream", "JsonStreamError", "Problem", "is_nested_deeply", "is_plain", "parse", "plain", "show"]

Problem = tuple[str, str, str]
"""A part of a value that JSON cannot express: the reason, its path in the value, and what was found there."""

_NOT_FINITE = "NaN or infinity replaced by null"
_MAX_LEVELS = 100
_NOT_TEXT = "unpaired surrogate in a string replaced"


class JsonStreamError(Exception):
    """A file is not the expected JSON.

    Attributes:
        kind: ``"empty"`` or ``"cut"`` for a file that ends too early, ``"gzip"`` or ``"binary"`` for a file that is not
            text, ``"syntax"`` for text that is not JSON, ``"value"`` for JSON that cannot be read.
    """

    def __init__(self, kind: Literal["empty", "cut", "gzip", "binary", "syntax", "value"], message: str) -> None:
        super().__init__(message)
        self.kind = kind


def show(value: object) -> str:
    """Return a value as text for a message, with at most 60 characters."""
    try:
        text = repr(value)
    except (RecursionError, ValueError):  # nested too deeply, or a number of thousands of digits
        text = f"a very large {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:57]}..."


def is_nested_deeply(value: Any) -> bool:
    """Whether a JSON value has more than a hundred levels. Such values can be read, but not everywhere be written."""
    level = [value]
    for _ in range(_MAX_LEVELS):
        level = [
            item
            for one in level
            if isinstance(one, (dict, list))
            for item in (one.values() if isinstance(one, dict) else one)
        ]
        if not level:
            return False
    return True


def is_plain(value: Any) -> bool:
    """Whether a value has JSON types only. False can also mean that only `plain` can decide."""
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
    """Copy a value to JSON types, and append each part that JSON cannot express to `problems`."""
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
        # JSON integers have 64 bits. orjson reads larger ones as floats, so they become floats here as well.
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
    """Parse JSON, tolerating the deviations of some writers. Return the value and its problems.

    Raises:
        ValueError: It is not JSON.
        RecursionError: It is nested too deeply.
    """
    try:
        return orjson.loads(blob), []
    except orjson.JSONDecodeError as error:
        # json reads some input that orjson rejects: NaN, infinity, 1e999, unpaired surrogates, invalid UTF-8.
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
    """Reads one JSON object in a file, and the items of lists in it, value by value.

    The text is decoded as latin-1. Every byte is one character then, so that positions in the text are positions in the
    file; the structure of JSON is ASCII in both encodings.

    The constructor and every method raise `JsonStreamError` if the file is not JSON.

    Args:
        file: The file, at its beginning.
        document: Name of the whole document in errors.
        chunk_bytes: Number of bytes to read at once.
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
        """Drop the part of the buffer that was read, and read the next chunk.

        If a value is longer than a chunk, as much is read as is left of it, so that the buffer doubles.
        """
        self._line += self._buffer.count("\n", 0, self._at)
        self._start += self._at
        rest = self._buffer[self._at :]
        more = self._file.read(max(self._chunk_bytes, len(rest)))
        self._ended = not more
        self._buffer = rest + more.decode("latin-1")
        self._at = 0

    def _next_character(self) -> str:
        """Skip white space. Return the next character; an empty string at the end of the file."""
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

    def _raise_syntax_error(self, expected: str, at: int | None = None, problem: str | None = None) -> NoReturn:
        """Raise an error for the current position, or for position `at` of the buffer."""
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

    def _consume(self, characters: str, expected: str) -> str:
        """Read one character, which must be one of `characters`; `expected` describes them in an error."""
        character = self._next_character()
        if not character or character not in characters:
            self._raise_syntax_error(expected)
        self._at += 1
        return character

    def value(self, what: str) -> tuple[bytes, int]:
        """Read one value of any type. Return its bytes, and the byte offset of its start."""
        if not self._next_character():
            self._raise_syntax_error(what)
        while True:
            try:
                _, end = self._decode(self._buffer, self._at)
            except json.JSONDecodeError as error:
                # A value that is cut off by the end of the buffer fails near that end, or in a string that does not
                # end. Any other failure is an error in the file.
                cut = error.pos >= len(self._buffer) - 16 or error.msg.startswith("Unterminated string")
                if cut and not self._ended:
                    self._fill()
                    continue
                if cut and not {"]", "}"} & set(self._buffer[error.pos :]):
                    self._raise_syntax_error("the rest of a value", len(self._buffer))
                expecting = error.msg.startswith("Expecting ")
                problem = None if expecting else error.msg.lower().removesuffix(" at")
                self._raise_syntax_error(error.msg.removeprefix("Expecting "), error.pos, problem)
            except (RecursionError, ValueError) as error:
                self._raise_value_error(what, self._start + self._at, error)
            # A number at the end of the buffer may continue ("1", "1.", "1e+").
            if end >= len(self._buffer) - 8 and not self._ended:
                self._fill()
                continue
            blob = self._buffer[self._at : end].encode("latin-1")
            offset = self._start + self._at
            self._at = end
            return blob, offset

    def parse(self, blob: bytes, offset: int) -> tuple[Any, list[Problem]]:
        """Parse a value that `value` or `items` returned; see the function `parse`."""
        try:
            return parse(blob)
        except (RecursionError, ValueError) as error:
            self._raise_value_error("a value", offset, error)

    def _raise_value_error(self, what: str, offset: int, error: RecursionError | ValueError) -> NoReturn:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise JsonStreamError("value", f"{what}, at byte {offset}, cannot be read: {reason}") from error

    def members(self) -> Iterator[str]:
        """Yield the keys of the document's object. The caller must read the value after each key."""
        self._consume("{", "an object ({)")
        if self._next_character() == "}":
            self._at += 1
        else:
            while True:
                if self._next_character() != '"':
                    self._raise_syntax_error("a key in double quotes")
                key, _ = self.parse(*self.value("a key"))
                self._consume(":", "a colon after the key")
                yield str(key)
                if self._consume(",}", "a comma or the end of the object (})") == "}":
                    break
        if self._next_character():
            self._raise_syntax_error("nothing after the document")

    def at_list(self) -> bool:
        """Whether the next value is a list."""
        return self._next_character() == "["

    def items(self, item: str, items: str) -> Iterator[tuple[bytes, int]]:
        """Yield the items of the list that is next, each like `value`; `item` and `items` are their names in errors."""
        self._consume("[", "a list ([)")
        if self._next_character() == "]":
            self._at += 1
            return
        while True:
            yield self.value(item)
            if self._consume(",]", f"a comma or the end of {items} (])") == "]":
                return
