"""The cameras of a place: how long a person takes, at least, from the sight of one to that of another.

This module knows names of cameras and seconds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gallery_db.regular_files import read_regular_text
from gallery_db.suggestions import did_you_mean
from tracking.errors import CamerasError, OptionError
from tracking.json_stream import show

if TYPE_CHECKING:
    from yaml.nodes import Node

__all__ = ["CameraMap"]

MAX_BYTES = 128 * 1024
"""Bytes of a file of cameras; one with a line for each pair of a hundred cameras would be larger, a list is not."""
_MAX_NAME = 200
MAX_SECONDS = 7 * 86400.0
_KEYS = ("cameras", "pairs")
_PAIR_KEYS = ("between", "travel_seconds", "overlap")


class CameraMap:
    """The least times that a person takes between cameras.

    Of a pair without such a time nothing is known: the cameras may show the same place.

    Args:
        cameras: Names of the cameras, as the sources of a pipeline.
        travel_seconds: Least seconds from the last sight of a person by one camera to the first by the other, in
            [0, 604800], the same in both directions; 0 for cameras that merely do not see the same place.

    Raises:
        OptionError: A name is empty or not a camera, a pair is one camera, or a time is out of range.
    """

    def __init__(self, cameras: Iterable[str], travel_seconds: Mapping[tuple[str, str], float] | None = None) -> None:
        self.cameras = frozenset(cameras)
        self._seconds: dict[frozenset[str], float] = {}
        if not all(isinstance(name, str) and name.strip() for name in self.cameras):
            raise OptionError("cameras: expected names that are not empty.", field="cameras")
        for (one, other), seconds in (travel_seconds or {}).items():
            unknown = next((name for name in (one, other) if name not in self.cameras), None)
            if unknown is not None or one == other:
                fault = "two different cameras" if unknown is None else f"one of the cameras, found {unknown!r}"
                raise OptionError(f"travel_seconds of {one!r} and {other!r}: expected {fault}.", field="travel_seconds")
            if not 0.0 <= seconds <= MAX_SECONDS:
                raise OptionError(
                    f"travel_seconds of {one!r} and {other!r}: expected 0 to {MAX_SECONDS:g} seconds, found {seconds}.",
                    field="travel_seconds",
                )
            self._seconds[frozenset((one, other))] = float(seconds)

    def travel_seconds(self, one: str, other: str) -> float | None:
        """Return the least seconds between sightings by two cameras; None where a person may be in sight of both."""
        return self._seconds.get(frozenset((one, other)))

    @classmethod
    def read(cls, path: str | Path) -> CameraMap:
        """Read a file ``cameras.yaml``; `docs/reference/cameras.md` describes it.

        Raises:
            CamerasError: It cannot be read, or is not such a file; the message names file and line.
        """
        import yaml

        path = Path(path)
        try:
            # Nodes, not values: they know their lines, names such as `on` or `7` stay as written, and nothing is built.
            root = yaml.compose(read_regular_text(path, MAX_BYTES), Loader=yaml.SafeLoader)
        except (OSError, ValueError, OverflowError, RecursionError) as error:  # also a character beyond Unicode's range
            reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
            raise CamerasError(f"{path}: cannot be read: {reason}.") from error
        except yaml.YAMLError as error:
            mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
            where = path if mark is None else f"{path}, line {mark.line + 1}"
            problem = problem or "found a character that it may not have"
            raise CamerasError(f"{where}: expected YAML: {problem[:200]}.") from error
        return _Reader(path).read(root)


class _Reader:
    """Reads the nodes of a file of cameras."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self, root: Node | None) -> CameraMap:
        if root is None:
            raise CamerasError(f"{self._path}: is empty; expected `cameras:`, a list of names.")
        fields = self._fields(root, "the file", _KEYS)
        if "cameras" not in fields:
            raise self._error(root, "expected `cameras:`, a list of names")
        cameras = self._names(fields["cameras"], "cameras")
        seconds: dict[frozenset[str], float] = {}
        for item in self._items(fields["pairs"], "pairs") if "pairs" in fields else ():
            names, time = self._pair(item, cameras)
            for pair in map(frozenset, combinations(names, 2)):
                if time is None:
                    seconds.pop(pair, None)
                else:
                    seconds[pair] = time
        return CameraMap(cameras, {(min(pair), max(pair)): time for pair, time in seconds.items()})

    def _pair(self, node: Node, cameras: list[str]) -> tuple[list[str], float | None]:
        """Return the cameras of an item of `pairs`, and the least seconds between them; None where they overlap."""
        fields = self._fields(node, "a pair", _PAIR_KEYS)
        if "between" not in fields or ("overlap" in fields) == ("travel_seconds" in fields):
            raise self._error(node, "expected `between:` and either `travel_seconds:` or `overlap: true`")
        names = self._names(fields["between"], "between")
        for name, one in zip(names, fields["between"].value, strict=True):
            if name not in cameras:
                raise self._error(one, f"between: {show(name)} is not in `cameras`", did_you_mean(name, cameras))
        if len(names) < 2:
            raise self._error(fields["between"], "between: expected two or more cameras")
        if "overlap" in fields:
            if self._text(fields["overlap"], "overlap") != "true":
                raise self._error(
                    fields["overlap"],
                    "overlap: expected true",
                    "Cameras that do not overlap have `travel_seconds: 0`, or more.",
                )
            return names, None
        text = self._text(fields["travel_seconds"], "travel_seconds")
        try:
            seconds = float(text)
        except ValueError:
            seconds = math.nan
        if not 0.0 <= seconds <= MAX_SECONDS:
            expected = f"travel_seconds: expected seconds from 0 to {MAX_SECONDS:g}, found {show(text)}"
            raise self._error(fields["travel_seconds"], expected)
        return names, seconds

    def _fields(self, node: Node, what: str, known: tuple[str, ...]) -> dict[str, Any]:
        if node.id != "mapping":
            raise self._error(node, f"{what}: expected {', '.join(f'`{key}:`' for key in known)}")
        fields: dict[str, Any] = {}
        for key, value in node.value:
            name = self._text(key, what)
            if name not in known or name in fields:
                fault = "stands there twice" if name in fields else "is not known"
                hint = did_you_mean(name, known, f"Expected: {', '.join(known)}.")
                raise self._error(key, f"the key {show(name)} {fault}", None if name in fields else hint)
            fields[name] = value
        return fields

    def _items(self, node: Node, what: str) -> list[Node]:
        if node.id != "sequence":
            raise self._error(node, f"{what}: expected a list")
        return list(node.value)

    def _names(self, node: Node, what: str) -> list[str]:
        names: list[str] = []
        for item in self._items(node, what):
            name = self._text(item, what)
            if not name.strip() or len(name) > _MAX_NAME or name in names:
                expected = f"{what}: expected names of up to {_MAX_NAME} characters, each once"
                raise self._error(item, f"{expected}, found {show(name)}")
            names.append(name)
        if not names:
            raise self._error(node, f"{what}: expected a list of names, found an empty one")
        return names

    def _text(self, node: Node, what: str) -> str:
        if node.id != "scalar":
            raise self._error(node, f"{what}: expected a text or a number")
        return str(node.value)

    def _error(self, node: Node, message: str, hint: str | None = None) -> CamerasError:
        return CamerasError(f"{self._path}, line {node.start_mark.line + 1}: {message}.", hint=hint)
