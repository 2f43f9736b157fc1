"""The file of cameras: what it says, and where it is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support import ROOT

from tracking import CameraMap
from tracking.errors import CamerasError, OptionError

FILE = """
cameras: [door, yard, hall, 7, on]
pairs:
  - between: [door, yard, hall]   # a comment
    travel_seconds: 20
  - between: [yard, hall]
    travel_seconds: 2.5
  - {between: [hall, door], overlap: true}
  - {between: [7, on], travel_seconds: 0}
"""


def read(folder: Path, text: str | bytes) -> CameraMap:
    file = folder / "cameras.yaml"
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return CameraMap.read(file)


def test_a_later_pair_replaces_an_earlier_one_and_others_are_unknown(tmp_path: Path) -> None:
    cameras = read(tmp_path, FILE)
    assert cameras.cameras == {"door", "yard", "hall", "7", "on"}, "names are texts as they are written"
    assert cameras.travel_seconds("yard", "door") == cameras.travel_seconds("door", "yard") == 20
    assert cameras.travel_seconds("hall", "yard") == 2.5
    assert cameras.travel_seconds("door", "hall") is None, "they overlap"
    assert cameras.travel_seconds("7", "on") == 0
    assert cameras.travel_seconds("door", "7") is None
    assert cameras.travel_seconds("door", "door") is None
    assert read(tmp_path, "cameras: [door]").travel_seconds("door", "yard") is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("", "is empty; expected `cameras:`", id="empty"),
        pytest.param("# nothing", "is empty", id="a comment"),
        pytest.param("- door", "line 1: the file: expected `cameras:`, `pairs:`", id="a list"),
        pytest.param("pairs: []", "line 1: expected `cameras:`, a list of names", id="no cameras"),
        pytest.param("cameras: door", "line 1: cameras: expected a list", id="one name"),
        pytest.param("cameras: []", "line 1: cameras: expected a list of names, found an empty one", id="no names"),
        pytest.param(
            "cameras: [a, '']",
            "line 1: cameras: expected names of up to 200 characters, each once, found ''",
            id="empty name",
        ),
        pytest.param(
            "cameras:\n- a\n- b\n- a",
            "line 4: cameras: expected names of up to 200 characters, each once, found 'a'",
            id="twice",
        ),
        pytest.param(
            "cameras: [" + "a" * 201 + "]", "expected names of up to 200 characters, .*'aaa.*\\.\\.\\.", id="long"
        ),
        pytest.param("cameras: [[a]]", "line 1: cameras: expected a text", id="list in a list"),
        pytest.param("cameras: [a]\npair: []", "line 2: the key 'pair' is not known. Did you mean 'pairs'", id="key"),
        pytest.param("cameras: [a]\ncameras: [b]", "line 2: the key 'cameras' stands there twice", id="key twice"),
        pytest.param("cameras: [a]\npairs: {a: b}", "line 2: pairs: expected a list", id="pairs as a mapping"),
        pytest.param("cameras: [a]\npairs:\n- a", "line 3: a pair: expected `between:`", id="pair as a text"),
        *(
            pytest.param(f"cameras: [a, b]\npairs:\n- {{{pair}}}", f"line 3: {words}", id=pair)
            for pair, words in {
                "travel_seconds: 1": "expected `between:` and either",
                "between: [a, b]": "expected `between:` and either",
                "between: [a, b], travel_seconds: 1, overlap: true": "expected `between:` and either",
                "between: [a], travel_seconds: 1": "between: expected two or more cameras",
                "between: [a, a], travel_seconds: 1": "between: expected names of up to 200",
                "between: [a, aa], travel_seconds: 1": "between: 'aa' is not in `cameras`.",
                "between: [a, b], overlap: false": "overlap: expected true. Cameras that do not overlap have",
                "between: [a, b], overlap: [true]": "overlap: expected a text or a number",
                "between: [a, b], travel_seconds: soon": "travel_seconds: expected seconds from 0 to 604800, found",
                "between: [a, b], travel_seconds: -1": "travel_seconds: expected seconds from 0",
                "between: [a, b], travel_seconds: .nan": "travel_seconds: expected seconds from 0",
                "between: [a, b], travel_seconds: 1e9": "travel_seconds: expected seconds from 0",
            }.items()
        ),
        pytest.param("cameras: [a", "line 1: expected YAML: ", id="no YAML"),
        pytest.param("cameras: [a]\n\tpairs: []", "line 2: expected YAML: ", id="a tab"),
        pytest.param("cameras: [a]\n---\ncameras: [b]", "line 2: expected YAML: ", id="two documents"),
        pytest.param("cameras: [\x01]", "expected YAML: ", id="a control character"),
        pytest.param('cameras: ["\\Uffffffff"]', "cannot be read: ", id="no character"),
        pytest.param(b"cameras: [\xff]", "cannot be read: ", id="not UTF-8"),
        pytest.param("[" * 50_000, "cannot be read: it is nested too deeply", id="nested"),
        pytest.param("#" * 200_000, "cannot be read: .*the limit is 131,072 bytes", id="too large"),
        pytest.param("cameras: !!python/object/apply:os.getpid []", "cameras: expected a list", id="an object"),
    ],
)
def test_errors_name_file_and_line(tmp_path: Path, text: str | bytes, words: str) -> None:
    with pytest.raises(CamerasError, match=words) as raised:
        read(tmp_path, text)
    assert str(raised.value).startswith(str(tmp_path / "cameras.yaml"))


def test_the_file_of_the_reference_is_read(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "reference" / "cameras.md").read_text(encoding="utf-8")
    cameras = read(tmp_path, page.split("```yaml\n")[1].split("```")[0])
    assert cameras.travel_seconds("hall", "yard") == 0
    assert cameras.travel_seconds("garage", "door") == 40
    assert cameras.travel_seconds("door", "hall") is None


def test_a_missing_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(CamerasError, match=r"none\.yaml: cannot be read: "):
        CameraMap.read(tmp_path / "none.yaml")


def test_a_map_can_be_made_in_python() -> None:
    assert CameraMap(["a", "b"], {("a", "b"): 3}).travel_seconds("b", "a") == 3.0


@pytest.mark.parametrize(
    ("cameras", "seconds", "words"),
    [
        (["a", " "], {}, "names that are not empty"),
        (["a", "b"], {("a", "c"): 1}, "found 'c'"),
        (["a", "b"], {("a", "a"): 1}, "two different cameras"),
        (["a", "b"], {("a", "b"): -1}, "found -1"),
        (["a", "b"], {("a", "b"): float("nan")}, "found nan"),
    ],
)
def test_a_map_of_wrong_values_is_refused(cameras: list[str], seconds: Any, words: str) -> None:
    with pytest.raises(OptionError, match=words):
        CameraMap(cameras, seconds)
