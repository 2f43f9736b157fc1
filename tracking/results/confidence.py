"""Confidence of a name, from its mean distance as a share of the run's threshold."""

from __future__ import annotations

from collections.abc import Iterable

from tracking.results.sightings import Sighting

__all__ = ["CONFIDENT_SHARE", "NEAR_LIMIT_SHARE", "confidence_legend", "confidence_level"]

CONFIDENT_SHARE = 0.6
"""Share of the threshold up to which a mean distance is confident, as for ``--enroll all``."""

NEAR_LIMIT_SHARE = 0.8
"""Share of the threshold above which a mean distance is near the limit, and the name should be checked."""

_ROUNDING = 1e-9


def confidence_level(sighting: Sighting, threshold: float | None) -> str:
    """Return the level of a sighting's name.

    Args:
        sighting: The sighting.
        threshold: Largest distance at which the run gave a name; None where unknown.

    Returns:
        ``confident``, ``fair`` or ``near`` (the limit); ``named`` where the distance or the threshold is unknown;
        ``none`` for a track without a name.
    """
    if sighting.identity is None:
        return "none"
    if threshold is None or sighting.mean_distance is None:
        return "named"
    share = sighting.mean_distance / threshold - _ROUNDING
    return "confident" if share <= CONFIDENT_SHARE else "fair" if share <= NEAR_LIMIT_SHARE else "near"


def confidence_legend(sightings: Iterable[Sighting], threshold: float | None) -> list[tuple[str, str]]:
    """Return (level, explanation) of each level that occurs among sightings, the most confident first."""
    limit = threshold or 0.0
    explanations = {
        "confident": f"confident (distance up to {CONFIDENT_SHARE * limit:.3g})",
        "fair": f"fair (up to {NEAR_LIMIT_SHARE * limit:.3g})",
        "near": f"near the limit (up to {limit:g})",
        "named": "named (distance unknown)",
        "none": "no name",
    }
    levels = {confidence_level(sighting, threshold) for sighting in sightings}
    return [(level, text) for level, text in explanations.items() if level in levels]
