"""The identities near a vector: what a decision needs of a gallery, in place of the distances to all identities."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

__all__ = ["Neighbour", "Neighbours"]

_INF = float("inf")


class Neighbour(NamedTuple):
    """An identity near a vector.

    Attributes:
        supported: Mean distance to several entries of the identity; see `compare_with_gallery`.
        column: Column of the identity.
        distance: Distance to the nearest entry of the identity.
    """

    supported: float
    column: int
    distance: float


class Neighbours:
    """The identities near a vector, by supported distance and column. All others count as infinitely far.

    Args:
        found: The identities, in any order.
    """

    __slots__ = ("_found",)

    def __init__(self, found: Iterable[Neighbour] = ()) -> None:
        self._found = tuple(sorted(found))

    def __iter__(self) -> Iterator[Neighbour]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)

    def of(self, column: int) -> Neighbour:
        """Return the identity of a column."""
        return next((one for one in self._found if one.column == column), Neighbour(_INF, column, _INF))

    @property
    def best(self) -> Neighbour:
        """The best supported identity; column -1 where there is none."""
        return self._found[0] if self._found else Neighbour(_INF, -1, _INF)

    @property
    def second(self) -> Neighbour:
        """The second-best supported identity; column -1 where there is none."""
        return self._found[1] if len(self._found) > 1 else Neighbour(_INF, -1, _INF)

    @property
    def least_distance(self) -> float:
        """The least distance to an entry."""
        return min((one.distance for one in self._found), default=_INF)
