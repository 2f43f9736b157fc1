"""Hypothesis strategies that change valid documents: wrong types, extreme numbers, missing keys, broken bytes."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import strategies as st

Draw = Callable[[st.SearchStrategy[Any]], Any]


class Raw(str):
    """JSON text that stands in a document as it is, so that it can hold what Python's values cannot."""


class Pairs(list[tuple[str, Any]]):
    """An object as a list of its members, so that a key can occur twice."""


_NUMBERS = [
    *("0", "-0.0", "-1", "1", "2", "0.5", "1e-6", "5e-324", "1e308", "-1e308", "1e999", "-1e999", "1" + "0" * 400),
    *("1" + "0" * 5000, "NaN", "Infinity", "-Infinity", "2147483647", "2147483648", "4294967296", "1000000000"),
    *("9007199254740993", "9223372036854775807", "9223372036854775808", "-9223372036854775809", "18446744073709551616"),
    *("1.0", "1e9", "1e18", "-2147483649"),
]
_TEXTS = [
    *('""', '" "', '"a"', '"\\ud800"', '"\\u0000"', '"\\u001b]0;x\\u0007"', '"\\u202e"', '"../../../etc/passwd"'),
    *('"=1+1"', '"1e999"', '"nan"', '"-1"', '"/dev/zero"', '"<script>alert(1)</script>"', '"{{7*7}}"', '"%s%n"'),
    *('"\\n"', '"' + "a" * 300 + '"', '"' + "é" * 5000 + '"', '"' + "x" * 200_000 + '"', '"人\\u0301"', '"[bold]"'),
]
_CONTAINERS = [
    *("[]", "{}", "[[]]", "[null]", '{"a": "b"}', "[1, 2]", "[1e999, 1, 2, 3]", "[1, 2, 3, 4, 5]", '{"": null}'),
    *("[" * 1000 + "]" * 1000, "[" * 100_000 + "]" * 100_000, '{"a":' * 3000 + "1" + "}" * 3000, '{"\\ud800": 1}'),
    "[" + "0," * 5000 + "0]",
]
_HOSTILE = st.one_of(
    st.sampled_from(["null", "true", "false"]),
    st.sampled_from(_NUMBERS),
    st.sampled_from(_TEXTS),
    st.sampled_from(_CONTAINERS),
).map(Raw)
_KEYS = st.sampled_from(["", "a", "\ud800", "frames", "__class__", "version", "k" * 10_000, "\x1b[2J"])


def dumps(tree: Any) -> str:
    """Return the JSON text of a tree, which may hold `Raw` and `Pairs`."""
    if isinstance(tree, Raw):
        return str(tree)
    if isinstance(tree, (dict, Pairs)):
        members = tree.items() if isinstance(tree, dict) else tree
        return "{" + ", ".join(f"{json.dumps(key)}: {dumps(value)}" for key, value in members) + "}"
    if isinstance(tree, (list, tuple)):
        return "[" + ", ".join(map(dumps, tree)) + "]"
    return json.dumps(tree)


Place = tuple[Any, Any]
"""A container, and the key or index of a value in it."""


def _places(tree: Any, path: str = "", found: dict[str, list[Place]] | None = None) -> dict[str, list[Place]]:
    """Return the places of all values in a tree, by their path without indices."""
    found = {} if found is None else found
    if isinstance(tree, Pairs):
        return found
    keys = list(tree) if isinstance(tree, dict) else range(len(tree)) if isinstance(tree, list) else ()
    for key in keys:
        name = f"{path}.{key}" if isinstance(tree, dict) else f"{path}[]"
        found.setdefault(name, []).append((tree, key))
        _places(tree[key], name, found)
    return found


