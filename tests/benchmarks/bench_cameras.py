"""Measure names across cameras on the Market-1501 subset: each step of the embedding space, and the thresholds.

``OMP_NUM_THREADS=1 python tests/benchmarks/bench_cameras.py --data ../shared/data``

A draw makes a gallery of some people, each seen by one camera chosen at random. Probes are the means of a sighting
(the images of one person on one camera): those of the known people on other cameras, and all those of strangers.
Everything goes through `Gallery`, `GalleryView`, `calibrate_gallery` and `match_threshold`.

The prior that gtrack ships was made from this very subset. So a draw has a prior of its own, made from people who are
neither known nor strangers: 34 known people, 33 strangers and 33 for the prior, or 20, 20 and 60; or 50 and 50, and no
prior.

`--cache FILE` keeps the embeddings, which cost most.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from gallery_db import DEFAULT_THRESHOLD, EmbeddingModel, Entry, Gallery, read_image
from gallery_db.analysis.calibration import calibrate_gallery
from gallery_db.analysis.thresholds import match_threshold
from gallery_db.embeddings import unit_mean
from gallery_db.media.market_names import parse_market_name
from gallery_db.spaces.learning import MAX_DIRECTIONS, PeopleStatistics, learn_space
from gallery_db.spaces.prior import Prior
from gallery_db.spaces.space import EmbeddingSpace
from gallery_db.spaces.stored import save_space
from tracking import load_embedder

Array = NDArray[np.float32]
NETWORKS = {
    "OSNet x0.25": "osnet_x0_25_msmt17.onnx",
    "0277": "person-reidentification-retail-0277.xml",
    "0287": "person-reidentification-retail-0287.xml",
    "builtin": "builtin",
}
SPLITS = ((34, 33), (20, 20), (50, 50))
"""Known people and strangers; the rest is for the prior."""
RATES = np.logspace(-2, 0, 101)
ARCHIVE = "archive-"


@dataclass(frozen=True)
class Market:
    """The images of the subset: their names, people, cameras, frames and embeddings (N, D)."""

    names: list[str]
    people: NDArray[np.intp]
    cameras: list[str]
    frames: NDArray[np.intp]
    embeddings: Array

    def sightings(self) -> dict[tuple[int, str], list[int]]:
        """Return the rows of each person on each camera, in the order of time."""
        found: dict[tuple[int, str], list[int]] = {}
        for row in np.argsort(self.frames, kind="stable").tolist():
            found.setdefault((int(self.people[row]), self.cameras[row]), []).append(row)
        return dict(sorted(found.items()))


def read_market(data: Path, network: str, cache: Path | None) -> Market:
    """Return the subset with a network's embeddings, from the cache where it has them."""
    files = sorted((data / "reid" / "market1501-test-subset").rglob("*.jpg"))
    parsed = [parse_market_name(file.name) for file in files]
    kept: dict[str, Array] = {}
    if cache is not None and cache.exists():
        with np.load(cache) as arrays:
            kept = dict(arrays)
    if network not in kept:
        weights = NETWORKS[network]
        embedder = load_embedder(weights if weights == "builtin" else str(data / "weights" / weights))
        parts = [embedder.embed([read_image(file) for file in files[at : at + 32]]) for at in range(0, len(files), 32)]
        kept[network] = np.concatenate(parts)
        if cache is not None:
            np.savez(cache, **kept)  # type: ignore[arg-type]
    named = [one for one in parsed if one is not None]
    return Market(
        [file.name for file in files],
        np.unique([one.person for one in named], return_inverse=True)[1],
        [f"c{one.camera}" for one in named],
        np.asarray([int(file.name.split("_")[2]) for file in files]),
        kept[network],
    )


def make_prior(market: Market, people: Sequence[int]) -> Prior:
    """Return the statistics of some people, as `make_priors.py` makes them."""
    rows = np.flatnonzero(np.isin(market.people, people))
    statistics = PeopleStatistics(market.embeddings[rows], market.people[rows])
    mean = statistics.mean()
    variances, directions = np.linalg.eigh(statistics.covariance(mean))
    variances, directions = variances[::-1].astype(np.float32), directions[:, ::-1].astype(np.float32)
    kept = min(MAX_DIRECTIONS, len(variances))
    rest = float(variances[kept:].mean()) if kept < len(variances) else 0.0
    return Prior("draw", len(people), mean.astype(np.float32), directions[:, :kept], variances[:kept], rest)


