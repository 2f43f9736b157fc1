"""How the demonstration's scene looks: figures and their clothes, passing cars, a background, and the camera's light.

It draws what it is told to draw, where it is told to; who walks where, and what a detector makes of
it, is decided in `tracking.demo.scene`. OpenCV is loaded with the first drawing and not before.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import IntEnum
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "WARDROBE",
    "Box",
    "Car",
    "Image",
    "Look",
    "Occluder",
    "Painter",
    "Pose",
    "Stream",
    "dressed_alike",
    "portrait",
]

Image = NDArray[np.uint8]
Box = tuple[float, float, float, float]
_Color = tuple[int, int, int]  # BGR, 0 to 255


def _cv2() -> Any:
    return import_module("cv2")


class Stream(IntEnum):
    """What a random stream is for.

    Each use has its own, so that drawing or not drawing an image does not change the motion or the
    detections.
    """

    CAST = 0
    MOTION = 1
    DETECTOR = 2
    CAMERA = 3
    NOISE = 4
    GALLERY = 5
    CAR = 6


class Pose(NamedTuple):
    """Where a figure stands: x of its middle and y of its feet in pixels, its height, and how it is drawn."""

    x: float
    feet: float
    height: float
    phase: float
    facing: int
    walking: bool


class Car(NamedTuple):
    """A passing car: its box in pixels, its direction (1 is to the right), and which one it is."""

    box: Box
    direction: int
    number: int


class Occluder(NamedTuple):
    """A thing people walk behind: its box in pixels (its foot is y2) and its kind."""

    box: Box
    kind: str


# --- clothes ---------------------------------------------------------------------------------------


class Look(NamedTuple):
    """How a figure is built and dressed. Colours are BGR."""

    skin: _Color
    hair: _Color
    hair_style: str
    torso: _Color
    accent: _Color
    pattern: str
    sleeves: str
    legs: _Color
    leg_style: str
    shoes: _Color
    backpack: _Color | None
    tall: float
    broad: float


_FAIR, _TAN, _BROWN, _DARK = (178, 198, 232), (130, 165, 214), (84, 118, 172), (52, 74, 112)
_BLACK, _WHITE, _GREY = (34, 32, 32), (232, 234, 236), (128, 126, 124)
_RED, _ORANGE, _YELLOW, _GREEN = (40, 36, 196), (32, 122, 232), (52, 206, 236), (70, 140, 54)
_TEAL, _BLUE, _NAVY, _PURPLE = (150, 146, 32), (196, 104, 36), (92, 48, 28), (142, 52, 112)
_PINK, _BEIGE, _OLIVE, _MAROON, _SKY = (176, 132, 236), (166, 196, 216), (44, 104, 108), (44, 24, 104), (224, 190, 130)
_BLOND, _AUBURN, _SILVER = (110, 178, 220), (38, 62, 134), (188, 188, 190)

WARDROBE: tuple[Look, ...] = (
    Look(_FAIR, _AUBURN, "long", _ORANGE, _WHITE, "plain", "long", _NAVY, "trousers", _WHITE, None, 0.97, 0.95),
    Look(_DARK, _BLACK, "short", _WHITE, _BLUE, "stripes across", "short", _BEIGE, "trousers", _BLACK, None, 1.04, 1.1),
    Look(_TAN, _BLACK, "short", _GREEN, _YELLOW, "checks", "long", _BLACK, "trousers", _GREY, None, 1.0, 1.0),
    Look(_FAIR, _BLOND, "short", _NAVY, _RED, "jacket", "long", _GREY, "trousers", _BLACK, _RED, 1.05, 1.05),
    Look(_BROWN, _BLACK, "long", _YELLOW, _PURPLE, "stripes down", "short", _PURPLE, "skirt", _BLACK, None, 0.95, 0.92),
    Look(_TAN, _SILVER, "bald", _MAROON, _BEIGE, "two-tone", "long", _OLIVE, "trousers", _BROWN, None, 0.99, 1.15),
    Look(_FAIR, _BLACK, "cap", _TEAL, _WHITE, "plain", "short", _BLUE, "shorts", _WHITE, _BLACK, 1.02, 1.0),
    Look(_BROWN, _BLACK, "short", _PINK, _BLACK, "stripes across", "long", _WHITE, "trousers", _PINK, None, 0.98, 0.97),
    Look(_DARK, _BLACK, "long", _BLUE, _YELLOW, "two-tone", "long", _MAROON, "trousers", _YELLOW, None, 0.96, 0.95),
    Look(_TAN, _AUBURN, "short", _GREY, _ORANGE, "jacket", "long", _BLUE, "trousers", _WHITE, None, 1.03, 1.08),
    Look(_FAIR, _SILVER, "long", _PURPLE, _PINK, "checks", "long", _GREY, "skirt", _MAROON, None, 0.94, 1.0),
    Look(_BROWN, _BLACK, "cap", _RED, _BLACK, "checks", "short", _BEIGE, "shorts", _RED, _OLIVE, 1.0, 1.05),
    Look(_FAIR, _BLACK, "short", _BLACK, _GREY, "plain", "long", _BLACK, "trousers", _WHITE, None, 1.03, 1.0),
    Look(_DARK, _BLACK, "bald", _RED, _WHITE, "stripes down", "short", _NAVY, "trousers", _RED, None, 1.01, 1.1),
    Look(_TAN, _BLOND, "long", _SKY, _WHITE, "plain", "long", _WHITE, "skirt", _BEIGE, None, 0.96, 0.94),
    Look(_BROWN, _BLACK, "short", _OLIVE, _ORANGE, "two-tone", "long", _BLACK, "trousers", _OLIVE, _BLUE, 1.02, 1.04),
    Look(_FAIR, _AUBURN, "cap", _BEIGE, _GREEN, "stripes across", "long", _GREEN, "trousers", _BLACK, None, 0.98, 1.06),
    Look(_TAN, _BLACK, "long", _BLACK, _TEAL, "jacket", "long", _TEAL, "trousers", _TEAL, None, 0.97, 0.96),
)
_UNIFORM = (_NAVY, _GREY, _BLACK)  # torso, accent and legs of everybody where similar_clothes is 1


def dressed_alike(look: Look, share: float) -> Look:
    """A look on its way, from 0 to 1, to the clothes that everybody wears."""

    def mixed(color: _Color, common: _Color) -> _Color:
        blue, green, red = (round(a * (1 - share) + b * share) for a, b in zip(color, common, strict=True))
        return blue, green, red

    return look._replace(
        torso=mixed(look.torso, _UNIFORM[0]),
        accent=mixed(look.accent, _UNIFORM[1]),
        legs=mixed(look.legs, _UNIFORM[2]),
        shoes=mixed(look.shoes, _BLACK),
        pattern="plain" if share > 0.66 else look.pattern,
        leg_style="trousers" if share > 0.66 else look.leg_style,
        backpack=None if share > 0.33 else look.backpack,
    )


# --- drawing figures -------------------------------------------------------------------------------

_PHASES = 16
_SPRITE_WIDTH, _SPRITE_HEIGHT = 150, 250
_UNITS = 240.0  # height of a figure in its sprite, whose feet are _UNITS + _TOP from the top
_TOP = 6.0
_FINER = 2  # sprites are drawn this much larger and then reduced, for smooth edges


class _Pen:
    """Draws shapes in sprite units onto a colour plane and a coverage plane at once."""

    def __init__(self) -> None:
        self._cv2 = _cv2()
        size = (_SPRITE_HEIGHT * _FINER, _SPRITE_WIDTH * _FINER)
        self.color: Image = np.zeros((*size, 3), np.uint8)
        self.cover: Image = np.zeros(size, np.uint8)

    def _points(self, points: list[tuple[float, float]]) -> NDArray[np.int32]:
        return np.round(np.array(points) * _FINER).astype(np.int32)

    def polygon(self, points: list[tuple[float, float]], color: _Color) -> None:
        self._cv2.fillPoly(self.color, [self._points(points)], color)
        self._cv2.fillPoly(self.cover, [self._points(points)], 255)

    def limb(self, points: list[tuple[float, float]], color: _Color, thick: float) -> None:
        line = [self._points(points)]
        self._cv2.polylines(self.color, line, False, color, round(thick * _FINER))
        self._cv2.polylines(self.cover, line, False, 255, round(thick * _FINER))

    def ellipse(self, x: float, y: float, rx: float, ry: float, color: _Color, start: int = 0, end: int = 360) -> None:
        center, axes = (round(x * _FINER), round(y * _FINER)), (round(rx * _FINER), round(ry * _FINER))
        self._cv2.ellipse(self.color, center, axes, 0, start, end, color, -1)
        self._cv2.ellipse(self.cover, center, axes, 0, start, end, 255, -1)

    def cloth(self, points: list[tuple[float, float]], cloth: Image) -> None:
        mask = np.zeros_like(self.cover)
        self._cv2.fillPoly(mask, [self._points(points)], 255)
        self._cv2.copyTo(cloth, mask, self.color)
        self.cover |= mask


def _cloth(look: Look, middle: float) -> Image:
    """The torso's pattern over the whole sprite, at the finer scale."""
    x = np.arange(_SPRITE_WIDTH * _FINER)[None, :] / _FINER - middle
    y = np.arange(_SPRITE_HEIGHT * _FINER)[:, None] / _FINER
    if look.pattern == "stripes across":
        other = y % 18 < 8
    elif look.pattern == "stripes down":
        other = x % 12 < 5
    elif look.pattern == "checks":
        other = (x // 9 + y // 9) % 2 == 0
    elif look.pattern == "two-tone":
        other = y < 84
    elif look.pattern == "jacket":
        other = np.abs(x) < 6
    else:
        other = x < -_SPRITE_WIDTH
    cloth = np.empty((_SPRITE_HEIGHT * _FINER, _SPRITE_WIDTH * _FINER, 3), np.uint8)
    cloth[:] = look.torso
    cloth[np.broadcast_to(other, cloth.shape[:2])] = look.accent
    return cloth


def _darker(color: _Color, by: float) -> _Color:
    blue, green, red = (min(255, round(value * by)) for value in color)
    return blue, green, red


def _sprite(look: Look, view: str, step: int) -> Image:
    """A figure that faces right, (250, 150, 4) uint8: premultiplied BGR and coverage.

    Args:
        look: Who.
        view: ``"side"`` (walking), ``"front"`` or ``"back"`` (standing).
        step: Which of the 16 phases of a stride; without effect on standing figures.
    """
    cv2 = _cv2()
    pen = _Pen()
    middle, top, floor = _SPRITE_WIDTH / 2, _TOP, _TOP + _UNITS
    side = view == "side"
    swing = math.sin(2 * math.pi * step / _PHASES) if side else 0.0
    bob = 2.0 * abs(swing) if side else 0.0
    shoulder, hip = top + 44 + bob, top + 122 + bob
    half = (21.0 if side else 28.0) * look.broad
    leg_skin = look.skin if look.leg_style != "trousers" else look.legs

    def leg(sign: float, shade: float) -> None:
        angle = 0.42 * swing * sign
        start = (middle + (0.0 if side else 11.0 * sign), hip)
        knee = (start[0] + 56 * math.sin(angle) + (4 if side else 0), hip + 56 * math.cos(angle))
        lift = max(0.0, -math.cos(2 * math.pi * step / _PHASES) * sign) if side else 0.0
        bend = angle - 0.5 * lift - (0.12 if side and angle < 0 else 0.0)
        ankle = (knee[0] + 58 * math.sin(bend), min(knee[1] + 58 * math.cos(bend), floor - 5))
        pen.limb([start, knee, ankle], _darker(leg_skin, shade), 17 * look.broad)
        if look.leg_style == "shorts":
            pen.limb([start, knee], _darker(look.legs, shade), 21 * look.broad)
        toe = 7.0 if side else 3.0 * sign
        pen.ellipse(ankle[0] + toe, ankle[1] + 1, 12 if side else 8, 5, _darker(look.shoes, shade))

    def arm(sign: float, shade: float) -> None:
        angle = -0.5 * swing * sign if side else 0.12 * sign
        start = (middle + (0.0 if side else (half - 5) * sign), shoulder + 8)
        elbow = (start[0] + 34 * math.sin(angle), start[1] + 34 * math.cos(angle))
        bend = angle + (0.35 if side else -0.05 * sign)
        hand = (elbow[0] + 34 * math.sin(bend), elbow[1] + 34 * math.cos(bend))
        sleeve = look.accent if look.pattern == "two-tone" else look.torso
        pen.limb([start, elbow, hand], _darker(look.skin, shade), 9)
        if look.sleeves == "long":
            close = (elbow[0] + 0.8 * (hand[0] - elbow[0]), elbow[1] + 0.8 * (hand[1] - elbow[1]))
            pen.limb([start, elbow, close], _darker(sleeve, shade), 12)
        else:
            pen.limb([start, (start[0] + 0.7 * (elbow[0] - start[0]), elbow[1] - 12)], _darker(sleeve, shade), 14)

    arm(-1, 0.7)
    if not side:
        arm(1, 0.92)
    leg(-1, 0.72 if side else 1.0)
    leg(1, 1.0)
    if look.leg_style == "skirt":
        hem = hip + 62
        pen.polygon(
            [
                (middle - half * 0.8, hip - 6),
                (middle + half * 0.8, hip - 6),
                (middle + half * 1.1, hem),
                (middle - half * 1.1, hem),
            ],
            look.legs,
        )
    pen.limb([(middle, shoulder - 12), (middle, shoulder + 4)], _darker(look.skin, 0.85), 13)
    trunk = [
        (middle - half * 0.55, shoulder - 3),
        (middle + half * 0.55, shoulder - 3),
        (middle + half, shoulder + 9),
        (middle + half * 0.9, hip + 8),
        (middle - half * 0.9, hip + 8),
        (middle - half, shoulder + 9),
    ]
    if look.backpack and side:
        pen.ellipse(middle - half - 3, shoulder + 36, 13, 28, look.backpack)
    pen.cloth(trunk, _cloth(look, middle + (9 if side else 0)))
    if look.backpack and view == "back":
        pen.ellipse(middle, shoulder + 36, half * 0.8, 32, look.backpack)
    elif look.backpack:
        strap = _darker(look.backpack, 0.8)
        for sign in (-1, 1):
            pen.limb(
                [(middle + sign * half * 0.5, shoulder - 1), (middle + sign * half * 0.6, shoulder + 40)], strap, 4
            )
    if side:
        arm(1, 1.0)

    head = top + 19 + bob
    lean = 3.0 if side else 0.0
    if look.hair_style == "long":
        pen.ellipse(middle - (5 if side else 0), head + 9, 16 if side else 19, 25, look.hair)
    pen.ellipse(middle + lean, head, 15, 19, look.skin)
    if view == "back":
        pen.ellipse(middle, head, 16, 18, look.skin if look.hair_style == "bald" else look.hair)
    else:
        if look.hair_style != "bald":
            pen.ellipse(
                middle + lean - (4 if side else 0), head - 4, 15, 15, look.hair, *((100, 325) if side else (185, 355))
            )
        eyes = (9.0,) if side else (-6.0, 6.0)
        for offset in eyes:
            pen.ellipse(middle + lean + offset, head + 1, 2, 2, (40, 36, 34))
    if look.hair_style == "cap":
        pen.ellipse(middle + lean, head - 5, 16, 14, look.accent, 180, 360)
        if side:
            pen.polygon([(middle + 12, head - 8), (middle + 30, head - 5), (middle + 12, head - 3)], look.accent)

    pen.color[pen.cover == 0] = 0
    size = (_SPRITE_WIDTH, _SPRITE_HEIGHT)
    color = cv2.resize(pen.color, size, interpolation=cv2.INTER_AREA)
    cover = cv2.resize(pen.cover, size, interpolation=cv2.INTER_AREA)
    # Rounder bodies: light from the upper left; and cloth is never of one even colour.
    x = np.arange(_SPRITE_WIDTH, dtype=np.float32)[None, :]
    y = np.arange(_SPRITE_HEIGHT, dtype=np.float32)[:, None]
    light = 1.06 - 0.007 * np.abs(x - middle + 8) - 0.0006 * y
    folds = np.random.default_rng([Stream.CAST, step]).normal(0, 0.6, cover.shape).astype(np.float32)
    light += cv2.GaussianBlur(folds, (0, 0), 3)
    # Never brighter than covered: the colours are premultiplied.
    shaded = np.minimum(color * light[..., None], cover[..., None])
    sprite: Image = np.dstack([shaded.astype(np.uint8), cover])
    return sprite


def _blend(image: Image, sprite: Image, x: float, feet: float, height: float) -> None:
    """Draw a sprite onto an image, its feet's middle at (x, feet), at a height in pixels."""
    cv2 = _cv2()
    scale = height / _UNITS
    width, tall = max(1, round(_SPRITE_WIDTH * scale)), max(1, round(_SPRITE_HEIGHT * scale))
    left, top = round(x - width / 2), round(feet - (_UNITS + _TOP) * scale)
    a, b = max(left, 0), max(top, 0)
    c, d = min(left + width, image.shape[1]), min(top + tall, image.shape[0])
    if a >= c or b >= d:
        return
    small = cv2.resize(sprite, (width, tall), interpolation=cv2.INTER_AREA)[b - top : d - top, a - left : c - left]
    under = image[b:d, a:c]
    rest = 255 - small[..., 3:].astype(np.uint16)
    image[b:d, a:c] = ((under * rest + 127) // 255).astype(np.uint8) + np.minimum(small[..., :3], small[..., 3:])


# --- drawing scenes --------------------------------------------------------------------------------


def _ground_texture(rng: np.random.Generator, height: int, width: int, color: tuple[int, ...]) -> Image:
    """An uneven surface of about one colour, (height, width, 3)."""
    cv2 = _cv2()
    grain = np.zeros((height, width), np.float32)
    for size, weight in ((4, 5.0), (16, 7.0), (64, 9.0)):
        coarse = rng.normal(0, 1, (height // size + 2, width // size + 2)).astype(np.float32)
        grain += weight * cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    texture: Image = np.clip(np.array(color, np.float32) + grain[..., None], 0, 255).astype(np.uint8)
    return texture


def _plate_color(rng: np.random.Generator) -> tuple[int, ...]:
    """A street's grey, a little warmer or colder."""
    return tuple((rng.integers(100, 170) + rng.integers(-14, 15, 3)).tolist())


def portrait(look: Look, shot: int, rng: np.random.Generator, noise: float) -> Image:
    """A crop of one person on a street, (h, w, 3) uint8 BGR, in a pose, place and light of its own.

    Args:
        look: Who.
        shot: Which of six views: walking, from the front or from behind.
        rng: Where everything else comes from.
        noise: Standard deviation of the sensor noise, in grey levels.
    """
    cv2 = _cv2()
    height = int(rng.integers(120, 200))
    view = ("side", "front", "side", "back", "side", "side")[shot]
    phase = float(rng.uniform(0, 2 * math.pi))
    sprite = _sprite(look, view, round(phase / (2 * math.pi) * _PHASES) % _PHASES)
    if rng.random() < 0.5:
        sprite = np.ascontiguousarray(sprite[:, ::-1])
    plate = _ground_texture(rng, height + 40, height, _plate_color(rng))
    center = height / 2 + rng.uniform(-3, 3)
    feet = height + 20 + rng.uniform(-3, 3)
    _blend(plate, sprite, center, feet, height)
    half = height * rng.uniform(0.19, 0.24)
    left, right = int(center - half), int(center + half)
    crop = plate[int(rng.integers(6, 16)) : height + 20 + int(rng.integers(4, 14)), left:right]
    light = rng.uniform(0.8, 1.2)
    lit = crop * light + rng.uniform(-8, 8) + rng.normal(0, noise + 1, crop.shape)
    image: Image = np.clip(lit, 0, 255).astype(np.uint8)
    if rng.random() < 0.5:
        image = cv2.GaussianBlur(image, (3, 3), 0.7)
    return image


class Painter:
    """Draws the frames of one clip.

    Args:
        width, height: Size of the frames, in pixels.
        fps: Frames a second, for the pace of the light.
        seed, clip: What everything random follows from; the clip also chooses the background.
        noise: Standard deviation of the sensor noise, in grey levels.
        cast: How each figure looks, by its index.
        occluders: What stands still for people to walk behind.
    """

    def __init__(
        self,
        *,
        width: int,
        height: int,
        fps: float,
        seed: int,
        clip: int,
        noise: float,
        cast: Sequence[Look],
        occluders: Sequence[Occluder],
    ) -> None:
        self._width = width
        self._height = height
        self._fps = fps
        self._seed = seed
        self._clip = clip
        self._cv2 = _cv2()
        self._cast = cast
        self._occluders = occluders
        self._sprites: dict[tuple[int, str, int, int], Image] = {}
        self._noise_rng = np.random.default_rng([seed, clip, Stream.NOISE])
        self._background = self._paint_background()
        self._things = [self._paint_thing(item) for item in occluders]
        # One large plane of noise, cut at another place for each frame.
        self._spare = 96
        plane = (height + self._spare, width + self._spare, 3)
        self._noise = np.round(self._noise_rng.normal(0, noise, plane)).astype(np.int16)

    def paint(self, frame: int, poses: list[tuple[int, Pose]], car: Car | None) -> Image:
        """One frame: the figures by their index in the cast, and the car if one passes."""
        cv2 = self._cv2
        image = self._background.copy()
        if car is not None:
            self._paint_car(image, car)
        for _, pose in poses:
            self._shadow(image, pose)
        layers: list[tuple[float, int, int, Pose | None]] = [
            (pose.feet, place, index, pose) for place, (index, pose) in enumerate(poses)
        ]
        layers += [(item.box[3], -1, number, None) for number, item in enumerate(self._occluders)]
        for _, _, index, layer in sorted(layers, key=lambda item: item[:2]):
            if layer is None:
                patch, (x, y) = self._things[index]
                image[y : y + patch.shape[0], x : x + patch.shape[1]] = patch
            else:
                _blend(image, self._sprite_of(index, layer), layer.x, layer.feet, layer.height)
        light = 1.0 + 0.05 * math.sin(2 * math.pi * frame / (11 * self._fps)) + 0.015 * math.sin(frame * 0.9)
        x, y = (int(value) for value in self._noise_rng.integers(0, self._spare, 2))
        noise = self._noise[y : y + self._height, x : x + self._width]
        lit = cv2.convertScaleAbs(image, alpha=light, beta=0)
        painted: Image = cv2.add(lit, noise, dtype=cv2.CV_8U)
        return painted

    def _sprite_of(self, index: int, pose: Pose) -> Image:
        step = round(pose.phase / (2 * math.pi) * _PHASES) % _PHASES if pose.walking else 0
        # Whoever stops turns to the camera, or away from it.
        view = "side" if pose.walking else ("front" if index % 2 == 0 else "back")
        key = (index, view, step, pose.facing)
        if key not in self._sprites:
            right = _sprite(self._cast[index], view, step)
            self._sprites[index, view, step, 1] = right
            self._sprites[index, view, step, -1] = np.ascontiguousarray(right[:, ::-1])
        return self._sprites[key]

    def _shadow(self, image: Image, pose: Pose) -> None:
        rx, ry = max(2, round(0.2 * pose.height)), max(1, round(0.035 * pose.height))
        x, y = round(pose.x + 0.06 * pose.height), round(pose.feet)
        a, b = max(x - rx, 0), max(y - ry, 0)
        c, d = min(x + rx + 1, image.shape[1]), min(y + ry + 1, image.shape[0])
        if a >= c or b >= d:
            return
        dark = np.zeros((d - b, c - a), np.float32)
        self._cv2.ellipse(dark, (x - a, y - b), (rx, ry), 0, 0, 360, 0.42, -1)
        image[b:d, a:c] = (image[b:d, a:c] * (1 - dark[..., None])).astype(np.uint8)

    def _paint_background(self) -> Image:
        cv2, width, height = self._cv2, self._width, self._height
        rng = np.random.default_rng([self._seed, self._clip, Stream.CAMERA, 1])
        plaza = self._clip % 2 == 0
        wall: tuple[int, ...] = (118, 136, 158) if plaza else (92, 104, 148)
        floor: tuple[int, ...] = (146, 152, 156) if plaza else (104, 108, 106)
        if self._clip > 1:
            wall, floor = (tuple(int(v + rng.integers(-24, 24)) for v in color) for color in (wall, floor))
        image = np.empty((height, width, 3), np.uint8)
        eaves, street, kerb = round(0.08 * height), round(0.42 * height), round(0.515 * height)
        image[:eaves] = np.linspace((236, 214, 186), (240, 228, 212), eaves)[:, None]
        image[eaves:street] = _ground_texture(rng, street - eaves, width, wall)
        image[street:kerb] = _ground_texture(rng, kerb - street, width, (84, 84, 86))
        image[kerb:] = _ground_texture(rng, height - kerb, width, floor)
        if plaza:
            self._facade(image, rng, eaves, street)
        else:
            self._bricks(image, rng, eaves, street)
        line = max(1, height // 240)
        for x in range(0, width, round(0.12 * width)):
            cv2.rectangle(
                image,
                (x, (street + kerb) // 2),
                (x + round(0.05 * width), (street + kerb) // 2 + line),
                (190, 196, 198),
                -1,
            )
        cv2.rectangle(image, (0, kerb - 2 * line), (width, kerb + line), (170, 174, 176), -1)
        # Paving in perspective: rows get taller, and joints spread, towards the camera.
        joint = tuple(int(value * 0.86) for value in floor)
        for row in range(1, 9):
            y = round(kerb + (height - kerb) * (row / 8) ** 1.7)
            cv2.line(image, (0, y), (width, y), joint, line, cv2.LINE_AA)
        for column in range(-14, 15):
            far, near = width / 2 + column * 0.055 * width, width / 2 + column * 0.15 * width
            if plaza or column % 3 == 0:
                color = joint if plaza else (180, 196, 200)
                cv2.line(image, (round(far), kerb + 2), (round(near), height), color, line, cv2.LINE_AA)
        painted: Image = cv2.GaussianBlur(image, (3, 3), 0.6)
        return painted

    def _facade(self, image: Image, rng: np.random.Generator, top: int, bottom: int) -> None:
        """A row of houses with windows."""
        cv2, width = self._cv2, self._width
        x = 0
        while x < width:
            house = round(width * rng.uniform(0.16, 0.26))
            tint = rng.uniform(0.82, 1.12, 3)
            part = image[top:bottom, x : x + house]
            part[:] = np.clip(part * tint, 0, 255).astype(np.uint8)
            cell = max(12, round(width * 0.045))
            for row in range(top + cell // 2, bottom - cell, round(cell * 1.25)):
                for column in range(x + cell // 2, min(x + house, width) - cell // 2, cell):
                    glass = int(rng.integers(50, 120))
                    right, low = column + round(cell * 0.55), row + round(cell * 0.75)
                    cv2.rectangle(image, (column, row), (right, low), (glass + 30, glass + 12, glass), -1)
                    cv2.rectangle(image, (column, row), (right, low), (206, 210, 212), 1)
            door = x + house // 2
            cv2.rectangle(image, (door, bottom - cell), (door + cell // 2, bottom), (40, 52, 74), -1)
            cv2.line(image, (min(x + house, width - 1), top), (min(x + house, width - 1), bottom), (84, 88, 92), 1)
            x += house

    def _bricks(self, image: Image, rng: np.random.Generator, top: int, bottom: int) -> None:
        """A brick wall with shutters."""
        cv2, width = self._cv2, self._width
        tall, long = max(4, round(0.018 * self._height)), max(9, round(0.03 * width))
        for row, y in enumerate(range(top, bottom, tall)):
            for x in range(-(row % 2) * long // 2, width, long):
                shade = int(rng.integers(-16, 16))
                cell = image[y : min(y + tall - 1, bottom), max(x, 0) : max(x + long - 1, 0)]
                cell[:] = np.clip(cell.astype(np.int16) + shade, 0, 255).astype(np.uint8)
            cv2.line(image, (0, y), (width, y), (132, 140, 150), 1)
        for number in range(3):
            x = round(width * (0.08 + 0.33 * number + rng.uniform(-0.03, 0.03)))
            right, high = x + round(0.17 * width), round(0.2 * self._height)
            cv2.rectangle(image, (x, high), (right, bottom), (150, 138, 112), -1)
            for y in range(high, bottom, max(3, tall // 2 + 2)):
                cv2.line(image, (x, y), (right, y), (120, 110, 90), 1)
            cv2.rectangle(image, (x, high), (right, bottom), (70, 66, 60), 2)

    def _paint_thing(self, item: Occluder) -> tuple[Image, tuple[int, int]]:
        """The pixels of a thing that stands still, and where their upper left corner goes."""
        cv2 = self._cv2
        rng = np.random.default_rng([self._seed, self._clip, Stream.CAMERA, 2])
        x1, y1, x2, y2 = (round(value) for value in item.box)
        x1, x2 = max(x1, 0), min(x2, self._width)
        width, height = x2 - x1, y2 - y1
        if item.kind == "pillar":
            patch = _ground_texture(rng, height, width, (150, 154, 158))
            round_off = 0.62 + 0.5 * np.sin(np.linspace(0.25, math.pi - 0.35, width))
            patch = np.clip(patch * round_off[None, :, None], 0, 255).astype(np.uint8)
            patch[: height // 30] = patch[-height // 30 :] = (96, 98, 102)
        else:
            patch = _ground_texture(rng, height, width, (54, 108, 66))
            for _ in range(width * height // 40):
                x, y = int(rng.integers(0, width)), int(rng.integers(0, height))
                green = int(rng.integers(70, 160))
                cv2.circle(patch, (x, y), max(1, height // 22), (green // 2, green, green // 2 + 10), -1)
            box = patch[round(0.55 * height) :]
            box[:] = _ground_texture(rng, box.shape[0], width, (92, 112, 134))
            box[: max(2, height // 20)] = (70, 86, 104)
        return patch, (x1, y1)

    def _paint_car(self, image: Image, car: Car) -> None:
        cv2 = self._cv2
        (x1, y1, x2, y2), direction, number = car
        colors = ((60, 60, 180), (170, 120, 60), (210, 212, 214), (60, 130, 70))
        color = colors[number % len(colors)]

        def place(across: float, down: float) -> tuple[int, int]:
            across = across if direction > 0 else 1 - across
            return round(x1 + across * (x2 - x1)), round(y1 + down * (y2 - y1))

        def polygon(points: list[tuple[float, float]], fill: _Color) -> None:
            cv2.fillPoly(image, [np.array([place(*point) for point in points], np.int32)], fill, cv2.LINE_AA)

        polygon([(0.0, 0.5), (0.2, 0.42), (0.74, 0.42), (0.97, 0.52), (1.0, 0.82), (0.0, 0.82)], color)
        polygon([(0.16, 0.45), (0.28, 0.02), (0.62, 0.0), (0.78, 0.45)], _darker(color, 0.92))
        polygon([(0.22, 0.42), (0.31, 0.1), (0.44, 0.09), (0.44, 0.42)], (96, 84, 70))
        polygon([(0.48, 0.42), (0.48, 0.09), (0.6, 0.09), (0.71, 0.42)], (96, 84, 70))
        polygon([(0.95, 0.54), (1.0, 0.56), (1.0, 0.64), (0.96, 0.64)], (200, 240, 250))
        for across in (0.2, 0.8):
            center, radius = place(across, 0.82), max(2, round(0.17 * (y2 - y1)))
            cv2.circle(image, center, radius, (28, 28, 28), -1, cv2.LINE_AA)
            cv2.circle(image, center, max(1, radius // 2), (150, 150, 150), -1, cv2.LINE_AA)
