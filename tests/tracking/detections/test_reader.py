from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tracking.detections.reader import open_detections
from tracking.detections.source import DetectionSource
from tracking.detections.video_check import check_against_video
from tracking.errors import DetectionsError

GOOD: dict[str, Any] = {"bbox": [10.0, 20.0, 30.0, 60.0], "score": 0.9, "class_id": 0}


def good(**changes: Any) -> dict[str, Any]:
    return {key: value for key, value in {**GOOD, **changes}.items() if value is not ...}


def document(*frames: Any, **header: Any) -> dict[str, Any]:
    return {"schema_version": "det-v1", **header, "frames": list(frames)}


def one(detections: list[Any], frame: int = 7) -> dict[str, Any]:
    return {"frame": frame, "detections": detections}


def write(path: Path, content: Any) -> Path:
    file = path / "detections.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return file


def open_both(path: Path, content: dict[str, Any], **options: Any) -> list[DetectionSource]:
    return [open_detections(write(path, content), **options), open_detections(content, **options)]


def test_reads_columns(tmp_path: Path) -> None:
    content = document(
        {"frame": 5, "detections": [good(class_name="person", det_ind=4), good(class_id=-1, det_ind=2)]},
        {"frame": 2, "detections": []},
        {"frame_index": 9, "file": "9.jpg", "detections": [{"xyxy": [1, 2, 3, 4], "conf": 1, "class": 364}]},
        video={"path": "a.mp4", "fps": 25.0},
        detector={"name": "é"},
    )
    for source in open_both(tmp_path, content):
        assert source.frame_numbers.tolist() == [2, 5, 9]
        assert source.frame_numbers.dtype == np.int64
        assert (source.count, source.last_frame) == (3, 9)
        assert source.class_ids == (-1, 0, 364)
        assert dict(source.class_names) == {0: "person"}
        assert list(source.header) == ["schema_version", "video", "detector"]
        assert source.header["detector"] == {"name": "é"}
        assert source.video == {"path": "a.mp4", "fps": 25.0}
        assert not source.warnings
        five = source.at(5)
        assert (five.frame, len(five), five.class_names) == (5, 2, ("person", None))
        assert five.det_inds.tolist() == [4, 2]
        assert five.class_ids.tolist() == [0, -1]
        assert five.boxes.shape == (2, 4)
        assert [a.dtype for a in (five.boxes, five.scores, five.class_ids, five.det_inds)] == [float, float, int, int]
        nine = source.at(9)
        assert nine.boxes.tolist() == [[1, 2, 3, 4]]
        assert (nine.scores.tolist(), nine.class_ids.tolist(), nine.det_inds.tolist()) == ([1.0], [364], [0])
        assert source.raw(9) == content["frames"][2]
        for frame, there in ((2, True), (3, False), (-1, False), (10**12, False)):
            empty = source.at(frame)
            assert (len(empty), empty.boxes.shape, empty.class_names) == (0, (0, 4), ())
            assert (source.raw(frame) is not None) is there
    assert open_detections(source) is source


def test_returned_arrays_and_dicts_are_copies() -> None:
    content = document(one([good(probs=[0.5])]))
    source = open_detections(content)
    source.at(7).boxes[:] = 0
    raw = source.raw(7)
    assert raw is not None
    raw["detections"][0]["probs"].clear()
    raw["detections"].clear()
    assert source.at(7).boxes.tolist() == [GOOD["bbox"]]
    assert source.raw(7) == content["frames"][0]


def test_no_frames(tmp_path: Path) -> None:
    for source in open_both(tmp_path, document()):
        assert (source.count, source.last_frame, source.class_ids, dict(source.class_names)) == (0, -1, (), {})
        assert len(source.frame_numbers) == 0
        assert source.video == {}


def test_class_name_is_the_most_frequent() -> None:
    names = ["man", "person", "person", None, "car"]
    content = document(one([good(class_name=name, class_id=2 if name == "car" else 0) for name in names]))
    assert dict(open_detections(content).class_names) == {0: "person", 2: "car"}