@contextmanager
def known_prior(prior: Prior | None) -> Iterator[None]:
    """Let all models have this prior."""
    with ExitStack() as stack:
        for module in ("spaces.adaptation", "spaces.stored", "analysis.calibration"):
            stack.enter_context(patch(f"gallery_db.{module}.prior_of", lambda model: prior))
        yield


class Draw:
    """A gallery on disk with its probes.

    Attributes:
        prior: Statistics of people who are neither known nor strangers; None for none.
    """

    def __init__(self, market: Market, seed: int, split: tuple[int, int], place: Path) -> None:
        random = np.random.default_rng(seed)
        people = random.permutation(int(market.people.max()) + 1)
        known, strangers, rest = np.split(people, np.cumsum(split))
        self.prior = make_prior(market, rest.tolist()) if len(rest) else None
        self._market = market
        sightings = market.sightings()
        cameras_of: dict[int, list[str]] = {}
        for person, camera in sightings:
            cameras_of.setdefault(person, []).append(camera)
        seen_by = {person: random.choice(sorted(cameras_of[person])) for person in sorted(known.tolist())}
        self._probes = [
            (person, camera, rows)
            for (person, camera), rows in sightings.items()
            if (person in seen_by and seen_by[person] != camera) or person in strangers
        ]
        self._people = np.asarray([person if person in seen_by else -1 for person, _, _ in self._probes])
        self._rows = [row for person, camera in seen_by.items() for row in sightings[person, camera]]
        self.gallery = Gallery.create(place, EmbeddingModel("draw", "0" * 64, market.embeddings.shape[1], "draw"))
        entries = [
            Entry(market.names[row], f"{market.people[row]:03d}", source=market.names[row]) for row in self._rows
        ]
        self.gallery.add(entries, market.embeddings[self._rows])

    def add_archive(self) -> None:
        """Store each probe in the collection as a tracklet, an unknown identity of its own."""
        entries, means = [], []
        for number, (_, camera, rows) in enumerate(self._probes):
            name = f"{ARCHIVE}{number:04d}"
            entries.append(Entry(name, name, origin="track", extra={"source_id": camera}))
            means.append(unit_mean(self._market.embeddings[rows].sum(axis=0)))
        self.gallery.add(entries, np.stack(means))

    def set_space(self, space: EmbeddingSpace | None) -> None:
        """Compare in this space."""
        assert space is not None
        save_space(self.gallery.record, self.gallery.collection_key, space)

    def mean(self) -> Array:
        """Return the mean over the people of the gallery."""
        rows = self._rows
        return PeopleStatistics(self._market.embeddings[rows], self._market.people[rows]).mean().astype(np.float32)

    def learn(self, prior: Prior | None) -> EmbeddingSpace:
        """Return the space of the gallery without its cameras."""
        space = learn_space(self._market.embeddings[self._rows], self._market.people[self._rows], prior)
        assert space is not None
        return space

    def distances(self) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.float64]]:
        """Return known people's distances to the nearest identity, whether it is the right one; and strangers'."""
        hidden = [entry.id for entry in self.gallery.entries() if entry.id.startswith(ARCHIVE)]
        view = self.gallery.view(without=hidden, search="exact")
        means = [
            unit_mean(view.adapt(self._market.embeddings[rows], camera).sum(axis=0), view.constant)
            for _, camera, rows in self._probes
        ]
        found = view.identity_distances(np.stack(means)).astype(np.float64)
        nearest, distances = np.asarray([int(view.identities[c]) for c in found.argmin(axis=1)]), found.min(axis=1)
        known = self._people >= 0
        return distances[known], nearest[known] == self._people[known], distances[~known]


def named_rightly(
    known: NDArray[np.float64], right: NDArray[np.bool_], strangers: NDArray[np.float64], far: float
) -> float:
    """Return the share of known people's probes with their name where at most a share of the strangers' has one."""
    limits = np.concatenate([np.sort(strangers), [np.inf]])
    shares = [float((right & (known < limit)).mean()) for limit in limits]
    # Between n and n + 1 strangers in a line, as 1 % of the strangers is seldom a whole number.
    return float(np.interp(far * len(strangers), np.arange(len(limits)), shares))


