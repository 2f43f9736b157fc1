"""Paint what surrounds the figures of a synthetic scene: its background, occluders and cars."""

from __future__ import annotations

import math

import numpy as np

from tracking.synthetic.appearance import darker
from tracking.synthetic.elements import Car, Color, Image, Occluder, RandomStream
from tracking.synthetic.texture import ground_texture, import_cv2

__all__ = ["paint_background", "paint_car", "paint_occluder"]


def paint_background(*, width: int, height: int, seed: int, clip: int) -> Image:
    """Paint a clip's background: a plaza in front of houses for even clips, a street with a brick wall for odd ones."""
    cv2 = import_cv2()
    rng = np.random.default_rng([seed, clip, RandomStream.CAMERA, 1])
    plaza = clip % 2 == 0
    wall: tuple[int, ...] = (118, 136, 158) if plaza else (92, 104, 148)
    floor: tuple[int, ...] = (146, 152, 156) if plaza else (104, 108, 106)
    if clip > 1:
        wall, floor = (tuple(int(v + rng.integers(-24, 24)) for v in color) for color in (wall, floor))
    image = np.empty((height, width, 3), np.uint8)
    eaves, street, kerb = round(0.08 * height), round(0.42 * height), round(0.515 * height)
    image[:eaves] = np.linspace((236, 214, 186), (240, 228, 212), eaves)[:, None]
    image[eaves:street] = ground_texture(rng, street - eaves, width, wall)
    image[street:kerb] = ground_texture(rng, kerb - street, width, (84, 84, 86))
    image[kerb:] = ground_texture(rng, height - kerb, width, floor)
    if plaza:
        _paint_facade(image, rng, eaves, street)
    else:
        _paint_bricks(image, rng, eaves, street)
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
    # Paving in perspective: towards the camera, rows become taller and joints farther apart.
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


def _paint_facade(image: Image, rng: np.random.Generator, top: int, bottom: int) -> None:
    """Paint a row of houses with windows."""
    cv2, width = import_cv2(), image.shape[1]
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


def _paint_bricks(image: Image, rng: np.random.Generator, top: int, bottom: int) -> None:
    """Paint a brick wall with shutters."""
    cv2, (height, width) = import_cv2(), image.shape[:2]
    tall, long = max(4, round(0.018 * height)), max(9, round(0.03 * width))
    for row, y in enumerate(range(top, bottom, tall)):
        for x in range(-(row % 2) * long // 2, width, long):
            shade = int(rng.integers(-16, 16))
            cell = image[y : min(y + tall - 1, bottom), max(x, 0) : max(x + long - 1, 0)]
            cell[:] = np.clip(cell.astype(np.int16) + shade, 0, 255).astype(np.uint8)
        cv2.line(image, (0, y), (width, y), (132, 140, 150), 1)
    for number in range(3):
        x = round(width * (0.08 + 0.33 * number + rng.uniform(-0.03, 0.03)))
        right, high = x + round(0.17 * width), round(0.2 * height)
        cv2.rectangle(image, (x, high), (right, bottom), (150, 138, 112), -1)
        for y in range(high, bottom, max(3, tall // 2 + 2)):
            cv2.line(image, (x, y), (right, y), (120, 110, 90), 1)
        cv2.rectangle(image, (x, high), (right, bottom), (70, 66, 60), 2)


def paint_occluder(item: Occluder, *, width: int, seed: int, clip: int) -> tuple[Image, tuple[int, int]]:
    """Return the pixels of an occluder, and the place of their upper left corner in a frame of `width` pixels."""
    cv2 = import_cv2()
    rng = np.random.default_rng([seed, clip, RandomStream.CAMERA, 2])
    x1, y1, x2, y2 = (round(value) for value in item.box)
    x1, x2 = max(x1, 0), min(x2, width)
    width, height = x2 - x1, y2 - y1
    if item.kind == "pillar":
        patch = ground_texture(rng, height, width, (150, 154, 158))
        shading = 0.62 + 0.5 * np.sin(np.linspace(0.25, math.pi - 0.35, width))
        patch = np.clip(patch * shading[None, :, None], 0, 255).astype(np.uint8)
        patch[: height // 30] = patch[-height // 30 :] = (96, 98, 102)
    else:
        patch = ground_texture(rng, height, width, (54, 108, 66))
        for _ in range(width * height // 40):
            x, y = int(rng.integers(0, width)), int(rng.integers(0, height))
            green = int(rng.integers(70, 160))
            cv2.circle(patch, (x, y), max(1, height // 22), (green // 2, green, green // 2 + 10), -1)
        box = patch[round(0.55 * height) :]
        box[:] = ground_texture(rng, box.shape[0], width, (92, 112, 134))
        box[: max(2, height // 20)] = (70, 86, 104)
    return patch, (x1, y1)


def paint_car(image: Image, car: Car) -> None:
    """Paint a car onto an image."""
    cv2 = import_cv2()
    (x1, y1, x2, y2), direction, number = car
    colors = ((60, 60, 180), (170, 120, 60), (210, 212, 214), (60, 130, 70))
    color = colors[number % len(colors)]

    def place(across: float, down: float) -> tuple[int, int]:
        across = across if direction > 0 else 1 - across
        return round(x1 + across * (x2 - x1)), round(y1 + down * (y2 - y1))

    def polygon(points: list[tuple[float, float]], fill: Color) -> None:
        cv2.fillPoly(image, [np.array([place(*point) for point in points], np.int32)], fill, cv2.LINE_AA)

    polygon([(0.0, 0.5), (0.2, 0.42), (0.74, 0.42), (0.97, 0.52), (1.0, 0.82), (0.0, 0.82)], color)
    polygon([(0.16, 0.45), (0.28, 0.02), (0.62, 0.0), (0.78, 0.45)], darker(color, 0.92))
    polygon([(0.22, 0.42), (0.31, 0.1), (0.44, 0.09), (0.44, 0.42)], (96, 84, 70))
    polygon([(0.48, 0.42), (0.48, 0.09), (0.6, 0.09), (0.71, 0.42)], (96, 84, 70))
    polygon([(0.95, 0.54), (1.0, 0.56), (1.0, 0.64), (0.96, 0.64)], (200, 240, 250))
    for across in (0.2, 0.8):
        center, radius = place(across, 0.82), max(2, round(0.17 * (y2 - y1)))
        cv2.circle(image, center, radius, (28, 28, 28), -1, cv2.LINE_AA)
        cv2.circle(image, center, max(1, radius // 2), (150, 150, 150), -1, cv2.LINE_AA)
