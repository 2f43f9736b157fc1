"""A synthetic clip with its detections, gallery and truth: people who walk, cross, hide one another and come back.

Everything is made up here (`tracking.demo.drawing` draws it), so that a demonstration and the tests
need no data from outside. The same `SceneConfig` gives the same scene on every machine (the video's
bytes depend on the encoder). The motion, the detections and the truth are computed without drawing;
images cost extra.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tracking.demo.drawing import (
    WARDROBE,
    Box,
    Car,
    Image,
    Look,
    Occluder,
    Painter,
    Pose,
    Stream,
    dressed_alike,
    portrait,
)
from tracking.errors import OptionError, OutputError, VideoError

__all__ = [
    "Scene",
    "SceneConfig",
    "SceneFrame",
    "TruthBox",
    "cast_names",
    "gallery_crops",
    "iter_scene",
    "make_detections",
    "render_scene",
]

_NAMES = ("amber", "blake", "casey", "devon", "ellis", "frankie", "gray", "harper", "indigo", "jules", "kit", "logan")
_MAX_STRANGERS = 6
_CROPS_PER_PERSON = 6


@dataclass(frozen=True, slots=True)
class SceneConfig:
    """What scene to make.

    Attributes:
        width: Pixels, even, 160 or more.
        height: Pixels, even, 120 or more.
        fps: Frames a second.
        frames: Length of the clip; the people keep coming back for as long as it lasts.
        people: Number of known people, who have crops in the gallery; 1 to 12.
        strangers: Number of people who are not in the gallery; 0 to 6.
        seed: Everything random follows from it. The same seed has the same cast.
        clip: Which camera on that cast: another one has another background, light and entry times.
        similar_clothes: 0 for clothes that differ clearly, to 1 for all the same clothes.
        jitter: Standard deviation of a detection's edges, as a fraction of the box's size.
        miss_rate: Chance that a person in plain sight is not detected; more where they are hidden.
        false_positives: Mean number of detections a frame where nobody is.
        noise: Standard deviation of the sensor noise, in grey levels.

    Raises:
        OptionError: A value outside of its range.
    """

    width: int = 640
    height: int = 360
    fps: float = 25.0
    frames: int = 600
    people: int = 6
    strangers: int = 3
    seed: int = 7
    clip: int = 0
    similar_clothes: float = 0.0
    jitter: float = 0.015
    miss_rate: float = 0.02
    false_positives: float = 0.08
    noise: float = 4.0

    def __post_init__(self) -> None:
        limits: dict[str, tuple[float, float]] = {
            "width": (160, 7680),
            "height": (120, 4320),
            "fps": (1, 240),
            "frames": (1, 10_000_000),
            "people": (1, len(_NAMES)),
            "strangers": (0, _MAX_STRANGERS),
            "seed": (0, 2**32 - 1),
            "clip": (0, 2**16),
            "similar_clothes": (0, 1),
            "jitter": (0, 0.2),
            "miss_rate": (0, 1),
            "false_positives": (0, 5),
            "noise": (0, 50),
        }
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise OptionError(f"scene option {name}: expected {low:g} to {high:g}, found {value!r}.")
        if self.width % 2 or self.height % 2:
            raise OptionError(f"scene size: expected an even width and height, found {self.width} x {self.height}.")


@dataclass(frozen=True, slots=True)
class TruthBox:
    """Where a person really is.

    Attributes:
        name: A known person's name, or ``"stranger-1"`` and so on.
        box: xyxy in pixels, clipped to the image.
        visible: Fraction of the person that is neither hidden nor out of the image, 0 to 1.
    """

    name: str
    box: Box
    visible: float


@dataclass(frozen=True, slots=True, eq=False)
class SceneFrame:
    """One frame of a scene.

    Attributes:
        frame: 0-based frame number.
        image: (H, W, 3) uint8 BGR; None where images were not asked for.
        truth: Everybody who is at least partly inside the image, hidden or not.
        detections: det-v1 detections, the highest score first.
    """

    frame: int
    image: Image | None
    truth: tuple[TruthBox, ...]
    detections: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Scene:
    """The files of a rendered scene.

    Attributes:
        folder: The folder that holds the others.
        video: The clip, .mp4.
        detections: Its detections, det-v1.
        gallery: One folder of crops a known person.
        truth: JSON: ``known`` and ``strangers`` (names) and ``frames``, each with ``frame`` and
            ``people`` (``name``, ``box``, ``visible``).
        config: What it was made from.
    """

    folder: Path
    video: Path
    detections: Path
    gallery: Path
    truth: Path
    config: SceneConfig


def cast_names(config: SceneConfig) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of the known people and of the strangers."""
    return _NAMES[: config.people], tuple(f"stranger-{index + 1}" for index in range(config.strangers))


