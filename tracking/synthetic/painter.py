"""Paint the frames of a synthetic clip: figures, shadows, light and sensor noise over a background."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tracking.synthetic.appearance import Appearance
from tracking.synthetic.background import paint_background, paint_car, paint_occluder
from tracking.synthetic.elements import Car, Image, Occluder, Pose, RandomStream
from tracking.synthetic.figures import PHASES, blend_figure, draw_figure
from tracking.synthetic.texture import import_cv2

__all__ = ["Painter"]


class Painter:
    """Draws the frames of one clip.

    Args:
        width, height: Size of the frames, in pixels.
        fps: Frames per second, for the speed at which the light changes.
        seed, clip: Seeds of all that is random; the clip also selects the background.
        noise: Standard deviation of the sensor noise, in grey levels.
        cast: Appearance of each figure, by index.
        occluders: Objects that people walk behind.
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
        cast: Sequence[Appearance],
        occluders: Sequence[Occluder],
    ) -> None:
        self._width = width
        self._height = height
        self._fps = fps
        self._cv2 = import_cv2()
        self._cast = cast
        self._occluders = occluders
        self._sprites: dict[tuple[int, str, int, int], Image] = {}
        self._noise_rng = np.random.default_rng([seed, clip, RandomStream.NOISE])
        self._background = paint_background(width=width, height=height, seed=seed, clip=clip)
        self._occluder_patches = [paint_occluder(item, width=width, seed=seed, clip=clip) for item in occluders]
        # One large plane of noise, cut at a different place for each frame.
        self._noise_margin = 96
        plane = (height + self._noise_margin, width + self._noise_margin, 3)
        self._noise = np.round(self._noise_rng.normal(0, noise, plane)).astype(np.int16)

    def paint(self, frame: int, poses: list[tuple[int, Pose]], car: Car | None) -> Image:
        """Paint one frame: the figures, each with its index in the cast, and the car if one passes."""
        cv2 = self._cv2
        image = self._background.copy()
        if car is not None:
            paint_car(image, car)
        for _, pose in poses:
            self._paint_shadow(image, pose)
        layers: list[tuple[float, int, int, Pose | None]] = [
            (pose.feet, order, index, pose) for order, (index, pose) in enumerate(poses)
        ]
        layers += [(item.box[3], -1, number, None) for number, item in enumerate(self._occluders)]
        for _, _, index, layer in sorted(layers, key=lambda item: item[:2]):
            if layer is None:
                patch, (x, y) = self._occluder_patches[index]
                image[y : y + patch.shape[0], x : x + patch.shape[1]] = patch
            else:
                blend_figure(image, self._sprite_of(index, layer), layer.x, layer.feet, layer.height)
        light = 1.0 + 0.05 * math.sin(2 * math.pi * frame / (11 * self._fps)) + 0.015 * math.sin(frame * 0.9)
        x, y = (int(value) for value in self._noise_rng.integers(0, self._noise_margin, 2))
        noise = self._noise[y : y + self._height, x : x + self._width]
        lit = cv2.convertScaleAbs(image, alpha=light, beta=0)
        painted: Image = cv2.add(lit, noise, dtype=cv2.CV_8U)
        return painted

    def _sprite_of(self, index: int, pose: Pose) -> Image:
        step = round(pose.phase / (2 * math.pi) * PHASES) % PHASES if pose.walking else 0
        # A standing figure faces the camera, or turns its back to it.
        view = "side" if pose.walking else ("front" if index % 2 == 0 else "back")
        key = (index, view, step, pose.facing)
        if key not in self._sprites:
            right = draw_figure(self._cast[index], view, step)
            self._sprites[index, view, step, 1] = right
            self._sprites[index, view, step, -1] = np.ascontiguousarray(right[:, ::-1])
        return self._sprites[key]

    def _paint_shadow(self, image: Image, pose: Pose) -> None:
        rx, ry = max(2, round(0.2 * pose.height)), max(1, round(0.035 * pose.height))
        x, y = round(pose.x + 0.06 * pose.height), round(pose.feet)
        a, b = max(x - rx, 0), max(y - ry, 0)
        c, d = min(x + rx + 1, image.shape[1]), min(y + ry + 1, image.shape[0])
        if a >= c or b >= d:
            return
        dark = np.zeros((d - b, c - a), np.float32)
        self._cv2.ellipse(dark, (x - a, y - b), (rx, ry), 0, 0, 360, 0.42, -1)
        image[b:d, a:c] = (image[b:d, a:c] * (1 - dark[..., None])).astype(np.uint8)
