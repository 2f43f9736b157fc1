"""Draw the figures of a synthetic scene as sprites."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from tracking.synthetic.appearance import Appearance, darker
from tracking.synthetic.elements import Color, Image, RandomStream
from tracking.synthetic.texture import import_cv2

__all__ = ["PHASES", "blend_figure", "draw_figure"]

PHASES = 16
"""Number of drawn phases of a stride."""
_SPRITE_WIDTH, _SPRITE_HEIGHT = 150, 250
_FIGURE_HEIGHT = 240.0  # in sprite pixels; the feet are at _FIGURE_HEIGHT + _TOP
_TOP = 6.0
_OVERSAMPLING = 2  # Sprites are drawn this much larger and then reduced, for smooth edges.


class _Pen:
    """Draws shapes, in sprite pixels, onto a colour plane and a coverage plane at once."""

    def __init__(self) -> None:
        self._cv2 = import_cv2()
        size = (_SPRITE_HEIGHT * _OVERSAMPLING, _SPRITE_WIDTH * _OVERSAMPLING)
        self.color: Image = np.zeros((*size, 3), np.uint8)
        self.cover: Image = np.zeros(size, np.uint8)

    def _points(self, points: list[tuple[float, float]]) -> NDArray[np.int32]:
        return np.round(np.array(points) * _OVERSAMPLING).astype(np.int32)

    def polygon(self, points: list[tuple[float, float]], color: Color) -> None:
        self._cv2.fillPoly(self.color, [self._points(points)], color)
        self._cv2.fillPoly(self.cover, [self._points(points)], 255)

    def limb(self, points: list[tuple[float, float]], color: Color, thick: float) -> None:
        line = [self._points(points)]
        self._cv2.polylines(self.color, line, False, color, round(thick * _OVERSAMPLING))
        self._cv2.polylines(self.cover, line, False, 255, round(thick * _OVERSAMPLING))

    def ellipse(self, x: float, y: float, rx: float, ry: float, color: Color, start: int = 0, end: int = 360) -> None:
        center, axes = (
            (round(x * _OVERSAMPLING), round(y * _OVERSAMPLING)),
            (round(rx * _OVERSAMPLING), round(ry * _OVERSAMPLING)),
        )
        self._cv2.ellipse(self.color, center, axes, 0, start, end, color, -1)
        self._cv2.ellipse(self.cover, center, axes, 0, start, end, 255, -1)

    def cloth(self, points: list[tuple[float, float]], fabric: Image) -> None:
        mask = np.zeros_like(self.cover)
        self._cv2.fillPoly(mask, [self._points(points)], 255)
        self._cv2.copyTo(fabric, mask, self.color)
        self.cover |= mask


def _fabric(appearance: Appearance, middle: float) -> Image:
    """Return the pattern of the torso over the whole sprite, at the oversampled size."""
    x = np.arange(_SPRITE_WIDTH * _OVERSAMPLING)[None, :] / _OVERSAMPLING - middle
    y = np.arange(_SPRITE_HEIGHT * _OVERSAMPLING)[:, None] / _OVERSAMPLING
    if appearance.pattern == "stripes across":
        is_accent = y % 18 < 8
    elif appearance.pattern == "stripes down":
        is_accent = x % 12 < 5
    elif appearance.pattern == "checks":
        is_accent = (x // 9 + y // 9) % 2 == 0
    elif appearance.pattern == "two-tone":
        is_accent = y < 84
    elif appearance.pattern == "jacket":
        is_accent = np.abs(x) < 6
    else:
        is_accent = x < -_SPRITE_WIDTH
    fabric = np.empty((_SPRITE_HEIGHT * _OVERSAMPLING, _SPRITE_WIDTH * _OVERSAMPLING, 3), np.uint8)
    fabric[:] = appearance.torso
    fabric[np.broadcast_to(is_accent, fabric.shape[:2])] = appearance.accent
    return fabric


def draw_figure(appearance: Appearance, view: str, step: int) -> Image:
    """Draw a figure that faces right.

    Args:
        appearance: Its body and clothes.
        view: ``"side"`` (walking), ``"front"`` or ``"back"`` (standing).
        step: One of the 16 phases of a stride; standing figures do not use it.

    Returns:
        (250, 150, 4) uint8: premultiplied BGR and coverage.
    """
    cv2 = import_cv2()
    pen = _Pen()
    middle, top, floor = _SPRITE_WIDTH / 2, _TOP, _TOP + _FIGURE_HEIGHT
    side = view == "side"
    swing = math.sin(2 * math.pi * step / PHASES) if side else 0.0
    bob = 2.0 * abs(swing) if side else 0.0
    shoulder, hip = top + 44 + bob, top + 122 + bob
    half = (21.0 if side else 28.0) * appearance.broad
    leg_skin = appearance.skin if appearance.leg_style != "trousers" else appearance.legs

    def leg(sign: float, shade: float) -> None:
        angle = 0.42 * swing * sign
        start = (middle + (0.0 if side else 11.0 * sign), hip)
        knee = (start[0] + 56 * math.sin(angle) + (4 if side else 0), hip + 56 * math.cos(angle))
        lift = max(0.0, -math.cos(2 * math.pi * step / PHASES) * sign) if side else 0.0
        bend = angle - 0.5 * lift - (0.12 if side and angle < 0 else 0.0)
        ankle = (knee[0] + 58 * math.sin(bend), min(knee[1] + 58 * math.cos(bend), floor - 5))
        pen.limb([start, knee, ankle], darker(leg_skin, shade), 17 * appearance.broad)
        if appearance.leg_style == "shorts":
            pen.limb([start, knee], darker(appearance.legs, shade), 21 * appearance.broad)
        toe = 7.0 if side else 3.0 * sign
        pen.ellipse(ankle[0] + toe, ankle[1] + 1, 12 if side else 8, 5, darker(appearance.shoes, shade))

    def arm(sign: float, shade: float) -> None:
        angle = -0.5 * swing * sign if side else 0.12 * sign
        start = (middle + (0.0 if side else (half - 5) * sign), shoulder + 8)
        elbow = (start[0] + 34 * math.sin(angle), start[1] + 34 * math.cos(angle))
        bend = angle + (0.35 if side else -0.05 * sign)
        hand = (elbow[0] + 34 * math.sin(bend), elbow[1] + 34 * math.cos(bend))
        sleeve = appearance.accent if appearance.pattern == "two-tone" else appearance.torso
        pen.limb([start, elbow, hand], darker(appearance.skin, shade), 9)
        if appearance.sleeves == "long":
            close = (elbow[0] + 0.8 * (hand[0] - elbow[0]), elbow[1] + 0.8 * (hand[1] - elbow[1]))
            pen.limb([start, elbow, close], darker(sleeve, shade), 12)
        else:
            pen.limb([start, (start[0] + 0.7 * (elbow[0] - start[0]), elbow[1] - 12)], darker(sleeve, shade), 14)

    arm(-1, 0.7)
    if not side:
        arm(1, 0.92)
    leg(-1, 0.72 if side else 1.0)
    leg(1, 1.0)
    if appearance.leg_style == "skirt":
        hem = hip + 62
        pen.polygon(
            [
                (middle - half * 0.8, hip - 6),
                (middle + half * 0.8, hip - 6),
                (middle + half * 1.1, hem),
                (middle - half * 1.1, hem),
            ],
            appearance.legs,
        )
    pen.limb([(middle, shoulder - 12), (middle, shoulder + 4)], darker(appearance.skin, 0.85), 13)
    trunk = [
        (middle - half * 0.55, shoulder - 3),
        (middle + half * 0.55, shoulder - 3),
        (middle + half, shoulder + 9),
        (middle + half * 0.9, hip + 8),
        (middle - half * 0.9, hip + 8),
        (middle - half, shoulder + 9),
    ]
    if appearance.backpack and side:
        pen.ellipse(middle - half - 3, shoulder + 36, 13, 28, appearance.backpack)
    pen.cloth(trunk, _fabric(appearance, middle + (9 if side else 0)))
    if appearance.backpack and view == "back":
        pen.ellipse(middle, shoulder + 36, half * 0.8, 32, appearance.backpack)
    elif appearance.backpack:
        strap = darker(appearance.backpack, 0.8)
        for sign in (-1, 1):
            pen.limb(
                [(middle + sign * half * 0.5, shoulder - 1), (middle + sign * half * 0.6, shoulder + 40)], strap, 4
            )
    if side:
        arm(1, 1.0)

    head = top + 19 + bob
    lean = 3.0 if side else 0.0
    if appearance.hair_style == "long":
        pen.ellipse(middle - (5 if side else 0), head + 9, 16 if side else 19, 25, appearance.hair)
    pen.ellipse(middle + lean, head, 15, 19, appearance.skin)
    if view == "back":
        pen.ellipse(middle, head, 16, 18, appearance.skin if appearance.hair_style == "bald" else appearance.hair)
    else:
        if appearance.hair_style != "bald":
            pen.ellipse(
                middle + lean - (4 if side else 0),
                head - 4,
                15,
                15,
                appearance.hair,
                *((100, 325) if side else (185, 355)),
            )
        eyes = (9.0,) if side else (-6.0, 6.0)
        for offset in eyes:
            pen.ellipse(middle + lean + offset, head + 1, 2, 2, (40, 36, 34))
    if appearance.hair_style == "cap":
        pen.ellipse(middle + lean, head - 5, 16, 14, appearance.accent, 180, 360)
        if side:
            pen.polygon([(middle + 12, head - 8), (middle + 30, head - 5), (middle + 12, head - 3)], appearance.accent)

    pen.color[pen.cover == 0] = 0
    size = (_SPRITE_WIDTH, _SPRITE_HEIGHT)
    color = cv2.resize(pen.color, size, interpolation=cv2.INTER_AREA)
    cover = cv2.resize(pen.cover, size, interpolation=cv2.INTER_AREA)
    # Light from the upper left makes bodies appearance round; small variations make cloth uneven.
    x = np.arange(_SPRITE_WIDTH, dtype=np.float32)[None, :]
    y = np.arange(_SPRITE_HEIGHT, dtype=np.float32)[:, None]
    light = 1.06 - 0.007 * np.abs(x - middle + 8) - 0.0006 * y
    folds = np.random.default_rng([RandomStream.CAST, step]).normal(0, 0.6, cover.shape).astype(np.float32)
    light += cv2.GaussianBlur(folds, (0, 0), 3)
    # Colours are premultiplied, so none may exceed the coverage.
    shaded = np.minimum(color * light[..., None], cover[..., None])
    sprite: Image = np.dstack([shaded.astype(np.uint8), cover])
    return sprite


def blend_figure(image: Image, sprite: Image, x: float, feet: float, height: float) -> None:
    """Draw a sprite onto an image: the middle of its feet at (x, feet), `height` pixels tall."""
    cv2 = import_cv2()
    scale = height / _FIGURE_HEIGHT
    width, tall = max(1, round(_SPRITE_WIDTH * scale)), max(1, round(_SPRITE_HEIGHT * scale))
    left, top = round(x - width / 2), round(feet - (_FIGURE_HEIGHT + _TOP) * scale)
    a, b = max(left, 0), max(top, 0)
    c, d = min(left + width, image.shape[1]), min(top + tall, image.shape[0])
    if a >= c or b >= d:
        return
    small = cv2.resize(sprite, (width, tall), interpolation=cv2.INTER_AREA)[b - top : d - top, a - left : c - left]
    under = image[b:d, a:c]
    rest = 255 - small[..., 3:].astype(np.uint16)
    image[b:d, a:c] = ((under * rest + 127) // 255).astype(np.uint8) + np.minimum(small[..., :3], small[..., 3:])