def test_numpy_values_in_a_payload() -> None:
    entry = {
        "frame": np.int64(3),
        "detections": [
            {"bbox": np.array([1, 2, 3, 4.5], np.float32), "score": np.float32(0.5), "class_id": np.int32(2)},
            {"bbox": (1, 2, 3, 4), "score": 0.5, "class_id": 2, "probs": np.arange(2)},
        ],
    }
    source = open_detections({"schema_version": "det-v1", "frames": (entry,)})
    assert source.at(3).boxes.tolist() == [[1, 2, 3, 4.5], [1, 2, 3, 4]]
    raw = source.raw(3)
    assert raw is not None
    assert raw["detections"][1]["probs"] == [0, 1]
    json.dumps(raw)


LAYOUTS = {
    "compact": lambda d: json.dumps(d, separators=(",", ":")),
    "indented": lambda d: json.dumps(d, indent=4),
    "frames first": lambda d: json.dumps({"frames": d["frames"], **d}),
    "frames between": lambda d: json.dumps({"detector": 1, "frames": d["frames"], **d}),
    "byte order mark": lambda d: "\ufeff" + json.dumps(d),
    "windows line ends": lambda d: json.dumps(d, indent=1).replace("\n", "\r\n") + "\r\n\r\n",
    "not escaped": lambda d: json.dumps(d, ensure_ascii=False),
}


