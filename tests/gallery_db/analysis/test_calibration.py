"""Calibration: counted rates, rates predicted for unseen people, too little data, and the plot."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from support.gallery import model_named

import gallery_db.analysis.calibration_trials
import gallery_db.analysis.class_calibration
import gallery_db.analysis.class_comparison
from gallery_db import Calibration, Entry, Gallery, GalleryError, GalleryView, calibrate_gallery, plot_calibrations
from gallery_db.analysis.calibration import calibrate_view
from gallery_db.analysis.calibration_results import Curve
from gallery_db.search.table import TRACK_PENALTY

D = 24


def unit(array: NDArray[np.floating]) -> NDArray[np.float32]:
    return (array / np.linalg.norm(array, axis=-1, keepdims=True)).astype(np.float32)


class World:
    """Simulated people: points about a common centre, their cameras' points about them, observations about those."""

    def __init__(self, seed: int, people: int, cameras: int = 3, each: int = 4, camera: float = 0.35) -> None:
        self.generator = np.random.default_rng(seed)
        self.cameras, self.each, self.camera = cameras, each, camera
        self.common = 4.0 * unit(self.generator.standard_normal(D))
        self.entries: list[Entry] = []
        vectors = []
        for number in range(people):
            observations = self.person()
            vectors.append(observations)
            self.entries += [
                Entry(f"{number}-{at}", f"p{number:03d}", source=f"/w/{number:04d}_c{at // each}s1_{at:06d}.jpg")
                for at in range(len(observations))
            ]
        self.vectors = np.concatenate(vectors)

    def person(self) -> NDArray[np.float32]:
        """Return (cameras * each, D) observations of a new person, camera by camera."""
        centre = self.common + self.generator.standard_normal(D)
        shown = centre + self.camera * self.generator.standard_normal((self.cameras, 1, D))
        observations = shown + 0.25 * self.generator.standard_normal((self.cameras, self.each, D))
        return unit(observations.reshape(-1, D))

    def view(self) -> GalleryView:
        return view_of(self.entries, self.vectors)


def view_of(entries: Sequence[Entry], vectors: NDArray[np.float32]) -> GalleryView:
    return GalleryView.from_arrays(
        [e.identity for e in entries],
        vectors,
        class_names=[e.class_name for e in entries],
        ids=[e.id for e in entries],
        origins=[e.origin for e in entries],
    )


def calibrated(entries: Sequence[Entry], vectors: NDArray[np.float32], **options: Any) -> tuple[Calibration, ...]:
    view = view_of(entries, vectors)
    by_id = {entry.id: entry for entry in entries}
    return calibrate_view(view, [by_id[id_] for id_ in view.entry_ids], **options)


def at(curve: Curve, name: str, threshold: float) -> float:
    place = int(np.searchsorted(curve.thresholds, threshold, side="right")) - 1
    return float(getattr(curve, name)[place])


def rates_by_loops(world: World, probe_size: int, threshold: float) -> tuple[float, float, float]:
    """Return the false accept, miss and misidentification rates, counted in plain loops."""
    people = sorted({e.identity for e in world.entries})
    accepted, missed, misnamed = [], [], []
    for who in people:
        mine = [n for n, e in enumerate(world.entries) if e.identity == who]
        others = [n for n, e in enumerate(world.entries) if e.identity != who]
        strangers, misses, wrong = [], [], []
        for camera in range(world.cameras):
            rows = mine[camera * world.each : (camera + 1) * world.each]
            rest = [n for n in mine if n not in rows]
            for start in range(world.each - probe_size + 1):
                probe = unit(world.vectors[rows[start : start + probe_size]].sum(axis=0))
                near = min(1 - float(probe @ world.vectors[n]) for n in others)
                own = min(1 - float(probe @ world.vectors[n]) for n in rest)
                strangers.append(near <= threshold)
                misses.append(own > threshold or near < own)
                wrong.append(near < own and near <= threshold)
        accepted.append(np.mean(strangers))
        missed.append(np.mean(misses))
        misnamed.append(np.mean(wrong))
    grown = 1 - (1 - np.mean(accepted)) ** (len(people) / (len(people) - 1))
    return float(grown), float(np.mean(missed)), float(np.mean(misnamed))


@pytest.mark.parametrize("probe_size", [1, 3])
def test_rates_equal_a_plain_count(probe_size: int) -> None:
    world = World(3, people=9)
    (found,) = calibrated(world.entries, world.vectors, probe_size=3)
    assert (found.entries, found.identities, found.separation) == (108, 9, "camera")
    curve = found.single if probe_size == 1 else found.mean
    assert curve is not None
    assert curve.probes == curve.known_probes == 9 * 3 * (4 - probe_size + 1)
    for threshold in curve.thresholds[[30, 90, 150, 220]]:
        expected = rates_by_loops(world, probe_size, float(threshold) + 1e-7)
        found_rates = [at(curve, name, float(threshold)) for name in ("fpir", "fnir", "wrong")]
        assert found_rates == pytest.approx(expected, abs=0.02)  # a distance may equal the threshold


