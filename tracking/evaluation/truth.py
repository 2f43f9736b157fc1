"""The ground truth of a video: the true boxes, and the person of each id."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from gallery_db.errors import GalleryError
from gallery_db.limits import MAX_TEXT_BYTES
from gallery_db.names import normal_name, validate_identity_name
from gallery_db.regular_files import open_regular, read_regular, read_regular_text
from gallery_db.visible_text import from_csv_cell
from tracking.detections.mot_text import find_mot_sequence, read_mot
from tracking.errors import EvaluationError
from tracking.evaluation.track_table import FrameRange, in_range
from tracking.geometry import LARGEST_NUMBER
from tracking.json_stream import show

__all__ = ["Truth", "read_people", "read_truth", "scene_truth"]

_NO_LIMIT: FrameRange = (None, None)


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """The true boxes of a video as parallel arrays, one row a box.

    Attributes:
        path: Its file, for messages.
        name: Name of the sequence.
        frames: (N,) int64, 0-based.
        ids: (N,) int64, one id for each sighting of a person: MOTChallenge's ids, or of a scene one for each time that
            a person is in the image without a gap.
        xyxy: (N, 4) float64, corners in pixels.
        ltwh: (N, 4) float64, left, top, width, height.
        visible: (N,) float64, the visible part of the object, in [0, 1]; 1 where it is unknown.
        marks: (N,) int64, 0 for rows that MOTChallenge does not count, and where a scene's person is hidden completely.
        classes: (N,) int64, the classes of MOT16 and later; 1 (a pedestrian) where the file has none.
        classed: Whether the file has such classes.
        people: Names of the people; empty where the persons of the ids are unknown.
        persons: (N,) int64, indices in `people`, -1 for rows of MOTChallenge that do not count; None without `people`.
        known: Names of the people that the gallery had; None where the ground truth does not list them.
        frame_count: Number of frames of the video, None where unknown.
        fps: Frames per second, None where unknown.
    """

    path: str
    name: str
    frames: NDArray[np.int64]
    ids: NDArray[np.int64]
    xyxy: NDArray[np.float64]
    ltwh: NDArray[np.float64]
    visible: NDArray[np.float64]
    marks: NDArray[np.int64]
    classes: NDArray[np.int64]
    classed: bool
    people: tuple[str, ...] = ()
    persons: NDArray[np.int64] | None = None
    known: frozenset[str] | None = None
    frame_count: int | None = None
    fps: float | None = None

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def counts(self) -> NDArray[np.bool_]:
        """(N,) bool, the rows that count: pedestrians that are not marked to be left out."""
        return np.asarray((self.marks != 0) & (self.classes == 1), np.bool_)

    def between(self, frame_range: FrameRange) -> Truth:
        """Return the rows of a range of frames."""
        if frame_range == _NO_LIMIT:
            return self
        rows = np.flatnonzero(in_range(self.frames, frame_range))
        return replace(
            self,
            frames=self.frames[rows],
            ids=self.ids[rows],
            xyxy=self.xyxy[rows],
            ltwh=self.ltwh[rows],
            visible=self.visible[rows],
            marks=self.marks[rows],
            classes=self.classes[rows],
            persons=None if self.persons is None else self.persons[rows],
        )

    def with_people(self, who: Mapping[int, str], source: str) -> Truth:
        """Return the ground truth with the person of each id.

        Args:
            who: Ground-truth id to person.
            source: The file with these, for messages.

        Raises:
            EvaluationError: An id has no person, or a person is in a frame twice.
        """
        counts = self.counts
        missing = sorted(set(self.ids[counts].tolist()) - set(who))
        if missing:
            listed = ", ".join(map(str, missing[:10])) + (", ..." if len(missing) > 10 else "")
            raise EvaluationError(
                f"{source}: no person for {len(missing)} of the ids of {self.path}: {listed}.",
                hint="Add a line for each: gt_id,person. A person may have several ids.",
            )
        people = tuple(sorted(set(who.values())))
        column = {name: code for code, name in enumerate(people)}
        persons = np.full(len(self), -1, np.int64)
        for row in np.flatnonzero(counts).tolist():
            persons[row] = column[who[int(self.ids[row])]]
        pairs, first, times = np.unique(
            np.stack([self.frames[counts], persons[counts]]), axis=1, return_index=True, return_counts=True
        )
        if (times > 1).any():
            at = int(np.flatnonzero(times > 1)[np.argmin(first[times > 1])])
            frame, person = pairs[:, at].tolist()
            ids = self.ids[counts & (self.frames == frame) & (persons == person)].tolist()
            raise EvaluationError(
                f"{source}: {people[person]!r} is in frame {frame} {len(ids)} times, as ids "
                f"{', '.join(map(str, ids))} of {self.path}.",
                hint="Give different people to ids that are in the same frame.",
            )
        return replace(self, people=people, persons=persons)


def read_people(path: str | os.PathLike[str]) -> dict[int, str]:
    """Read the person of each id: a CSV file with the columns ``gt_id`` and ``person``; several ids may be one person.

    Raises:
        EvaluationError: The file cannot be read, or a line is not of that form; names the line.
    """
    file = Path(path)
    try:
        with io.StringIO(read_regular_text(file, MAX_TEXT_BYTES, "utf-8-sig")) as stream:
            reader = csv.DictReader(stream, skipinitialspace=True)
            columns = [name.strip() for name in reader.fieldnames or ()]
            if not {"gt_id", "person"} <= set(columns):
                found = ", ".join(columns)[:60] or "nothing"
                raise EvaluationError(
                    f"{file}, line 1: expected the columns gt_id and person, found {found}.",
                    hint="Example: gt_id,person and below it 1,alice and 2,bob.",
                )
            reader.fieldnames = columns
            who: dict[int, str] = {}
            for row in reader:
                place = f"{file}, line {reader.line_num}"
                number, person = (str(row.get(key) or "").strip() for key in ("gt_id", "person"))
                try:
                    id_ = int(number)
                except ValueError:
                    raise EvaluationError(f"{place}: expected a whole number as gt_id, found {show(number)}.") from None
                if not person:
                    raise EvaluationError(f"{place}: expected a person for gt_id {id_}, found nothing.")
                person = _name(from_csv_cell(person), place)
                if who.setdefault(id_, person) != person:
                    raise EvaluationError(f"{place}: gt_id {id_} is {show(who[id_])} already, found {show(person)}.")
    except (UnicodeDecodeError, csv.Error) as error:
        raise EvaluationError(f"{file}: expected a CSV file in UTF-8: {error}.") from error
    except OSError as error:
        raise EvaluationError(
            f"{file}: cannot be read: {error.strerror or error}.",
            hint="Expected a CSV file with the columns gt_id and person.",
        ) from error
    return who


def _name(name: str, place: str) -> str:
    try:
        return validate_identity_name(name)
    except GalleryError as error:
        raise EvaluationError(f"{place}: {error.message}", hint=error.hint) from None


def read_truth(path: str | os.PathLike[str], people: str | os.PathLike[str] | None = None) -> Truth:
    """Read ground truth: of MOTChallenge (a sequence's folder or its gt.txt), or a scene's ``truth.json``.

    Args:
        path: The folder or file.
        people: The file of `read_people`; not for a scene, whose ground truth lists the people.

    Raises:
        EvaluationError: It is not ground truth, or the people do not fit; names the file.
        MotTextError: A damaged MOTChallenge file; names the line.
    """
    place = Path(path)
    try:
        head = b""
        if not place.is_dir():
            with open_regular(place) as file:
                head = file.read(4096)
    except OSError as error:
        raise EvaluationError(
            f"{place}: cannot be read: {error.strerror or error}.",
            hint="Give MOTChallenge ground truth (gt.txt, or a sequence's folder), or truth.json of gtrack demo.",
        ) from error
    if head.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"{":
        if people is not None:
            raise EvaluationError(f"{place} already names the person of each id.", hint=f"Omit {people}.")
        try:
            document = orjson.loads(read_regular(place, MAX_TEXT_BYTES).removeprefix(b"\xef\xbb\xbf"))
        except OSError as error:
            raise EvaluationError(f"{place}: cannot be read: {error.strerror or error}.") from error
        except ValueError as error:
            raise EvaluationError(f"{place}: not JSON: {error}.") from error
        return scene_truth(document, path=str(place))
    sequence = find_mot_sequence(place, "gt")
    rows = read_mot(sequence.file)
    truth = Truth(
        path=rows.path,
        name=sequence.name,
        frames=rows.frames,
        ids=rows.ids,
        xyxy=rows.xyxy,
        ltwh=rows.ltwh,
        visible=rows.visibility,
        marks=rows.confidences.astype(np.int64),  # cut off as TrackEval does it
        classes=rows.classes if rows.classed else np.ones(len(rows), np.int64),
        classed=rows.classed,
        frame_count=sequence.frame_count,
        fps=sequence.fps,
    )
    if sequence.frame_count is not None and len(rows) and int(rows.frames.max()) >= sequence.frame_count:
        at = int(np.argmax(rows.frames))
        raise EvaluationError(
            f"{rows.path}, line {rows.lines[at]}: frame {rows.frames[at] + 1} of a sequence of "
            f"{sequence.frame_count} frames (by its seqinfo.ini)."
        )
    return truth if people is None else truth.with_people(read_people(people), str(people))


def scene_truth(document: Mapping[str, Any], *, path: str = "the ground truth") -> Truth:
    """Convert the ground truth of a scene, as ``gtrack demo`` writes it.

    A sighting, with an id of its own, is a time in the image without a gap.

    Args:
        document: ``known`` and ``strangers`` (names) and ``frames``, each with ``frame`` and ``people`` (``name``,
            ``box`` as xyxy, ``visible``).
        path: Its name in messages.

    Raises:
        EvaluationError: It is not of that form.
    """
    if not all(isinstance(document.get(key), list) for key in ("known", "strangers", "frames")):
        raise EvaluationError(
            f"{path}: not the ground truth of a scene: expected lists as known, strangers and frames.",
            hint="truth.json of gtrack demo has them.",
        )
    try:
        known, strangers = ([_name(str(n), path) for n in document[key]] for key in ("known", "strangers"))
        people = (*known, *strangers)
        column = {name: code for code, name in enumerate(people)}
        rows = [
            (
                int(frame["frame"]),
                column[normal_name(person["name"])],
                *map(float, person["box"]),
                float(person["visible"]),
            )
            for frame in document["frames"]
            for person in frame["people"]
        ]
        array = np.asarray(rows, np.float64).reshape(-1, 7)
        last_listed = max((int(frame["frame"]) for frame in document["frames"]), default=-1)
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise EvaluationError(
            f"{path}: not the ground truth of a scene ({type(error).__name__}: {show(str(error))}).",
            hint="Expected known, strangers and frames with people, as truth.json of gtrack demo has them.",
        ) from error
    if not (np.abs(array) <= LARGEST_NUMBER).all() or (array[:, 0] < 0).any():
        at = int(np.argmin((np.abs(array) <= LARGEST_NUMBER).all(axis=1) & (array[:, 0] >= 0)))
        raise EvaluationError(
            f"{path}: expected finite numbers up to {LARGEST_NUMBER:g} for each person of a frame, "
            f"found {array[at].tolist()}."
        )
    array = array[np.argsort(array[:, 0], kind="stable")]
    frames, persons, xyxy = array[:, 0].astype(np.int64), array[:, 1].astype(np.int64), array[:, 2:6]
    ids = np.zeros(len(array), np.int64)
    sightings = 0
    for person in range(len(people)):
        mine = np.flatnonzero(persons == person)
        if len(mine):
            number = np.cumsum(np.diff(frames[mine], prepend=frames[mine[0]]) > 1)
            ids[mine] = sightings + 1 + number
            sightings += int(number[-1]) + 1
    return Truth(
        path=path,
        name=Path(path).stem,
        frames=frames,
        ids=ids,
        xyxy=xyxy,
        ltwh=np.concatenate([xyxy[:, :2], xyxy[:, 2:] - xyxy[:, :2]], axis=1),
        visible=array[:, 6],
        marks=(array[:, 6] > 0).astype(np.int64),
        classes=np.ones(len(array), np.int64),
        classed=False,
        people=people,
        persons=persons,
        known=frozenset(known),
        frame_count=last_listed + 1 if last_listed >= 0 else None,
    )