def iter_scene(config: SceneConfig, *, images: bool = True) -> Iterator[SceneFrame]:
    """Make a scene frame by frame, holding no more than one frame.

    Args:
        config: What scene.
        images: False for truth and detections alone, which are the same then and come much faster.
    """
    names = [name for group in cast_names(config) for name in group]
    walks = [_walk(config, index) for index in range(len(names))]
    cars = _drive(config)
    camera = _Camera.of(config)
    detector = np.random.default_rng([config.seed, config.clip, Stream.DETECTOR])
    painter = None
    if images:
        painter = Painter(
            width=config.width,
            height=config.height,
            fps=config.fps,
            seed=config.seed,
            clip=config.clip,
            noise=config.noise,
            cast=_cast(config),
            occluders=camera.occluders,
        )
    for frame in range(config.frames):
        poses = [(index, pose) for index, walk in enumerate(walks) if (pose := next(walk)) is not None]
        car = next(cars)
        truth = _truth(config, camera, names, poses)
        detections = _detect(config, camera, detector, [item.box for item in truth], [t.visible for t in truth], car)
        image = None if painter is None else painter.paint(frame, poses, car)
        yield SceneFrame(frame, image, truth, detections)


def make_detections(config: SceneConfig, *, video: str = "scene.mp4") -> dict[str, Any]:
    """The whole det-v1 document of a scene, without drawing it.

    Args:
        config: What scene.
        video: The path to state as the video's.
    """
    frames = [_entry(item) for item in iter_scene(config, images=False)]
    return {**_header(config, video), "frames": frames}


def gallery_crops(config: SceneConfig) -> Iterator[tuple[str, Image]]:
    """Crops of the known people, six each, as (name, (h, w, 3) uint8 BGR).

    They are drawn for the gallery alone, in other poses, places and light than the clip, and depend
    on the seed and not on the clip.
    """
    rng = np.random.default_rng([config.seed, Stream.GALLERY])
    cast = _cast(config)
    for index, name in enumerate(cast_names(config)[0]):
        for shot in range(_CROPS_PER_PERSON):
            yield name, portrait(cast[index], shot, rng, config.noise)


