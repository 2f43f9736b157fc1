"""The level of a detector's scores."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tracking.detections.score_level import ScoreLevel, level_of_header, score_level


def detector(scale: float, weak: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Scores of people around .8, and of mistakes around .15, on another scale."""
    generator = np.random.default_rng(1)
    return np.concatenate([generator.normal(0.8, 0.05, 500), generator.uniform(0.1, 0.2, weak)]) * scale


@pytest.mark.parametrize("scale", [0.4, 0.7, 1.0])
def test_it_moves_with_the_scale(scale: float) -> None:
    assert score_level(detector(scale, 200)) == pytest.approx(0.8 * scale, abs=0.02)


def test_weak_detections_hardly_count() -> None:
    """A detector that reports five mistakes for each person has nearly the level of one that reports none."""
    assert score_level(detector(1, 2500)) == pytest.approx(score_level(detector(1, 0)), abs=0.03)


@pytest.mark.parametrize(
    ("scores", "level"), [([], None), ([0.0, 0.0], None), ([0.001], None), ([1.0] * 5, 1.0), ([0.3] * 9, 0.3)]
)
def test_equal_scores_and_none(scores: list[float], level: float | None) -> None:
    assert score_level(np.array(scores, np.float64)) == level


@pytest.mark.parametrize("wrong", [0, -1, 1.5, "0.8", True, None, [0.8], float("nan")], ids=repr)
def test_an_unusable_level_in_a_file_is_no_level(wrong: Any) -> None:
    assert level_of_header({"detector": {"score_level": wrong}}) is None


def test_the_level_that_a_file_states() -> None:
    assert level_of_header({"detector": {"score_level": 0.8}}) == ScoreLevel(0.8, "detector")
    assert level_of_header({}) is level_of_header({"detector": "yolo"}) is None
