"""The space in which a collection's embeddings are compared: what it does, how it is learned, stored and used."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from gallery_db import EmbeddingError, EmbeddingModel, Entry, Gallery, GalleryError, GalleryView, match_threshold
from gallery_db.embeddings import unit_mean
from gallery_db.spaces.learning import CAMERA_PEOPLE, MEAN_DISTANCE, MIN_PEOPLE, PeopleStatistics, learn_space
from gallery_db.spaces.prior import Prior, prior_of
from gallery_db.spaces.space import EmbeddingSpace, SpaceFormatError
from gallery_db.spaces.stored import load_space, save_space
from tests.support.gallery import model_named, unit_vectors

Array = NDArray[np.float32]
D = 24


def unit(array: NDArray[np.floating]) -> Array:
    return (array / np.linalg.norm(array, axis=-1, keepdims=True)).astype(np.float32)


class World:
    """People whose embeddings have a large part in common, and a nuisance direction that no person has to do with."""

    def __init__(self, people: int, looks: int = 4, seed: int = 1, nuisance: float = 1.5) -> None:
        random = np.random.default_rng(seed)
        self.common = np.full(D, 2.0)
        self.nuisance = np.eye(D)[0] * nuisance
        self.centres = random.standard_normal((people, D))
        self.people = np.repeat(np.arange(people), looks)
        self.vectors = self.looks_of(self.people, seed + 1)

    def looks_of(self, people: NDArray[np.intp], seed: int) -> Array:
        random = np.random.default_rng(seed)
        noise = (
            0.3 * random.standard_normal((len(people), D)) + random.standard_normal((len(people), 1)) * self.nuisance
        )
        return unit(self.common + self.centres[people] + noise)


def prior_from(world: World) -> Prior:
    statistics = PeopleStatistics(world.vectors, world.people)
    variances, directions = np.linalg.eigh(statistics.covariance(statistics.mean()))
    return Prior(
        "drawn",
        statistics.count,
        statistics.mean().astype(np.float32),
        directions.astype(np.float32),
        variances.astype(np.float32),
        0.0,
    )


def other_distances(vectors: Array, people: NDArray[np.intp]) -> NDArray[np.float64]:
    distances = 1.0 - vectors.astype(np.float64) @ vectors.T
    return distances[people[:, None] != people]


def right_share(gallery: Array, probes: Array, people: NDArray[np.intp]) -> float:
    return float((people[(probes @ gallery.T).argmax(axis=1)] == people).mean())


def test_different_people_are_at_one_distance_whatever_they_have_in_common() -> None:
    for people in (30, 150):
        world = World(people)
        space = learn_space(world.vectors, world.people, prior_from(World(200, seed=9)))
        assert space is not None
        found = space.apply(world.vectors)
        assert found.shape == (len(world.vectors), space.dimension)
        np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1.0, atol=1e-6)
        plain = other_distances(world.vectors, world.people).mean()
        assert plain < 0.4
        assert other_distances(found, world.people).mean() == pytest.approx(MEAN_DISTANCE, abs=0.05)


def test_a_direction_in_which_no_two_people_differ_counts_less() -> None:
    world = World(150, nuisance=3.0)
    again = world.looks_of(world.people, 77)
    space = learn_space(world.vectors, world.people, None)
    assert space is not None
    # Centred only, the nuisance is the largest part of what is left.
    centred = EmbeddingSpace(world.vectors.mean(axis=0), np.eye(D, dtype=np.float32), 0.5)
    assert right_share(space.apply(world.vectors), space.apply(again), world.people) > right_share(
        centred.apply(world.vectors), centred.apply(again), world.people
    )


def test_the_mean_of_observations_stays_in_the_space() -> None:
    world = World(30)
    space = learn_space(world.vectors, world.people, None)
    assert space is not None
    vectors = space.apply(world.vectors[:4])
    mean = unit_mean(vectors.sum(axis=0), space.constant)
    assert np.linalg.norm(mean) == pytest.approx(1.0, abs=1e-6)
    assert mean[-1] == pytest.approx(vectors[0, -1])
    direction = unit(vectors[:, :-1].sum(axis=0))
    np.testing.assert_allclose(mean[:-1], direction * np.sqrt(space.scale), atol=1e-6)


def test_few_people_are_left_to_the_prior() -> None:
    world = World(MIN_PEOPLE - 1)
    assert learn_space(world.vectors, world.people, None) is None
    prior = prior_from(World(200, seed=9))
    of_prior, of_few = (learn_space(world.vectors[:n], world.people[:n], prior) for n in (0, 8))
    assert of_prior is not None
    assert of_few is not None
    assert of_few.facts["people"] == 2
    # Two people move the mean by no more than their part in it.
    moved = np.linalg.norm(of_few.mean - of_prior.mean)
    assert 0 < moved < 0.2 * np.linalg.norm(world.vectors[:8].mean(axis=0) - of_prior.mean)


def test_each_camera_has_its_own_mean_as_far_as_people_are_behind_it() -> None:
    world = World(200, looks=2)
    cameras = ["left", "right"] * 200
    shift = np.where(np.arange(400)[:, None] % 2, 0.0, 1.5 * np.eye(D)[3])
    seen = unit(world.vectors * 6 + shift * 3)
    space = learn_space(seen, world.people, None, cameras)
    assert space is not None
    assert set(space.camera_means) == {"left", "right"}
    left, right = space.apply(seen[::2], cameras[::2]), space.apply(seen[1::2], cameras[1::2])
    blind_left, blind_right = space.apply(seen[::2]), space.apply(seen[1::2])
    people = np.arange(200)
    assert right_share(left, right, people) > right_share(blind_left, blind_right, people)
    np.testing.assert_array_equal(space.apply(seen[:1], ["a new one"]), space.apply(seen[:1]))
    few = learn_space(seen[:60], world.people[:60], None, cameras[:60])
    assert few is not None
    step = few.camera_means["left"] - few.mean
    own = seen[:60:2].mean(axis=0) - few.mean
    np.testing.assert_allclose(step, own * 30 / (30 + CAMERA_PEOPLE), atol=1e-5)


def test_one_camera_changes_nothing() -> None:
    world = World(30)
    one, none = (learn_space(world.vectors, world.people, None, cameras) for cameras in (["a"] * 120, None))
    assert one is not None
    assert none is not None
    assert not one.camera_means
    assert one.version == none.version


def test_a_space_is_stored_and_read_again() -> None:
    world = World(40, looks=2)
    space = learn_space(world.vectors, world.people, None, ["a", "Ä 2"] * 40, {"at": "2026"})
    assert space is not None
    again = EmbeddingSpace.from_bytes(space.to_bytes(), D)
    assert again.version == space.version
    assert again.facts == space.facts
    np.testing.assert_array_equal(again.apply(world.vectors, ["Ä 2"] * 80), space.apply(world.vectors, ["Ä 2"] * 80))
    with pytest.raises(SpaceFormatError, match="bytes of numbers"):
        EmbeddingSpace.from_bytes(space.to_bytes(), D + 1)
    data = space.to_bytes()
    for old, new in ((b'"people": 40', b'"people": "x"'), (b'["a",', b"[7,"), (b'"format": 1', b'"format": 2')):
        assert old in data
        with pytest.raises(SpaceFormatError):
            EmbeddingSpace.from_bytes(data.replace(old, new, 1), D)
    for at in range(0, len(data), 997):
        broken = data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]
        try:
            found = EmbeddingSpace.from_bytes(broken, D)
        except SpaceFormatError:
            continue
        assert np.isfinite(found.apply(world.vectors)).all()


def test_embeddings_that_do_not_fit_are_refused() -> None:
    world = World(30)
    space = learn_space(world.vectors, world.people, None)
    assert space is not None
    with pytest.raises(EmbeddingError, match="shape"):
        space.apply(np.ones((1, D + 1), np.float32))
    with pytest.raises(EmbeddingError, match="length"):
        space.apply(np.ones((1, D), np.float32))
    at_the_mean = space.apply(unit(space.mean[None]))
    assert np.isfinite(at_the_mean).all()


# -- in a gallery --------------------------------------------------------------------------------------------------


def fill(gallery: Gallery, world: World, prefix: str = "e") -> None:
    gallery.add(
        [Entry(f"{prefix}{row:04d}", f"p{person:03d}") for row, person in enumerate(world.people)], world.vectors
    )


def test_a_gallery_is_compared_in_its_space(tmp_path: Path) -> None:
    model = model_named(dimension=D)
    world = World(30)
    probe = world.looks_of(np.array([7]), 5)
    with Gallery.create(tmp_path / "g", model) as gallery:
        fill(gallery, world)
        assert gallery.space is None, "nothing is known of the model"
        plain = gallery.query(probe, top_k=3)[0]
        space = gallery.adapt()
        assert space is not None
        assert gallery.space is not None
        assert gallery.space.version == space.version
        matches = gallery.query(probe, top_k=3)[0]
        expected = 1.0 - space.apply(world.vectors) @ space.apply(probe)[0]
        assert matches[0].distance == pytest.approx(float(expected.min()), abs=1e-5)
        assert matches[0].distance != pytest.approx(plain[0].distance, abs=1e-3)
        by_index = gallery.query(probe, top_k=3, search="hnsw")[0]
        assert [one.entry.id for one in by_index] == [one.entry.id for one in matches]
        assert by_index[0].distance == pytest.approx(matches[0].distance, abs=1e-5)
        # The embeddings stay what they were.
        np.testing.assert_allclose(gallery.get("e0000")[1], world.vectors[0], atol=1e-6)
        view = gallery.view()
        columns, distances = view.nearest_identities(view.adapt(probe), 1)
        assert view.identities[int(columns[0, 0])] == "p007"
        assert float(distances[0, 0]) == pytest.approx(matches[0].distance, abs=1e-5)
        with pytest.raises(EmbeddingError, match="shape"):
            view.nearest_identities(probe, 1)
        gallery.reset_space(plain=True)
        assert gallery.query(probe, top_k=3)[0][0].distance == pytest.approx(plain[0].distance, abs=1e-6)
        assert gallery.keep_adapted() is None, "a user wants it plain"


def test_the_index_and_the_exact_search_know_the_cameras(tmp_path: Path) -> None:
    world = World(40, looks=2)
    with Gallery.create(tmp_path / "g", model_named(dimension=D)) as gallery:
        shift = np.where(np.arange(80)[:, None] % 2, 0.0, 1.5 * np.eye(D)[3])
        gallery.add(
            [
                Entry(f"e{row:04d}", f"p{person:03d}", origin="track", extra={"source_id": ("left", "right")[row % 2]})
                for row, person in enumerate(world.people)
            ],
            unit(world.vectors * 6 + shift * 3),
        )
        space = gallery.adapt()
        assert space is not None
        assert set(space.camera_means) == {"left", "right"}
        probe = world.looks_of(np.array([7]), 5)
        exact, by_index = (gallery.query(probe, top_k=5, search=search)[0] for search in ("exact", "hnsw"))
        assert [one.entry.id for one in by_index] == [one.entry.id for one in exact]
        np.testing.assert_allclose([one.distance for one in by_index], [one.distance for one in exact], atol=1e-5)


def test_a_view_takes_in_new_entries_in_its_space(tmp_path: Path) -> None:
    model = model_named(dimension=D)
    world = World(30)
    with Gallery.create(tmp_path / "g", model) as gallery:
        fill(gallery, world)
        space = gallery.adapt()
        assert space is not None
        view = gallery.view()
        gallery.add([Entry("new", "p099")], world.vectors[:1])
        change = view.refresh()
        assert change is not None
        assert not change.reset
        row = view.entry_ids.index("new")
        np.testing.assert_allclose(view.embeddings[row], space.apply(world.vectors[:1])[0], atol=1e-6)
        # A view keeps its space; a new one has the new space.
        gallery.add([Entry(f"more{n}", f"q{n}") for n in range(20)], unit_vectors(20, D))
        assert gallery.keep_adapted() is not None
        assert view.space is not None
        assert view.space.version == space.version
        assert gallery.view().space.version != space.version  # type: ignore[union-attr]


def test_a_view_knows_the_camera_of_each_entry(tmp_path: Path) -> None:
    world = World(30)
    entries = [
        Entry("track", "a", origin="track", extra={"source_id": "door"}),
        Entry("named", "b", source="0001_c3s1_000001_00.jpg"),
        Entry("neither", "c", source="door.jpg", extra={"note": "source_id"}),
    ]
    with Gallery.create(tmp_path / "g", model_named(dimension=D)) as gallery:
        fill(gallery, world)
        gallery.add(entries, world.vectors[:3])
        learned = gallery.adapt()
        assert learned is not None
        means = {"door": np.zeros(D, np.float32), "c3": -learned.mean}
        space = EmbeddingSpace(learned.mean, learned.whitening, learned.scale, means)
        save_space(gallery.record, gallery.collection_key, space)
        view = gallery.view()
        rows = [view.entry_ids.index(entry.id) for entry in entries]
        expected = space.apply(world.vectors[:3], ["door", "c3", None])
        np.testing.assert_allclose(view.embeddings[rows], expected, atol=1e-6)
        assert not np.allclose(expected, space.apply(world.vectors[:3]), atol=1e-2)


def test_a_collection_is_adapted_again_as_it_grows(tmp_path: Path) -> None:
    with Gallery.create(tmp_path / "g", model_named(dimension=D)) as gallery:
        fill(gallery, World(MIN_PEOPLE - 1))
        assert gallery.keep_adapted() is None
        fill(gallery, World(25, seed=4), "f")
        first = gallery.keep_adapted()
        assert first is not None
        assert first.facts["people"] == 25
        assert gallery.keep_adapted() is None, "nothing has changed"
        gallery.add([Entry(f"g{n}", f"q{n}") for n in range(6)], unit_vectors(6, D))
        second = gallery.keep_adapted()
        assert second is not None
        assert second.facts["people"] == 31


def test_a_damaged_space_is_reported_and_can_be_learned_again(tmp_path: Path) -> None:
    model = model_named(dimension=D)
    with Gallery.create(tmp_path / "g", model) as gallery:
        fill(gallery, World(30))
        for text in ("nonsense!", "bm9uc2Vuc2U=", "x" * 100_000):
            gallery.record.set_meta(f"space:{gallery.collection_key}", text)
            with pytest.raises(GalleryError, match="gallery adapt"):
                gallery.view()
        assert gallery.keep_adapted() is not None, "as an ingest does"
        assert len(gallery.view()) == 120


def test_distances_of_another_space_are_no_threshold(tmp_path: Path) -> None:
    from gallery_db import calibrate_gallery, store_calibrations

    with Gallery.create(tmp_path / "g", model_named(dimension=D)) as gallery:
        fill(gallery, World(40))
        (plain,) = store_calibrations(gallery, calibrate_gallery(gallery, far=0.1))
        assert match_threshold(gallery).value == plain.threshold
        gallery.adapt()
        found = match_threshold(gallery)
        assert found.origin == "automatic"
        assert "another embedding space" in found.messages[0]
        assert found.value != pytest.approx(plain.threshold, abs=1e-3)
        (adapted,) = store_calibrations(gallery, calibrate_gallery(gallery, far=0.1))
        assert (match_threshold(gallery).value, match_threshold(gallery).origin) == (adapted.threshold, "calibration")


@pytest.mark.parametrize("seed", range(3))
def test_strangers_are_not_named_by_the_threshold_that_is_measured(tmp_path: Path, seed: int) -> None:
    """Strangers, who had no part in the space, are named at most about as often as is promised."""
    world = World(220, looks=4, seed=seed)
    known = world.people < 60
    with Gallery.create(tmp_path / "g", model_named(dimension=D)) as gallery:
        rows = np.flatnonzero(known)
        gallery.add([Entry(f"e{row:04d}", f"p{world.people[row]:03d}") for row in rows], world.vectors[rows])
        gallery.adapt()
        threshold = match_threshold(gallery)
        assert threshold.origin == "automatic"
        view = gallery.view()
        probes = np.stack(
            [
                unit_mean(view.adapt(world.vectors[world.people == person]).sum(axis=0), view.constant)
                for person in range(60, 220)
            ]
        )
        nearest = view.nearest_identities(probes, 1)[1][:, 0]
        assert (nearest <= threshold.value).mean() <= 0.1


def test_priors_belong_to_exactly_their_models() -> None:
    import json
    from importlib import resources

    catalogue = json.loads(resources.files("gallery_db.spaces").joinpath("priors", "catalogue.json").read_text())
    assert catalogue
    for facts in catalogue.values():
        for sha256 in facts["sha256"]:
            for dimension in (256, 512):
                model = EmbeddingModel("x", sha256, dimension, facts["preprocessing"])
                prior = prior_of(model)
                assert prior is not None
                if len(prior.mean) != dimension:
                    continue
                space = learn_space(np.empty((0, dimension), np.float32), np.empty(0, np.intp), prior)
                assert space is not None
                assert space.apply(unit_vectors(5, dimension)).shape == (5, 128)
            assert prior_of(EmbeddingModel("x", sha256, 512, facts["preprocessing"] + " other")) is None
    assert prior_of(model_named()) is None


def test_a_new_gallery_of_a_known_model_has_its_space(tmp_path: Path) -> None:
    import json
    from importlib import resources

    catalogue = json.loads(resources.files("gallery_db.spaces").joinpath("priors", "catalogue.json").read_text())
    facts = catalogue["osnet_x0_25_msmt17.npz"]
    model = EmbeddingModel("osnet.onnx", facts["sha256"][0], 512, facts["preprocessing"])
    with Gallery.create(tmp_path / "g", model) as gallery:
        assert gallery.space is not None
        assert gallery.space.facts["people"] == 0
        gallery.add([Entry("a", "ann")], unit_vectors(1, 512))
        assert isinstance(gallery.view(), GalleryView)
        assert gallery.view().dimension == 128
        record = gallery.record
        save_space(record, gallery.collection_key, "plain")
        assert load_space(record, gallery.collection_key, model) is None
        assert gallery.view().dimension == 512