def test_all_identities_weigh_the_same() -> None:
    world = World(5, people=8)
    before = calibrated(world.entries, world.vectors)[0].single
    # The same pictures of one person ten times over change nothing but the number of probes.
    mine = [n for n, e in enumerate(world.entries) if e.identity == "p002"]
    more = [Entry(f"{n}-{t}", "p002", source=world.entries[n].source) for n in mine for t in range(9)]
    after = calibrated([*world.entries, *more], world.vectors[[*range(len(world.entries)), *np.repeat(mine, 9)]])[
        0
    ].single
    assert before is not None
    assert after is not None
    for threshold in np.linspace(0.02, 0.2, 6):
        assert at(after, "fpir", threshold) == pytest.approx(at(before, "fpir", threshold), abs=0.02)


def test_distances_are_those_of_a_run() -> None:
    """Entries that were enrolled count as further away where there are images too."""
    world = World(1, people=7, cameras=2, each=3)
    entries = [
        e
        if n % 6 < 3
        else Entry(e.id, e.identity, origin="track", source="/v.avi", frame=n, extra={"source_id": "yard"})
        for n, e in enumerate(world.entries)
    ]
    (found,) = calibrated(entries, world.vectors)
    view = view_of(entries, world.vectors)
    assert found.single is not None
    assert found.single.probes == 7 * 3, "an enrolled entry is the mean of many observations"
    expected = []
    for row, id_ in enumerate(view.entry_ids):
        if not view.embeddings[row].any() or next(e for e in entries if e.id == id_).origin == "track":
            continue
        distances = view.identity_distances(view.embeddings[row][None])[0]
        distances[view.row_columns[row]] = np.inf
        expected.append(distances.min())
    assert np.sort(found.single.other_distances) == pytest.approx(np.sort(expected), abs=1e-6)
    mean = found.mean
    assert mean is not None
    tracks = [n for n, e in enumerate(entries) if e.identity == "p003" and e.origin == "track"]
    images = [n for n, e in enumerate(entries) if e.identity == "p003" and e.origin == "image"]
    # The images' mean, whose only relations are enrolled: with no image left, nothing is added.
    probe = unit(world.vectors[images].sum(axis=0))
    assert np.abs(mean.own_distances - (1 - (world.vectors[tracks] @ probe).max())).min() < 1e-5
    # A track's relations are images, which never count as further away.
    own = 1 - (world.vectors[images] @ world.vectors[tracks[0]]).max()
    assert np.abs(mean.own_distances - own).min() < 1e-5
    assert TRACK_PENALTY > 0


@pytest.mark.parametrize(("people", "far", "how"), [(40, 0.1, "counted"), (40, 0.02, "fitted"), (20, 0.05, "fitted")])
def test_unseen_strangers_get_names_at_the_requested_rate(
    monkeypatch: pytest.MonkeyPatch, people: int, far: float, how: str
) -> None:
    """The test of the method: people that the calibration has not seen."""
    monkeypatch.setattr(gallery_db.analysis.calibration_trials, "_BOOTSTRAP_ROUNDS", 50)
    named, at_most, missed = [], [], []
    for seed in range(14):
        world = World(100 + seed, people)
        (found,) = calibrated(world.entries, world.vectors, far=far, probe_size=3)
        point = found.chosen
        assert point is not None
        assert point.fnir is not None
        assert (point.how, point.far) == (how, far)
        view = world.view()
        strangers = np.concatenate([unit(world.person().reshape(-1, 4, D)[:, :3].sum(axis=1)) for _ in range(60)])
        rate = float((view.identity_distances(strangers).min(axis=1) <= point.threshold.estimate).mean())
        named.append(rate)
        at_most.append(rate <= point.fpir.high)
        assert point.threshold.low <= point.threshold.estimate <= point.threshold.high
        # A much stricter threshold than necessary would be wrong, too.
        missed.append(point.fnir.estimate)
    assert 0.5 * far < np.mean(named) < 1.6 * far
    assert np.mean(at_most) >= 0.8
    assert np.mean(missed) < 0.6


