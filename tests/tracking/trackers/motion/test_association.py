"""Overlapping boxes, and the assignment of the lowest cost."""

from __future__ import annotations

import itertools

import lap
import numpy as np
import pytest

from tracking.geometry import iou
from tracking.trackers.motion.association import Candidates, assign, overlaps

EVERY = {"none": 0.0, "few": 0.05, "some": 0.3, "all": 1.0}


def random_boxes(generator: np.random.Generator, count: int) -> np.ndarray:
    corners = generator.uniform(0, 300, (count, 2))
    return np.concatenate([corners, corners + generator.uniform(1, 90, (count, 2))], axis=1)


@pytest.mark.parametrize("sizes", [(0, 0), (0, 3), (3, 0), (1, 1), (40, 60)], ids=str)
def test_overlaps_are_those_of_all_pairs(sizes: tuple[int, int]) -> None:
    generator = np.random.default_rng(1)
    first, second = random_boxes(generator, sizes[0]), random_boxes(generator, sizes[1])
    matrix = np.array([iou(box, second) for box in first]).reshape(sizes)
    found = np.zeros(sizes)
    pairs = overlaps(first, second)
    found[pairs.rows, pairs.columns] = pairs.values
    np.testing.assert_allclose(found, matrix, atol=1e-12)
    assert len(pairs.rows) == np.count_nonzero(matrix), "each pair once"


def test_boxes_that_touch_do_not_overlap() -> None:
    boxes = np.array([[0.0, 0, 10, 10], [10, 0, 20, 10], [0, 10, 10, 20]])
    assert overlaps(boxes[:1], boxes[1:]).rows.tolist() == []


def solved(costs: np.ndarray, limit: float) -> list[tuple[int, int]]:
    """Assign through candidates; a cost of 1 is none."""
    rows, columns = np.nonzero(costs != 1)
    pairs = Candidates(rows, columns, costs[rows, columns])
    found = assign(pairs, np.arange(costs.shape[0]), np.arange(costs.shape[1]), limit)
    return list(zip(*(part.tolist() for part in found), strict=True))


@pytest.mark.parametrize("share", EVERY.values(), ids=EVERY)
@pytest.mark.parametrize("limit", [0.3, 0.8, 1.0])
@pytest.mark.parametrize("digits", [1, 12], ids=["ties", "no ties"])
def test_assigns_as_lapx_does(share: float, limit: float, digits: int) -> None:
    generator = np.random.default_rng(2)
    for _ in range(60):
        shape = tuple(generator.integers(1, 12, 2))
        costs = np.where(generator.random(shape) < share, np.round(generator.uniform(0, 1, shape), digits), 1.0)
        _, partners, _ = lap.lapjv(costs, extend_cost=True, cost_limit=limit)
        assert solved(costs, limit) == [(row, int(partners[row])) for row in np.flatnonzero(partners >= 0)]


def test_the_sum_of_costs_is_the_lowest_of_all() -> None:
    generator = np.random.default_rng(3)
    for _ in range(40):
        costs, limit = generator.uniform(0, 1, (4, 4)), 0.6
        best = min(
            sum(min(costs[row, column], limit) for row, column in enumerate(order))
            for order in itertools.permutations(range(4))
        )
        found = solved(costs, limit)
        assert sum(costs[pair] for pair in found) + limit * (4 - len(found)) == pytest.approx(best)


def test_rows_and_columns_keep_their_numbers() -> None:
    pairs = Candidates(np.array([3, 7, 7]), np.array([9, 2, 9]), np.array([0.1, 0.2, 0.3]))
    for limit in (0.8, 1.0):
        rows, columns = assign(pairs, np.array([3, 5, 7]), np.array([2, 9]), limit)
        assert (rows.tolist(), columns.tolist()) == ([3, 7], [9, 2])
