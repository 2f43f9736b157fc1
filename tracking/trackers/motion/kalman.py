"""Kalman filters of boxes that move with constant velocity, for all tracks of a frame at once.

The filter is that of DeepSORT (Wojke et al., 2017). ByteTrack (Zhang et al., 2022) uses it over centre, aspect ratio
and height; BoT-SORT (Aharon et al., 2022) over centre, width and height. In both, the four values of a box do not
influence one another: of the 8 x 8 covariance matrix, only four blocks of 2 x 2 are not zero, those of a value and its
velocity. They are kept and computed element by element.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["ASPECT_HEIGHT", "WIDTH_HEIGHT", "BoxModel", "Floats", "Indices", "Mask", "measured_corners"]

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
Mask = NDArray[np.bool_]

# Standard deviations of a value and of its velocity, as fractions of the box's size (DeepSORT's code).
_POSITION = 1 / 20
_VELOCITY = 1 / 160
_MIN_SIZE = 1e-4
# A state (5, 4): the four values, their velocities, the variances of both, and the covariance of the two.
_VALUE, _SPEED, _VARIANCE, _COVARIANCE, _SPEED_VARIANCE = range(5)


@dataclass(frozen=True, slots=True)
class BoxModel:
    """The four values by which a filter describes a box, and how uncertain each is.

    A state is (5, 4) float64: values, velocities, variances of the values, covariances of value and velocity, variances
    of the velocities.

    Attributes:
        has_aspect: Whether the third value is width / height; otherwise it is the width.
        scale: For each value, which value its uncertainty grows with.
        stopped: The values whose velocity is set to zero while a track is lost.
    """

    has_aspect: bool
    scale: tuple[int, int, int, int]
    stopped: tuple[int, ...]

    def measure(self, boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the (N, 4) values of boxes (N, 4) xyxy."""
        size = boxes[:, 2:] - boxes[:, :2]
        if not self.has_aspect:
            return np.concatenate([(boxes[:, :2] + boxes[:, 2:]) / 2, size], axis=1)
        centre = measured_corners(boxes)[:, :2] + size / 2
        return np.concatenate([centre, size[:, :1] / size[:, 1:], size[:, 1:]], axis=1)

    def boxes(self, states: Floats) -> Floats:
        """Return the boxes (N, 4) xyxy of states (N, 5, 4)."""
        values = states[:, _VALUE]
        half = values[:, 2:] / 2
        if self.has_aspect:
            half[:, 0] = values[:, 2] * values[:, 3] / 2
        return np.concatenate([values[:, :2] - half, values[:, :2] + half], axis=1)

    def start(self, values: NDArray[np.float32]) -> Floats:
        """Return the states (N, 5, 4) of new tracks at these values (N, 4)."""
        states = np.zeros((len(values), 5, 4))
        states[:, _VALUE] = values
        states[:, _VARIANCE] = self._variance(states, 2 * _POSITION, 1e-2)
        states[:, _SPEED_VARIANCE] = self._variance(states, 10 * _VELOCITY, 1e-5)
        self._limit(states)
        return states

    def predict(self, states: Floats, lost: Mask) -> Floats:
        """Return the states (N, 5, 4) one frame later; `lost` (N,) says which tracks had no detection."""
        later = states.copy()
        for value in self.stopped:
            later[lost, _SPEED, value] = 0.0
        shared = states[:, _COVARIANCE] + states[:, _SPEED_VARIANCE]
        later[:, _VARIANCE] += states[:, _COVARIANCE]
        later[:, _VARIANCE] += shared
        later[:, _VARIANCE] += self._variance(states, _POSITION, 1e-2)
        later[:, _COVARIANCE] = shared
        later[:, _SPEED_VARIANCE] += self._variance(states, _VELOCITY, 1e-5)
        later[:, _VALUE] += later[:, _SPEED]
        self._limit(later)
        return later

    def correct(self, states: Floats, values: NDArray[np.float32]) -> Floats:
        """Return the states (N, 5, 4) after their detections with these values (N, 4)."""
        better = states.copy()
        total = states[:, _VARIANCE] + self._variance(states, _POSITION, 1e-1)
        gain, speed_gain = states[:, _VARIANCE] / total, states[:, _COVARIANCE] / total
        surprise = values - states[:, _VALUE]
        better[:, _VALUE] += surprise * gain
        better[:, _SPEED] += surprise * speed_gain
        better[:, _VARIANCE] -= gain * (total * gain)
        better[:, _COVARIANCE] -= speed_gain * (total * gain)
        better[:, _SPEED_VARIANCE] -= speed_gain * (total * speed_gain)
        self._limit(better)
        return better

    def _variance(self, states: Floats, weight: float, aspect: float) -> Floats:
        """Return (N, 4) variances; `aspect` is the standard deviation of an aspect ratio, which has no size."""
        deviation: Floats = weight * states[:, _VALUE][:, self.scale]
        if self.has_aspect:
            deviation[:, 2] = aspect
        return np.square(deviation)

    @staticmethod
    def _limit(states: Floats) -> None:
        np.maximum(states[:, _VALUE, 2:], _MIN_SIZE, out=states[:, _VALUE, 2:])


ASPECT_HEIGHT = BoxModel(has_aspect=True, scale=(3, 3, 3, 3), stopped=(3,))
"""ByteTrack's: the height of a lost track keeps still."""

WIDTH_HEIGHT = BoxModel(has_aspect=False, scale=(2, 3, 2, 3), stopped=(2, 3))
"""BoT-SORT's: width and height of a lost track keep still."""


def measured_corners(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return boxes (N, 4) xyxy as centre and size give them back: in float32, their last digit may differ."""
    centre, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2
    return np.concatenate([centre - half, centre + half], axis=1)