def test_near_duplicates_do_not_lower_the_miss_rate() -> None:
    """Observations of one camera are nearly equal: misses are measured across cameras."""
    world = World(7, people=20, camera=0.9)
    (known_cameras,) = calibrated(world.entries, world.vectors, far=0.1)
    hidden = [Entry(e.id, e.identity, source=f"/w/{e.identity}/{n % 12:02d}.jpg") for n, e in enumerate(world.entries)]
    (file_order,) = calibrated(hidden, world.vectors, far=0.1)
    assert known_cameras.chosen is not None
    assert file_order.chosen is not None
    assert (known_cameras.separation, file_order.separation) == ("camera", "file_order")
    assert known_cameras.chosen.fnir is not None
    assert file_order.chosen.fnir is not None
    assert any("the same burst" in note for note in file_order.notes)
    assert not any("the same burst" in note for note in known_cameras.notes)
    assert any("another camera is unknown" in note for note in file_order.notes)
    assert any("people who come to another camera" in note for note in known_cameras.notes)
    assert known_cameras.single is not None
    assert file_order.single is not None
    # The threshold does not depend on how known people are compared.
    assert file_order.single.other_distances == pytest.approx(known_cameras.single.other_distances)


def test_mutually_nearest_identities_count_as_one() -> None:
    world = World(11, people=20)
    (before,) = calibrated(world.entries, world.vectors)
    # Each person gets a double: twice as many probes, with no new information.
    doubles = [Entry(f"d{e.id}", f"d{e.identity}", source=e.source) for e in world.entries]
    noise = 0.02 * world.generator.standard_normal(world.vectors.shape).astype(np.float32)
    (after,) = calibrated([*world.entries, *doubles], np.concatenate([world.vectors, unit(world.vectors + noise)]))
    assert before.single is not None
    assert after.single is not None
    assert after.single.smallest_far > 0.7 * before.single.smallest_far
    assert len(after.anomalies.similar) == 20
    assert any("look wrong" in note for note in after.notes)


