"""Classes by id and by name."""

from __future__ import annotations

import pytest

from tracking import OptionError
from tracking.classes import Classes, describe_classes, ids_of_classes, read_classes

NAMES = {0: "person", 2: "car", 5: "Car", 7: "traffic light"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [(None, None), ("person", ["person"]), ("0, 2;traffic light", [0, 2, "traffic light"]), ("-1", ["-1"])],
)
def test_reads_names_and_ids(text: str | None, expected: Classes | None) -> None:
    assert read_classes(text) == expected


def test_a_text_without_a_class_is_refused() -> None:
    with pytest.raises(OptionError, match="names or ids"):
        read_classes(" , ")


@pytest.mark.parametrize(
    ("classes", "expected"),
    [(None, None), ([2, 0], (0, 2)), (["CAR", 0], (0, 2, 5)), (["Traffic Light"], (7,)), ([9], (9,)), (["dog"], ())],
)
def test_names_become_ids(classes: Classes | None, expected: tuple[int, ...] | None) -> None:
    assert ids_of_classes(classes, NAMES, "the detections", may_lack=["dog"]) == expected


def test_without_names_those_of_coco_count() -> None:
    assert ids_of_classes(["person", "toothbrush"], {}, "the detections") == (0, 79)


def test_an_unknown_name_is_refused_with_a_suggestion() -> None:
    with pytest.raises(OptionError, match="no class 'persn' in the detections") as caught:
        ids_of_classes(["persn"], NAMES, "the detections")
    assert caught.value.hint == "Did you mean 'person'?"
    with pytest.raises(OptionError) as caught:
        ids_of_classes(["zebra"], NAMES, "x.onnx")
    assert caught.value.hint == "There are person (0), car (2), Car (5), traffic light (7)."


def test_describes_some_of_many_classes() -> None:
    assert describe_classes([2, 0, 9], NAMES) == "person (0), car (2), 9"
    assert describe_classes(range(12), {}) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 2 more"