@pytest.mark.parametrize("chunk", [4, 7, 64, 1 << 20])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_and_chunk_borders(layout: str, chunk: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tracking.detections.reader._CHUNK_BYTES", chunk)
    content = document(
        *(
            {
                "frame": n,
                "note": 'zoë "\\ ] } 人',
                "detections": [good(score=0.1 * n, bbox=[-1.5e0, 0, 10, 1e2], probs=[1e-7])],
            }
            for n in (3, 1, 10)
        ),
        count=-12,
        last=True,
        detector={"name": "naïve ☃", "deep": [[[{}]]]},
    )
    text = LAYOUTS[layout](content)
    source = open_detections(write(tmp_path, text))
    assert source.frame_numbers.tolist() == [1, 3, 10]
    assert dict(source.header) == {k: v for k, v in json.loads(text.lstrip("\ufeff")).items() if k != "frames"}
    for entry in content["frames"]:
        assert source.raw(entry["frame"]) == entry
        assert source.at(entry["frame"]).scores.tolist() == [entry["detections"][0]["score"]]


# name: (detections of frame 7, regex of the strict error, warnings when lenient, rows kept when lenient)
DETECTIONS: dict[str, tuple[list[Any], str, dict[str, int], list[int]]] = {
    "not an object": ([good(), 5], "detection 1: expected an object, found 5", {"detection is not an object": 1}, [0]),
    "bbox missing": ([good(bbox=...), good()], "detection 0: bbox is missing", {"bbox missing": 1}, [1]),
    "bbox of 3": ([good(bbox=[1, 2, 3])], r"4 numbers .*found \[1, 2, 3\]", {"bbox is not 4 numbers": 1}, []),
    "bbox of text": ([good(bbox=["1", 2, 3, 4])], "4 numbers", {"bbox is not 4 numbers": 1}, []),
    "bbox with a bool": ([good(bbox=[True, 2, 3, 4])], "4 numbers", {"bbox is not 4 numbers": 1}, []),
    "bbox of no height": ([good(), good(bbox=[1, 5, 3, 5])], "detection 1: .*no area", {"bbox without area": 1}, [0]),
    "bbox thinner than float32 sees": ([good(bbox=[9, 5, 9.0001, 9])], "no area", {"bbox without area": 1}, []),
    "bbox reversed": ([good(bbox=[9, 5, 3, 9])], "reversed", {"bbox without area": 1}, []),
    "bbox out of range": ([good(bbox=[1, 2, 1e30, 4])], "within 100000 pixels", {"bbox out of range": 1}, []),
    "alias is named": ([good(bbox=..., xyxy=[1])], "expected xyxy as 4", {"bbox is not 4 numbers": 1}, []),
    "score missing": ([good(score=...)], "score is missing", {"score missing": 1}, []),
    "score null": ([good(score=None)], "found None", {"score is not a number": 1}, []),
    "score of 87": ([good(score=87)], r"score in \[0, 1\], found 87", {"score outside [0, 1]": 1}, []),
    "score clipped": ([good(score=1.0005)], r"found 1\.0005", {"score clipped to [0, 1]": 1}, [0]),
    "conf clipped": (
        [good(), good(score=..., conf=-1e-9)],
        "expected conf",
        {"score clipped to [0, 1]": 1},
        [0, 1],
    ),
    "class null": ([good(class_id=None)], "class_id is null", {"class_id null or missing, taken as -1": 1}, [0]),
    "class missing": ([good(class_id=...)], "class_id is missing", {"class_id null or missing, taken as -1": 1}, [0]),
    "class a name": ([good(class_id="cat")], "32-bit integer, found 'cat'", {"class_id is not an integer": 1}, []),
    "class a bool": ([good(class_id=True)], "found True", {"class_id is not an integer": 1}, []),
    "class a fraction": ([good(class_id=0.5)], "found 0.5", {"class_id is not an integer": 1}, []),
    "class_name a number": ([good(class_name=5)], "class_name as a string", {"class_name is not a string": 1}, [0]),
    "det_ind negative": ([good(det_ind=-1)], "det_ind as an integer", {"det_ind is not an index": 1}, []),
    "det_ind twice": (
        [good(det_ind=1), good(det_ind=1), good(det_ind=0)],
        "detection 1: det_ind 1 is already",
        {"duplicate det_ind": 1},
        [0, 2],
    ),
    "det_ind that a missing one stands for": ([good(det_ind=1), good()], "already", {"duplicate det_ind": 1}, [0]),
    "several": (
        [good(score=2), good(), good(class_id=None), 0, good(bbox=[0, 0, 0, 0])],
        "detection 0: ",
        {
            "score outside [0, 1]": 1,
            "class_id null or missing, taken as -1": 1,
            "detection is not an object": 1,
            "bbox without area": 1,
        },
        [1, 2],
    ),
}


@pytest.mark.parametrize("name", DETECTIONS)
def test_rejects_invalid_detections(name: str, tmp_path: Path) -> None:
    detections, message, warnings, kept = DETECTIONS[name]
    content = document(one([], 3), one(detections), one([good()], 8))
    for source in (write(tmp_path, content), content):
        with pytest.raises(DetectionsError, match=message) as caught:
            open_detections(source)
        assert 'frame 7 (entry 1 of "frames"' in caught.value.message
        assert ("detections.json: " if isinstance(source, Path) else "in memory: ") in caught.value.message
        assert "`lenient=True`" in str(caught.value.hint)
    for opened in open_both(tmp_path, content, lenient=True):
        assert dict(opened.warnings) == warnings
        at, raw = opened.at(7), opened.raw(7)
        assert raw is not None
        assert opened.count == len(kept) + 1
        assert len(raw["detections"]) == len(at) == len(kept)
        for row, index in enumerate(kept):
            shown = raw["detections"][row]
            untouched = {
                k: v for k, v in detections[index].items() if k not in ("score", "conf", "class_id", "class_name")
            }
            assert untouched.items() <= shown.items()
            assert at.boxes[row].tolist() == shown["bbox"]
            assert at.scores[row] == shown.get("score", shown.get("conf"))
            assert at.class_ids[row] == shown["class_id"]
            assert at.class_names[row] == shown.get("class_name")
            assert at.det_inds[row] == shown.get("det_ind", index)
        # What lenient reading hands on passes the strict check.
        open_detections(document(raw))


# name: (frames, regex of the strict error, warnings when lenient, frame numbers when lenient)
FRAMES: dict[str, tuple[list[Any], str, dict[str, int], list[int]]] = {
    "entry is a list": ([[], one([])], "entry 0 .*an object", {"frame entry is not an object": 1}, [7]),
    "number missing": ([{"detections": []}], "entry 0 .*frame as .*missing", {"frame number unusable": 1}, []),
    "number negative": ([one([], -1)], "found -1", {"frame number unusable": 1}, []),
    "number a bool": ([one([], True)], "found True", {"frame number unusable": 1}, []),
    "number a string": ([{"frame_index": "1", "detections": []}], "frame_index as", {"frame number unusable": 1}, []),
    "number a fraction": ([{"frame": 1.5, "detections": []}], "found 1.5", {"frame number unusable": 1}, []),
    "detections null": (
        [{"frame": 4, "detections": None}, one([good()])],
        "frame 4 .*detections as a list",
        {"detections of a frame is not a list": 1},
        [4, 7],
    ),
    "detections missing": ([{"frame": 4}], "frame 4 .*missing", {"detections of a frame is not a list": 1}, [4]),
    "frame twice": (
        [one([good()], 9), one([good()], 2), one([good(), good()], 9), one([], 9)],
        r"frame 9 \(entry 2 .*already, as entry 0",
        {"duplicate frame": 2},
        [2, 9],
    ),
}


@pytest.mark.parametrize("name", FRAMES)
def test_rejects_invalid_frames(name: str, tmp_path: Path) -> None:
    frames, message, warnings, kept = FRAMES[name]
    content = document(*frames)
    for source in (write(tmp_path, content), content):
        with pytest.raises(DetectionsError, match=message) as caught:
            open_detections(source)
        assert "`lenient=True`" in str(caught.value)
    for opened in open_both(tmp_path, content, lenient=True):
        assert dict(opened.warnings) == warnings
        assert opened.frame_numbers.tolist() == kept
        for frame in kept:
            raw = opened.raw(frame)
            assert raw is not None
            assert len(raw["detections"]) == len(opened.at(frame))
        assert opened.count == sum(len(opened.at(frame)) for frame in kept)


def test_first_of_duplicate_frames_is_kept(tmp_path: Path) -> None:
    content = document(one([good(score=0.3)], 9), one([good(score=0.5)], 2), one([good(score=0.7)] * 2, 9))
    for source in open_both(tmp_path, content, lenient=True):
        assert source.at(9).scores.tolist() == [0.3]
        assert source.at(2).scores.tolist() == [0.5]
        raw = source.raw(9)
        assert raw is not None
        assert raw["detections"][0]["score"] == 0.3


# name: (text of an extra key's value, what the error names)
NOT_JSON_VALUES = {
    "NaN": ("NaN", "NaN"),
    "Infinity": ("[1, Infinity]", "Infinity"),
    "minus Infinity": ("-Infinity", "-Infinity"),
    "1e999": ("1e999", "Infinity"),
    "an integer of 400 digits": ("1" * 400, "Infinity"),
    "unpaired surrogate": (r'"a\ud800"', "ud800"),
}


@pytest.mark.parametrize("name", NOT_JSON_VALUES)
def test_rejects_values_that_json_cannot_hold(name: str, tmp_path: Path) -> None:
    text, found = NOT_JSON_VALUES[name]
    plain = json.dumps(document(one([good(), good(probs="HERE")]), detector={"conf": 1}))
    path = write(tmp_path, plain.replace('"HERE"', text))
    with pytest.raises(DetectionsError, match=r"frame 7 \(entry 0 .*detections\[1\]\.probs") as caught:
        open_detections(path)
    assert found in str(caught.value)
    source = open_detections(path, lenient=True)
    assert sum(source.warnings.values()) == 1
    raw = source.raw(7)
    assert raw is not None
    assert len(source.at(7)) == 2
    json.dumps(raw, allow_nan=False).encode()

    header = write(tmp_path, plain.replace('"HERE"', "0").replace('"conf": 1', f'"conf": {text}'))
    with pytest.raises(DetectionsError, match=r"header.*detector\.conf"):
        open_detections(header)
    json.dumps(dict(open_detections(header, lenient=True).header), allow_nan=False)


@pytest.mark.parametrize("value", ["NaN", "Infinity", "1e999"])
@pytest.mark.parametrize("key", ["bbox", "score"])
def test_rejects_a_box_or_score_that_is_not_finite(key: str, value: str, tmp_path: Path) -> None:
    broken = f'{{"bbox": [1, 2, 3, {value}], "score": 0.5, "class_id": 0}}'
    if key == "score":
        broken = f'{{"bbox": [1, 2, 3, 4], "score": {value}, "class_id": 0}}'
    text = json.dumps(document(one([good(), "HERE"]))).replace('"HERE"', broken)
    with pytest.raises(DetectionsError, match=rf"frame 7.*detections\[1\]\.{key}"):
        open_detections(write(tmp_path, text))
    assert open_detections(tmp_path / "detections.json", lenient=True).count == 1


def test_rejects_a_frame_number_that_is_not_finite(tmp_path: Path) -> None:
    path = write(tmp_path, json.dumps(document(one([], 3), one([], 4))).replace('"frame": 4', '"frame": NaN'))
    with pytest.raises(DetectionsError, match=r"entry 1 of .*found NaN in frame\b"):
        open_detections(path)
    assert open_detections(path, lenient=True).frame_numbers.tolist() == [3]


def test_rejects_values_in_memory_that_are_not_finite() -> None:
    content = document(one([good(probs=[0.5, math.nan]), good(bbox=[1, 2, math.inf, 4])]))
    with pytest.raises(DetectionsError, match=r"NaN in detections\[0\]\.probs\[1\]"):
        open_detections(content)
    source = open_detections(content, lenient=True)
    assert source.warnings["NaN or infinity replaced by null"] == 2
    raw = source.raw(7)
    assert raw is not None
    assert raw["detections"] == [good(probs=[0.5, None])]


def test_rejects_values_in_memory_without_a_json_type() -> None:
    content = document(one([good(probs={1, 2})]))
    with pytest.raises(DetectionsError, match=r"found \{1, 2\} in detections\[0\]\.probs"):
        open_detections(content)
    endless: dict[str, Any] = {}
    endless["self"] = endless
    with pytest.raises(DetectionsError, match="part of itself"):
        open_detections(document(one([]), detector=endless))


WHOLE = json.dumps(document(one([good()]), one([good()], 8)), indent=1)

# name: (content of the file, regex of the error); lenient makes no difference
FILES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "empty file"),
    "white space": (b" \n ", "cut short|empty"),
    "not JSON": (b"frame,x,y\n1,2,3\n", r"not JSON at line 1, byte 0: expected an object \(\{\), found 'frame,x,y"),
    "a list": (b"[]", "expected an object"),
    "broken inside": (WHOLE.replace('"score": 0.9', '"score" 0.9').encode(), r"line 14, byte \d+: expected ':'"),
    "a bare word": (WHOLE.replace("0.9", "nil").encode(), "not JSON at line 14"),
    "single quotes": (b"{'schema_version': 'det-v1'}", "double quotes"),
    "comma left over": (b'{"schema_version": "det-v1", "frames": [],}', "double quotes"),
    "comma missing": (b'{"schema_version": "det-v1" "frames": []}', "a comma"),
    "two documents": (WHOLE.encode() * 2, "nothing after the document"),
    "line break in a string": (b'{"schema_version": "det-v1", "x": "a\nb"}', "invalid control character"),
    "gzip": (b"\x1f\x8b\x08\x00rest", "gzip"),
    "UTF-16": (WHOLE.encode("utf-16"), "UTF-16"),
    "binary": (bytes(range(64)), "binary|not JSON"),
    "nested too deeply": (b'{"schema_version": "det-v1", "x": ' + b"[" * 100_000, "nested too deeply|cut short"),
    "no version": (b'{"frames": []}', "schema_version.*missing"),
    "another version": (b'{"schema_version": "det-v2", "frames": []}', "found 'det-v2'"),
    "another version, last": (b'{"frames": [], "schema_version": 1}', "found 1"),
    "track-v1": (
        b'{"schema_version": "track-v1", "frames": []}',
        "result of a tracking run.*det-v1 file that the run used",
    ),
    "no frames": (b'{"schema_version": "det-v1"}', "frames as a list, but it is missing"),
    "frames an object": (b'{"schema_version": "det-v1", "frames": {"0": []}}', "frames as a list, but found"),
    "frames twice": (b'{"schema_version": "det-v1", "frames": [], "frames": []}', "found it twice"),
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("lenient", [False, True])
def test_rejects_invalid_files(name: str, lenient: bool, tmp_path: Path) -> None:
    content, message = FILES[name]
    path = tmp_path / "broken.json"
    path.write_bytes(content)
    with pytest.raises(DetectionsError, match=message) as caught:
        open_detections(path, lenient=lenient)
    assert str(path) in caught.value.message