def render_scene(
    folder: str | Path,
    config: SceneConfig | None = None,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Scene:
    """Write a scene: ``scene.mp4``, ``detections.json``, ``truth.json`` and ``gallery/<name>/*.jpg``.

    Files of these names are overwritten.

    Args:
        folder: Where; made if it is not there.
        config: What scene; the default one if None.
        progress: Called after each frame with the number of frames done and the number of all.

    Raises:
        OutputError: The folder cannot be written.
        VideoError: OpenCV cannot write .mp4 here.
    """
    cv2 = import_module("cv2")
    config = SceneConfig() if config is None else config
    folder = Path(folder)
    scene = Scene(
        folder=folder,
        video=folder / "scene.mp4",
        detections=folder / "detections.json",
        gallery=folder / "gallery",
        truth=folder / "truth.json",
        config=config,
    )
    known, strangers = cast_names(config)
    try:
        for name in known:
            (scene.gallery / name).mkdir(parents=True, exist_ok=True)
        counts: dict[str, int] = {}
        for name, crop in gallery_crops(config):
            number = counts[name] = counts.get(name, 0) + 1
            _, data = cv2.imencode(".jpg", crop, [cv2.IMWRITE_JPEG_QUALITY, 92])
            (scene.gallery / name / f"{name}-{number}.jpg").write_bytes(data.tobytes())
        writer = cv2.VideoWriter(
            str(scene.video), cv2.VideoWriter_fourcc(*"mp4v"), config.fps, (config.width, config.height)
        )
        try:
            if not writer.isOpened():
                raise VideoError(
                    f"{scene.video}: OpenCV cannot open a video of format mp4v for writing.",
                    hint="Check that the folder can be written, and that opencv-python was built with FFmpeg.",
                )
            with (
                scene.detections.open("w", encoding="utf-8") as detections,
                scene.truth.open("w", encoding="utf-8") as truth,
            ):
                detections.write(json.dumps(_header(config, scene.video.name))[:-1] + ', "frames": [')
                truth.write(json.dumps({"known": known, "strangers": strangers})[:-1] + ', "frames": [')
                for item in iter_scene(config):
                    writer.write(item.image)
                    between = ",\n" if item.frame else "\n"
                    detections.write(between + json.dumps(_entry(item)))
                    people = [{"name": t.name, "box": list(t.box), "visible": t.visible} for t in item.truth]
                    truth.write(between + json.dumps({"frame": item.frame, "people": people}))
                    if progress is not None:
                        progress(item.frame + 1, config.frames)
                detections.write("\n]}\n")
                truth.write("\n]}\n")
        finally:
            writer.release()
    except OSError as error:
        raise OutputError(
            f"{folder}: the scene cannot be written there: {error.strerror or error}.", hint="Choose another folder."
        ) from error
    return scene


def _header(config: SceneConfig, video: str) -> dict[str, Any]:
    return {
        "schema_version": "det-v1",
        "video": {
            "path": video,
            "fps": config.fps,
            "frame_count": config.frames,
            "width": config.width,
            "height": config.height,
        },
        "detector": {"name": "gtrack-demo", "classes": [_PERSON, _CAR_CLASS], "conf_thresh": _MIN_SCORE},
    }


def _entry(item: SceneFrame) -> dict[str, Any]:
    return {"frame": item.frame, "file": f"{item.frame:06d}.jpg", "detections": item.detections}


# --- the cast --------------------------------------------------------------------------------------


def _cast(config: SceneConfig) -> list[Look]:
    """Looks of the known people and then the strangers; they depend on the seed and not on the clip."""
    order = np.random.default_rng([config.seed, Stream.CAST]).permutation(len(WARDROBE))
    # A stranger's look does not depend on how many known people there are.
    chosen = [*order[: config.people], *order[len(_NAMES) : len(_NAMES) + config.strangers]]
    looks = [WARDROBE[int(index)] for index in chosen]
    share = config.similar_clothes
    return looks if share == 0 else [dressed_alike(look, share) for look in looks]


# --- motion ----------------------------------------------------------------------------------------


def _height_at(config: SceneConfig, feet: float) -> float:
    """Height in pixels of an average person whose feet are at y; nearer to the camera is lower and larger."""
    return config.height * (0.22 + 0.30 * (feet / config.height - 0.5) / 0.5)


def _walk(config: SceneConfig, index: int) -> Iterator[Pose | None]:
    """One figure's poses, frame after frame without end; None while it is away."""
    rng = np.random.default_rng([config.seed, config.clip, Stream.MOTION, index])
    look = _cast(config)[index]
    width, height = float(config.width), float(config.height)
    pace = 25.0 / config.fps
    order = np.random.default_rng([config.seed, config.clip, Stream.MOTION]).permutation(
        config.people + config.strangers
    )
    turn = int(order[index])
    # The first three are in the picture as the clip begins; the others enter one after another.
    inside = turn < 3
    away = 0 if inside else int((turn - 2) * 22 / pace + rng.integers(0, 12))
    phase = float(rng.uniform(0, 2 * math.pi))
    while True:
        for _ in range(away):
            yield None
        direction = 1 if rng.random() < 0.5 else -1
        first, last = rng.uniform(0.58, 0.97, 2)
        last = first + np.clip(last - first, -0.16, 0.16)
        stride = rng.uniform(0.0062, 0.0088) * pace
        margin = 0.08 * width
        back_at = rng.uniform(0.4, 0.75) if rng.random() < 0.4 else 2.0
        pause_at = rng.uniform(0.2, 0.7) if rng.random() < 0.4 else 2.0
        pause = int(rng.integers(15, 45) / pace)
        x = -margin if direction > 0 else width + margin
        if inside:
            x = width * rng.uniform(0.15, 0.85)
            inside = False
            pause_at = back_at = 2.0
        while -margin <= x <= width + margin:
            done = x / width if direction > 0 else 1 - x / width
            feet = float(height * (first + (last - first) * min(max(done, 0.0), 1.0)))
            tall = _height_at(config, feet) * look.tall
            walking = True
            if done >= pause_at:
                pause -= 1
                walking = pause <= 0
                pause_at = pause_at if pause > 0 else 2.0
            if walking:
                step = stride * width * tall / (0.35 * height)
                x += direction * step
                phase = (phase + 2 * math.pi * step / (0.75 * tall)) % (2 * math.pi)
            yield Pose(float(x), feet, tall, phase, direction, walking)
            if done >= back_at:
                # Turn round, on the same way back.
                direction, back_at = -direction, 2.0
                first, last = last, first
        away = int(rng.integers(65, 125) / pace)


def _car_box(config: SceneConfig, x: float) -> Box:
    half, foot, tall = 0.085 * config.width, 0.5 * config.height, 0.13 * config.height
    return x - half, foot - tall, x + half, foot


def _drive(config: SceneConfig) -> Iterator[Car | None]:
    """The passing cars; None while there is none."""
    rng = np.random.default_rng([config.seed, config.clip, Stream.CAR])
    number = 0
    away = int(rng.integers(20, 60))
    while True:
        for _ in range(away):
            yield None
        direction = 1 if rng.random() < 0.5 else -1
        margin = 0.15 * config.width
        x = -margin if direction > 0 else config.width + margin
        speed = config.width * rng.uniform(0.009, 0.014) * 25.0 / config.fps
        while -margin <= x <= config.width + margin:
            yield Car(_car_box(config, float(x)), direction, number)
            x += direction * speed
        number += 1
        away = int(rng.integers(80, 200))


# --- camera: what stands still ---------------------------------------------------------------------


class _Camera(NamedTuple):
    """The geometry of a clip's background, and the places where its detector errs."""

    occluders: tuple[Occluder, ...]
    ghosts: tuple[Box, ...]

    @classmethod
    def of(cls, config: SceneConfig) -> _Camera:
        rng = np.random.default_rng([config.seed, config.clip, Stream.CAMERA])
        width, height = config.width, config.height
        pillar, planter = (0.34, 0.73) if config.clip % 2 == 0 else (0.66, 0.24)
        pillar = (pillar + rng.uniform(-0.03, 0.03)) * width
        planter = (planter + rng.uniform(-0.03, 0.03)) * width
        occluders = (
            Occluder((pillar - 0.024 * width, 0.06 * height, pillar + 0.024 * width, 0.76 * height), "pillar"),
            Occluder((planter - 0.07 * width, 0.69 * height, planter + 0.07 * width, 0.87 * height), "planter"),
        )
        ghosts = []
        for _ in range(4):
            x, feet = rng.uniform(0.08, 0.92) * width, rng.uniform(0.5, 0.8) * height
            tall = _height_at(config, feet) * rng.uniform(0.6, 1.0)
            ghosts.append((float(x - 0.2 * tall), float(feet - tall), float(x + 0.2 * tall), float(feet)))
        return cls(occluders, tuple(ghosts))


def _box(pose: Pose) -> Box:
    """The tight box of a figure, by the drawing's proportions."""
    half = pose.height * (0.152 + (0.072 * abs(math.sin(pose.phase)) if pose.walking else 0.0))
    return pose.x - half, pose.feet - pose.height, pose.x + half, pose.feet


# Places on a body, as fractions of its box, that stand for its area: narrow at head and feet.
_BODY = np.array(
    [
        (0.5 + across * spread, down)
        for down, spread in zip(
            np.linspace(0.04, 0.96, 12),
            (0.1, 0.18, 0.28, 0.3, 0.3, 0.3, 0.28, 0.28, 0.28, 0.3, 0.32, 0.34),
            strict=True,
        )
        for across in (-0.9, -0.45, 0.0, 0.45, 0.9)
    ]
)


def _truth(
    config: SceneConfig, camera: _Camera, names: list[str], poses: list[tuple[int, Pose]]
) -> tuple[TruthBox, ...]:
    whole = [_box(pose) for _, pose in poses]
    found = []
    for place, (index, pose) in enumerate(poses):
        x1, y1, x2, y2 = whole[place]
        clipped = (max(x1, 0.0), max(y1, 0.0), min(x2, float(config.width)), min(y2, float(config.height)))
        if clipped[2] - clipped[0] < 2 or clipped[3] - clipped[1] < 2:
            continue
        hiding = [item.box for item in camera.occluders if item.box[3] > pose.feet]
        for other, (_, nearer) in enumerate(poses):
            # Of two at the same depth the later one is drawn over the earlier one.
            if (nearer.feet, other) > (pose.feet, place):
                a, b, c, d = whole[other]
                inset = 0.16 * (c - a)
                hiding.append((a + inset, b, c - inset, d))
        points = _BODY * (x2 - x1, y2 - y1) + (x1, y1)
        x, y = points[:, 0], points[:, 1]
        seen = (x >= 0) & (x < config.width) & (y >= 0) & (y < config.height)
        for a, b, c, d in hiding:
            if a < x2 and c > x1 and b < y2 and d > y1:
                seen &= ~((x >= a) & (x <= c) & (y >= b) & (y <= d))
        found.append(
            TruthBox(names[index], tuple(round(value, 2) for value in clipped), round(float(seen.mean()), 3))  # type: ignore[arg-type]
        )
    return tuple(found)


# --- detector --------------------------------------------------------------------------------------

_PERSON = 0
_CAR_CLASS = 2
_MIN_SCORE = 0.1
_LEAST_VISIBLE = 0.25


def _detect(
    config: SceneConfig,
    camera: _Camera,
    rng: np.random.Generator,
    boxes: list[Box],
    visible: list[float],
    car: Car | None,
) -> list[dict[str, Any]]:
    found: list[tuple[float, Box, int]] = []
    # The same number of draws for everybody, so that one person's miss does not shift another's jitter.
    for box, seen in zip(boxes, visible, strict=True):
        chance, wobble = rng.random(), rng.normal(size=5)
        missed = config.miss_rate + 0.6 * (1.0 - seen) ** 1.5
        if seen < _LEAST_VISIBLE or chance < missed:
            continue
        score = 0.91 - 0.62 * (1.0 - seen) + 0.03 * float(wobble[4])
        found.append((score, _shake(box, wobble[:4] * config.jitter), _PERSON))
    if car is not None:
        wobble = rng.normal(size=5)
        found.append((0.85 + 0.03 * float(wobble[4]), _shake(car.box, wobble[:4] * 0.01), _CAR_CLASS))
    for _ in range(int(rng.poisson(config.false_positives))):
        box = camera.ghosts[int(rng.integers(len(camera.ghosts)))]
        score = rng.uniform(0.12, 0.4) if rng.random() < 0.85 else rng.uniform(0.45, 0.7)
        found.append((float(score), _shake(box, rng.normal(size=4) * 0.03), _PERSON))
    detections: list[dict[str, Any]] = []
    for score, (x1, y1, x2, y2), class_id in sorted(found, key=lambda item: -item[0]):
        x1, x2 = (min(max(value, 0.0), float(config.width)) for value in (x1, x2))
        y1, y2 = (min(max(value, 0.0), float(config.height)) for value in (y1, y2))
        score = round(min(score, 0.99), 4)
        if x2 - x1 < 4 or y2 - y1 < 8 or score < _MIN_SCORE:
            continue
        detections.append(
            {
                "bbox": [round(value, 2) for value in (x1, y1, x2, y2)],
                "score": score,
                "class_id": class_id,
                "class_name": "person" if class_id == _PERSON else "car",
                "det_ind": len(detections),
            }
        )
    return detections


def _shake(box: Box, by: NDArray[np.float64]) -> Box:
    """Move each edge by a fraction of the box's width or height."""
    x1, y1, x2, y2 = box
    width, height = x2 - x1, y2 - y1
    return (
        x1 + width * float(by[0]),
        y1 + height * float(by[1]),
        x2 + width * float(by[2]),
        y2 + height * float(by[3]),
    )
