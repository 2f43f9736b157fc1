"""The sightings of several cameras on one clock, and which of them cannot show the same person.

This module knows cameras, track ids, names and seconds; it knows nothing of vectors, videos or galleries.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

from tracking.identification.camera_map import CameraMap

__all__ = ["CameraSightings", "Sightings"]

CLOCK_SECONDS = 1.0
"""Seconds by which the clocks of two cameras may differ: a shorter conflict of two sightings counts only while it
lasts."""
FORGET_SECONDS = 86400.0
"""Seconds after which an ended sighting is dropped."""
_FORGET_EVERY = 10_000
_INF = float("inf")


@dataclass(slots=True, eq=False)
class _Sighting:
    """A tracklet of a camera, on the common clock.

    Attributes:
        camera: The camera.
        first, last: Seconds of its first frame, and of its last observation that showed its person.
        seen: Seconds of its last frame before an observation that did not show its person.
        identity: The name that it has; None for none.
        distance: Distance of its evidence to that identity; 0 where it was enrolled as that identity.
        order: Number of that name in the order in which all tracklets got theirs.
        is_enrolled: Whether it was enrolled under the name, or is going to be.
    """

    camera: str
    first: float
    last: float
    seen: float
    identity: str | None = None
    distance: float = _INF
    order: int = 0
    is_enrolled: bool = False


class Sightings:
    """The named tracklets of all cameras.

    Two tracklets of cameras between which a person takes a certain time cannot show one person, if they are nearer to
    each other in time. If both are like an identity, the name is that of the one which is clearly nearer to it; else of
    the one that had it first. Nothing is final: when a tracklet loses its name, the other one may have it.

    Args:
        cameras: The times between the cameras.
    """

    def __init__(self, cameras: CameraMap) -> None:
        self.cameras = cameras
        self._named: dict[str, dict[str, list[_Sighting]]] = {}
        self._orders = count()
        self._num_named = 0

    def of_camera(self, camera: str) -> CameraSightings:
        """Return the part of a camera, from its first frame to its end."""
        return CameraSightings(self, camera)

    def rename(self, old: str, new: str) -> None:
        """Change the name of an identity, which may join another."""
        for sightings in self._named.pop(old, {}).values():
            for sighting in sightings:
                sighting.identity = new
                self._insert(sighting, new)

    def _conflicts(self, own: _Sighting, identity: str, *, ended: bool = False) -> Iterator[_Sighting]:
        """Yield the sightings of an identity that cannot show the person of another one.

        Args:
            own: The other one.
            identity: The identity.
            ended: Whether it has ended: then a conflict of less than `CLOCK_SECONDS` does not count.
        """
        for camera, sightings in self._named.get(identity, {}).items():
            travel = self.cameras.travel_seconds(own.camera, camera)
            if travel is None:
                continue
            # One camera sees an identity once at a time, so that they are sorted by their ends as well.
            for index in range(bisect_right(sightings, own.seen + travel, key=_first) - 1, -1, -1):
                other = sightings[index]
                if other.seen + travel < own.first:
                    break
                start = max(own.first, other.first - travel)
                goes_on = not ended and other.seen + travel >= own.seen - CLOCK_SECONDS
                if goes_on or min(own.last, other.last + travel) - start >= CLOCK_SECONDS:
                    yield other

    def _give(self, sighting: _Sighting, identity: str, distance: float, margin: float) -> None:
        self._withdraw(sighting)
        sighting.identity, sighting.distance, sighting.order = identity, distance, next(self._orders)
        for other in list(self._conflicts(sighting, identity)):
            if distance < other.distance - margin:
                self._withdraw(other)  # a mistake: this one is clearly nearer
        self._insert(sighting, identity)
        self._num_named += 1
        if self._num_named % _FORGET_EVERY == 0:
            self._forget(sighting.last)

    def _insert(self, sighting: _Sighting, identity: str) -> None:
        insort(self._named.setdefault(identity, {}).setdefault(sighting.camera, []), sighting, key=_first)

    def _withdraw(self, sighting: _Sighting) -> None:
        if sighting.identity is not None:
            by_camera = self._named[sighting.identity]
            by_camera[sighting.camera].remove(sighting)
            if not by_camera[sighting.camera]:
                del by_camera[sighting.camera]
            if not by_camera:
                del self._named[sighting.identity]
        sighting.identity, sighting.distance, sighting.is_enrolled = None, _INF, False

    def _forget(self, now: float) -> None:
        for by_camera in list(self._named.values()):
            for sightings in list(by_camera.values()):
                for old in [one for one in sightings if now - one.last > FORGET_SECONDS]:
                    self._withdraw(old)


class CameraSightings:
    """The tracklets of one camera among the `Sightings` of all.

    A tracklet is given by its track id and its first frame. For each frame: `begin_frame`, then the others. Without a
    time of the frame nothing is noted and nothing excluded.

    Args:
        sightings: Those of all cameras.
        camera: The camera.
    """

    def __init__(self, sightings: Sightings, camera: str) -> None:
        self._all = sightings
        self._camera = camera
        self._tracklets: dict[tuple[int, int], _Sighting] = {}
        self._now: float | None = None
        self._next_sweep = -_INF

    @property
    def has_time(self) -> bool:
        """Whether the time of the current frame is known."""
        return self._now is not None

    def begin_frame(self, seconds: float | None) -> None:
        """Begin a frame.

        Args:
            seconds: Its time on the clock of all cameras; None where unknown.
        """
        self._now = seconds
        if seconds is not None and seconds >= self._next_sweep:
            self._next_sweep = seconds + FORGET_SECONDS / 24
            old = [key for key, one in self._tracklets.items() if seconds - one.last > FORGET_SECONDS]
            for key in old:
                del self._tracklets[key]

    def note_seen(self, tracklet: tuple[int, int], *, agrees: bool, is_contrary: bool = False) -> None:
        """Note a tracklet in the current frame.

        Args:
            tracklet: Its track id and first frame.
            agrees: Whether an observation in this frame shows its person.
            is_contrary: Whether the last observation did not show its person: another one may be in the box by now.
        """
        if self._now is None:
            return
        seen = self._tracklets.get(tracklet)
        if seen is None:
            self._tracklets[tracklet] = _Sighting(self._camera, self._now, self._now, self._now)
        elif not is_contrary:
            seen.seen = max(seen.seen, self._now)
            if agrees:
                seen.last = seen.seen

    def note_name(self, tracklet: tuple[int, int], identity: str | None, distance: float, margin: float) -> None:
        """Note the name of a tracklet in the current frame.

        Args:
            tracklet: Its track id and first frame.
            identity: The name; None for none.
            distance: Distance of its evidence to that identity.
            margin: How much nearer it must be to be clearly nearer.
        """
        seen = self._tracklets.get(tracklet)
        if seen is None or self._now is None:
            return
        if identity is None:
            if not seen.is_enrolled:
                self._all._withdraw(seen)
        elif seen.identity != identity:
            self._all._give(seen, identity, distance, margin)
        elif not seen.is_enrolled:
            seen.distance = distance

    def note_enrolled(self, tracklet: tuple[int, int], identity: str | None) -> None:
        """Note that a tracklet is enrolled as an identity, or will be; None where its entry was removed."""
        seen = self._tracklets.get(tracklet)
        if seen is None:
            return
        if identity is None:
            self._all._withdraw(seen)
            return
        if seen.identity != identity:
            self._all._give(seen, identity, 0.0, 0.0)
        seen.distance, seen.is_enrolled = 0.0, True

    def excludes(self, tracklet: tuple[int, int], identity: str, distance: float, margin: float) -> bool:
        """Return whether a tracklet cannot have a name now, because another camera sees, or has just seen, its bearer.

        Args:
            tracklet: Its track id and first frame.
            identity: The name.
            distance: Distance of its evidence to that identity.
            margin: How much nearer one of two must be to be clearly nearer.
        """
        own = self._tracklets.get(tracklet)
        if own is None or self._now is None:
            return False
        order = own.order if own.identity == identity else _INF
        return any(
            other.distance < distance - margin or (other.distance <= distance + margin and other.order < order)
            for other in self._all._conflicts(own, identity)
        )

    def was_elsewhere(self, tracklet: tuple[int, int], identity: str) -> bool:
        """Return whether other cameras saw an identity when it cannot have been this tracklet."""
        own = self._tracklets.get(tracklet)
        if own is None:
            return False
        return any(
            own.identity != identity or other.order < own.order
            for other in self._all._conflicts(own, identity, ended=True)
        )


def _first(sighting: _Sighting) -> float:
    return sighting.first