@pytest.mark.parametrize("chunk", [16, 1 << 20])
def test_every_truncation_is_an_error(chunk: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tracking.detections.reader._CHUNK_BYTES", chunk)
    text = json.dumps(document(one([good(class_name="person", probs=[1.25e-3, True, None])]), detector={"name": "x"}))
    path = tmp_path / "cut.json"
    for length in range(1, len(text)):
        path.write_text(text[:length])
        with pytest.raises(DetectionsError, match=rf"cut short: it ends at byte {length}\b"):
            open_detections(path)


def test_invalid_utf8(tmp_path: Path) -> None:
    path = tmp_path / "latin.json"
    path.write_bytes(json.dumps(document(one([good(class_name="HERE")]))).encode().replace(b"HERE", b"caf\xe9"))
    with pytest.raises(DetectionsError, match=r"frame 7.*byte 0xe9"):
        open_detections(path)
    assert open_detections(path, lenient=True).at(7).class_names == ("caf�",)


def test_error_positions_are_exact_far_into_a_file(tmp_path: Path) -> None:
    frames = [one([good(note="x" * 500)], number) for number in range(3000)]
    text = json.dumps(document(*frames), indent=1)
    place = text.rindex('"score"')
    path = write(tmp_path, text[:place] + "?" + text[place:])
    line = text.count("\n", 0, place) + 1
    with pytest.raises(DetectionsError, match=rf"not JSON at line {line}, byte {place}\b"):
        open_detections(path)
    frames[2500]["detections"][0]["score"] = 7
    text = json.dumps(document(*frames))
    with pytest.raises(DetectionsError, match=r'frame 2500 \(entry 2500 of "frames", byte (\d+)\)') as caught:
        open_detections(write(tmp_path, text))
    found = re.search(r"byte (\d+)", caught.value.message)
    assert found is not None
    assert text[int(found[1]) :].startswith('{"frame": 2500,')


@pytest.mark.parametrize(
    ("make", "message"),
    [
        pytest.param(lambda folder: folder / "absent.json", "no such file", id="absent"),
        pytest.param(lambda folder: folder, "found a folder", id="a folder"),
        pytest.param(lambda folder: Path("a\0b"), "NUL", id="NUL in the path"),
        pytest.param(lambda folder: folder / "x" / "y", "no such file", id="absent folder"),
    ],
)
def test_rejects_invalid_paths(make: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(DetectionsError, match=message):
        open_detections(make(tmp_path))


@pytest.mark.parametrize("source", [[one([])], None, 3, b"a.json"])
def test_rejects_a_source_that_is_neither_path_nor_document(source: Any) -> None:
    with pytest.raises(DetectionsError, match="expected the path of a det-v1 file or a det-v1 document"):
        open_detections(source)


def test_rejects_a_fifo_at_once(tmp_path: Path) -> None:
    if not hasattr(os, "mkfifo"):
        pytest.skip("no named pipes here")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DetectionsError, match="regular file"):
        open_detections(tmp_path / "pipe")


def test_reports_a_file_that_changed_or_vanished_after_opening(tmp_path: Path) -> None:
    path = write(tmp_path, document(one([good()])))
    source = open_detections(str(path))
    write(tmp_path, document(one([good(), good()])))
    with pytest.raises(DetectionsError, match="changed while"):
        source.raw(7)
    path.unlink()
    with pytest.raises(DetectionsError, match="any more"):
        source.raw(7)
    assert len(source.at(7)) == 1


SIZES: dict[str, tuple[dict[str, Any], dict[str, Any], str | None]] = {
    "agree": ({"width": 640, "height": 360, "frame_count": 100}, {}, None),
    "nothing known": ({}, {}, None),
    "null": ({"width": None, "height": None, "frame_count": None}, {}, None),
    "zero": ({"width": 0, "height": 0, "frame_count": 0}, {}, None),
    "width differs": ({"width": 1280, "height": 360}, {}, "1280 x 360 pixels.*640 x 360"),
    "height alone differs": ({"height": 480}, {}, r"\? x 480"),
    "video cut short": ({"frame_count": 120}, {}, "120 frames.*100"),
    "video longer": ({"frame_count": 80}, {}, None),
    "count unknown": ({"frame_count": 120}, {"frame_count": None}, None),
    "count of a stream": ({"frame_count": 120}, {"frame_count": -1}, None),
    "ends before the last detection": ({}, {"frame_count": 50}, "frame 50, but clip.mp4 has 50 frames"),
    "ends with the last detection": ({}, {"frame_count": 51}, None),
}


@pytest.mark.parametrize("name", SIZES)
def test_check_against_video(name: str) -> None:
    video, changes, message = SIZES[name]
    source = open_detections(document(one([good()], 50), video=video))
    facts: dict[str, Any] = {"width": 640, "height": 360, "frame_count": 100, "path": "clip.mp4", **changes}
    if message is None:
        assert check_against_video(source, **facts) == []
        return
    with pytest.raises(DetectionsError, match=message) as caught:
        check_against_video(source, **facts)
    assert "`lenient=True`" in str(caught.value)
    warnings = check_against_video(source, **facts, lenient=True)
    assert len(warnings) == 1
    assert re.search(message, warnings[0])


def test_lenient_drops_invalid_properties_of_the_video(tmp_path: Path) -> None:
    content = document(one([]), video={"path": "a.mp4", "width": "640", "height": 360})
    with pytest.raises(DetectionsError, match=r"video\.width as a number, found '640'"):
        open_detections(content)
    for source in open_both(tmp_path, content, lenient=True):
        assert source.video == {"path": "a.mp4", "height": 360}
        assert dict(source.warnings) == {"unusable facts about the video": 1}
    assert content["video"]["width"] == "640"


def test_import_is_cheap() -> None:
    code = "import sys, tracking.detections.reader; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "boxmot", "chromadb", "cv2"} & set(done.stdout.split())


@pytest.mark.data
def test_real_detections(data: Path) -> None:
    path = data / "video" / "pets09-s2l1.detections.json"
    source = open_detections(path)
    content = json.loads(path.read_bytes())
    assert (source.count, source.last_frame, dict(source.class_names)) == (5134, 794, {0: "person"})
    assert source.video["width"] == 768
    for entry in content["frames"]:
        assert source.raw(entry["frame"]) == entry
        assert source.at(entry["frame"]).boxes.tolist() == [item["bbox"] for item in entry["detections"]]
    assert check_against_video(source, width=768, height=576, frame_count=795, path="pets09-s2l1.avi") == []
