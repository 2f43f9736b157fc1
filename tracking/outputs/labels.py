"""Where the labels of a frame go: inside the frame, and no label on another one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["LabelPlacer"]

Place = tuple[int, int]
"""Left and top of a label in pixels."""

_COVER = 3.0
"""Cost of a label that lies on other boxes with its whole area, in heights of a label that it could be away."""
_MOVE = 0.75
"""Cost of another place than in the last frame, in the same unit: labels that jump cannot be read."""
_ROWS = 4
"""Rows above and below a box that are tried before the whole frame is."""


class LabelPlacer:
    """Finds the places of labels, frame by frame.

    A label goes above its box, else under it, in it or beside it, else as near as there is room. It rather stays where
    it was in the frame before, and off the boxes of others.
    """

    def __init__(self) -> None:
        self._choices: dict[str, int] = {}

    def place(
        self,
        keys: Sequence[str],
        boxes: NDArray[np.float64],
        sizes: Sequence[tuple[int, int]],
        frame_size: tuple[int, int],
    ) -> list[Place | None]:
        """Return the place of each label of a frame, None where the frame has no room for it.

        Args:
            keys: What each of N labels belongs to, the same in each frame: a track's id.
            boxes: (N, 4) xyxy in pixels, in the order in which their labels choose.
            sizes: Width and height of each label in pixels.
            frame_size: Width and height of the frame in pixels.
        """
        last, self._choices = self._choices, {}
        if not len(keys):
            return []
        extents = np.array(sizes, np.float64)
        corners = _near(boxes, extents, frame_size)
        costs = _COVER * _covered_share(corners, boxes) + _distance(corners, boxes[:, None]) / extents[:, 1:]
        costs += np.arange(costs.shape[1]) * 1e-3  # between equals, the earlier one
        taken = np.zeros((len(keys), 4))
        number = 0
        places: list[Place | None] = []
        for row, (key, size) in enumerate(zip(keys, sizes, strict=True)):
            if size[0] > frame_size[0] or size[1] > frame_size[1]:
                places.append(None)
                continue
            choices, cost = corners[row], costs[row]
            if key in last:
                cost[last[key]] -= _MOVE
            choice = _cheapest(choices, cost, taken[:number])
            if choice is not None:
                self._choices[key] = choice
            else:
                choices = _anywhere(size, frame_size)
                choice = _cheapest(choices, _distance(choices, boxes[row]), taken[:number])
            if choice is None:
                places.append(None)
                continue
            taken[number] = choices[choice]
            number += 1
            places.append((int(choices[choice, 0]), int(choices[choice, 1])))
        return places


def _cheapest(corners: NDArray[np.float64], cost: NDArray[np.float64], taken: NDArray[np.float64]) -> int | None:
    """Return which of M rectangles, (M, 4) xyxy, costs least of those that overlap none of N taken ones; None: none."""
    begins = (corners[:, None, :2] < taken[None, :, 2:]).all(axis=2)
    ends = (taken[None, :, :2] < corners[:, None, 2:]).all(axis=2)
    is_taken = np.logical_and(begins, ends).any(axis=1)
    best = np.where(is_taken, np.inf, cost)
    choice = int(np.argmin(best))
    return choice if np.isfinite(best[choice]) else None


def _near(boxes: NDArray[np.float64], extents: NDArray[np.float64], frame_size: tuple[int, int]) -> NDArray[np.float64]:
    """Return (N, M, 4) xyxy places at each of N boxes for labels of (N, 2) extents, moved into the frame."""
    x1, y1, x2, y2 = np.rint(boxes).T
    widths, heights = extents.T
    tops = [y1 - heights, y2, y1, y2 - heights]
    for row in range(1, _ROWS + 1):
        tops += [y1 - (row + 1) * heights, y2 + row * heights]
    places = [(left, top) for top in tops for left in (x1, x2 - widths)]
    places[4:4] = [(x2, y1), (x1 - widths, y1)]
    return _moved_inside(np.array(places).transpose(2, 0, 1), extents[:, None], frame_size)


def _anywhere(size: tuple[int, int], frame_size: tuple[int, int]) -> NDArray[np.float64]:
    width, height = size
    lefts = np.arange(0, frame_size[0] - width + 1, max(1, width // 6))
    tops = np.arange(0, frame_size[1] - height + 1, max(1, height // 2))
    places = np.stack(np.meshgrid(lefts, tops), axis=-1).reshape(-1, 2).astype(np.float64)
    return _moved_inside(places, np.array(size, np.float64), frame_size)


def _moved_inside(
    places: NDArray[np.float64], extents: NDArray[np.float64], frame_size: tuple[int, int]
) -> NDArray[np.float64]:
    """Return rectangles, (..., 4) xyxy, of places (..., 2) and extents, moved into the frame."""
    moved = np.clip(places, 0.0, np.maximum(0.0, np.array(frame_size) - extents))
    return np.concatenate([moved, moved + extents], axis=-1)


def _covered_share(corners: NDArray[np.float64], boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (N, M) the share of each of M rectangles (N, M, 4) that lies on boxes other than its own, at most 1."""
    low = np.maximum(corners[:, :, None, :2], boxes[:, :2])
    high = np.minimum(corners[:, :, None, 2:], boxes[:, 2:])
    shared = np.clip(high - low, 0.0, None).prod(axis=-1)
    own = np.arange(len(boxes))
    shared[own, :, own] = 0.0
    areas = (corners[..., 2:] - corners[..., :2]).prod(axis=-1)
    return np.asarray(np.minimum(1.0, shared.sum(axis=-1) / areas))


def _distance(corners: NDArray[np.float64], boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the distance in pixels of each rectangle (..., 4) from a box, 0 where they touch."""
    gaps = np.maximum(np.maximum(boxes[..., :2] - corners[..., 2:], corners[..., :2] - boxes[..., 2:]), 0.0)
    return np.asarray(np.hypot(gaps[..., 0], gaps[..., 1]))
