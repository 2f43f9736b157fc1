"""The classes that a user selects, by id or by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from gallery_db.suggestions import did_you_mean
from gallery_db.visible_text import shorten
from tracking.errors import OptionError

__all__ = ["COCO_NAMES", "Classes", "describe_classes", "ids_of_classes", "read_classes", "unknown_class"]

Classes = Sequence[int | str]
"""Class ids, names of classes in upper or lower case, or both."""

_NAMES = """
person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire hydrant, stop sign,
parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe, backpack, umbrella,
handbag, tie, suitcase, frisbee, skis, snowboard, sports ball, kite, baseball bat, baseball glove, skateboard,
surfboard, tennis racket, bottle, wine glass, cup, fork, knife, spoon, bowl, banana, apple, sandwich, orange,
broccoli, carrot, hot dog, pizza, donut, cake, chair, couch, potted plant, bed, dining table, toilet, tv,
laptop, mouse, remote, keyboard, cell phone, microwave, oven, toaster, sink, refrigerator, book, clock, vase,
scissors, teddy bear, hair drier, toothbrush
"""

COCO_NAMES: tuple[str, ...] = tuple(name.strip() for name in _NAMES.split(","))
"""The 80 classes of COCO in their usual order, for models and detections without names."""

_MOST_NAMED = 10
_DIGITS = 10  # of an id, at most; what has more is no id
_LENGTH = 100


def read_classes(text: str | None) -> list[int | str] | None:
    """Return the classes in a text such as ``person,2``; None for all classes.

    Raises:
        OptionError: The text names no class.
    """
    if text is None:
        return None
    parts = [part.strip() for part in text.replace(";", ",").split(",") if part.strip()]
    if not parts:
        raise OptionError(
            f"`classes` must have names or ids of classes, separated by commas, such as person or 0,2, found {text!r}.",
            field="classes",
        )
    return [int(part) if part.isascii() and part.isdecimal() and len(part) < _DIGITS else part for part in parts]


def ids_of_classes(
    classes: Classes | None, names: Mapping[int, str], what: str, *, may_lack: Iterable[str] = ()
) -> tuple[int, ...] | None:
    """Return the ids of classes in ascending order, None for all.

    Args:
        classes: Ids and names.
        names: Class id to name; several ids may have one name. Without any, COCO's names are used.
        what: What has these classes, for messages.
        may_lack: Names that are right, even if none of `names` is one of them: nothing is selected then.

    Raises:
        OptionError: A name that is not known.
    """
    if classes is None:
        return None
    names = names or dict(enumerate(COCO_NAMES))
    lacking = {name.casefold() for name in may_lack}
    found: set[int] = set()
    for one in classes:
        if isinstance(one, int):
            found.add(one)
            continue
        ids = [id_ for id_, name in names.items() if name.casefold() == one.casefold()]
        if not ids and one.casefold() not in lacking:
            raise unknown_class(one, names, what)
        found.update(ids)
    return tuple(sorted(found))


def unknown_class(name: str, names: Mapping[int, str], what: str) -> OptionError:
    """Return the error for a name that no class has."""
    there_are = f"There are {describe_classes(names, names)}." if names else None
    return OptionError(
        f"`classes`: there is no class {shorten(repr(name), _LENGTH)} in {what}.",
        field="classes",
        hint=did_you_mean(name, names.values(), there_are),
    )


def describe_classes(ids: Iterable[int], names: Mapping[int, str]) -> str:
    """Return classes in words, such as ``person (0), car (2)``; of many, the first."""
    every = [f"{names[id_]} ({id_})" if id_ in names else str(id_) for id_ in sorted(ids)]
    more = len(every) - _MOST_NAMED
    return ", ".join(every[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
