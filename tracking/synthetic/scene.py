"""A synthetic scene: people who walk, cross, occlude one another and return, with ground truth and detections.

Everything is generated, so that the demonstration and the tests need no external data. The same `SceneConfig` gives the
same scene on every machine (the bytes of a video depend on its encoder). Motion, detections and truth are computed
without drawing; images cost extra.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from tracking.synthetic.config import SceneConfig, cast_appearances, cast_names
from tracking.synthetic.detector import CAR_CLASS, MIN_SCORE, PERSON_CLASS, simulate_detector
from tracking.synthetic.elements import Image, RandomStream
from tracking.synthetic.motion import drive, walk
from tracking.synthetic.painter import Painter
from tracking.synthetic.truth import Camera, TruthBox, true_boxes

__all__ = ["SceneFrame", "detections_header", "frame_entry", "iter_scene", "make_detections"]


@dataclass(frozen=True, slots=True, eq=False)
class SceneFrame:
    """One frame of a scene.

    Attributes:
        frame: 0-based frame number.
        image: (H, W, 3) uint8 BGR; None if images were not asked for.
        truth: All people who are at least partly inside the image, occluded or not.
        detections: det-v1 detections, the highest score first.
    """

    frame: int
    image: Image | None
    truth: tuple[TruthBox, ...]
    detections: list[dict[str, Any]]


def iter_scene(config: SceneConfig, *, images: bool = True) -> Iterator[SceneFrame]:
    """Make a scene frame by frame; one frame at a time is in memory.

    Args:
        config: Options of the scene.
        images: False for truth and detections only: they are the same, and much faster to make.
    """
    names = [name for group in cast_names(config) for name in group]
    walks = [walk(config, index) for index in range(len(names))]
    cars = drive(config)
    camera = Camera.from_config(config)
    detector = np.random.default_rng([config.seed, config.clip, RandomStream.DETECTOR])
    painter = None
    if images:
        painter = Painter(
            width=config.width,
            height=config.height,
            fps=config.fps,
            seed=config.seed,
            clip=config.clip,
            noise=config.noise,
            cast=cast_appearances(config),
            occluders=camera.occluders,
        )
    for frame in range(config.frames):
        poses = [(index, pose) for index, walk in enumerate(walks) if (pose := next(walk)) is not None]
        car = next(cars)
        truth = true_boxes(config, camera, names, poses)
        detections = simulate_detector(
            config, camera, detector, [item.box for item in truth], [t.visible for t in truth], car
        )
        image = None if painter is None else painter.paint(frame, poses, car)
        yield SceneFrame(frame, image, truth, detections)


def make_detections(config: SceneConfig, *, video: str = "scene.mp4") -> dict[str, Any]:
    """Return the det-v1 document of a scene, without drawing it.

    Args:
        config: Options of the scene.
        video: Path of the video, as the document states it.
    """
    frames = [frame_entry(item) for item in iter_scene(config, images=False)]
    return {**detections_header(config, video), "frames": frames}


def detections_header(config: SceneConfig, video: str) -> dict[str, Any]:
    """Return every top-level key of det-v1 but ``frames``."""
    return {
        "schema_version": "det-v1",
        "video": {
            "path": video,
            "fps": config.fps,
            "frame_count": config.frames,
            "width": config.width,
            "height": config.height,
        },
        "detector": {"name": "gtrack-demo", "classes": [PERSON_CLASS, CAR_CLASS], "conf_thresh": MIN_SCORE},
    }


def frame_entry(item: SceneFrame) -> dict[str, Any]:
    """Return the det-v1 entry of a frame."""
    return {"frame": item.frame, "file": f"{item.frame:06d}.jpg", "detections": item.detections}