PROBLEMS = {
    "four people": (4, {}, "at least 5"),
    "a rate too small for eight people": (8, {"far": 0.001}, "0.001 was requested"),
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_too_little_data(name: str) -> None:
    people, options, words = PROBLEMS[name]
    world = World(2, people)
    (found,) = calibrated(world.entries, world.vectors, **options)
    assert any("is cautious" in note for note in found.notes)
    assert words in " ".join(found.problems)


@pytest.mark.parametrize(("people", "each"), [(1, 1), (1, 6), (2, 1), (6, 1)])
def test_small_galleries(people: int, each: int) -> None:
    generator = np.random.default_rng(0)
    entries = [Entry(f"{p}-{n}", f"p{p}", source=f"/w/p{p}/{n}.jpg") for p in range(people) for n in range(each)]
    (found,) = calibrated(entries, unit(1 + generator.standard_normal((len(entries), D))))
    assert found.problems
    assert found.mean is None
    if people == 1:
        assert found.chosen is None
        with pytest.raises(GalleryError, match="nothing to plot"):
            plot_calibrations("x.png", [found])
    if each == 1 and people > 1:
        assert found.single is not None
        assert found.single.equal_error is None
        assert any("the miss rate is unknown" in note for note in found.notes)


def test_equal_entries() -> None:
    entries = [Entry(f"{p}-{n}", f"p{p}", source=f"/w/p{p}/{n}.jpg") for p in range(8) for n in range(4)]
    (found,) = calibrated(entries, np.repeat(unit(np.ones((1, D))), 32, axis=0))
    assert found.chosen is not None
    assert 0 <= found.chosen.threshold.estimate < 0.01


def test_classes_are_calibrated_separately() -> None:
    people, cars = World(1, 10), World(2, 10)
    entries = [*people.entries, *(Entry(f"c{e.id}", e.identity, "car", source=e.source) for e in cars.entries)]
    both = calibrated(entries, np.concatenate([people.vectors, cars.vectors]))
    assert [one.class_name for one in both] == ["car", "person"]
    (alone,) = calibrated(people.entries, people.vectors)
    assert both[1].chosen == alone.chosen
    (only,) = calibrated(entries, np.concatenate([people.vectors, cars.vectors]), class_name="CAR")
    assert only.chosen == both[0].chosen


def test_few_people_keep_the_default_unless_they_rule_it_out() -> None:
    def stands(people: int, *, nearer: float = 0.0, **options: Any) -> bool:
        world = World(4, people)
        vectors = unit(world.vectors + nearer * unit(world.common))
        return calibrated(world.entries, vectors, **options)[0].keep_default

    assert stands(8)
    assert stands(19)
    assert not stands(20), "enough identities"
    assert not stands(8, far=0.05), "a rate was requested"
    assert not stands(10, nearer=0.3), "the default is outside the interval"
    assert not stands(6, nearer=0.5), "inside, but most of the others would get a name at the default"
    with_far, without = (calibrated(World(4, 8).entries, World(4, 8).vectors, **o)[0] for o in ({"far": 0.05}, {}))
    assert with_far.chosen == without.chosen


def test_blocks_and_limits_change_little(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(4, people=12)
    (whole,) = calibrated(world.entries, world.vectors, far=0.1)
    monkeypatch.setattr(gallery_db.analysis.class_comparison, "_BLOCK_CELLS", 500)
    (parts,) = calibrated(world.entries, world.vectors, far=0.1)
    assert parts.chosen is not None
    assert whole.chosen is not None
    assert parts.chosen.threshold.estimate == pytest.approx(whole.chosen.threshold.estimate, abs=1e-6)
    assert parts.chosen.fnir == whole.chosen.fnir
    monkeypatch.setattr(gallery_db.analysis.class_calibration, "_MAX_PROBES", 60)
    (fewer,) = calibrated(world.entries, world.vectors, far=0.1)
    assert fewer.single is not None
    assert fewer.single.probes == 60
    assert whole.chosen is not None
    assert fewer.chosen is not None
    assert fewer.chosen.threshold.estimate == pytest.approx(whole.chosen.threshold.estimate, abs=0.02)


@pytest.mark.parametrize(
    "options", [{"far": 0}, {"far": 0.5}, {"far": float("nan")}, {"probe_size": 1}, {"class_name": "x"}]
)
def test_invalid_arguments(options: dict[str, Any]) -> None:
    world = World(0, 5)
    with pytest.raises(GalleryError, match=r"Expected|has no entries"):
        calibrated(world.entries, world.vectors, **options)


def test_an_empty_gallery(tmp_path: Path) -> None:
    with (
        Gallery.create(tmp_path / "g", model_named(dimension=D)) as gallery,
        pytest.raises(GalleryError, match="empty"),
    ):
        calibrate_gallery(gallery)


@pytest.mark.parametrize("suffix", [".png", ".pdf"])
def test_the_plot(tmp_path: Path, suffix: str) -> None:
    world = World(6, people=10)
    found = calibrated([Entry(e.id, e.identity, "$odd$", source=e.source) for e in world.entries], world.vectors)
    path = plot_calibrations(tmp_path / f"plot{suffix}", found)
    assert path.stat().st_size > 5000
    assert list(tmp_path.iterdir()) == [path]
    if suffix == ".png":
        with Image.open(path) as picture:
            pixels = np.asarray(picture.convert("RGB"))
        assert pixels.shape[0] > 400
        assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 50


def test_plots_that_cannot_be_written(tmp_path: Path) -> None:
    world = World(6, people=6)
    found = calibrated(world.entries, world.vectors)
    for path in (tmp_path / "plot.gif", tmp_path / "none" / "plot.png"):
        with pytest.raises(GalleryError, match=str(path)):
            plot_calibrations(path, found)
    assert list(tmp_path.iterdir()) == []


def test_rates_predicted_for_market_1501_hold(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Real people: half of them are in the gallery, the other half are unknown."""
    from gallery_db import read_image
    from tracking import load_embedder

    monkeypatch.setattr(gallery_db.analysis.calibration_trials, "_BOOTSTRAP_ROUNDS", 50)
    files = sorted((data / "reid" / "market1501-test-subset").glob("*.jpg"))
    embedder = load_embedder(data / "weights" / "osnet_x0_25_msmt17.onnx", threads=1)
    parts = [embedder.embed([read_image(f) for f in files[at : at + 32]]) for at in range(0, len(files), 32)]
    vectors = np.concatenate(parts)
    who = np.asarray([f.name[:4] for f in files])
    camera = np.asarray([f.name[6] for f in files])
    people = np.unique(who)
    named: dict[float, list[float]] = {0.1: [], 0.05: []}
    for split in range(6):
        known = np.random.default_rng(split).choice(people, 50, replace=False)
        rows = np.flatnonzero(np.isin(who, known))
        entries = [Entry(files[row].name, str(who[row]), source=str(files[row])) for row in rows]
        view = view_of(entries, vectors[rows])
        for far, rates in named.items():
            (found,) = calibrated(entries, vectors[rows], far=far)
            assert found.separation == "camera"
            assert found.chosen is not None
            mine = []
            for stranger in np.setdiff1d(people, known):
                seen = [np.flatnonzero((who == stranger) & (camera == c)) for c in "123456"]
                probes = [vectors[some[:5]].sum(axis=0) for some in seen if len(some) > 1]
                if probes:
                    distances = view.identity_distances(unit(np.stack(probes))).min(axis=1)
                    mine.append(float((distances <= found.chosen.threshold.estimate).mean()))
            rates.append(float(np.mean(mine)))
    for far, rates in named.items():
        assert 0.5 * far < np.mean(rates) < 1.6 * far