def _change(draw: Draw, tree: Any) -> None:
    """Change one value of a tree in place."""
    # First the path, so that a key is changed as often in a document with many frames as in one with few.
    places = _places(tree)
    if not places:
        return
    holder, key = draw(st.sampled_from(places[draw(st.sampled_from(sorted(places)))]))
    kind = draw(st.sampled_from(["replace"] * 6 + ["remove", "repeat", "rename", "add", "twice", "swap"]))
    if kind == "replace":
        holder[key] = draw(_HOSTILE)
    elif kind == "remove":
        del holder[key]
    elif kind == "repeat" and isinstance(holder, list):
        holder.extend(copy.deepcopy(holder[key]) for _ in range(draw(st.sampled_from([1, 2, 50]))))
    elif kind == "rename" and isinstance(holder, dict):
        holder[draw(_KEYS)] = holder.pop(key)
    elif kind == "add" and isinstance(holder, dict):
        holder[draw(_KEYS)] = draw(_HOSTILE)
    elif kind == "twice" and isinstance(holder[key], dict) and holder[key]:
        again = draw(st.sampled_from(list(holder[key])))
        holder[key] = Pairs([*holder[key].items(), (again, draw(_HOSTILE))])
    else:
        other, place = draw(st.sampled_from(places[draw(st.sampled_from(sorted(places)))]))
        holder[key] = copy.deepcopy(other[place])


@st.composite
def changed_trees(draw: Draw, documents: Sequence[Any]) -> Any:
    """Return one of the documents with one to three changes."""
    # In a list, so that the document as a whole can be replaced too.
    whole = [copy.deepcopy(draw(st.sampled_from(documents)))]
    for _ in range(draw(st.sampled_from([1, 1, 1, 2, 3]))):
        _change(draw, whole)
    return whole[0] if whole else Raw("")


@st.composite
def changed_bytes(draw: Draw, contents: st.SearchStrategy[bytes], often: int = 3) -> bytes:
    """Return contents, one in `often` of them with changed bytes."""
    content: bytes = draw(contents)
    if not content or draw(st.integers(1, often)) > 1:
        return content
    at = draw(st.integers(0, len(content) - 1))
    length = draw(st.sampled_from([1, 2, 8, 100]))
    kind = draw(st.sampled_from(["cut", "flip", "remove", "insert", "repeat", "zero", "front"]))
    if kind == "cut":
        return content[:at]
    if kind == "flip":
        return content[:at] + bytes([content[at] ^ 1 << draw(st.integers(0, 7))]) + content[at + 1 :]
    if kind == "remove":
        return content[:at] + content[at + length :]
    if kind == "repeat":
        return content[:at] + content[at : at + length] * draw(st.sampled_from([2, 10])) + content[at + length :]
    if kind == "zero":
        return content[:at] + bytes(length) + content[at + length :]
    piece = draw(
        st.sampled_from([b"\xff", b"\xed\xa0\x80", b"\0", b"\xef\xbb\xbf", b"\x1f\x8b", b'"', b"{", b"[", b","])
    )
    return piece + content if kind == "front" else content[:at] + piece + content[at:]


def changed_json(documents: Sequence[Any], *, broken: bool = True) -> st.SearchStrategy[bytes]:
    """Return a strategy of JSON files: one of the documents with changes, and some of them with broken bytes."""
    files = changed_trees(documents).map(lambda tree: dumps(tree).encode())
    return changed_bytes(files) if broken else files


@st.composite
def changed_lines(draw: Draw, texts: Sequence[str], words: Sequence[str], separators: str) -> bytes:
    """Return one of the texts with one to three words replaced, and at times with broken bytes."""
    text: str = draw(st.sampled_from(texts))
    for _ in range(draw(st.integers(1, 3))):
        marks = [0, *(at + 1 for at, letter in enumerate(text) if letter in separators), len(text) + 1]
        first = draw(st.integers(0, len(marks) - 2))
        text = text[: marks[first]] + draw(st.sampled_from(words)) + text[marks[first + 1] - 1 :]
    return draw(changed_bytes(st.just(text.encode("utf-8", "surrogatepass"))))


def hostile_values() -> st.SearchStrategy[Any]:
    """Return a strategy of Python values as a JSON reader makes them of hostile text."""

    def value(text: str) -> Any:
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            return None

    return _HOSTILE.map(value)


HOSTILE_NUMBERS: tuple[str, ...] = tuple(_NUMBERS)
HOSTILE_TEXTS: tuple[str, ...] = tuple(json.loads(text) for text in _TEXTS)
