"""The limits of the decision on a name."""

from __future__ import annotations

from dataclasses import dataclass

from gallery_db.store.thresholds import DEFAULT_THRESHOLD

__all__ = ["DecisionRule"]


@dataclass(frozen=True, slots=True)
class DecisionRule:
    """The limits of the decision, all cosine distances, derived from the accepted distance by `of`.

    How near a track must be to a name depends on how many people the gallery holds. How near the observations of one
    person are to each other does not: that limit is the default threshold, which means the same in every embedding
    space, or the accepted distance, where that is greater.

    Attributes:
        accept: Largest distance at which a track gets an identity's name (``--gallery-match-threshold``).
        sure: Up to this distance one observation is enough; beyond it two, or one with twice the margin.
        reject: A track further than this from every identity is unknown.
        margin: How much further away the second-best identity must be after one observation; less after more.
        hysteresis: How much worse than accepted, or than another, a name may become before an observation counts
            against it, and how much better another track must fit to take the name.
        alike: Largest distance of an observation from the mean of others of the same person, as a rule.
        constant: See `gallery_db.embeddings.unit_mean`, which makes the mean of observations.
    """

    accept: float
    sure: float
    reject: float
    margin: float
    hysteresis: float
    alike: float
    constant: float = 0.0

    @classmethod
    def of(cls, accept: float, constant: float = 0.0) -> DecisionRule:
        """Return the limits for an accepted distance, fixed multiples of it."""
        return cls(
            accept=accept,
            sure=0.8 * accept,
            reject=1.2 * accept,
            margin=0.2 * accept,
            hysteresis=0.2 * accept,
            alike=max(accept, DEFAULT_THRESHOLD),
            constant=constant,
        )

    @property
    def with_observation(self) -> float:
        """Up to this distance of the mean, one observation within the accepted distance gives the name.

        Where little is accepted, poor observations keep the mean of the right person outside for long. At the default
        threshold and above, this is the accepted distance.
        """
        return max(self.accept, min(self.reject, self.alike))

    @property
    def surely_alike(self) -> float:
        """Up to this distance from the mean, an observation shows the same person."""
        return 0.8 * self.alike

    @property
    def contrary(self) -> float:
        """Beyond this distance, an observation counts against the mean, or against the name."""
        return 1.2 * self.alike

    def largest_margin(self, num_observations: int) -> float:
        """Return the margin to the second-best identity above which it does not matter; see `suffices`."""
        return 2 * self.margin if num_observations < 2 else self.margin / num_observations

    def suffices(self, num_observations: int, distance: float, margin: float) -> bool:
        """Return whether this many observations, at this distance and margin to the second-best, give a name."""
        if num_observations < 1 or margin < self.margin / num_observations:
            return False
        more = num_observations > 1 or margin >= 2 * self.margin
        return distance <= (self.accept if more else self.sure)
