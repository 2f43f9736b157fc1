"""Pictures of one person each, asked for a name: read, cut out, and decided by the rule of a run."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gallery_db.errors import ImageError
from gallery_db.media.images import IMAGE_SUFFIXES, read_image
from tracking.errors import OptionError
from tracking.identification.gallery_comparison import IdentitySource
from tracking.identification.identifier import TrackIdentifier
from tracking.identification.neighbours import Neighbours
from tracking.identification.track_evidence import Status
from tracking.video.crops import crop

__all__ = ["ProbeDecision", "decide_probes", "list_probe_files", "read_probe"]

_SCENE_PIXELS = 4_000_000
_SCENE_WIDTH = 400
_SCENE_ASPECT = 1.2
"""An image is a whole scene if it has more pixels than a camera's crop of a person, or is wide and not small."""


@dataclass(frozen=True, slots=True)
class ProbeDecision:
    """Who a picture shows, as a run would decide after one observation.

    Attributes:
        status: ``"known"``; ``"unknown"``: every identity is further away than accepted; ``"undecided"``: two
            identities are too close to each other.
        nearest: The nearest identity, which is the name where the status is known; None in an empty gallery.
        distance: Its cosine distance; inf in an empty gallery.
        second: The second-nearest identity; None where there is none.
        second_distance: Its cosine distance; inf where there is none.
    """

    status: Status
    nearest: str | None
    distance: float
    second: str | None
    second_distance: float

    @property
    def identity(self) -> str | None:
        """The name that a run would give; None for none."""
        return self.nearest if self.status == "known" else None


def list_probe_files(paths: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """Return files as they are, and of folders the image files in them, at any depth, sorted.

    Raises:
        ImageError: A folder has no image file in it.
    """
    found: list[Path] = []
    for path in map(Path, paths):
        if not path.is_dir():
            found.append(path)
            continue
        inside = sorted(
            file
            for file in path.rglob("*")
            if file.suffix.lower() in IMAGE_SUFFIXES and not file.name.startswith(".") and file.is_file()
        )
        if not inside:
            raise ImageError(f"{path}: expected image files in this folder, found none.")
        found += inside
    return found


def read_probe(path: Path, box: Sequence[float] | None = None, *, allow_scene: bool = False) -> NDArray[np.uint8]:
    """Read a picture of one person, or the part of an image that a box names.

    Args:
        path: The image file.
        box: x1, y1, x2, y2 in pixels; None for the whole image.
        allow_scene: Accept a whole scene as the picture of one person.

    Returns:
        (H, W, 3) uint8 in BGR order.

    Raises:
        ImageError: The image cannot be read, or the box is outside of it.
        OptionError: The image is a whole scene, and no box says who to search for.
    """
    image = read_image(path)
    height, width = image.shape[:2]
    if box is not None:
        parts, _ = crop(image, np.array([box], np.float64))
        if not parts:
            corners = ",".join(f"{value:g}" for value in box)
            raise ImageError(f"{path}: --box {corners} is outside of this {width} x {height} image.")
        return parts[0]
    wide = width >= _SCENE_WIDTH and width >= _SCENE_ASPECT * height
    if not allow_scene and (wide or width * height > _SCENE_PIXELS):
        raise OptionError(
            f"{path} looks like a whole scene ({width} x {height} pixels); expected a picture of one person.",
            hint="Say who to search for with --box X1,Y1,X2,Y2 in pixels; --box whole takes the image as it is.",
        )
    return image


def decide_probes(
    source: IdentitySource,
    embeddings: NDArray[np.float32],
    threshold: float,
    class_name: str | None = None,
) -> list[ProbeDecision]:
    """Decide who each embedding shows, each by itself, by the rule by which a run names a track.

    Args:
        source: The gallery's view.
        embeddings: (N, D) float32, rows of unit length.
        threshold: Largest accepted cosine distance.
        class_name: The class of all probes; None to compare with every class.
    """
    # With explanations, the nearest identities are kept however far they are.
    identifier = TrackIdentifier(source, threshold=threshold, every=1, explain=True)
    return [_decide(identifier, source, number, row, threshold, class_name) for number, row in enumerate(embeddings)]


def _decide(
    identifier: TrackIdentifier,
    source: IdentitySource,
    number: int,
    embedding: NDArray[np.float32],
    threshold: float,
    class_name: str | None,
) -> ProbeDecision:
    # A track of its own, in a frame of its own: no other probe competes for the name.
    identifier.observe(number, [number], embedding[None], [1.0], [class_name])
    (named,) = identifier.names(number, [number])
    evidence = identifier.evidence(number)
    assert evidence is not None
    tracklet = evidence.tracklet
    first, second = _two_nearest(tracklet.near)
    if named is not None and first != tracklet.column:
        first, second = tracklet.column, first

    def facts(column: int) -> tuple[str | None, float]:
        return (None, float("inf")) if column < 0 else (source.identities[column], tracklet.near.of(column).distance)

    (nearest, distance), (other, other_distance) = facts(first), facts(second)
    status: Status = "known" if named is not None else "unknown" if distance > threshold else "undecided"
    return ProbeDecision(status, nearest, distance, other, other_distance)


def _two_nearest(near: Neighbours) -> tuple[int, int]:
    """Return the columns of the two least distances, -1 where there is none."""
    order = [one.column for one in sorted(near, key=lambda one: (one.distance, one.column))[:2]]
    first, second, *_ = [*order, -1, -1]
    return first, second