def measure_steps(draw: Draw) -> dict[str, list[float]]:
    """Return the columns of the table for each step."""
    found: dict[str, list[float]] = {}

    def note(title: str) -> None:
        known, right, strangers = draw.distances()
        curve = [named_rightly(known, right, strangers, far) for far in RATES]
        at_5 = named_rightly(known, right, strangers, 0.05)
        found[title] = [curve[0], at_5, float(right.mean()), float(np.mean(curve))]

    def centred(space: EmbeddingSpace | None) -> EmbeddingSpace:
        assert space is not None
        identity = np.eye(space.input_dimension, dtype=np.float32)
        return EmbeddingSpace(space.mean, identity, 1.0, space.camera_means)

    own = draw.learn(None)
    draw.gallery.reset_space(plain=True)
    note("as they are")
    draw.set_space(EmbeddingSpace(draw.mean(), np.eye(own.input_dimension, dtype=np.float32), 1.0))
    note("centred on the gallery's mean")
    draw.set_space(own)
    note("whitened, from the gallery alone")
    if draw.prior is not None:
        draw.set_space(draw.learn(draw.prior))
        note("whitened, with the prior")
    with known_prior(draw.prior):
        draw.gallery.adapt()
    note("the same, means of the gallery's cameras (`adapt`)")
    draw.add_archive()
    with known_prior(None):
        archive = draw.gallery.adapt()
        draw.set_space(centred(archive))
        note("archive: camera means, not whitened")
        draw.set_space(archive)
        note("archive: camera means, whitened, no prior")
    if draw.prior is not None:
        with known_prior(draw.prior):
            draw.gallery.adapt()
        note("all: archive, camera means, whitened, prior")
    return found


def measure_thresholds(draw: Draw) -> dict[tuple[str, float | None], list[float]]:
    """Return threshold, strangers named, known people named rightly and wrongly, and whether it is refused."""
    found: dict[tuple[str, float | None], list[float]] = {}
    for space in ("plain", "adapted"):
        with known_prior(draw.prior):
            if space == "plain":
                draw.gallery.reset_space(plain=True)
            else:
                draw.gallery.adapt()
            known, right, strangers = draw.distances()
            thresholds: dict[float | None, tuple[float, bool]] = {}
            for far in (0.01, 0.05):
                (result,) = calibrate_gallery(draw.gallery, far=far)
                assert result.chosen is not None
                thresholds[far] = result.chosen.threshold.estimate, bool(result.problems)
            usual = DEFAULT_THRESHOLD if space == "plain" else match_threshold(draw.gallery).value
            thresholds[None] = usual, False
            for wanted, (threshold, refused) in thresholds.items():
                within = known <= threshold
                found[space, wanted] = [
                    threshold,
                    float((strangers <= threshold).mean()),
                    float((within & right).mean()),
                    float((within & ~right).mean()),
                    float(refused),
                ]
    return found


def print_steps(rows: dict[str, list[list[float]]]) -> None:
    """Print the table of steps."""
    print("| embeddings | at 1 % | at 5 % | rank-1 | area |\n|---|---|---|---|---|")
    for title, draws in rows.items():
        print(f"| {title} | " + " | ".join(_short(value) for value in np.mean(draws, axis=0)) + " |")


def _short(value: float) -> str:
    return f"{value:.3f}".removeprefix("0") if value < 1 else f"{value:.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--cache", type=Path, help="npz file that keeps the embeddings")
    arguments = parser.parse_args()
    for network in arguments.networks:
        market = read_market(arguments.data, network, arguments.cache)
        for split in SPLITS:
            steps: dict[str, list[list[float]]] = {}
            rates: dict[tuple[str, float | None], list[list[float]]] = {}
            for seed in range(arguments.draws):
                with tempfile.TemporaryDirectory() as folder:
                    draw = Draw(market, seed, split, Path(folder) / "g")
                    try:
                        for key, row in measure_thresholds(draw).items():
                            rates.setdefault(key, []).append(row)
                        for title, row in measure_steps(draw).items():
                            steps.setdefault(title, []).append(row)
                    finally:
                        draw.gallery.close(sync=False)
            rest = 100 - sum(split)
            prior = f"{rest} for the prior" if rest else "no prior"
            print(f"\n**{network}, {split[0]} known, {split[1]} strangers, {prior}**\n")
            print_steps(steps)
            print(
                "\n| space | wanted | threshold | strangers named, mean (lowest to highest) | got / wanted "
                "| known people right | wrong |\n|---|---|---|---|---|---|---|"
            )
            for (space, wanted), draws in rates.items():
                threshold, got, right, wrong, refused = np.asarray(draws).T
                name = "default" if space == "plain" else "automatic"
                name = f"{wanted or name}{' (refused)' if refused.all() else ''}"
                ratio = "" if wanted is None and space == "plain" else f"{got.mean() / (wanted or 0.05):.2f}"
                print(
                    f"| {space} | {name} | {np.median(threshold):.3f} | {_short(got.mean())} "
                    f"({_short(got.min())} to {_short(got.max())}) | {ratio} | {_short(right.mean())} "
                    f"| {_short(wrong.mean())} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
