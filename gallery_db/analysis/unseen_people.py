"""Distances of people who had no part in a collection's space.

A space pushes the people apart that it was learned from. Strangers in a run are none of them, and are nearer: a false
accept rate that is counted on the gallery's own people, in the space learned from them, is too small by a factor of
three to thirteen (docs/explanation/embedding-space.md). So each fifth of the people plays strangers in a space that is
learned from the others (cross-fitting).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gallery_db.embeddings import unit_mean
from gallery_db.search.view import GalleryView
from gallery_db.spaces.learning import learn_space
from gallery_db.spaces.prior import Prior
from gallery_db.spaces.space import EmbeddingSpace

__all__ = ["UnseenPeople"]

_FOLDS = 5
_MANY_PEOPLE = 2000
"""People from which on two folds are enough: one person more or less hardly changes the space."""


class UnseenPeople:
    """Compares probes of each person with a gallery and in a space that have nothing of them and of some others.

    Args:
        view: The gallery's entries, in its space.
        embeddings: (N, E) float32, the same entries as the model returned them.
        prior: What is known of the model.
        cameras: The camera of each entry.
    """

    def __init__(
        self,
        view: GalleryView,
        embeddings: NDArray[np.float32],
        prior: Prior | None,
        cameras: Sequence[str | None],
    ) -> None:
        assert view.space is not None
        self._view = view
        self._space: EmbeddingSpace = view.space
        self._embeddings = embeddings
        self._prior = prior
        self._cameras = list(cameras)
        people = len(view.identities)
        count = min(_FOLDS if people < _MANY_PEOPLE else 2, people)
        # The same gallery gives the same result.
        self._folds = np.random.default_rng(0).permutation(np.arange(people) % count)
        self.compared_share = 1.0 - 1.0 / count
        self._spaces: dict[int, EmbeddingSpace] = {}

    def nearest_others(
        self, members: Sequence[NDArray[np.intp]], columns_of: NDArray[np.intp], among: NDArray[np.intp]
    ) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
        """Return how far each probe is from the nearest other person, and who that is.

        Args:
            members: P sets of rows of the view; their mean is a probe.
            columns_of: (P,) column of the person that each shows.
            among: Columns that probes are compared with.

        Returns:
            (P,) distances in the scale of the view's space, and (P,) positions in `among`.
        """
        distances = np.full(len(members), np.inf)
        nearest = np.zeros(len(members), np.intp)
        view = self._view
        for fold in np.unique(self._folds[columns_of]).tolist():
            space = self._without(fold)
            vectors = space.apply(self._embeddings, self._cameras)
            other = GalleryView.from_arrays(
                [view.identities[column] for column in view.row_columns],
                vectors,
                class_names=[view.identity_classes[column] for column in view.row_columns],
                ids=view.entry_ids,
                origins=view.origins,
                search="exact",
            )
            probes = np.flatnonzero(self._folds[columns_of] == fold)
            hidden = np.flatnonzero(self._folds[among] == fold)
            for some in np.array_split(probes, max(1, len(probes) * len(view) // 4_000_000)):
                if not len(some):
                    continue
                means = [unit_mean(vectors[members[probe]].sum(axis=0), space.constant) for probe in some]
                found = other.identity_distances(np.stack(means))[:, among].astype(np.float64)
                found[:, hidden] = np.inf
                nearest[some] = found.argmin(axis=1)
                distances[some] = found.min(axis=1) * (self._space.scale / space.scale)
        return np.minimum(distances, 2.0), nearest

    def _without(self, fold: int) -> EmbeddingSpace:
        """Return the space that is learned without the people of one fold; all kinds of probes need it."""
        if fold not in self._spaces:
            people = self._view.row_columns
            kept = np.flatnonzero(self._folds[people] != fold)
            cameras = [self._cameras[row] for row in kept]
            found = learn_space(self._embeddings[kept], people[kept], self._prior, cameras)
            self._spaces[fold] = self._space if found is None else found
        return self._spaces[fold]
